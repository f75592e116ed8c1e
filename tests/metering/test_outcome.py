"""What a call comes to: a table over everything that can be seen of an answer."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.usage import Metric, Quantity, RequestState, TokenType, Usage
from proxy.metering.outcome import Ended, Estimated, Outcome, measure, needs_estimate

RAW = b'{"prompt_tokens":9}'
REPORTED = Usage(
    quantities=(
        Quantity(metric=Metric.TOKENS, type=TokenType.INPUT, quantity=9),
        Quantity(metric=Metric.TOKENS, type=TokenType.OUTPUT, quantity=3),
    ),
    input_tokens=9,
    reasoning_tokens=1,
    model="m-1",
    service_tier="flex",
    notes=("seen",),
)
ESTIMATED = Estimated(input_tokens=8, output_tokens=2, notes=("vocabulary_assumed",))
STATUSES = (None, 101, 199, 200, 201, 299, 300, 400, 429, 500)


def outcome(
    *,
    status: int | None = 200,
    completed: bool = True,
    ended: Ended | None = Ended.COMPLETE,
    reported: Usage | None = REPORTED,
    saw_error: bool = False,
    metered: bool = True,
    sent: bool = True,
) -> Outcome:
    return Outcome(
        status=status,
        completed=completed,
        ended=ended,
        reported=reported,
        raw=RAW,
        saw_error=saw_error,
        metered=metered,
        sent=sent,
    )


ALL = [
    outcome(
        status=status,
        completed=completed,
        ended=ended,
        reported=reported,
        saw_error=saw_error,
        metered=metered,
        sent=sent,
    )
    for status, completed, ended, reported, saw_error, metered, sent in product(
        STATUSES,
        (True, False),
        (None, *Ended),
        (None, REPORTED),
        (True, False),
        (True, False),
        (True, False),
    )
]


def succeeded(seen: Outcome) -> bool:
    """Whether the upstream bills for it, as far as anyone can know."""
    if seen.status is not None:
        return 200 <= seen.status < 300
    stopped = seen.ended not in {None, Ended.COMPLETE, Ended.UPSTREAM_BROKE}
    return stopped and seen.sent and seen.metered


def expected_state(seen: Outcome) -> RequestState:
    """The rules, one after the other."""
    if not succeeded(seen):
        return RequestState.FAILED if seen.reported is None else RequestState.EXACT
    if seen.reported is not None:
        return RequestState.EXACT if seen.completed else RequestState.PARTIAL
    if not seen.metered:
        return RequestState.EXACT
    return RequestState.ESTIMATED if seen.completed and not seen.saw_error else RequestState.PARTIAL


def test_every_combination_has_its_state() -> None:
    # What is not metered is never asked for its usage, so both together do not occur.
    for seen in [seen for seen in ALL if seen.metered or seen.reported is None]:
        measurement = measure(seen, ESTIMATED)
        assert measurement.state is expected_state(seen), seen
        assert measurement.raw == RAW
        billed = measurement.usage.tokens
        if not succeeded(seen):
            assert billed == (0 if seen.reported is None else 12)
        elif seen.metered:
            assert billed == (10 if seen.reported is None else 12)
        else:
            assert billed == 0


def test_an_estimate_is_needed_exactly_where_it_is_used() -> None:
    for seen in ALL:
        if needs_estimate(seen):
            with pytest.raises(ValueError, match="needs an estimate"):
                measure(seen, None)
        elif seen.metered or seen.reported is None:
            assert measure(seen, None) == measure(seen, ESTIMATED)


@pytest.mark.parametrize(
    ("status", "ended", "notes"),
    [
        (None, None, ()),
        (500, Ended.COMPLETE, ()),
        (500, Ended.UPSTREAM_BROKE, ("upstream_broke",)),
        (None, Ended.UPSTREAM_BROKE, ("upstream_broke",)),
        (None, Ended.CANCELLED, ("cancelled",)),
        (None, Ended.DRAIN_LIMIT, ("drain_limit",)),
        (None, Ended.SHUTDOWN, ("shutdown",)),
        (None, Ended.TIMED_OUT, ("timed_out",)),
    ],
)
def test_a_failure_bills_nothing_and_says_why(
    status: int | None, ended: Ended | None, notes: tuple[str, ...]
) -> None:
    seen = outcome(status=status, ended=ended, reported=None, completed=False, sent=False)
    measurement = measure(seen, None)
    assert measurement.state is RequestState.FAILED
    assert measurement.usage == Usage(quantities=(), notes=notes)


@pytest.mark.parametrize(
    "ended", [Ended.CANCELLED, Ended.DRAIN_LIMIT, Ended.SHUTDOWN, Ended.TIMED_OUT]
)
def test_what_was_sent_is_not_free_for_being_stopped_before_its_answer(ended: Ended) -> None:
    seen = outcome(status=None, ended=ended, reported=None, completed=False)
    assert needs_estimate(seen)
    measurement = measure(seen, Estimated(input_tokens=7, output_tokens=0))
    assert (measurement.state, measurement.usage.tokens) == (RequestState.PARTIAL, 7)
    broke = outcome(status=None, ended=Ended.UPSTREAM_BROKE, reported=None, completed=False)
    assert measure(broke, None).state is RequestState.FAILED


def test_an_error_that_carries_usage_is_billed_for_it() -> None:
    measurement = measure(outcome(status=500, completed=False), None)
    assert (measurement.state, measurement.usage) == (RequestState.EXACT, REPORTED)


@pytest.mark.parametrize("completed", [True, False])
def test_a_response_that_failed_bills_what_it_reports_and_nothing_else(completed: bool) -> None:
    seen = outcome(reported=None, saw_error=True, completed=completed)
    seen.failed, seen.model = True, "m"
    assert not needs_estimate(seen)
    measurement = measure(seen, None)
    assert measurement.state is RequestState.FAILED
    assert measurement.usage == Usage(quantities=(), model="m", notes=("failed",))
    seen.reported = REPORTED
    assert needs_estimate(seen) is not completed
    assert measure(seen, ESTIMATED).usage.tokens == REPORTED.tokens


def test_what_has_no_usage_says_so() -> None:
    measurement = measure(outcome(metered=False, reported=None), None)
    assert measurement.usage == Usage(quantities=(), notes=("unmetered",))


def test_explicit_zeros_are_usage() -> None:
    zero = Usage(quantities=(), model="m")
    measurement = measure(outcome(reported=zero), None)
    assert (measurement.state, measurement.usage) == (RequestState.EXACT, zero)


def test_an_estimate_leaves_out_what_is_nothing() -> None:
    nothing = Estimated(input_tokens=5, output_tokens=0, notes=("n",))
    measurement = measure(outcome(reported=None, completed=False), nothing)
    quantity = Quantity(metric=Metric.TOKENS, type=TokenType.INPUT, quantity=5)
    assert measurement.usage == Usage(quantities=(quantity,), input_tokens=5, notes=("n",))


def test_a_broken_answer_is_raised_to_what_was_delivered() -> None:
    more = Estimated(input_tokens=1, output_tokens=50, notes=("n",))
    usage = measure(outcome(completed=False, ended=Ended.UPSTREAM_BROKE), more).usage
    assert usage == Usage(
        quantities=(
            Quantity(metric=Metric.TOKENS, type=TokenType.INPUT, quantity=9),
            Quantity(metric=Metric.TOKENS, type=TokenType.OUTPUT, quantity=50),
        ),
        input_tokens=9,
        reasoning_tokens=1,
        model="m-1",
        service_tier="flex",
        notes=("seen", "output_estimated", "n"),
    )


def test_what_a_tools_own_model_wrote_is_kept_apart() -> None:
    tool = Quantity(metric=Metric.TOKENS, type=TokenType.OUTPUT, quantity=40, model="image-model")
    reported = Usage(quantities=(*REPORTED.quantities, tool), input_tokens=9)
    more = Estimated(input_tokens=1, output_tokens=10)
    usage = measure(outcome(completed=False, reported=reported), more).usage
    assert {(q.type, q.model): q.quantity for q in usage.quantities} == {
        ("input", None): 9,
        ("output", None): 10,
        ("output", "image-model"): 40,
    }


def counted(usage: Usage) -> dict[str, int]:
    return {q.type: q.quantity for q in usage.quantities}


def test_a_broken_answer_that_began_with_zeros_has_its_input_counted() -> None:
    skeleton = Usage(quantities=(), model="m", service_tier="flex", notes=("seen",))
    seen = outcome(completed=False, ended=Ended.UPSTREAM_BROKE, reported=skeleton)
    usage = measure(seen, ESTIMATED).usage
    assert (counted(usage), usage.input_tokens) == ({"input": 8, "output": 2}, 8)
    assert usage.notes == ("seen", "input_estimated", "output_estimated", "vocabulary_assumed")
    assert (usage.model, usage.service_tier) == ("m", "flex")


def test_a_broken_answer_without_a_word_has_its_input_counted() -> None:
    seen = outcome(completed=False, ended=Ended.UPSTREAM_BROKE, reported=Usage(quantities=()))
    usage = measure(seen, Estimated(input_tokens=8, output_tokens=0)).usage
    assert (counted(usage), usage.notes) == ({"input": 8}, ("input_estimated",))


def test_zeros_that_a_whole_answer_reports_stay() -> None:
    usage = measure(outcome(reported=Usage(quantities=())), ESTIMATED).usage
    assert (counted(usage), usage.notes) == ({}, ())


HEARD_AND_SPOKEN = Estimated(
    input_tokens=30, output_tokens=50, input_audio_tokens=7, output_audio_tokens=43
)


def test_audio_is_kept_apart_from_text() -> None:
    usage = measure(outcome(reported=None), HEARD_AND_SPOKEN).usage
    assert counted(usage) == {"input": 23, "input_audio": 7, "output": 7, "output_audio": 43}
    assert (usage.input_tokens, usage.tokens) == (30, 80)


def test_audio_alone_is_no_text() -> None:
    estimated = Estimated(
        input_tokens=7, output_tokens=43, input_audio_tokens=7, output_audio_tokens=43
    )
    usage = measure(outcome(reported=None), estimated).usage
    assert counted(usage) == {"input_audio": 7, "output_audio": 43}


@pytest.mark.parametrize(
    ("told", "raised"),
    [
        ({}, {"input": 23, "input_audio": 7, "output": 7, "output_audio": 43}),
        ({"input": 9}, {"input": 9, "output": 7, "output_audio": 43}),
        ({"input": 9, "output": 3}, {"input": 9, "output": 7, "output_audio": 43}),
        ({"input": 9, "output": 30}, {"input": 9, "output": 30, "output_audio": 20}),
        (
            {"input": 9, "output": 3, "output_audio": 20},
            {"input": 9, "output": 7, "output_audio": 43},
        ),
        (
            {"input": 9, "output_audio": 45},
            {"input": 9, "output_audio": 45, "output": 5},
        ),
        ({"input": 9, "output": 1, "output_audio": 49}, {"input": 9, "output": 1,
                                                        "output_audio": 49}),
    ],
)  # fmt: skip
def test_a_broken_answer_is_raised_to_what_was_spoken(
    told: dict[str, int], raised: dict[str, int]
) -> None:
    quantities = tuple(
        Quantity(metric=Metric.TOKENS, type=kind, quantity=number) for kind, number in told.items()
    )
    reported = Usage(quantities=quantities, input_tokens=told.get("input", 0))
    usage = measure(outcome(completed=False, reported=reported), HEARD_AND_SPOKEN).usage
    assert counted(usage) == raised


amounts = st.dictionaries(st.sampled_from(list(TokenType)), st.integers(1, 100))


@given(amounts=amounts, output=st.integers(0, 300), spoken=st.integers(0, 300))
def test_raising_never_takes_anything_away(
    amounts: dict[TokenType, int], output: int, spoken: int
) -> None:
    given_before = sum(n for kind, n in amounts.items() if not kind.startswith("output"))
    reported = Usage(
        quantities=tuple(
            Quantity(metric=Metric.TOKENS, type=kind, quantity=quantity)
            for kind, quantity in amounts.items()
        ),
        input_tokens=given_before,
    )
    spoken = min(spoken, output)
    estimated = Estimated(input_tokens=10_000, output_tokens=output, output_audio_tokens=spoken)
    usage = measure(outcome(completed=False, reported=reported), estimated).usage
    raised = {TokenType(q.type): q.quantity for q in usage.quantities}
    assert len(raised) == len(usage.quantities)
    before = sum(n for kind, n in amounts.items() if kind.startswith("output"))
    after = sum(n for kind, n in raised.items() if kind.startswith("output"))
    assert after == max(before, output)
    for kind, quantity in amounts.items():
        assert raised[kind] >= quantity
    given_after = sum(n for kind, n in raised.items() if not kind.startswith("output"))
    assert given_after == usage.input_tokens == (given_before or 10_000)
    unheard_of = set(raised) - set(amounts)
    assert unheard_of <= (
        {TokenType.OUTPUT}
        | ({TokenType.OUTPUT_AUDIO} if spoken else set())
        | (set() if given_before else {TokenType.INPUT})
    )
