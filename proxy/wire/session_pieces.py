"""A socket's way down, cut where something must be durable before the client may have the rest."""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from proxy.wire.websocket_frames import FrameReader

T = TypeVar("T")


class SessionPiece(NamedTuple, Generic[T]):
    """Bytes for the client; before them, what they tell (if anything) must be in the ledger."""

    data: bytes
    told: T | None


class SessionCutter(Generic[T]):
    """Cuts what an upstream sends: the bytes go on as they are.

    ``read`` tells of a message what must be in the ledger before it; None: nothing.
    """

    def __init__(self, read: Callable[[bytes], T | None]) -> None:
        self._frames = FrameReader()
        self._read = read

    def feed(self, data: bytes) -> list[SessionPiece[T]]:
        """Take bytes; return the same bytes in pieces, each with what its last message tells."""
        pieces: list[SessionPiece[T]] = []
        at = 0
        for start, end, message, _ in self._frames.feed(data):
            told = None if message is None else self._read(message)
            if told is None:
                continue
            if start > at:
                pieces.append(SessionPiece(data[at:start], None))
            pieces.append(SessionPiece(data[start:end], told))
            at = end
        if at < len(data):
            pieces.append(SessionPiece(data[at:] if at else data, None))
        return pieces

    @property
    def idle(self) -> bool:
        """Whether what came ends with a message, so that one of ours may follow."""
        return self._frames.idle

    @property
    def closed(self) -> bool:
        """Whether the upstream's close frame came."""
        return self._frames.closing is not None

    def unsure(self) -> tuple[str, ...]:
        """Return why something may not have been seen; nothing: all was read."""
        found = (
            (self._frames.unread, "messages were too long or compressed, and were not read"),
            (self._frames.lost, "the upstream sent what are no WebSocket frames"),
        )
        return tuple(note for seen, note in found if seen)
