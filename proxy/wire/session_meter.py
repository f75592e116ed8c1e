"""A session whose answers are usage of one request: realtime, and any in passthrough."""

from typing import Final

from proxy.wire.session_pieces import SessionCutter, SessionPiece
from proxy.wire.usage import RequestShape, SessionReader, SessionUsage
from proxy.wire.websocket_frames import FrameReader

REMEMBERED: Final = 10_000
"""How many answers' ids are remembered, to count none of them twice."""
RUNNING: Final = "an answer was running when the socket ended"


class SessionMeter:
    """Reads what an upstream sends on a socket: the bytes go on as they are."""

    def __init__(self, request: RequestShape) -> None:
        self._cutter = SessionCutter(self._read)
        self._reader = SessionReader(request)
        self._seen: dict[str, None] = {}

    def feed(self, data: bytes) -> list[SessionPiece[SessionUsage]]:
        """Take bytes; return the same bytes in pieces, each with what its last message reports."""
        return self._cutter.feed(data)

    def _read(self, message: bytes) -> SessionUsage | None:
        usage = self._reader.message(message)
        return usage if usage is not None and self._is_new(usage.id) else None

    def _is_new(self, number: str) -> bool:
        """Remember an answer; one without an id can't be told from another, and is new."""
        if number in self._seen:
            return False
        if number:
            if len(self._seen) >= REMEMBERED:
                del self._seen[next(iter(self._seen))]
            self._seen[number] = None
        return True

    @property
    def running(self) -> bool:
        """Whether an answer has begun that has not ended."""
        return bool(self._reader.running)

    @property
    def idle(self) -> bool:
        """Whether what came ends with a message, so that one of ours may follow."""
        return self._cutter.idle

    @property
    def closed(self) -> bool:
        """Whether the upstream has said that it closes."""
        return self._cutter.closed

    def unsure(self) -> tuple[str, ...]:
        """Return why there may be usage that was not seen; nothing: there is none."""
        found = (
            (self._reader.running, RUNNING),
            (self._reader.unreported, "an answer reported no usage"),
        )
        return (*(note for seen, note in found if seen), *self._cutter.unsure())


class UnreadMeter:
    """Lets what an upstream sends go on, frames or not, and reads none of it: no answer runs."""

    running: Final = False

    def __init__(self) -> None:
        self._frames = FrameReader(frozenset())

    def feed(self, data: bytes) -> list[SessionPiece[None]]:
        """Take bytes; return the same."""
        self._frames.feed(data)
        return [SessionPiece(data, None)]

    @property
    def idle(self) -> bool:
        """Whether what came ends with a message, so that one of ours may follow."""
        return self._frames.idle

    @property
    def closed(self) -> bool:
        """Whether the upstream has said that it closes."""
        return self._frames.closing is not None
