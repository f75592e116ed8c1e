"""Which period of a subscription is meant, and which one closes next; pure."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TypeVar

from proxy.core.book import PriceBook
from proxy.core.periods import Period, midnight, period_of
from proxy.core.plans import BillingTime
from proxy.core.subscriptions import Subscription
from proxy.errors import BadRequestError, NotFoundError
from proxy.ledger.periods import Activity

_MOMENT = timedelta(microseconds=1)
_YEARS = range(1970, 9999)
"""Years that periods are asked for: the calendar must not end before the period does."""
Found = TypeVar("Found")


def period_at(
    book: PriceBook, subscription: Subscription, moment: datetime, through: datetime | None = None
) -> Period:
    """Return the billing period of a subscription that holds a moment.

    Each period is drawn by the billing time of the plan at its beginning: another plan moves no
    boundary of the running period, or usage would be split, and free units and tiers begin anew,
    in periods of which nobody knew. Where the billing time changes, a shorter period lies between.

    ``through`` is the end of its last closed period: where the timezone changed since, the next
    period begins there, so that periods never overlap.
    """
    timezone = subscription.customer.timezone
    start = through if through is not None and through <= moment else None
    earlier, anchor = _anchors(book, subscription)
    for until, before in earlier:
        if start is not None and start >= until:
            continue
        # The last period that begins on these terms.
        last = _from(period_of(until - _MOMENT, timezone, before), start)
        if moment < last.end:
            return _from(period_of(moment, timezone, before), start)
        start = last.end
    return _from(period_of(moment, timezone, anchor), start)


def present(now: datetime, through: datetime | None) -> datetime:
    """Return the moment that the open period holds: now, but never in what is closed.

    Where a clock was ahead, a period may be closed that has not ended. It stays closed: what is
    used in it all the same is late, and goes with the period after it.
    """
    return now if through is None else max(now, through)


def next_to_close(book: PriceBook, activity: Activity, now: datetime) -> Period | None:
    """Return the period that is closed next, ended or not; None: there is nothing to bill.

    Periods without usage are left out. What came late is billed with the next usage; where there
    is none, with the last period that has ended.
    """
    subscription, through = activity.subscription, activity.through
    if activity.first is not None:
        return period_at(book, subscription, activity.first, through)
    if not activity.late or through is None:
        return None
    current = period_at(book, subscription, present(now, through), through)
    if current.start <= through:
        return current
    return period_at(book, subscription, current.start - _MOMENT, through)


def required(found: Found | None, subscription: str) -> Found:
    """Return what was found of a subscription; NotFoundError where there is no such one."""
    if found is None:
        raise NotFoundError(
            f"There is no subscription {subscription!r}: 'weighbridge subscriptions list' shows "
            "those that are."
        )
    return found


def moment_of(text: str, timezone: str) -> datetime:
    """Read ``2026-10`` (its last moment: the period that begins or lies there) or a date.

    Errors: BadRequestError.
    """
    try:
        if len(text) == len("2026-10"):
            first = _day(f"{text}-01")
            following = date(first.year + first.month // 12, first.month % 12 + 1, 1)
            return midnight(following, timezone) - _MOMENT
        return midnight(_day(text), timezone)
    except ValueError:
        raise BadRequestError(
            f"{text!r} is no period: write a month such as 2026-10, or a day in it such as "
            "2026-10-31.",
            param="period",
        ) from None


def _day(text: str) -> date:
    """Read a day that has whole periods around it; ValueError for any other."""
    day = date.fromisoformat(text)
    if day.year not in _YEARS:
        msg = f"nothing was used in {day.year}"
        raise ValueError(msg)
    return day


def _anchors(
    book: PriceBook, subscription: Subscription
) -> tuple[list[tuple[datetime, datetime | None]], datetime | None]:
    """Return the anchors by which periods were drawn, each with its end, and the one since then.

    An anchor's end is that of the beginnings of its periods. There is none before the last, unless
    the plans' billing times differ.
    """
    plans = subscription.plans or ((subscription.started_at, subscription.plan),)
    anchors = [(since, _anchor(book, subscription, plan)) for since, plan in plans]
    earlier = [
        (until, before)
        for (_, before), (until, following) in pairwise(anchors)
        if before != following
    ]
    return earlier, anchors[-1][1]


def _anchor(book: PriceBook, subscription: Subscription, plan: str) -> datetime | None:
    anniversary = book.plan(plan).billing_time is BillingTime.ANNIVERSARY
    return subscription.started_at.astimezone(UTC) if anniversary else None


def _from(period: Period, through: datetime | None) -> Period:
    if through is None or through <= period.start or through >= period.end:
        return period
    return Period(start=through, end=period.end, timezone=period.timezone)
