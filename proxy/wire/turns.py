"""A Responses socket in managed mode: each ``response.create`` is a turn, a request of its own.

What a client sends on it is the body of a ``POST /v1/responses`` with an envelope, and is held to
the same rules. It goes up as one frame of ours, or not at all: what is refused is answered with an
event of type ``error``, and the session goes on. The upstream keeps the responses of a connection
in that connection's memory, stored or not, so that one may refer to those, and to no others.

Source: OpenAI's guide to the WebSocket mode, and the SDK's ``ResponsesClientEvent``.
"""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from proxy.errors import BadRequestError, ClientError, ProxyError
from proxy.wire.guard import guarded_turn, read_members
from proxy.wire.request import RequestFacts, read_facts
from proxy.wire.websocket_frames import BINARY, CLOSE, PING, PONG, TEXT, FrameReader

Lane = str | int | None
"""A turn's ``stream_id``: the turns of a lane are answered one after the other."""

_KINDS: Final = frozenset({TEXT, BINARY, CLOSE, PING, PONG})
_CONTROL: Final = frozenset({CLOSE, PING, PONG})
_CREATE: Final = "response.create"


class PreviousResponseNotFoundError(ClientError):
    """A turn goes on from a response that its session did not make."""

    code = "previous_response_not_found"


@dataclass(slots=True, eq=False, kw_only=True)
class Turn:
    """One ``response.create`` that may go up as ``body``, in a frame of its ``kind``."""

    lane: Lane
    kind: int
    facts: RequestFacts
    body: bytes
    body_bytes: int


class Unread(NamedTuple):
    """A message as it came, in a frame of its ``kind``; None: it can't be read."""

    message: bytes | None
    kind: int


class Declined(NamedTuple):
    """A message that may not go up, and why; ``lane`` is its own, as far as it has one."""

    error: ProxyError
    lane: Lane = None


class Control(NamedTuple):
    """A control frame."""

    opcode: int
    payload: bytes


class TurnReader:
    """Reads what a client sends on a socket; ``made`` are the responses that its session made.

    ``lost``: what came were no WebSocket frames, and nothing is read any more.
    """

    def __init__(self, made: Container[str]) -> None:
        self._frames = FrameReader(_KINDS)
        self._made = made

    @property
    def lost(self) -> bool:
        """Whether what came were no WebSocket frames: nothing is read any more."""
        return self._frames.lost

    @property
    def held(self) -> int:
        """How many bytes are kept of a message that is not whole."""
        return self._frames.collected

    def feed(self, data: bytes) -> list[Unread | Control]:
        """Take bytes; return what became whole with them, in order."""
        return [
            Control(kind, message or b"") if kind in _CONTROL else Unread(message, kind)
            for _, _, message, kind in self._frames.feed(data)
        ]

    def read(self, unread: Unread) -> Turn | Declined:
        """Read a message. Not at once: tens of thousands may come in one piece."""
        message, kind = unread
        lane: Lane = None
        try:
            if message is None:
                raise BadRequestError(
                    "A message on this socket can't be read: it is compressed, or too long. Send "
                    "shorter ones, uncompressed."
                )
            facts = read_facts(message, strict=True)
            members = read_members(message)
            lane = _lane(members)
            _refuse_others(members, facts, self._made)
            body = guarded_turn(facts, message, members, self._made)
        except ProxyError as error:
            return Declined(error.with_traceback(None), lane)
        return Turn(lane=lane, kind=kind, facts=facts, body=body, body_bytes=len(body))


def _lane(members: dict[str, Any]) -> Lane:
    lane = members.get("stream_id")
    if lane is None or isinstance(lane, str | int):
        return lane
    raise BadRequestError("'stream_id' must be a text. Send one, or none.", param="stream_id")


def _refuse_others(members: dict[str, Any], facts: RequestFacts, made: Container[str]) -> None:
    """Refuse what only a socket's messages can say, or may not say."""
    kind = members.get("type")
    if kind != _CREATE:
        raise BadRequestError(
            f"A message of type {str(kind)[:100]!r} is not open on this socket: in managed mode "
            f"only {_CREATE!r} is metered and guarded.",
            param="type",
        )
    if "response" in members:
        raise BadRequestError(
            "Send the members of a response beside 'type', not in 'response'.", param="response"
        )
    if facts.background:
        raise BadRequestError(
            "'background' can't be true on a socket: send such a request to POST /v1/responses.",
            param="background",
        )
    if not facts.model:
        raise BadRequestError("Name the model in each message.", param="model")
    previous = members.get("previous_response_id")
    if previous and not (isinstance(previous, str) and previous in made):
        raise PreviousResponseNotFoundError(
            f"Previous response with id '{str(previous)[:200]}' not found: a socket goes on only "
            "from responses that were made on it. Send the content itself.",
            param="previous_response_id",
        )
