"""Programs that are started, pinned to a core, weighed and ended, each by its own pid."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from proxy.settings import child_environment
from tests.bench.machine import find

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STOP_SECONDS = 15.0


@dataclass(slots=True)
class Program:
    """A running program and its children."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pids(self) -> list[int]:
        """The program's own pid, then those of its living descendants."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found.extend(map(int, (task / "children").read_text().split()))
        return found

    def cpu_us(self) -> float:
        """User and system time of all threads and children so far, in microseconds."""
        return sum(map(_cpu_us, self.pids))

    def rss_bytes(self) -> int:
        """Resident memory now, children included."""
        return sum(_statm_pages(pid) for pid in self.pids) * _PAGE_BYTES

    def peak_bytes(self) -> int:
        """The most resident memory since :meth:`forget_peak`, of the program itself."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return self.rss_bytes()

    def forget_peak(self) -> None:
        """Start the peak anew from what is resident now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def stop(self) -> int:
        """End the program politely, then firmly; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            children = self.pids[1:]
            self.process.kill()
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return self.process.wait()

    def last_words(self) -> str:
        """The end of what the program wrote, for when it failed."""
        return self.log.read_text(errors="replace")[-2000:]


@dataclass(slots=True)
class Stage:
    """Where programs run: a directory, and the list of what is to be ended."""

    directory: Path
    programs: list[Program] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def start(
        self,
        name: str,
        command: Sequence[object],
        *,
        core: int,
        environment: Mapping[str, str] | None = None,
    ) -> Program:
        """Start a program on a core; what it writes goes to ``{name}.log``, its access log too."""
        log = self.directory / f"{name}-{next(self._numbers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                pinned(core, command),
                cwd=self.directory,
                env=child_environment(**(environment or {})),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        program = Program(name, process, log)
        self.programs.append(program)
        return program

    def stop_since(self, first: int) -> None:
        """End what was started after the ``first`` programs, the last first."""
        while len(self.programs) > first:
            self.programs.pop().stop()

    def stop_all(self) -> None:
        """End everything that was started."""
        self.stop_since(0)


def pinned(core: int, command: Sequence[object]) -> list[str]:
    """Return the command as ``taskset`` runs it on one core."""
    return [find("taskset") or "taskset", "-c", str(core), *map(str, command)]


def output_of(
    command: Sequence[object],
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    seconds: float = 120.0,
) -> str:
    """Run a command to its end and return its output; ``RuntimeError`` if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        env=child_environment(**(environment or {})),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        msg = f"{' '.join(words)} failed:\n{(done.stdout + done.stderr)[-800:]}"
        raise RuntimeError(msg)
    return done.stdout


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Call ``condition`` until it is true; ``TimeoutError`` naming ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)


def _cpu_us(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1e6 / _TICKS_PER_SECOND
    return 0.0


def _statm_pages(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return 0
