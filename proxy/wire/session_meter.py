"""One socket's way down, cut where usage must be durable before the client may have the rest."""

from typing import Final, NamedTuple

from proxy.wire.usage import RequestShape, SessionReader, SessionUsage
from proxy.wire.websocket_frames import FrameReader

REMEMBERED: Final = 10_000
"""How many answers' ids are remembered, to count none of them twice."""


class SessionPiece(NamedTuple):
    """Bytes for the client; before them, ``usage`` (if any) must be in the ledger."""

    data: bytes
    usage: SessionUsage | None


class SessionMeter:
    """Reads what an upstream sends on a socket: the bytes go on as they are."""

    def __init__(self, request: RequestShape) -> None:
        self._frames = FrameReader()
        self._reader = SessionReader(request)
        self._seen: dict[str, None] = {}

    def feed(self, data: bytes) -> list[SessionPiece]:
        """Take bytes; return the same bytes in pieces, each with what its last message reports."""
        pieces: list[SessionPiece] = []
        at = 0
        for start, end, message, _ in self._frames.feed(data):
            usage = None if message is None else self._reader.message(message)
            if usage is None or not self._is_new(usage.id):
                continue
            if start > at:
                pieces.append(SessionPiece(data[at:start], None))
            pieces.append(SessionPiece(data[start:end], usage))
            at = end
        if at < len(data):
            pieces.append(SessionPiece(data[at:] if at else data, None))
        return pieces

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
        return self._frames.idle

    def unsure(self) -> tuple[str, ...]:
        """Return why there may be usage that was not seen; nothing: there is none."""
        found = (
            (self._reader.running, "an answer was running when the socket ended"),
            (self._reader.unreported, "an answer reported no usage"),
            (self._frames.unread, "messages were too long or compressed, and were not read"),
            (self._frames.lost, "the upstream sent what are no WebSocket frames"),
        )
        return tuple(note for seen, note in found if seen)
