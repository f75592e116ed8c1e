"""The access log: one line a request, written by a thread in batches; no content, no secrets."""

import asyncio
import os
import sys
from datetime import datetime
from queue import SimpleQueue
from threading import Thread

import msgspec

FLUSH_S = 0.1
MAX_PENDING = 50_000
"""Lines kept for a log that does not take them; beyond that they are counted, not kept."""
CLOSING_S = 2.0
"""So long the end waits for a log that does not take its last lines."""
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
    """Collects lines and writes them off the event loop.

    A log that takes no lines (a pipe that nobody reads) neither fills the memory nor holds up
    anyone: lines beyond what is kept are dropped, and once it takes some again it is told how many.
    """

    def __init__(self, *, as_json: bool, descriptor: int | None = None) -> None:
        self._line = _json_line if as_json else _text_line
        self._descriptor = sys.stderr.fileno() if descriptor is None else descriptor
        self._pending: list[LogLine] = []
        self._dropped = 0
        self._unsaid = 0
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._batches: SimpleQueue[tuple[list[LogLine], int] | None] = SimpleQueue()
        # A daemon, and no executor's: those are waited for when the process ends.
        self._thread = Thread(target=self._write_batches, name="access-log", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """How many lines wait."""
        return len(self._pending)

    def record(self, line: LogLine) -> None:
        """Log a request, soon."""
        if len(self._pending) >= MAX_PENDING:
            self._dropped += 1
            return
        self._pending.append(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        """Hand the lines over, unless those before them are still being written."""
        if self._writing:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)
            return
        self._timer = None
        self._hand_over()

    def _hand_over(self) -> None:
        self._writing = True
        lines, self._pending = self._pending, []
        dropped, self._dropped = self._dropped, 0
        self._batches.put((lines, dropped))

    def _write_batches(self) -> None:
        while (batch := self._batches.get()) is not None:
            lines, dropped = batch
            self._unsaid = self._write(lines, self._unsaid + dropped)
            self._writing = False

    def _write(self, lines: list[LogLine], dropped: int) -> int:
        """Write lines, and that others were dropped; return how many are now."""
        text = b"".join([self._line(line) for line in lines])
        if dropped:
            text = b'{"dropped_log_lines": %d}\n' % dropped + text
        left = memoryview(text)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            missing = bytes(left).count(b"\n")
            return missing if missing <= len(lines) else len(lines) + dropped
        return 0

    def close(self) -> None:
        """Write what is left, if that does not take long."""
        if self._timer is not None:
            self._timer.cancel()
        self._hand_over()
        self._batches.put(None)
        self._thread.join(CLOSING_S)


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
