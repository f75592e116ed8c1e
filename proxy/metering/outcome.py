"""What a call comes to: a pure decision from what was seen of its answer."""

from dataclasses import dataclass
from enum import StrEnum

from proxy.core.usage import (
    OUTPUT_TYPES,
    Measurement,
    Metric,
    Quantity,
    RequestState,
    TokenType,
    Usage,
)


class Ended(StrEnum):
    """How an answer ended."""

    COMPLETE = "complete"
    UPSTREAM_BROKE = "upstream_broke"
    CANCELLED = "cancelled"
    DRAIN_LIMIT = "drain_limit"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was seen of one answer.

    ``status`` is None where no answer came. ``completed``: the completing event was seen, or the
    body was whole. ``saw_error``: an error came inside of a 2xx answer. ``metered``: the endpoint
    has usage at all.
    """

    status: int | None
    completed: bool
    ended: Ended | None
    reported: Usage | None
    raw: bytes
    saw_error: bool
    metered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """Tokens counted by us, and what is unsure about them."""

    input_tokens: int
    output_tokens: int
    notes: tuple[str, ...] = ()


def needs_estimate(outcome: Outcome) -> bool:
    """Whether our own count is needed: usage is missing, or the answer broke off before its end."""
    if not outcome.metered or not _succeeded(outcome):
        return False
    return outcome.reported is None or not outcome.completed


def measure(outcome: Outcome, estimated: Estimated | None) -> Measurement:
    """Decide the final state and the usage that is billed (design.md, metering rules).

    An answer that broke off is billed for what was reported, or for what was delivered where
    that is more: usage reported at its beginning does not know its end.
    """
    if outcome.reported is not None and (outcome.completed or not _succeeded(outcome)):
        return _measurement(RequestState.EXACT, outcome.reported, outcome)
    if not _succeeded(outcome):
        return _measurement(RequestState.FAILED, _nothing(outcome), outcome)
    if not outcome.metered:
        return _measurement(RequestState.EXACT, Usage(quantities=(), notes=("unmetered",)), outcome)
    if estimated is None:
        msg = "this outcome needs an estimate"
        raise ValueError(msg)
    if outcome.reported is not None:
        usage = _at_least(outcome.reported, estimated)
        return _measurement(RequestState.PARTIAL, usage, outcome)
    whole = outcome.completed and not outcome.saw_error
    state = RequestState.ESTIMATED if whole else RequestState.PARTIAL
    return _measurement(state, _from(estimated), outcome)


def _succeeded(outcome: Outcome) -> bool:
    return outcome.status is not None and 200 <= outcome.status < 300


def _measurement(state: RequestState, usage: Usage, outcome: Outcome) -> Measurement:
    return Measurement(state=state, usage=usage, raw=outcome.raw)


def _nothing(outcome: Outcome) -> Usage:
    notes = () if outcome.ended in {None, Ended.COMPLETE} else (str(outcome.ended),)
    return Usage(quantities=(), notes=notes)


def _from(estimated: Estimated) -> Usage:
    counts = (
        (TokenType.INPUT, estimated.input_tokens),
        (TokenType.OUTPUT, estimated.output_tokens),
    )
    return Usage(
        quantities=tuple(
            Quantity(metric=Metric.TOKENS, type=token_type, quantity=count)
            for token_type, count in counts
            if count
        ),
        input_tokens=estimated.input_tokens,
        notes=estimated.notes,
    )


def _at_least(reported: Usage, estimated: Estimated) -> Usage:
    """Raise the reported output to what was delivered, if that is more."""
    output = sum(q.quantity for q in reported.quantities if q.type in OUTPUT_TYPES)
    missing = estimated.output_tokens - output
    if missing <= 0:
        return reported
    own = sum(q.quantity for q in reported.quantities if q.type == TokenType.OUTPUT)
    others = tuple(q for q in reported.quantities if q.type != TokenType.OUTPUT)
    raised = Quantity(metric=Metric.TOKENS, type=TokenType.OUTPUT, quantity=own + missing)
    return Usage(
        quantities=(*others, raised),
        input_tokens=reported.input_tokens,
        reasoning_tokens=reported.reasoning_tokens,
        model=reported.model,
        service_tier=reported.service_tier,
        notes=(*reported.notes, "output_estimated", *estimated.notes),
    )
