"""A rate of the last whole window."""

import pytest

from proxy.core.rates import RecentRate


def test_there_is_no_rate_before_a_window_is_over() -> None:
    rate = RecentRate(0.010)
    rate.count(5, 0.009)
    assert rate.per_s == 0


@pytest.mark.parametrize(("each", "step_s"), [(1, 0.001), (7, 0.004), (3, 0.5)])
def test_a_steady_stream_has_its_rate(each: int, step_s: float) -> None:
    rate = RecentRate(0.010)
    for n in range(1, 1000):
        rate.count(each, n * step_s)
    assert rate.per_s == pytest.approx(each / step_s)


def test_a_silence_counts() -> None:
    rate = RecentRate(0.010)
    for n in range(1, 101):
        rate.count(1, n * 0.001)
    rate.count(1, 10.1)
    assert 0 < rate.per_s < 1
