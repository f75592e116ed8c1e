"""What a call comes to: a pure decision from what was seen of its answer."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from proxy.core.usage import (
    OUTPUT_TYPES,
    Measurement,
    Metric,
    Quantity,
    RequestState,
    TokenType,
    Usage,
)
from proxy.errors import UpstreamError, UpstreamTimedOutError
from proxy.wire.deferred import FAILED
from proxy.wire.usage.notes import MEASURED_BY_US


class Ended(StrEnum):
    """How an answer ended."""

    COMPLETE = "complete"
    UPSTREAM_BROKE = "upstream_broke"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    DRAIN_LIMIT = "drain_limit"
    SHUTDOWN = "shutdown"


class Outcome(msgspec.Struct, kw_only=True, gc=False):
    """What was seen of one answer.

    ``status`` is None where no answer came. ``sent``: the request went up whole. ``completed``:
    the completing event was seen, or the body was whole. ``saw_error``: an error came inside of
    a 2xx answer. ``metered``: the endpoint has usage at all; ``estimable``: in tokens, which we
    can count. ``failed``: the answer is a response or a run that says of itself that it failed.
    ``model`` and ``service_tier`` are the answer's, where it names them.
    """

    status: int | None
    completed: bool
    ended: Ended | None
    metered: bool
    reported: Usage | None = None
    raw: bytes = b""
    saw_error: bool = False
    failed: bool = False
    estimable: bool = True
    sent: bool = False
    model: str | None = None
    service_tier: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """Tokens counted by us, those of audio included, and what is unsure about them."""

    input_tokens: int
    output_tokens: int
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    notes: tuple[str, ...] = ()


STOPPED_BY_US = frozenset({Ended.CANCELLED, Ended.DRAIN_LIMIT, Ended.SHUTDOWN, Ended.TIMED_OUT})
"""Whoever wanted it: the upstream would have gone on."""


NOT_METERED: Final = Usage(quantities=(), notes=("unmetered",))
"""The usage of what has none, or is not known."""


def ended_by(error: UpstreamError) -> Ended:
    """Say how an answer ended that failed: an upstream that is only silent may be working."""
    return Ended.TIMED_OUT if isinstance(error, UpstreamTimedOutError) else Ended.UPSTREAM_BROKE


def needs_estimate(outcome: Outcome) -> bool:
    """Whether our own count is needed: usage is missing, or the answer broke off before its end."""
    if not outcome.metered or not outcome.estimable or not succeeded(outcome):
        return False
    return not outcome.failed if outcome.reported is None else not outcome.completed


def measure(outcome: Outcome, estimated: Estimated | None) -> Measurement:
    """Decide the final state and the usage that is billed.

    An answer that broke off is billed for what was reported, or for what was delivered where
    that is more: usage reported at its beginning does not know its end.
    """
    if outcome.reported is not None and (outcome.completed or not succeeded(outcome)):
        return _measurement(_source(outcome.reported), outcome.reported, outcome)
    if not succeeded(outcome):
        return _measurement(RequestState.FAILED, _nothing(outcome), outcome)
    if not outcome.metered:
        return _measurement(RequestState.EXACT, NOT_METERED, outcome)
    if not outcome.estimable or (outcome.failed and outcome.reported is None):
        return _unreported(outcome)
    if estimated is None:
        msg = "this outcome needs an estimate"
        raise ValueError(msg)
    if outcome.reported is not None:
        usage = _at_least(outcome.reported, estimated)
        return _measurement(RequestState.PARTIAL, usage, outcome)
    whole = outcome.completed and not outcome.saw_error
    state = RequestState.ESTIMATED if whole else RequestState.PARTIAL
    usage = from_estimate(estimated, outcome.model, outcome.service_tier)
    return _measurement(state, usage, outcome)


def measure_failed(model: str | None) -> Measurement:
    """Bill nothing for what failed and reports no usage, whichever way it was asked for."""
    usage = Usage(quantities=(), model=model, notes=(FAILED,))
    return Measurement(state=RequestState.FAILED, usage=usage)


def succeeded(outcome: Outcome) -> bool:
    """Whether the upstream did what it bills for.

    Where we stopped it before its answer began, nobody will know: it has read the request, and
    nothing may be free for being broken off early.
    """
    if outcome.status is None:
        return outcome.sent and outcome.metered and outcome.ended in STOPPED_BY_US
    return 200 <= outcome.status < 300


def _source(reported: Usage) -> RequestState:
    """Whether the provider said it, or we measured it in the request."""
    ours = reported.notes and not MEASURED_BY_US.isdisjoint(reported.notes)
    return RequestState.ESTIMATED if ours else RequestState.EXACT


def _unreported(outcome: Outcome) -> Measurement:
    """Take what there is where nothing is counted: of what failed, of images, seconds and such."""
    if outcome.failed and outcome.reported is None:
        return measure_failed(outcome.model)
    state = RequestState.ESTIMATED if outcome.completed else RequestState.PARTIAL
    nothing = Usage(quantities=(), model=outcome.model, notes=("not reported",))
    return _measurement(state, outcome.reported or nothing, outcome)


def _measurement(state: RequestState, usage: Usage, outcome: Outcome) -> Measurement:
    return Measurement(state=state, usage=usage, raw=outcome.raw)


def _nothing(outcome: Outcome) -> Usage:
    notes = () if outcome.ended in {None, Ended.COMPLETE} else (str(outcome.ended),)
    return Usage(quantities=(), notes=notes)


def from_estimate(estimated: Estimated, model: str | None, service_tier: str | None) -> Usage:
    """Return our own count as usage; model and tier are the answer's."""
    spoken = estimated.output_audio_tokens
    return Usage(
        quantities=(
            *_input_of(estimated),
            *_parts(
                (TokenType.OUTPUT, estimated.output_tokens - spoken),
                (TokenType.OUTPUT_AUDIO, spoken),
            ),
        ),
        input_tokens=estimated.input_tokens,
        model=model,
        service_tier=service_tier,
        notes=estimated.notes,
    )


def _at_least(reported: Usage, estimated: Estimated) -> Usage:
    """Raise the reported usage to what was sent and delivered, if that is more.

    Any input that is reported is believed. None at all, in an answer that broke off, is what some
    upstreams begin with (a ``message_start`` of zeros) before they say how much it was.
    """
    inputs = () if reported.input_tokens else _input_of(estimated)
    quantities = _raised(reported.quantities, estimated)
    if not inputs and quantities is reported.quantities:
        return reported
    input_noted = ("input_estimated",) if inputs else ()
    output_noted = () if quantities is reported.quantities else ("output_estimated",)
    return Usage(
        quantities=(*inputs, *quantities),
        input_tokens=reported.input_tokens or estimated.input_tokens,
        reasoning_tokens=reported.reasoning_tokens,
        model=reported.model,
        service_tier=reported.service_tier,
        notes=(*reported.notes, *input_noted, *output_noted, *estimated.notes),
    )


def _raised(reported: tuple[Quantity, ...], estimated: Estimated) -> tuple[Quantity, ...]:
    """Raise the output to what was delivered; the same quantities where that is no more.

    What a tool wrote that is a model itself is no part of it.
    """
    written = [q for q in reported if q.type in OUTPUT_TYPES and q.model is None]
    missing = estimated.output_tokens - sum(q.quantity for q in written)
    if missing <= 0:
        return reported
    told = sum(q.quantity for q in written if q.type == TokenType.OUTPUT_AUDIO)
    spoken = min(missing, max(0, estimated.output_audio_tokens - told))
    return _more(
        _more(reported, TokenType.OUTPUT, missing - spoken), TokenType.OUTPUT_AUDIO, spoken
    )


def _more(quantities: tuple[Quantity, ...], kind: TokenType, more: int) -> tuple[Quantity, ...]:
    if not more:
        return quantities
    same = [q for q in quantities if q.type == kind and q.model is None]
    others = tuple(q for q in quantities if q not in same)
    return (*others, *_parts((kind, more + sum(q.quantity for q in same))))


def _input_of(estimated: Estimated) -> tuple[Quantity, ...]:
    heard = estimated.input_audio_tokens
    return _parts((TokenType.INPUT, estimated.input_tokens - heard), (TokenType.INPUT_AUDIO, heard))


def _parts(*counts: tuple[TokenType, int]) -> tuple[Quantity, ...]:
    return tuple(
        Quantity(metric=Metric.TOKENS, type=kind, quantity=count) for kind, count in counts if count
    )
