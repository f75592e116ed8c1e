"""What clients are told of their limits."""

from decimal import Decimal

import pytest

from proxy.core.allowances import Allowance, Rate
from proxy.wire.headers import Headers
from proxy.wire.limit_headers import duration, refusal_headers, with_limits

OURS = Allowance(requests=Rate(60, 59, 1_000_000), tokens=Rate(1000, 900, 6_000_000))


def upstream(remaining: bytes) -> Headers:
    return [
        (b"Content-Type", b"application/json"),
        (b"X-RateLimit-Limit-Requests", b"500"),
        (b"X-RateLimit-Remaining-Requests", remaining),
        (b"X-RateLimit-Reset-Requests", b"120ms"),
    ]


def test_ours_where_they_are_tighter() -> None:
    assert with_limits(upstream(b"499"), OURS) == [
        (b"Content-Type", b"application/json"),
        (b"x-ratelimit-limit-requests", b"60"),
        (b"x-ratelimit-remaining-requests", b"59"),
        (b"x-ratelimit-reset-requests", b"1s"),
        (b"x-ratelimit-limit-tokens", b"1000"),
        (b"x-ratelimit-remaining-tokens", b"900"),
        (b"x-ratelimit-reset-tokens", b"6s"),
    ]


def test_theirs_where_these_are() -> None:
    told = with_limits(upstream(b"3"), OURS._replace(tokens=None))
    assert told == upstream(b"3")
    assert with_limits(upstream(b"many"), OURS)[0] == (b"Content-Type", b"application/json")
    assert len(with_limits(upstream(b"many"), OURS)) == 7


def test_a_budget_warns() -> None:
    for used, text in (("0.83", b"warning; used=0.83"), ("1.03333", b"exhausted; used=1.0333")):
        told = with_limits([], Allowance(used=Decimal(used)))
        assert told == [(b"x-weighbridge-budget", text)]


@pytest.mark.parametrize(
    ("reset_us", "text"),
    [
        (0, b"0ms"),
        (1, b"1ms"),
        (999_000, b"999ms"),
        (1_000_000, b"1s"),
        (60_000_000, b"1m0s"),
        (61_250_000, b"1m1.25s"),
    ],
)
def test_durations(reset_us: int, text: bytes) -> None:
    assert duration(reset_us) == text


def test_refusals() -> None:
    assert refusal_headers(0.25, None, final=True) == [
        (b"retry-after", b"1"),
        (b"retry-after-ms", b"250"),
    ]
    assert refusal_headers(2.0001, None, final=True)[0] == (b"retry-after", b"3")
    assert refusal_headers(None, None, final=True) == [(b"x-should-retry", b"false")]
    assert refusal_headers(None, None, final=False) == []
    assert (b"x-ratelimit-limit-requests", b"60") in refusal_headers(1, OURS, final=True)
