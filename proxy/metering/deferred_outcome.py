"""What is billed for an object whose usage came later, or never: pure decisions."""

from msgspec.structs import replace

from proxy.core.usage import (
    Measurement,
    RequestState,
    Usage,
    input_by_length,
    tokens_by_length,
)
from proxy.metering.outcome import Estimated, from_estimate, measure_failed
from proxy.wire.deferred import FAILED, WHOLE, Seen
from proxy.wire.endpoints import Endpoint, Metering

NOT_REPORTED = "not reported"
INPUT_BY_LENGTH = "input estimated from the body's length"
GONE = "gone at the upstream before its end was seen"
TOO_LONG = "not at its end within the time that is waited"


def needs_count(endpoint: Endpoint, seen: Seen) -> bool:
    """Whether what the model said must be counted by us: it is text, and nobody reports it."""
    return seen.usage is None and seen.status != FAILED and endpoint.metering is not Metering.BATCH


def measure_seen(seen: Seen, counted: Estimated | None, body_bytes: int) -> Measurement:
    """Decide what is billed for an object that is final.

    What is reported is billed, whatever the end; one that failed bills nothing else. ``counted``
    is the answer's text where :func:`needs_count` says so; of the request only its length is known
    by now. The output of a batch is in files of its own: it can't be counted.
    """
    notes = () if seen.status == "completed" else (seen.status,)
    if seen.usage is not None:
        usage = replace(seen.usage, notes=(*seen.usage.notes, *notes))
        return Measurement(state=RequestState.EXACT, usage=usage, raw=seen.raw)
    if seen.status == FAILED:
        return measure_failed(seen.model)
    if counted is None:
        usage = Usage(quantities=(), model=seen.model, notes=(*notes, NOT_REPORTED))
        return Measurement(state=RequestState.PARTIAL, usage=usage)
    whole = seen.status in WHOLE
    counted = Estimated(
        input_tokens=tokens_by_length(body_bytes),
        output_tokens=counted.output_tokens,
        output_audio_tokens=counted.output_audio_tokens,
        notes=(*notes, INPUT_BY_LENGTH, *counted.notes),
    )
    usage = from_estimate(counted, seen.model, seen.service_tier)
    return Measurement(state=RequestState.ESTIMATED if whole else RequestState.PARTIAL, usage=usage)


def measure_lost(model: str, body_bytes: int, why: str) -> Measurement:
    """Decide what is billed where the end can't be learnt any more: the period must close."""
    usage = input_by_length(model, body_bytes, why, INPUT_BY_LENGTH)
    return Measurement(state=RequestState.PARTIAL, usage=usage)
