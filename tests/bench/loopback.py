"""Ports of loopback: free ones, open ones, and what a GET on one says."""

import http.client
import socket

from tests.bench.processes import Program, wait_until

START_SECONDS = 15.0


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(port: int, path: str, *, key: str = "", timeout_s: float = 10.0) -> bytes:
    """GET something from loopback; ``RuntimeError`` unless the answer is 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        msg = f"GET {path}: {answer.status} {body[:300]!r}"
        raise RuntimeError(msg)
    return body


def await_port(program: Program, port: int, *, seconds: float = START_SECONDS) -> None:
    """Wait until a program listens; ``RuntimeError`` with its last words if it ends instead."""

    def listening() -> bool:
        if program.process.poll() is not None:
            msg = f"{program.name} ended at its start:\n{program.last_words()}"
            raise RuntimeError(msg)
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listening, seconds=seconds, what=f"{program.name} does not listen")
