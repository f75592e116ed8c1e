"""The access log: one line a request, written by a thread in batches; no content, no secrets."""

import asyncio
import contextlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import msgspec

FLUSH_S = 0.1
MAX_PENDING = 50_000
"""Lines kept for a log that does not take them; beyond that they are counted, not kept."""
_encode = msgspec.json.Encoder().encode


class LogLine(msgspec.Struct, kw_only=True, gc=False):
    """What is said of one request, in the order in which it is written."""

    time: datetime
    id: str
    key: str
    subscription: str
    method: str
    path: str
    model: str
    status: int
    state: str
    tokens: int
    ms: float


class AccessLog:
    """Collects lines and writes them off the event loop."""

    def __init__(self, *, as_json: bool, descriptor: int | None = None) -> None:
        self._as_json = as_json
        self._descriptor = sys.stderr.fileno() if descriptor is None else descriptor
        self._pending: list[LogLine] = []
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="access-log")

    def record(self, line: LogLine) -> None:
        """Log a request, soon."""
        if len(self._pending) >= MAX_PENDING:
            self._dropped += 1
            return
        self._pending.append(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._timer = None
        lines, self._pending = self._pending, []
        dropped, self._dropped = self._dropped, 0
        self._thread.submit(self._write, lines, dropped)

    def _write(self, lines: list[LogLine], dropped: int) -> None:
        write = _json_line if self._as_json else _text_line
        text = b"".join([write(line) for line in lines])
        if dropped:
            text += b'{"dropped_log_lines": %d}\n' % dropped
        with contextlib.suppress(OSError):
            while text:
                text = text[os.write(self._descriptor, text) :]

    def close(self) -> None:
        """Write what is left."""
        if self._timer is not None:
            self._timer.cancel()
        self._flush()
        self._thread.shutdown()


def _json_line(line: LogLine) -> bytes:
    return _encode(line) + b"\n"


def _text_line(line: LogLine) -> bytes:
    parts = (
        line.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        line.id,
        line.key or "-",
        line.subscription or "-",
        line.method,
        line.path,
        line.model or "-",
        str(line.status),
        line.state or "-",
        f"{line.tokens} tokens",
        f"{line.ms:.1f} ms",
    )
    # Paths and models are the client's words: nothing in them may begin a line of its own.
    text = " ".join(parts)
    return (
        text.encode("ascii", "backslashreplace").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
        + b"\n"
    )
