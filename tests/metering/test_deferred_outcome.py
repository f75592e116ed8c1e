"""What is billed for an object whose usage came later, or never."""

import pytest

from proxy.core.usage import Metric, Quantity, RequestState, TokenType, Usage
from proxy.metering.deferred_outcome import (
    GONE,
    INPUT_BY_LENGTH,
    NOT_REPORTED,
    measure_lost,
    measure_seen,
    needs_count,
)
from proxy.metering.outcome import Estimated
from proxy.wire.answers import AnswerText
from proxy.wire.deferred import Seen
from proxy.wire.endpoints import BATCHES, RESPONSES, RUNS

REPORTED = Usage(
    quantities=(Quantity(metric=Metric.TOKENS, type=TokenType.INPUT, quantity=7),), notes=("odd",)
)
COUNTED = Estimated(input_tokens=999, output_tokens=3, notes=("counted",))


def seen(status: str, usage: Usage | None = None) -> Seen:
    return Seen(
        object_id="x",
        status=status,
        usage=usage,
        raw=b"{}" if usage else b"",
        model="gpt-4o",
        service_tier="flex",
        text=AnswerText(),
    )


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired", "incomplete"])
def test_what_is_reported_is_billed_whatever_the_end(status: str) -> None:
    found = measure_seen(seen(status, REPORTED), None, 100)
    assert (found.state, found.usage.tokens, found.raw) == (RequestState.EXACT, 7, b"{}")
    assert found.usage.notes == (("odd",) if status == "completed" else ("odd", status))


def test_explicit_zeros_are_usage() -> None:
    found = measure_seen(seen("cancelled", Usage(quantities=())), None, 100)
    assert (found.state, found.usage.tokens) == (RequestState.EXACT, 0)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("completed", RequestState.ESTIMATED),
        ("incomplete", RequestState.ESTIMATED),
        ("cancelled", RequestState.PARTIAL),
        ("expired", RequestState.PARTIAL),
    ],
)
def test_the_answer_is_counted_where_nothing_is_reported(status: str, state: RequestState) -> None:
    assert needs_count(RESPONSES, seen(status))
    found = measure_seen(seen(status), COUNTED, 101)
    assert found.state is state
    assert [(each.type, each.quantity) for each in found.usage.quantities] == [
        ("input", 26),
        ("output", 3),
    ]
    assert {INPUT_BY_LENGTH, "counted"} <= set(found.usage.notes)
    assert (found.usage.model, found.usage.service_tier) == ("gpt-4o", "flex")


def test_what_was_spoken_is_kept_apart_from_text() -> None:
    spoken = Estimated(input_tokens=9, output_tokens=8, output_audio_tokens=5)
    found = measure_seen(seen("completed"), spoken, 101)
    assert {each.type: each.quantity for each in found.usage.quantities} == {
        "input": 26,
        "output": 3,
        "output_audio": 5,
    }


def test_what_failed_without_usage_is_not_billed() -> None:
    assert not needs_count(RUNS, seen("failed"))
    found = measure_seen(seen("failed"), None, 100)
    assert (found.state, found.usage.quantities) == (RequestState.FAILED, ())
    assert found.usage.notes == ("failed",)


def test_a_batch_without_usage_says_so() -> None:
    assert not needs_count(BATCHES, seen("expired"))
    found = measure_seen(seen("expired"), None, 100)
    assert (found.state, found.usage.quantities) == (RequestState.PARTIAL, ())
    assert found.usage.notes == ("expired", NOT_REPORTED)


def test_what_is_lost_is_partial() -> None:
    found = measure_lost("gpt-4o", 100, GONE)
    assert (found.state, found.usage.tokens) == (RequestState.PARTIAL, 25)
    assert found.usage.notes == (GONE, INPUT_BY_LENGTH)
    assert measure_lost("", 100, GONE).usage.quantities == ()
