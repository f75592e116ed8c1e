"""Requests of one owner that are admitted, or settle, together: as one by one, in fewer steps.

Where nothing but money is limited, only the sums of what they hold and cost matter. Ends that a
rate of tokens looks at, or that not all windows hold, are still booked one by one.
"""

from collections.abc import Sequence
from decimal import Decimal

from proxy.core.limits import FOREVER_US, Caps, Held, LimitState, Spend, settle
from proxy.core.money import EXACT, ZERO

_add = EXACT.add
_minus = EXACT.minus

Ended = tuple[Held, Decimal, int]
"""A request that settles: what was held for it, what it costs, and its tokens."""


def fit_together(state: LimitState, caps: Caps, amount: Decimal, earliest_us: int) -> bool:
    """Whether requests fit for sure whose worst cases add up to ``amount``, in whatever order.

    They were accepted in the state's windows, or after them, and none before ``earliest_us``.
    Where it is not for sure, :func:`admit` can tell, one by one.
    """
    if caps.each:
        return False
    for window, start_us, _, spent, reserved in state.spends:
        if earliest_us < start_us:
            return False
        taken = _add(_add(spent, reserved), amount)
        for limited, most in caps.spends:
            if limited is window and taken > most:
                return False
    return True


def admit_together(state: LimitState, amount: Decimal, number: int) -> LimitState:
    """Take the worst cases of so many requests that :func:`fit_together`."""
    return _move(state, spent=ZERO, reserved=amount, running=number)


def settle_together(state: LimitState, caps: Caps, ends: Sequence[Ended]) -> LimitState:
    """Put the truth in the place of what was held for several requests, as :func:`settle` does."""
    since_us, until_us = 0, FOREVER_US
    for spend in state.spends:
        since_us, until_us = max(since_us, spend.start_us), min(until_us, spend.end_us)
    spent = freed = ZERO
    ended = overruns = 0
    for end in ends:
        (at_us, amount, _, running), cost, _ = end
        if caps.tokens_per_minute or not since_us <= at_us < until_us:
            state = settle(state, caps, *end)
            continue
        spent = _add(spent, cost)
        if amount is not None:
            freed = _add(freed, amount)
            if cost > amount and state.spends:
                overruns += 1
        if running:
            ended += 1
    return _move(state, spent=spent, reserved=_minus(freed), running=-ended, overruns=overruns)


def _move(
    state: LimitState, *, spent: Decimal, reserved: Decimal, running: int, overruns: int = 0
) -> LimitState:
    """Return a state after moves that all of its windows take part in, given by their sums."""
    return LimitState(
        tuple(
            [
                Spend(window, start_us, end_us, _add(before, spent), _add(held, reserved))
                for window, start_us, end_us, before, held in state.spends
            ]
        ),
        max(0, state.running + running),
        *state[2:5],
        state.overruns + overruns,
    )
