"""What is admitted or settled together is as if it were so one by one."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits import FOREVER_US, Caps, Held, LimitState, Need, Spend, Window, admit, settle
from proxy.core.limits_together import Ended, admit_together, fit_together, settle_together
from proxy.core.plans import NO_LIMITS, Limits
from tests.core.test_limits import BUDGET, DAY_US, MONEY, NOW, ONE, admitted, day, held


@given(MONEY, MONEY, st.lists(MONEY, max_size=8))
def test_what_fits_together_is_admitted_one_by_one(
    spent: Decimal, reserved: Decimal, amounts: list[Decimal]
) -> None:
    caps = Caps.of(Limits(spend_per_day=Decimal(20), spend_total=Decimal(15)))
    total = Spend(Window.TOTAL, 0, FOREVER_US, spent)
    state = LimitState((day(str(spent), str(reserved)), total), running=1)
    whole = sum(amounts, Decimal(0))
    if not fit_together(state, caps, whole, NOW):
        assert whole > min(20 - spent - reserved, 15 - spent)
        return
    one_by_one = state
    for amount in amounts:
        one_by_one = admitted(admit(one_by_one, caps, Need(amount), NOW, "x"))
    together = admit_together(state, whole, len(amounts))
    assert together == one_by_one._replace(levels_at_us=state.levels_at_us)


def test_only_money_alone_can_be_told_by_its_sum() -> None:
    state = LimitState((day("0.5", "0.25"),))
    assert fit_together(LimitState(), Caps.of(NO_LIMITS), ONE, NOW)
    assert fit_together(state, BUDGET, Decimal("0.25"), NOW)
    assert not fit_together(state, BUDGET, Decimal("0.26"), NOW)
    assert not fit_together(state, BUDGET, Decimal("0.25"), NOW - 1)
    for more in (Limits(concurrent_requests=9), Limits(requests_per_minute=9)):
        caps = Caps.of(replace(more, spend_per_day=ONE))
        assert not fit_together(state, caps, Decimal(0), NOW)


ENDS = st.lists(
    st.tuples(
        st.builds(
            Held,
            st.sampled_from([NOW - DAY_US, NOW - 1, NOW, NOW + DAY_US - 1, NOW + DAY_US]),
            st.none() | MONEY,
            st.integers(0, 100),
            st.booleans(),
        ),
        MONEY,
        st.integers(0, 200),
    ),
    max_size=8,
)


@given(ENDS, st.integers(0, 9), st.none() | st.just(1000), st.booleans())
def test_what_ends_together_is_settled_as_if_one_by_one(
    ends: list[Ended], running: int, tokens_per_minute: int | None, budget: bool
) -> None:
    limits = Limits(spend_per_day=ONE, spend_total=ONE, tokens_per_minute=tokens_per_minute)
    spends = (day("0.5", "90"), Spend(Window.TOTAL, 0, FOREVER_US, ONE, Decimal(90)))
    state = LimitState(spends if budget else (), running, tokens_level_us=1000, overruns=3)
    one_by_one = state
    for end in ends:
        one_by_one = settle(one_by_one, Caps.of(limits), *end)
    assert settle_together(state, Caps.of(limits), ends) == one_by_one


def test_who_counts_no_money_overruns_nothing() -> None:
    ends = [(held("0.1"), ONE, 0)]
    assert settle_together(LimitState(), Caps.of(NO_LIMITS), ends).overruns == 0
    assert settle_together(LimitState((day(),)), Caps.of(NO_LIMITS), ends).overruns == 1
