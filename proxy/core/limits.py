"""Budgets and rate limits of one owner (a subscription or a key): what is admitted, what it costs.

An owner's :class:`LimitState` says what it has spent and what is reserved in each window of time,
how many of its requests run, and how full its two buckets are. :func:`admit` takes a request's
worst case out of it, :func:`settle` puts the truth in its place. Both return a new state; the
ledger keeps it, in the transaction that admits or settles the request.

A cost goes to the windows that hold the moment at which its request was accepted. Windows are the
billing period, the customer's local day, and all time.

Rates are buckets of one minute: full at first, refilled smoothly, kept as the time that what was
taken needs to come back (in µs, so that nothing is lost to rounding). Tokens are taken by an
estimate and put right by the settlement: a bucket may owe, and what it owes comes back first.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from proxy.core.money import EXACT, ZERO, decimal_text
from proxy.core.periods import midnight, period_of, utc_text, zone
from proxy.core.plans import Limits
from proxy.core.times import SECOND_US, from_us, to_us

MINUTE_US = 60_000_000
CLOCK_JUMP_US = 10_000_000
"""A decision so much earlier than the last one is by a clock that was set back."""
SOON_US = 250_000
"""When to ask again where something that runs must end first: nobody knows when it will."""
FOREVER_US = 1 << 62
QUOTA = "insufficient_quota"
RATE = "rate_limit_exceeded"
_add = EXACT.add
_subtract = EXACT.subtract


class Window(StrEnum):
    """The time over which a budget counts."""

    PERIOD = "period"
    DAY = "day"
    TOTAL = "total"


class Spend(NamedTuple):
    """What is spent and reserved in one window, ``[start_us, end_us)`` of Unix time.

    The order of members matters: the hot path takes it apart by position.
    """

    window: Window
    start_us: int
    end_us: int
    spent: Decimal = ZERO
    reserved: Decimal = ZERO


class LimitState(NamedTuple):
    """Where an owner stands. ``overruns`` counts settlements above their reservation of money.

    The levels are what was taken from the buckets, as the time it takes to come back, as of
    ``levels_at_us``. The order of members matters: the hot path slices it, and the ledger's rows
    are written from it.
    """

    spends: tuple[Spend, ...] = ()
    running: int = 0
    requests_level_us: int = 0
    tokens_level_us: int = 0
    levels_at_us: int = 0
    overruns: int = 0


class Need(NamedTuple):
    """What a request may take: the most it can cost, and about how many tokens."""

    amount: Decimal = ZERO
    tokens: int = 0


class Held(NamedTuple):
    """What the state holds for a request until it settles; taken apart by position."""

    opened_at_us: int
    amount: Decimal | None
    tokens: int
    running: bool


class Refused(NamedTuple):
    """Why a request is not admitted; ``retry_after_us`` is None where asking again is no use."""

    code: str
    message: str
    retry_after_us: int | None = None


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits as admission looks at them: ``spends`` are those of money, by window.

    ``each``: it looks at requests one by one, since more than money is limited.

    A request takes ``requests_us`` of its bucket, which holds ``requests_most_us``: a minute, and
    what rounding adds to it, so that a minute's requests fit at once.
    """

    limits: Limits
    spends: tuple[tuple[Window, Decimal], ...]
    rated: bool
    each: bool
    requests_us: int
    requests_most_us: int
    tokens_per_minute: int

    @classmethod
    def of(cls, limits: Limits) -> "Caps":
        """Prepare limits."""
        money = (
            (Window.PERIOD, limits.spend_per_period),
            (Window.DAY, limits.spend_per_day),
            (Window.TOTAL, limits.spend_total),
        )
        rate = limits.requests_per_minute or 0
        rated = bool(rate or limits.tokens_per_minute)
        take_us = -(-MINUTE_US // rate) if rate else 0
        return cls(
            limits=limits,
            spends=tuple((window, most) for window, most in money if most is not None),
            rated=rated,
            each=rated or limits.concurrent_requests is not None,
            requests_us=take_us,
            requests_most_us=take_us * rate,
            tokens_per_minute=limits.tokens_per_minute or 0,
        )


def window_at(
    window: Window, at_us: int, timezone: str, anchor: datetime | None = None
) -> tuple[int, int]:
    """Return ``[start, end)`` of the window that holds a moment, in µs of Unix time.

    Days and periods are local; ``anchor`` is the start of a subscription whose periods begin
    with it (:func:`proxy.core.periods.period_of`).
    """
    if window is Window.TOTAL:
        return 0, FOREVER_US
    at = from_us(at_us)
    if window is Window.PERIOD:
        period = period_of(at, timezone, anchor)
        return to_us(period.start), to_us(period.end)
    day = at.astimezone(zone(timezone)).date()
    return to_us(midnight(day, timezone)), to_us(midnight(day + timedelta(days=1), timezone))


def admit(
    state: LimitState, caps: Caps, need: Need, now_us: int, whose: str
) -> LimitState | Refused:
    """Take a request's worst case out of what is left, or say why it does not fit.

    ``state.spends`` hold the moment at which the request was accepted, and have every window that
    is limited. ``now_us`` is the moment of the decision, which may be much later: the rates go by
    it, or a request that came slowly would wind the buckets' time back. ``whose`` names the owner
    in the message.
    """
    refused = _refuse_spend(state, caps, need, whose) if caps.spends and need.amount else None
    most = caps.limits.concurrent_requests
    if refused is None and most is not None and state.running >= most:
        message = (
            f"{whose} has {state.running} requests running, and may have {most}. Wait until one "
            "of them has ended."
        )
        refused = Refused(RATE, message, SOON_US)
    if refused is not None:
        return refused
    requests_us, tokens_us, at_us = state[2:5]
    if caps.rated:
        requests_us, tokens_us, at_us = levels(state, now_us)
        tokens_us += tokens_time_us(caps, min(need.tokens, caps.tokens_per_minute))
        refused = _refuse_rate(caps, requests_us, tokens_us, whose)
        if refused is not None:
            return refused
        requests_us += caps.requests_us
    amount = need.amount
    spends = [
        Spend(window, start_us, end_us, spent, _add(reserved, amount))
        for window, start_us, end_us, spent, reserved in state.spends
    ]
    return LimitState(
        tuple(spends), state.running + 1, requests_us, tokens_us, at_us, state.overruns
    )


def settle(
    state: LimitState, caps: Caps, held: Held, cost: Decimal = ZERO, tokens: int = 0
) -> LimitState:
    """Put the truth in the place of what was held: money, tokens, and the running request.

    The truth is booked even where it is above the reservation. Nothing of it goes to windows
    that do not hold the moment at which the request was accepted.
    """
    at_us, amount, taken, running = held
    spends = [
        Spend(
            window,
            start_us,
            end_us,
            _add(spent, cost),
            reserved if amount is None else _subtract(reserved, amount),
        )
        if start_us <= at_us < end_us
        else Spend(window, start_us, end_us, spent, reserved)
        for window, start_us, end_us, spent, reserved in state.spends
    ]
    level_us = state.tokens_level_us
    if caps.tokens_per_minute:
        taken = min(taken, caps.tokens_per_minute)
        level_us += tokens_time_us(caps, tokens) - tokens_time_us(caps, taken)
    return LimitState(
        tuple(spends),
        max(0, state.running - 1) if running else state.running,
        state.requests_level_us,
        max(0, level_us),
        state.levels_at_us,
        state.overruns + (1 if amount is not None and cost > amount and state.spends else 0),
    )


def defer(state: LimitState) -> LimitState:
    """A request's answer has come and its usage will later: it runs no more, and holds on."""
    return state._replace(running=max(0, state.running - 1))


def count_in(state: LimitState) -> LimitState:
    """Count a request as running that was admitted when it was nobody's."""
    return state._replace(running=state.running + 1)


def tokens_time_us(caps: Caps, tokens: int) -> int:
    """Return how long so many tokens take to come back, rounded up; 0 without a limit."""
    rate = caps.tokens_per_minute
    return -(-tokens * MINUTE_US // rate) if rate else 0


def reset_text(spend: Spend) -> str:
    """Write when a window ends, in UTC."""
    return utc_text(from_us(spend.end_us))


def on_clock(state: LimitState, now_us: int) -> LimitState:
    """Return a state whose levels refill from now on, where the clock was set back.

    It is to be kept whether or not a request is admitted: those that are refused leave no trace,
    so full buckets would wait until the clock is where it was, which could take hours. ``now_us``
    is told by a clock, never by a request: those may be decided upon long after they came.
    """
    if state.levels_at_us - now_us > CLOCK_JUMP_US:
        return state._replace(levels_at_us=now_us)
    return state


def levels(state: LimitState, now_us: int) -> tuple[int, int, int]:
    """Return both levels as of now, and the moment to keep: time only ever refills."""
    requests_us, tokens_us, at_us = on_clock(state, now_us)[2:5]
    elapsed_us = now_us - at_us
    if elapsed_us < 0:
        return requests_us, tokens_us, at_us
    return max(0, requests_us - elapsed_us), max(0, tokens_us - elapsed_us), now_us


def _refuse_spend(state: LimitState, caps: Caps, need: Need, whose: str) -> Refused | None:
    """Refuse for good where what is spent leaves no room, for now where reservations do not."""
    waiting = None
    amount = need.amount
    for window, most in caps.spends:
        for spend in state.spends:
            if spend.window is not window:
                continue
            alone = _add(spend.spent, amount)
            if alone > most:
                return Refused(QUOTA, _no_room(spend, most, need, whose))
            if _add(alone, spend.reserved) > most:
                waiting = Refused(RATE, _reserved(spend, most, need, whose), SOON_US)
    return waiting


def _refuse_rate(caps: Caps, requests_us: int, tokens_us: int, whose: str) -> Refused | None:
    limits = caps.limits
    wait_us = requests_us + caps.requests_us - caps.requests_most_us
    if wait_us > 0:
        message = (
            f"{whose} may make {limits.requests_per_minute} requests a minute. "
            f"Try again in {_seconds(wait_us)} s."
        )
        return Refused(RATE, message, wait_us)
    wait_us = tokens_us - MINUTE_US
    if caps.tokens_per_minute and wait_us > 0:
        message = (
            f"{whose} may use {limits.tokens_per_minute} tokens a minute. "
            f"Try again in {_seconds(wait_us)} s."
        )
        return Refused(RATE, message, wait_us)
    return None


def _no_room(spend: Spend, most: Decimal, need: Need, whose: str) -> str:
    reset = "never resets"
    if spend.window is not Window.TOTAL:
        reset = f"resets at {reset_text(spend)}"
    return (
        f"{whose} has no room left in its budget: limit {decimal_text(most, 2)} "
        f"({_SPAN[spend.window]}), spent {decimal_text(spend.spent, 2)}, reserved "
        f"{decimal_text(spend.reserved, 2)}; this request may cost up to "
        f"{decimal_text(need.amount, 2)}. The budget {reset}. Send a smaller limit of output "
        "tokens, or ask the operator to raise the budget."
    )


def _reserved(spend: Spend, most: Decimal, need: Need, whose: str) -> str:
    return (
        f"{whose} has requests running that may use up its budget: limit "
        f"{decimal_text(most, 2)} ({_SPAN[spend.window]}), spent {decimal_text(spend.spent, 2)}, "
        f"reserved {decimal_text(spend.reserved, 2)}; this request may cost up to "
        f"{decimal_text(need.amount, 2)}. Try again when one of them has ended."
    )


_SPAN = {Window.PERIOD: "per period", Window.DAY: "per day", Window.TOTAL: "in total"}


def _seconds(wait_us: int) -> str:
    return f"{wait_us / SECOND_US:.3g}"
