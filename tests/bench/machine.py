"""What this machine has: the tools that the bench needs, its cores, its size."""

import os
import platform
import resource
import shutil
import subprocess
from pathlib import Path

from proxy.clock import now
from proxy.settings import child_environment

CORE_UNDER_TEST = 0
CORE_OF_LOAD = 1

NEEDED = {
    "nginx": "the measure of every ratio, and the upstream (apt install nginx-light)",
    "wrk": "the load of the request rows (apt install wrk)",
    "gcc": "compiles the stream upstream and the load generator (apt install gcc libc6-dev)",
    "taskset": "gives the program under test a core of its own (apt install util-linux)",
}
OPTIONAL = {
    "go": "without it, Go's httputil.ReverseProxy is left out (apt install golang-go)",
    "litellm": "without it, LiteLLM is left out (pip install 'litellm[proxy]')",
    "openssl": "without it, the rows for a TLS upstream are left out (apt install openssl)",
}


def missing() -> list[str]:
    """Say what stands in the way of a run, one sentence each; empty if nothing does."""
    problems = [f"{tool} is missing: {use}" for tool, use in NEEDED.items() if not find(tool)]
    if not Path("/proc/self/stat").exists():
        problems.append("/proc is missing: CPU and memory are read from it (Linux only)")
    elif len(os.sched_getaffinity(0)) < CORE_OF_LOAD + 1:
        problems.append("one core is not enough: program and load need one each")
    return problems


def left_out() -> list[str]:
    """Say what will not be measured here, one sentence each."""
    return [f"{tool} is missing: {use}" for tool, use in OPTIONAL.items() if not find(tool)]


def find(tool: str) -> str | None:
    """Return the path of a tool, also where a user's PATH leaves the system's programs out."""
    return shutil.which(
        tool, path=child_environment().get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    )


def allow_files(count: int) -> int:
    """Raise the limit of open files as far as ``count``; return what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        soft = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def describe(directory: Path) -> str:
    """Name the date, the machine's size and what ran, in one line for under the table."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [
        now().date().isoformat(),
        f"{os.cpu_count()} cores ({_processor()}), {gib:.0f} GiB",
        f"Linux {'.'.join(platform.release().split('.')[:2])}",  # the rest is the distributor's
        f"Python {platform.python_version()}",
        _first_line("nginx", "-v").removeprefix("nginx version: "),
        f"ledger on {_file_system(directory)}",
    ]
    return ", ".join(parts)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(tool: str, flag: str) -> str:
    path = find(tool)
    if path is None:
        return f"no {tool}"
    done = subprocess.run([path, flag], capture_output=True, text=True, check=False, timeout=10)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def _file_system(directory: Path) -> str:
    """Return the type of the file system: on tmpfs an fsync costs nothing and proves nothing."""
    best, kind = "", "?"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, name, *_ = line.split()
        if str(directory.resolve()).startswith(mount) and len(mount) >= len(best):
            best, kind = mount, name
    return kind
