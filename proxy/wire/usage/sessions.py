"""WebSockets, where one request carries the usage of many answers.

Realtime: each ``response.done``, also of cancelled and failed ones, and each transcription of the
input, which is billed as the transcription model's. Responses: each terminal event; many lanes may
share a socket, so an event's identity is its response's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from proxy.core.usage import Usage
from proxy.wire.endpoints import RESPONSES, TRANSCRIPTIONS
from proxy.wire.usage.finding import read_envelope, text_of, value_of
from proxy.wire.usage.reader import UsageReader
from proxy.wire.usage.shape import RequestShape

_ANSWERS: Final = frozenset(
    {"response.done", "response.completed", "response.incomplete", "response.failed"}
)
_BEGUN: Final = "response.created"
_TRANSCRIBED: Final = "conversation.item.input_audio_transcription.completed"
_DECISIVE: Final = re.compile(
    rb'"(?:usage"|session|response\.(?:created|done|completed|incomplete|failed)")'
)
"""Nearly all messages are pieces of answers, without any of these: they are not decoded."""
_WHOLE: Final = frozenset({"completed", "incomplete"})
"""The states of an answer that cost something for sure."""
_RUNNING_MAX: Final = 1024
_UNNAMED: Final = "input_audio_transcription"
"""The model of transcriptions until the session names it: it has no price, and shows as such."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUsage:
    """The usage of one answer within a session; ``id`` tells it from all others of the session."""

    id: str
    usage: Usage
    raw: bytes


class SessionReader:
    """Reads the messages that the upstream sends on one socket.

    ``running`` are the ids of the answers that have begun and not ended; ``unreported`` counts
    those that came to their end without usage.
    """

    __slots__ = ("_model", "_transcription_model", "running", "unreported")

    def __init__(self, request: RequestShape) -> None:
        self._model = request.model
        self._transcription_model = _UNNAMED
        self.running: set[str] = set()
        self.unreported = 0

    def message(self, data: bytes) -> SessionUsage | None:
        """Take one message; return the usage that it reports, if it does."""
        if _DECISIVE.search(data) is None:
            return None
        envelope = read_envelope(data)
        kind = None if envelope is None else text_of(envelope.type)
        if envelope is None or kind is None:
            return None
        if kind in _ANSWERS:
            return self._answer(data)
        if kind == _BEGUN:
            self._begin(value_of(envelope.response))
        if kind == _TRANSCRIBED:
            return self._transcription(data, text_of(envelope.item_id) or "")
        if "session." in kind:
            self._learn(value_of(envelope.session))
        return None

    def _begin(self, response: object) -> None:
        number = _path(response, "id")
        if isinstance(number, str) and len(self.running) < _RUNNING_MAX:
            self.running.add(number)

    def _answer(self, data: bytes) -> SessionUsage | None:
        reader = UsageReader(RESPONSES, RequestShape(model=self._model))
        reader.event(data)
        self.running.discard(reader.object_id or "")
        usage = reader.usage()
        if usage is None:
            self.unreported += reader.status in _WHOLE
            return None
        named = replace(usage, model=usage.model or self._model or None)
        return SessionUsage(id=reader.object_id or "", usage=named, raw=reader.raw())

    def _transcription(self, data: bytes, item: str) -> SessionUsage | None:
        reader = UsageReader(TRANSCRIPTIONS, RequestShape())
        reader.event(data)
        usage = reader.usage()
        if usage is None:
            return None
        own = tuple(replace(q, model=self._transcription_model) for q in usage.quantities)
        named = replace(usage, quantities=own)
        return SessionUsage(id=f"{item}.transcription", usage=named, raw=reader.raw())

    def _learn(self, session: object) -> None:
        """Keep the models that the session names, in its older and its present shape."""
        model = _path(session, "model")
        if isinstance(model, str) and model:
            self._model = model
        for transcription in (
            _path(session, "input_audio_transcription", "model"),
            _path(session, "audio", "input", "transcription", "model"),
        ):
            if isinstance(transcription, str) and transcription:
                self._transcription_model = transcription


def _path(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
