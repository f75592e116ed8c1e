"""Request ids: ordered, unique, readable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.ids import (
    EPOCH_MS,
    PREFIX,
    SEQUENCE_SLOTS,
    WORKER_SLOTS,
    RequestIds,
    from_text,
    to_text,
)

NOW_MS = EPOCH_MS + 217_000_000_000
LARGEST = (1 << 63) - 1
ids = st.integers(0, LARGEST)
clocks = st.lists(st.integers(NOW_MS - 5, NOW_MS + 5), max_size=60)


@given(clock=clocks)
def test_one_workers_ids_rise_whatever_the_clock_does(clock: list[int]) -> None:
    maker = RequestIds(3)
    made = [maker.make(now_ms) for now_ms in clock]
    assert made == sorted(set(made))


@given(clock=clocks, workers=st.sets(st.integers(0, WORKER_SLOTS - 1), min_size=2, max_size=4))
def test_no_two_workers_make_the_same(clock: list[int], workers: set[int]) -> None:
    makers = [RequestIds(worker) for worker in workers]
    made = [maker.make(now_ms) for now_ms in clock for maker in makers]
    assert len(set(made)) == len(made)


def test_more_than_a_millisecond_holds_run_ahead_of_the_clock() -> None:
    maker = RequestIds(1)
    made = [maker.make(NOW_MS) for _ in range(SEQUENCE_SLOTS + 2)]
    made += [maker.make(NOW_MS + 1) for _ in range(2)]
    assert made == sorted(set(made))
    milliseconds = [(request_id >> 22) + EPOCH_MS - NOW_MS for request_id in made]
    assert milliseconds == [0] * SEQUENCE_SLOTS + [1] * 4
    assert maker.make(NOW_MS + 2) >> 22 == NOW_MS + 2 - EPOCH_MS


def test_a_clock_that_goes_back_is_waited_for() -> None:
    maker = RequestIds(1)
    first = maker.make(NOW_MS)
    assert [maker.make(NOW_MS - 86_400_000), maker.make(NOW_MS - 1)] == [first + 1, first + 2]
    assert maker.make(NOW_MS + 1) >> 22 == (first >> 22) + 1


@pytest.mark.parametrize(("worker", "slot"), [(0, 0), (1, 1), (1023, 1023), (1024, 0), (2049, 1)])
def test_the_worker_is_in_the_id(worker: int, slot: int) -> None:
    assert RequestIds(worker).make(NOW_MS) == (NOW_MS - EPOCH_MS) << 22 | slot << 12


@pytest.mark.parametrize("now_ms", [0, EPOCH_MS - 1, EPOCH_MS])
def test_a_clock_before_the_epoch_makes_ids_all_the_same(now_ms: int) -> None:
    maker = RequestIds(0)
    assert [maker.make(now_ms) for _ in range(3)] == [1, 2, 3]


@given(request_id=ids)
def test_text_and_back(request_id: int) -> None:
    text = to_text(request_id)
    assert len(text) == 16
    assert text.startswith(PREFIX)
    assert text == text.lower()
    assert from_text(text) == request_id
    assert from_text(text.removeprefix(PREFIX)) == request_id
    assert from_text(PREFIX + text.removeprefix(PREFIX).upper()) == request_id


@given(one=ids, other=ids)
def test_texts_sort_like_numbers(one: int, other: int) -> None:
    assert (to_text(one) < to_text(other)) == (one < other)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "wb_0000000000000"), (31, "wb_000000000000z"), (LARGEST, "wb_7zzzzzzzzzzzz")],
)
def test_known_texts(number: int, text: str) -> None:
    assert to_text(number) == text
    assert from_text(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wb_",
        "wb_123",
        "wb_00000000000000",
        "wb_00000000000i0",
        "wb_000000000000-",
        "\u0660" * 13,
    ],
)
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="is not a request id"):
        from_text(text)
