"""The words of usage: what holds of them by construction."""

import pytest

from proxy.core.usage import (
    OUTPUT_TYPES,
    UNSETTLED,
    Measurement,
    Metric,
    Quantity,
    RequestState,
    TokenType,
    Usage,
    abandoned_usage,
)


def test_nothing_is_ever_unused() -> None:
    with pytest.raises(ValueError, match="tokens input can't be negative: -1"):
        Quantity(metric=Metric.TOKENS, type=TokenType.INPUT, quantity=-1)
    assert Quantity(metric=Metric.TOKENS, type=TokenType.INPUT, quantity=0).quantity == 0


def test_tokens_are_the_sum_over_their_types_alone() -> None:
    usage = Usage(
        quantities=(
            Quantity(metric=Metric.TOKENS, type=TokenType.INPUT, quantity=3),
            Quantity(metric=Metric.TOKENS, type=TokenType.CACHED_INPUT, quantity=4),
            Quantity(metric=Metric.TOKENS, type=TokenType.OUTPUT, quantity=5, model="other"),
            Quantity(metric=Metric.TOOL_CALLS, type="web_search", quantity=100),
        )
    )
    assert usage.tokens == 12
    assert Usage(quantities=()).tokens == 0


def test_every_state_is_settled_or_not() -> None:
    settled = set(RequestState) - UNSETTLED
    assert {str(state) for state in settled} == {
        "exact",
        "estimated",
        "partial",
        "failed",
        "abandoned",
    }


def test_output_is_what_is_named_so() -> None:
    assert {str(kind) for kind in OUTPUT_TYPES} == {
        kind for kind in map(str, TokenType) if kind.startswith("output")
    }


def test_what_is_measured_stays_as_it_is() -> None:
    measurement = Measurement(state=RequestState.EXACT, usage=Usage(quantities=()))
    assert measurement.raw == b""
    with pytest.raises(AttributeError):
        measurement.state = RequestState.FAILED  # type: ignore[misc]


def test_what_is_abandoned_has_the_input_of_its_length_where_it_names_a_model() -> None:
    assert abandoned_usage("gpt-4o", 5).tokens == 2
    assert abandoned_usage("gpt-4o", 0).quantities == ()
    assert abandoned_usage("", 100_000_000).quantities == ()
