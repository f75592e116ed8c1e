"""The processes of a supervisor, as the kernel lists them."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.raw_http import Client
from tests.proxy_process import ProxyProcess, until


def workers(proxy: ProxyProcess) -> list[int]:
    """Return the process ids of a supervisor's workers."""
    pid = proxy.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in children.split()]


def ended(pid: int) -> bool:
    """Tell whether a process is no more, or has only its status left."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True  # it went before the look, or during it


def serving(proxy: ProxyProcess, count: int) -> list[int]:
    """Wait until so many workers listen, and return their process ids."""

    def all_listen() -> list[int]:
        found = workers(proxy)
        return found if len(found) == count and listeners(proxy.port) == count else []

    return until(all_listen)


def listeners(port: int) -> int:
    """Return how many sockets listen on a port of ours."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(f[1].endswith(f":{port:04X}") and f[3] == "0A" for f in fields)


def spread(proxy: ProxyProcess, requests: Sequence[bytes]) -> list[Client]:
    """Send each request on a connection of its own."""
    clients = []
    for data in requests:
        client = Client(proxy.port)
        client.send(data)
        clients.append(client)
    return clients


def by_worker(proxy: ProxyProcess) -> dict[int, list[dict[str, Any]]]:
    """Return the ledger's requests by the number of the worker that opened them."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in proxy.requests():
        found.setdefault(row["worker_id"], []).append(row)
    return found


def kill(pid: int) -> None:
    """Kill one process, and wait until it is no more."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: ended(pid))


def soon(seconds: float) -> None:
    """Let some time pass in which something must not happen."""
    time.sleep(seconds)
