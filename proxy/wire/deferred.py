"""What is deferred: answers that leave their usage for later, and those that show it.

A background response, a batch and a run of a thread are objects of the upstream's with a status;
their usage is known once that is final. Sources: OpenAI's OpenAPI description (``Response``,
``Batch``, ``RunObject``: their ``status``), Azure's the same.
"""

import re
from dataclasses import dataclass
from typing import Final

from proxy.core.usage import Usage
from proxy.wire.answers import AnswerReader, AnswerText
from proxy.wire.endpoints import RESPONSES, Endpoint
from proxy.wire.usage import RequestShape, UsageReader

FAILED: Final = "failed"
WHOLE: Final = frozenset({"completed", "incomplete"})
FINAL: Final = frozenset({*WHOLE, FAILED, "cancelled", "expired"})
"""The states that a response, a batch or a run does not leave."""

_RESPONSE_WAITS: Final = frozenset({"queued", "in_progress"})

_WANTS_TOOLS: Final = "requires_action"

_OBJECT_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")
"""Ids that are kept: bounded, and safe as a segment of a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An object as an answer shows it; ``usage`` is None where none is reported.

    ``raw`` is the usage as it was sent; ``text`` what the model said, as far as the answer has it.
    """

    object_id: str
    status: str
    usage: Usage | None
    raw: bytes
    model: str | None
    service_tier: str | None
    text: AnswerText

    @property
    def final(self) -> bool:
        """Whether its state, and so its usage, will not change any more."""
        return self.status in FINAL


def is_object_id(text: str | None) -> bool:
    """Tell whether an object's id can be kept and asked for."""
    return text is not None and _OBJECT_ID.fullmatch(text) is not None


def is_waiting(
    endpoint: Endpoint,
    status: str | None,
    object_id: str | None,
    *,
    background: bool,
    streamed: bool,
) -> bool:
    """Tell whether the usage of what ``endpoint`` made comes later, under the object's id.

    A stream that broke off is waited for only in the background: any other ends with its stream,
    but for a run that wants its tools' outputs.
    """
    if not endpoint.deferred or not status or status in FINAL or not is_object_id(object_id):
        return False
    if endpoint is RESPONSES:
        return status in _RESPONSE_WAITS and (background or not streamed)
    return not streamed or status == _WANTS_TOOLS


def seen(usage: UsageReader, text: AnswerText) -> Seen:
    """Return what readers of a 2xx answer saw of an object."""
    return Seen(
        object_id=usage.object_id or "",
        status=usage.status or "",
        usage=usage.usage(),
        raw=usage.raw(),
        model=usage.model,
        service_tier=usage.service_tier,
        text=text,
    )


def read_object(endpoint: Endpoint, body: bytes) -> Seen:
    """Read a whole object, as ``endpoint`` makes it, from a 2xx answer's JSON."""
    usage = UsageReader(endpoint, RequestShape())
    usage.json(body)
    answers = AnswerReader()
    answers.json(body)
    return seen(usage, answers.answer())
