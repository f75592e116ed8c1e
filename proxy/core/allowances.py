"""What clients are told of their limits: rates that are left, and budgets that warn."""

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from proxy.core.limits import MINUTE_US, Caps, LimitState, Spend, Window, levels
from proxy.core.money import EXACT, ONE, ZERO

_multiply = EXACT.multiply


class Rate(NamedTuple):
    """One bucket as a client may know it; it is full again in ``reset_us``."""

    limit: int
    remaining: int
    reset_us: int


class Allowance(NamedTuple):
    """What an admitted (or refused) client is told; ``used`` is the budget's part, if it warns."""

    requests: Rate | None = None
    tokens: Rate | None = None
    used: Decimal | None = None


class Crossing(NamedTuple):
    """A soft threshold, or the limit itself (1), that a settlement crossed."""

    window: Window
    threshold: Decimal
    used: Decimal


def allowance(state: LimitState, caps: Caps, now_us: int) -> Allowance:
    """Say what is left of the rates, and what part of a budget is used where it warns."""
    requests_us, tokens_us, _ = levels(state, now_us)
    limits = caps.limits
    used = part_used(state, caps) if limits.soft_thresholds else None
    return Allowance(
        _rate(limits.requests_per_minute, requests_us, caps.requests_most_us),
        _rate(limits.tokens_per_minute, tokens_us, MINUTE_US),
        used if used is not None and used >= limits.soft_thresholds[0] else None,
    )


def tighter(one: Allowance, two: Allowance) -> Allowance:
    """Join the allowances of a key and its subscription: of each kind the one with less left."""
    warned = [used for used in (one.used, two.used) if used is not None]
    return Allowance(
        _less(one.requests, two.requests),
        _less(one.tokens, two.tokens),
        max(warned) if warned else None,
    )


def part_used(state: LimitState, caps: Caps) -> Decimal | None:
    """Return the largest part of any budget that is spent (0.83: 83 %); None without budgets."""
    parts = [
        _part(spend.spent, most)
        for window, most in caps.spends
        for spend in state.spends
        if spend.window is window
    ]
    return max(parts, default=None)


def crossings(before: LimitState, after: LimitState, caps: Caps) -> Iterator[Crossing]:
    """Yield the soft thresholds, and limits, that what is spent has reached since ``before``."""
    thresholds = (*caps.limits.soft_thresholds, ONE)
    for window, most in caps.spends:
        for spend in after.spends:
            if spend.window is not window:
                continue
            was = _spent_before(before, spend)
            for threshold in thresholds:
                if was < _multiply(threshold, most) <= spend.spent:
                    yield Crossing(window, threshold, _part(spend.spent, most))


def _spent_before(before: LimitState, now: Spend) -> Decimal:
    """Return what was spent in the same window before; nothing, if it has just begun."""
    for window, start_us, _, spent, _ in before.spends:
        if window is now.window and start_us == now.start_us:
            return spent
    return ZERO


def _rate(limit: int | None, level_us: int, most_us: int) -> Rate | None:
    if limit is None:
        return None
    return Rate(limit, max(0, most_us - level_us) * limit // most_us, level_us)


def _less(one: Rate | None, two: Rate | None) -> Rate | None:
    if one is None or two is None:
        return one or two
    return min(one, two, key=lambda rate: rate.remaining)


def _part(spent: Decimal, most: Decimal) -> Decimal:
    return EXACT.divide(spent, most) if most else Decimal(1)
