"""What was used: metrics, disjoint token types, and one request's usage."""

from enum import StrEnum

import msgspec


class Metric(StrEnum):
    """A billable metric; its aggregation is the sum."""

    TOKENS = "tokens"
    IMAGES = "images"
    AUDIO_SECONDS = "audio_seconds"
    CHARACTERS = "characters"
    TOOL_CALLS = "tool_calls"
    REQUESTS = "requests"


class TokenType(StrEnum):
    """A disjoint class of tokens: no token is in two of them (reasoning is a part of output)."""

    INPUT = "input"
    CACHED_INPUT = "cached_input"
    CACHE_WRITE = "cache_write"
    CACHE_WRITE_1H = "cache_write_1h"
    CACHE_WRITE_12H = "cache_write_12h"
    OUTPUT = "output"
    INPUT_AUDIO = "input_audio"
    CACHED_INPUT_AUDIO = "cached_input_audio"
    OUTPUT_AUDIO = "output_audio"
    INPUT_IMAGE = "input_image"
    CACHED_INPUT_IMAGE = "cached_input_image"
    OUTPUT_IMAGE = "output_image"


OUTPUT_TYPES = frozenset({TokenType.OUTPUT, TokenType.OUTPUT_AUDIO, TokenType.OUTPUT_IMAGE})

ATOMS_PER_SECOND = 1_000_000
"""``audio_seconds`` are kept as whole microseconds, every other metric in whole units."""


class RequestState(StrEnum):
    """Where a request stands; every request ends in exactly one of the last five."""

    OPEN = "open"
    DEFERRED = "deferred"
    EXACT = "exact"
    ESTIMATED = "estimated"
    PARTIAL = "partial"
    FAILED = "failed"
    ABANDONED = "abandoned"


UNSETTLED = frozenset({RequestState.OPEN, RequestState.DEFERRED})


_TOKENS = Metric.TOKENS
"""Members of enumerations are slow to look up."""


class Quantity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """So much of one type of one metric.

    ``type`` is a :class:`TokenType` for tokens; for images ``"{quality}/{size}"``; for tool calls
    the tool (``"web_search"``); for requests the :class:`RequestState`; otherwise ``""``.
    ``quantity`` is in whole units, of ``audio_seconds`` in microseconds; never negative.
    ``model`` is whose price applies where it is not the answer's own: a tool that is a model
    itself (image generation, an advisor), the lines of a batch. So is ``context_class``.
    """

    metric: Metric
    type: str
    quantity: int
    model: str | None = None
    context_class: str | None = None

    def __post_init__(self) -> None:
        """Refuse a negative quantity: nothing is ever un-used."""
        if self.quantity < 0:
            msg = f"{self.metric} {self.type} can't be negative: {self.quantity}"
            raise ValueError(msg)


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One answer's usage, split into disjoint quantities (zero ones are left out).

    ``model`` and ``service_tier`` are as the *answer* names them. ``input_tokens`` counts all
    input, cached too: it decides the context class. ``reasoning_tokens`` is the part of the
    output that was hidden. ``notes`` say what was unsure about the split, for the record.
    """

    quantities: tuple[Quantity, ...]
    input_tokens: int = 0
    reasoning_tokens: int = 0
    model: str | None = None
    service_tier: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """The sum over all token types: what the provider says was billed."""
        return sum([q.quantity for q in self.quantities if q.metric is _TOKENS])


BYTES_PER_TOKEN = 4
"""OpenAI's own rule of thumb, for what can't be counted."""
ABANDONED_NOTE = "abandoned: input estimated from the body's length, output unknown"


def tokens_by_length(length: int) -> int:
    """Return for how many tokens so many bytes are taken, rounded up."""
    return -(-length // BYTES_PER_TOKEN)


def input_by_length(model: str, body_bytes: int, *notes: str) -> Usage:
    """Return the usage of a request of which no more is known than its body's length.

    One that named no model (a file's upload, say) had no tokens that could be told.
    """
    tokens = tokens_by_length(body_bytes) if model else 0
    quantity = Quantity(metric=_TOKENS, type=TokenType.INPUT, quantity=tokens)
    return Usage(quantities=(quantity,) if tokens else (), input_tokens=tokens, notes=notes)


def abandoned_usage(model: str, body_bytes: int) -> Usage:
    """Return what an abandoned request is taken to have used."""
    return input_by_length(model, body_bytes, ABANDONED_NOTE)


class Measurement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The end of a request: its final state, and the usage that is billed for it.

    ``raw`` is the usage as the provider sent it (bounded), or ``b""``.
    """

    state: RequestState
    usage: Usage
    raw: bytes = b""
