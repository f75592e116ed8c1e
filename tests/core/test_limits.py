"""Budgets and rates: what is admitted, what it leaves, and what clients are told."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.allowances import (
    Allowance,
    Crossing,
    Rate,
    allowance,
    crossings,
    part_used,
    tighter,
)
from proxy.core.budgets import LimitStanding, render_budget
from proxy.core.limits import (
    FOREVER_US,
    MINUTE_US,
    Caps,
    Held,
    LimitState,
    Need,
    Refused,
    Spend,
    Window,
    admit,
    defer,
    on_clock,
    settle,
    window_at,
)
from proxy.core.plans import NO_LIMITS, Limits
from proxy.core.times import to_us

NOW = 1_796_083_200_000_000
"""2026-12-01T00:00:00Z."""
DAY_US = 86_400_000_000
BERLIN = "Europe/Berlin"
ONE = Decimal(1)
BUDGET = Caps.of(Limits(spend_per_day=ONE))
MONEY = st.decimals(0, 10, places=3)


def day(spent: str = "0", reserved: str = "0") -> Spend:
    return Spend(Window.DAY, NOW, NOW + DAY_US, Decimal(spent), Decimal(reserved))


def ask(state: LimitState, caps: Caps, amount: str = "0", tokens: int = 0, at: int = NOW) -> object:
    return admit(state, caps, Need(Decimal(amount), tokens), at, "Key wb-1…")


def admitted(result: object) -> LimitState:
    assert isinstance(result, LimitState)
    return result


def refused(result: object) -> Refused:
    assert isinstance(result, Refused)
    return result


def held(amount: str | None, at: int = NOW, *, tokens: int = 0, running: bool = True) -> Held:
    return Held(at, None if amount is None else Decimal(amount), tokens, running)


@pytest.mark.parametrize(
    ("spent", "reserved", "amount", "code"),
    [
        ("0", "0", "1", None),
        ("0.5", "0.25", "0.25", None),
        ("0.5", "0.25", "0.26", "rate_limit_exceeded"),
        ("0.5", "0", "0.51", "insufficient_quota"),
        ("0.5", "9", "0.51", "insufficient_quota"),
        ("1", "0", "0.01", "insufficient_quota"),
        ("1.5", "0", "0", None),
    ],
)
def test_a_budget(spent: str, reserved: str, amount: str, code: str | None) -> None:
    state = LimitState((day(spent, reserved),), running=2)
    result = ask(state, BUDGET, amount)
    if code is None:
        assert admitted(result).spends == (day(spent, str(Decimal(reserved) + Decimal(amount))),)
        assert admitted(result).running == 3
    else:
        assert refused(result).code == code
        assert (refused(result).retry_after_us is None) == (code == "insufficient_quota")


def test_messages_say_what_and_until_when() -> None:
    state = LimitState((day("0.9", "0.05"),))
    message = refused(ask(state, BUDGET, "0.2")).message
    for part in ("limit 1.00 (per day)", "spent 0.90", "reserved 0.05", "2026-12-02T00:00:00Z"):
        assert part in message
    assert "Try again" in refused(ask(state, BUDGET, "0.07")).message
    whole = LimitState((Spend(Window.TOTAL, 0, FOREVER_US, ONE),))
    message = refused(ask(whole, Caps.of(Limits(spend_total=ONE)), "0.2")).message
    assert "never resets" in message


def test_the_worst_of_several_budgets_decides() -> None:
    caps = Caps.of(Limits(spend_per_period=Decimal(5), spend_per_day=ONE, spend_total=Decimal(9)))
    period = Spend(Window.PERIOD, 0, NOW + DAY_US, Decimal("4.9"))
    total = Spend(Window.TOTAL, 0, FOREVER_US, Decimal(5))
    state = LimitState((day("0", "0.95"), total, period))
    assert refused(ask(state, caps, "0.1")).code == "rate_limit_exceeded"
    assert refused(ask(state, caps, "0.2")).code == "insufficient_quota"


def test_concurrent_requests() -> None:
    caps = Caps.of(Limits(concurrent_requests=2))
    state = admitted(ask(admitted(ask(LimitState(), caps)), caps))
    assert "may have 2" in refused(ask(state, caps)).message
    assert admitted(ask(settle(state, caps, held(None)), caps)).running == 2
    assert defer(state).running == 1
    assert defer(LimitState()).running == 0
    assert settle(LimitState(), caps, held(None)).running == 0


@pytest.mark.parametrize("rate", [1, 7, 60, 999])
def test_a_minutes_requests_fit_at_once_and_come_back_smoothly(rate: int) -> None:
    caps = Caps.of(Limits(requests_per_minute=rate))
    state = LimitState()
    for _ in range(rate):
        state = admitted(ask(state, caps))
    wait_us = refused(ask(state, caps)).retry_after_us
    assert wait_us is not None
    assert wait_us <= -(-MINUTE_US // rate)
    assert refused(ask(state, caps, at=NOW + wait_us - 1))
    state = admitted(ask(state, caps, at=NOW + wait_us))
    assert refused(ask(state, caps, at=NOW + wait_us))


def test_tokens_are_estimated_and_put_right() -> None:
    caps = Caps.of(Limits(tokens_per_minute=1000))
    state = admitted(ask(LimitState(), caps, tokens=600))
    told = allowance(state, caps, NOW)
    assert told.tokens == Rate(1000, 400, 36_000_000)
    wait = refused(ask(state, caps, tokens=500)).retry_after_us
    assert wait == 6_000_000
    cheaper = settle(state, caps, held("0", tokens=600), tokens=100)
    assert allowance(cheaper, caps, NOW).tokens == Rate(1000, 900, 6_000_000)
    dearer = settle(state, caps, held("0", tokens=600), tokens=3000)
    assert allowance(dearer, caps, NOW).tokens == Rate(1000, 0, 180_000_000)
    assert refused(ask(dearer, caps, tokens=1)).retry_after_us == 120_060_000
    assert admitted(ask(LimitState(), caps, tokens=9000)).tokens_level_us == MINUTE_US


def test_a_clock_that_goes_back_refills_nothing() -> None:
    caps = Caps.of(Limits(requests_per_minute=1))
    state = admitted(ask(LimitState(), caps))
    for late_us in (1000, 5_000_000):
        assert refused(ask(state, caps, at=NOW - late_us)).retry_after_us == MINUTE_US
    one_more = Caps.of(Limits(requests_per_minute=2))
    state = admitted(ask(admitted(ask(LimitState(), one_more)), one_more, at=NOW - 1000))
    assert state.levels_at_us == NOW
    jumped = admitted(ask(LimitState(levels_at_us=NOW), one_more, at=NOW - DAY_US))
    assert jumped.levels_at_us == NOW - DAY_US
    assert on_clock(state, NOW - 5_000_000) is state
    assert on_clock(state, NOW + DAY_US) is state
    assert on_clock(state, NOW - DAY_US) == state._replace(levels_at_us=NOW - DAY_US)


def test_the_truth_is_booked_even_above_what_was_held() -> None:
    state = admitted(ask(LimitState((day(),)), BUDGET, "0.5"))
    assert settle(state, BUDGET, held("0.5"), Decimal("0.2")).spends == (day("0.2", "0.0"),)
    over = settle(state, BUDGET, held("0.5"), Decimal("0.7"))
    assert over.spends == (day("0.7", "0.0"),)
    assert over.overruns == 1
    assert settle(state, BUDGET, held("0.5")).spends == (day("0", "0.0"),)
    unknown = settle(LimitState((day(),)), BUDGET, held(None), ONE)
    assert (unknown.spends, unknown.overruns) == ((day("1"),), 0)


def test_a_cost_goes_to_the_window_in_which_its_request_was_accepted() -> None:
    state = LimitState((day("0", "0.5"),))
    assert settle(state, BUDGET, held("0.5", NOW - 1), ONE).spends == state.spends
    assert settle(state, BUDGET, held("0.5", NOW + DAY_US), ONE).spends == state.spends
    assert settle(state, BUDGET, held("0.5", NOW + DAY_US - 1), ONE).spends == (day("1", "0.0"),)


@given(st.lists(st.tuples(MONEY, MONEY, st.booleans()), max_size=20))
def test_no_limit_is_passed_and_nothing_stays_held(
    requests: list[tuple[Decimal, Decimal, bool]],
) -> None:
    """Whoever costs no more than was reserved for it, in any order, never passes the budget."""
    caps = Caps.of(Limits(spend_per_day=Decimal(10)))
    state = LimitState((day(),))
    running: list[tuple[Decimal, Decimal]] = []
    for amount, part, settles in requests:
        result = admit(state, caps, Need(amount), NOW, "x")
        if isinstance(result, LimitState):
            state = result
            running.append((amount, min(part, amount)))
        if settles and running:
            reserved, cost = running.pop(0)
            state = settle(state, caps, Held(NOW, reserved, 0, running=True), cost)
        spend = state.spends[0]
        assert spend.spent + spend.reserved <= 10
    for reserved, cost in running:
        state = settle(state, caps, Held(NOW, reserved, 0, running=True), cost)
    assert (state.spends[0].reserved, state.running) == (0, 0)


@pytest.mark.parametrize(
    ("window", "timezone", "anchor", "start", "end"),
    [
        (Window.TOTAL, "UTC", None, 0, FOREVER_US),
        (Window.DAY, "UTC", None, "2026-10-25T00:00Z", "2026-10-26T00:00Z"),
        (Window.DAY, BERLIN, None, "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        (Window.PERIOD, "UTC", None, "2026-10-01T00:00Z", "2026-11-01T00:00Z"),
        (Window.PERIOD, BERLIN, None, "2026-09-30T22:00Z", "2026-10-31T23:00Z"),
        (Window.PERIOD, "UTC", "2020-01-17T09:00Z", "2026-10-17T00:00Z", "2026-11-17T00:00Z"),
    ],
)
def test_windows(
    window: Window, timezone: str, anchor: str | None, start: str | int, end: str | int
) -> None:
    def moment(value: str | int) -> int:
        return value if isinstance(value, int) else to_us(datetime.fromisoformat(value))

    at = datetime(2026, 10, 25, 12, tzinfo=UTC)
    begun = None if anchor is None else datetime.fromisoformat(anchor)
    assert window_at(window, to_us(at), timezone, begun) == (moment(start), moment(end))


def test_what_is_told() -> None:
    soft = Limits(spend_per_day=ONE, soft_thresholds=(Decimal("0.5"), Decimal("0.8")))
    caps = Caps.of(soft)
    assert allowance(LimitState((day("0.49"),)), caps, NOW) == Allowance()
    assert allowance(LimitState((day("0.5"),)), caps, NOW).used == Decimal("0.5")
    assert allowance(LimitState((day("2"),)), Caps.of(replace(soft, spend_per_day=Decimal(0))), 0)
    assert part_used(LimitState(), Caps.of(NO_LIMITS)) is None
    assert part_used(LimitState((day(),)), Caps.of(Limits(spend_per_day=Decimal(0)))) == 1
    few, many = Rate(10, 1, 5), Rate(10, 9, 5)
    one = Allowance(requests=few, tokens=None, used=Decimal("0.6"))
    two = Allowance(requests=many, tokens=many, used=None)
    assert tighter(one, two) == Allowance(few, many, Decimal("0.6"))
    assert tighter(two, two) == two
    assert allowance(LimitState(), Caps.of(replace(soft, spend_per_day=None)), NOW).used is None


def test_thresholds_are_crossed_once() -> None:
    caps = Caps.of(Limits(spend_per_day=ONE, soft_thresholds=(Decimal("0.5"),)))
    total = Spend(Window.TOTAL, 0, FOREVER_US, Decimal(7))
    states = [LimitState((day(spent), total)) for spent in ("0.1", "0.5", "0.6", "1.2")]
    crossed = [list(crossings(a, b, caps)) for a, b in pairwise(states)]
    assert crossed == [
        [Crossing(Window.DAY, Decimal("0.5"), Decimal("0.5"))],
        [],
        [Crossing(Window.DAY, ONE, Decimal("1.2"))],
    ]
    tomorrow = LimitState((day("0.1")._replace(start_us=NOW + DAY_US),))
    assert list(crossings(states[2], tomorrow, caps)) == []
    nothing = Caps.of(Limits(spend_per_day=Decimal(0)))
    assert list(crossings(states[0], states[1], nothing)) == []


def standing(limits: Limits, state: LimitState, prefix: str | None = None) -> LimitStanding:
    return LimitStanding(
        subscription="acme",
        prefix=prefix,
        plan="default",
        caps=Caps.of(limits),
        overrides={},
        state=state,
        assumed_output=None,
    )


def test_a_budget_as_it_is_shown() -> None:
    limits = Limits(
        spend_per_day=ONE,
        spend_total=Decimal(3),
        soft_thresholds=(Decimal("0.8"),),
        requests_per_minute=60,
        tokens_per_minute=1000,
        concurrent_requests=4,
    )
    total = Spend(Window.TOTAL, 0, FOREVER_US, Decimal("1.25"), Decimal(2))
    state = LimitState((day("0.83", "0.1"), total), running=2, overruns=1)
    key = standing(Limits(concurrent_requests=1), LimitState(), "wb-abc")
    assert render_budget([standing(limits, state), key], NOW) == {
        "state": "warning",
        "spend": {
            "day": {
                "limit": "1.00",
                "spent": "0.83",
                "reserved": "0.10",
                "remaining": "0.07",
                "used": "0.83",
                "resets_at": "2026-12-02T00:00:00Z",
            },
            "total": {
                "limit": "3.00",
                "spent": "1.25",
                "reserved": "2.00",
                "remaining": "0.00",
                "used": "0.4167",
                "resets_at": None,
            },
        },
        "soft_thresholds": ["0.8"],
        "exceeded_reservations": 1,
        "assumed_output": None,
        "requests_per_minute": {"limit": 60, "remaining": 60, "reset_ms": 0},
        "tokens_per_minute": {"limit": 1000, "remaining": 1000, "reset_ms": 0},
        "concurrent_requests": {"limit": 4, "running": 2},
        "keys": [{"key": "wb-abc", "concurrent_requests": {"limit": 1, "running": 0}}],
    }


def test_budgets_in_words() -> None:
    assert render_budget([], NOW) is None
    for spent, state in (("0.1", "ok"), ("1", "exhausted")):
        shown = render_budget([standing(Limits(spend_per_day=ONE), LimitState((day(spent),)))], NOW)
        assert shown is not None
        assert shown["state"] == state
    nothing = render_budget(
        [standing(Limits(spend_per_day=Decimal(0)), LimitState((day(),)), "wb-1")], NOW
    )
    assert nothing is not None
    assert nothing["keys"][0]["spend"]["day"]["used"] == "1"
