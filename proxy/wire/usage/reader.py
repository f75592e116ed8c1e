"""One answer's usage, from its JSON body or its events.

The usage that counts is the last one that is not ``null``: several are cumulative or repeated,
never shares (Gemini and vLLM send it on every chunk, Perplexity first an empty one). Anthropic's
are merged per field, ``message_delta`` over ``message_start``.
"""

from typing import Final

import msgspec

from proxy.core.usage import Usage
from proxy.wire.endpoints import CHAT_COMPLETIONS, Endpoint, Metering
from proxy.wire.usage.assembling import Answer, assemble
from proxy.wire.usage.finding import (
    Envelope,
    error_in,
    is_given,
    read_envelope,
    text_of,
    usage_in,
    value_of,
)
from proxy.wire.usage.plain import plain_usage
from proxy.wire.usage.shape import RequestShape

RAW_BYTES_MAX: Final = 4096
"""How much of the usage as sent is kept."""

_INTRODUCTIONS: Final = 4
"""How many events are read for the model's name where usage may never come."""

_TERMINAL: Final = frozenset({"completed", "failed", "expired", "cancelled"})
"""The states that a batch does not leave."""

_BATCH_TIER: Final = "batch"

_NEVER: Final = Metering.NEVER
_BATCH: Final = Metering.BATCH

_RUN_PAUSES: Final = b"thread.run.requires_action"
"""It has no usage; which run it is, and that it waits, is told here alone."""

_USAGE: Final = b'"usage"'
_ERROR: Final = b'"error"'
_NULLS: Final = (b":null", b": null")


class UsageReader:
    """Reads one answer: ``json`` with the whole body, or ``event`` for each server-sent event.

    ``saw_error``: the answer reports an error, also under status 200 and in the middle of a
    stream. ``model``, ``service_tier``, ``status`` and ``object_id`` are as the answer names
    them, also where it reports no usage. Nothing here raises, whatever the upstream sends.
    """

    __slots__ = (
        "_answer",
        "_cut",
        "_endpoint",
        "_introductions",
        "_merged",
        "_raw",
        "_request",
        "_result",
        "model",
        "object_id",
        "saw_error",
        "service_tier",
        "status",
    )

    def __init__(self, endpoint: Endpoint, request: RequestShape) -> None:
        self._endpoint = endpoint
        self._request = request
        self._raw = b""
        self._merged: dict[str, object] = {}
        self._answer: Envelope | None = None
        self._cut = False
        self._introductions = _INTRODUCTIONS
        self._result: tuple[bool, Usage | None] | None = None
        self.saw_error = False
        self.model: str | None = None
        self.service_tier: str | None = None
        self.status: str | None = None
        self.object_id: str | None = None

    def json(self, body: bytes) -> None:
        """Take a whole answer; white space around it is allowed."""
        envelope = read_envelope(body)
        if envelope is not None:
            self._take(envelope)

    def ending(self, data: bytes) -> None:
        """Take the last bytes of an answer that is too long to be read: usage may be in them."""
        self._cut = True
        self.json(data)

    def event(self, data: bytes, name: bytes = b"") -> None:
        """Take the data of one event; almost all of them are passed over without decoding."""
        if self._introductions:
            self._introductions -= 1
        # rfind takes half the time of ``in``: it needs no table of the needle.
        elif (
            (data.rfind(_USAGE) < 0 or _is_null(data))
            and data.rfind(_ERROR) < 0
            and name != _RUN_PAUSES
        ):
            self.saw_error = self.saw_error or name == b"error"
            return
        if name == b"error":
            self.saw_error = True
        envelope = read_envelope(data)
        if envelope is not None:
            self._take(envelope)

    def usage(self, *, succeeded: bool = True) -> Usage | None:
        """Return what was used; None if the upstream reported none.

        ``succeeded``: the upstream's status was 2xx. Only then is anything counted that comes
        from the request or the answer's content (images, characters, seconds of audio).
        """
        if self._result is None or self._result[0] != succeeded:
            self._result = succeeded, self._assemble(succeeded=succeeded)
        return self._result[1]

    def describe(self, request: RequestShape) -> None:
        """Take the request's shape late: of one that was read while it was sent."""
        self._request = request
        self._result = None

    def raw(self) -> bytes:
        """Return the usage as the upstream sent it (merged, where it came in parts), bounded."""
        raw = msgspec.json.encode(self._merged) if self._merged else self._raw
        return raw[:RAW_BYTES_MAX]

    def _take(self, envelope: Envelope) -> None:
        self._result = None
        self._look(envelope)
        for inner in (envelope.response, envelope.message):
            answer = read_envelope(inner) if is_given(inner) else None
            if answer is not None:
                self._look(answer)

    def _look(self, answer: Envelope) -> None:
        """Keep what this answer, or event, or the answer inside it, says."""
        if error_in(answer):
            self.saw_error = True
        if answer.model:
            self.model = text_of(answer.model)
            self._introductions = 0
        if answer.service_tier:
            self.service_tier = text_of(answer.service_tier)
        if answer.status:
            self.status = text_of(answer.status)
        if answer.id:
            self.object_id = text_of(answer.id)
        usage = usage_in(answer)
        if usage:
            self._keep(usage)
            self._answer = answer
        elif self._answer is None:
            self._answer = answer

    def _keep(self, usage: bytes) -> None:
        if not self._endpoint.merges:
            self._raw = usage
            return
        members = value_of(usage)
        if isinstance(members, dict):
            self._merged.update(
                (name, value) for name, value in members.items() if value is not None
            )

    def _is_plain(self) -> bool:
        """Whether the usage object is all that was used: no searches, drawings or batches."""
        answer = self._answer
        return (
            answer is not None
            and not is_given(answer.output)
            and not is_given(answer.svg_usage)
            and not is_given(answer.tool_usage)
            and not self._request.is_batch
            and not self._cut
            and "-search-" not in (self.model or self._request.model)
        )

    def _assemble(self, *, succeeded: bool) -> Usage | None:
        metering = self._endpoint.metering
        if self._endpoint is CHAT_COMPLETIONS and self._is_plain():
            usage = plain_usage(self._raw, self.model, self.service_tier)
            if usage is not None:
                return usage
        batch = metering is _BATCH
        if metering is _NEVER or (batch and self.status not in _TERMINAL):
            return None
        members = self._merged or (value_of(self._raw) if self._raw else None)
        return assemble(
            self._endpoint,
            self._request,
            Answer(
                members=members if isinstance(members, dict) else {},
                envelope=self._answer,
                model=self.model,
                service_tier=_BATCH_TIER if batch or self._request.is_batch else self.service_tier,
                succeeded=succeeded and not self.saw_error,
                cut=self._cut,
            ),
        )


def _is_null(data: bytes) -> bool:
    """Tell whether every ``usage`` in an event is ``null``, as the option adds it to each chunk."""
    at = data.rfind(_USAGE)
    while at >= 0:
        if not data.startswith(_NULLS, at + len(_USAGE)):
            return False
        at = data.rfind(_USAGE, 0, at)
    return True
