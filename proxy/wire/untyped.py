"""An answer that was asked for as a stream, and whose type does not say whether it is one."""

from typing import Final

from proxy.wire.answer import AnswerMeter

_BEGINNINGS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")
_BEFORE: Final = b"\xef\xbb\xbf\r\n"
"""What may precede an event stream's first field: a byte order mark and empty lines."""


class UntypedMeter:
    """Reads the first bytes, and leaves the rest to the meter that fits them.

    Servers of their own making send events as ``text/plain``, or name no type at all; clients that
    asked for a stream read them all the same.
    """

    def __init__(self, *, stream: AnswerMeter, other: AnswerMeter) -> None:
        self._stream = stream
        self._other = other
        self._meter: AnswerMeter | None = None
        self._begin = b""
        self._late = b""
        self.completed = False
        self.waits = False

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the body; while it may be the beginning of either, it is kept."""
        meter = self._meter
        if meter is None:
            data = self._begin + data
            text = data.lstrip(_BEFORE)
            if len(text) < len("retry:") and any(name.startswith(text) for name in _BEGINNINGS):
                self._begin = data
                return b""
            meter = self._choose(text)
        out = meter.feed(data)
        self.completed, self.waits = meter.completed, meter.waits
        return out

    def _choose(self, text: bytes) -> AnswerMeter:
        self._begin = b""
        self._meter = self._stream if text.startswith(_BEGINNINGS) else self._other
        return self._meter

    def finish(self) -> None:
        """The body is over: read what is left."""
        meter = self._meter
        if meter is None:
            data = self._begin
            meter = self._choose(data.lstrip(_BEFORE))
            self._late = meter.feed(data)
        meter.finish()
        self.completed, self.waits = meter.completed, meter.waits

    def take_waiting(self) -> bytes:
        """Return what waits for the next frame."""
        self.waits = False
        return b"" if self._meter is None else self._meter.take_waiting()

    def take_held(self) -> bytes:
        """Return what was held back, once it may go on."""
        late, self._late = self._late, b""
        return late if self._meter is None else late + self._meter.take_held()
