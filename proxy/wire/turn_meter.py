"""The way down of a socket with turns: which answer is whose, and which ends with a message.

An upstream answers the turns of a lane in their order: ``response.created`` begins the oldest that
waits there, and from then on the response's id names it. An ``error`` event ends a turn that has
not begun; of one that has, the terminal event still comes. Nothing here raises.
"""

import json
import re
from collections import deque
from typing import Any, Final, NamedTuple

import msgspec

from proxy.wire.answers import AnswerReader, AnswerText
from proxy.wire.deferred import Seen, seen
from proxy.wire.endpoints import RESPONSES
from proxy.wire.session_pieces import SessionCutter, SessionPiece
from proxy.wire.turns import Lane, Turn
from proxy.wire.usage import RequestShape, UsageReader

REMEMBERED: Final = 10_000
"""How many responses of a session are remembered: those that a turn may go on from."""

_BEGUN: Final = "response.created"
_ENDS: Final = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
}
_ERROR: Final = "error"
_DECISIVE: Final = re.compile(rb'"(?:response\.(?:created|completed|incomplete|failed)|error)"')
"""Nearly all messages are pieces of answers, without any of these: they are not decoded."""
_BROKEN: Final = (msgspec.MsgspecError, ValueError, RecursionError)


class _Response(msgspec.Struct, gc=False):
    id: Any = None


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    stream_id: Any = None
    status: Any = None
    response: _Response | None = None


_EVENT: Final = msgspec.json.Decoder(_Event)


class TurnEnd(NamedTuple):
    """A turn's end; ``turn`` is None for an answer that no turn asked for.

    ``seen`` is the response in its final state; None where the turn was refused before it began,
    and ``status`` then is what HTTP would have said.
    """

    turn: Turn | None
    seen: Seen | None
    status: int | None = None


class Unfinished(NamedTuple):
    """A turn that has no end; ``begun``: its answer began."""

    turn: Turn
    begun: bool


class TurnMeter:
    """Reads what an upstream sends on a socket with turns: the bytes go on as they are.

    ``made`` are the ids of the responses that were made on it.
    """

    def __init__(self) -> None:
        self._cutter = SessionCutter(self._read)
        self._waiting: dict[Lane, deque[Turn]] = {}
        self._running: dict[str, Turn | None] = {}
        self.made: dict[str, None] = {}

    def feed(self, data: bytes) -> list[SessionPiece[TurnEnd]]:
        """Take bytes; return the same bytes in pieces, each with the turn that it ends."""
        return self._cutter.feed(data)

    def ask(self, turn: Turn) -> None:
        """A turn goes up."""
        self._waiting.setdefault(turn.lane, deque()).append(turn)

    @property
    def running(self) -> bool:
        """Whether a turn has not ended."""
        return bool(self._waiting or self._running)

    @property
    def idle(self) -> bool:
        """Whether what came ends with a message, so that one of ours may follow."""
        return self._cutter.idle

    @property
    def closed(self) -> bool:
        """Whether the upstream has said that it closes."""
        return self._cutter.closed

    def unsure(self) -> tuple[str, ...]:
        """Return why a turn's end may not have been seen."""
        return self._cutter.unsure()

    def unfinished(self) -> list[Unfinished]:
        """Return the turns that have no end, and forget them."""
        begun = [Unfinished(turn, begun=True) for turn in self._running.values() if turn]
        waiting = [
            Unfinished(turn, begun=False) for each in self._waiting.values() for turn in each
        ]
        self._running.clear()
        self._waiting.clear()
        return begun + waiting

    def _read(self, message: bytes) -> TurnEnd | None:
        if _DECISIVE.search(message) is None:
            return None
        event = _event(message)
        kind = event.type
        number = None if event.response is None else event.response.id
        number = number if isinstance(number, str) else ""
        if kind == _BEGUN:
            self._begin(number, event.stream_id)
        elif kind == _ERROR:
            return self._refuse(event)
        elif isinstance(kind, str) and kind in _ENDS:
            return self._end(number, event.stream_id, _ENDS[kind], message)
        return None

    def _begin(self, number: str, lane: object) -> None:
        if number and number not in self.made:
            self._remember(number)
            self._running[number] = self._take(lane)

    def _refuse(self, event: _Event) -> TurnEnd | None:
        turn = self._take(event.stream_id)
        if turn is None:
            return None
        status = event.status
        known = isinstance(status, int) and 100 <= status < 1000
        return TurnEnd(turn, None, status if known else None)

    def _end(self, number: str, lane: object, status: str, message: bytes) -> TurnEnd | None:
        if number in self._running:
            turn = self._running.pop(number)
        elif number in self.made:  # it has ended before
            return None
        else:
            turn = self._take(lane)
            if number:
                self._remember(number)
        return TurnEnd(turn, _seen(turn, status, message))

    def _remember(self, number: str) -> None:
        if len(self.made) >= REMEMBERED:
            del self.made[next(iter(self.made))]
        self.made[number] = None

    def _take(self, lane: object) -> Turn | None:
        """Return the oldest turn that waits in a lane; of any, where an upstream names none."""
        if lane is None and None not in self._waiting:
            lane = next(iter(self._waiting), None)
        if not isinstance(lane, str | int | None) or lane not in self._waiting:
            return None
        waiting = self._waiting[lane]
        turn = waiting.popleft()
        if not waiting:
            del self._waiting[lane]
        return turn


def _event(message: bytes) -> _Event:
    """Read an event; what is only nearly JSON (NaN in log probabilities) more patiently."""
    try:
        return _EVENT.decode(message)
    except _BROKEN:
        pass
    try:
        return msgspec.convert(json.loads(message.decode(errors="replace")), _Event)
    except _BROKEN:
        return _Event()


def _seen(turn: Turn | None, status: str, message: bytes) -> Seen:
    """Read a response in its final state, as the terminal event has it."""
    asked = "" if turn is None else turn.facts.model
    usage = UsageReader(RESPONSES, RequestShape(model=asked))
    usage.event(message)
    usage.status = usage.status or status
    text = AnswerText()
    if usage.usage() is None:
        answers = AnswerReader()
        answers.event(message)
        text = answers.answer()
    return seen(usage, text)
