"""Which period of a subscription is meant, and which one closes next; pure."""

from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from proxy.core.book import PriceBook
from proxy.core.periods import Period, midnight, period_before, period_of
from proxy.core.plans import BillingTime
from proxy.core.subscriptions import Subscription
from proxy.errors import BadRequestError, NotFoundError
from proxy.ledger.periods import Activity

_MOMENT = timedelta(microseconds=1)
Found = TypeVar("Found")


def period_at(
    book: PriceBook, subscription: Subscription, moment: datetime, through: datetime | None = None
) -> Period:
    """Return the billing period of a subscription that holds a moment.

    ``through`` is the end of its last closed period: where the timezone or the plan's billing
    time changed since, the next period begins there, so that periods never overlap.
    """
    return _from(period_of(*_terms(book, subscription, moment)), through)


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
    current = period_of(*_terms(book, subscription, present(now, through)))
    anchor = _anchor(book, subscription)
    before = period_before(current, anchor)
    return _from(before if before.end > through else current, through)


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
            first = date.fromisoformat(f"{text}-01")
            following = date(first.year + first.month // 12, first.month % 12 + 1, 1)
            return midnight(following, timezone) - _MOMENT
        return midnight(date.fromisoformat(text), timezone)
    except (ValueError, OverflowError):
        raise BadRequestError(
            f"{text!r} is no period: write a month such as 2026-10, or a day in it such as "
            "2026-10-31.",
            param="period",
        ) from None


def _terms(
    book: PriceBook, subscription: Subscription, moment: datetime
) -> tuple[datetime, str, datetime | None]:
    return moment, subscription.customer.timezone, _anchor(book, subscription)


def _anchor(book: PriceBook, subscription: Subscription) -> datetime | None:
    anniversary = book.plan(subscription.plan).billing_time is BillingTime.ANNIVERSARY
    return subscription.started_at.astimezone(UTC) if anniversary else None


def _from(period: Period, through: datetime | None) -> Period:
    if through is None or through <= period.start or through >= period.end:
        return period
    return Period(start=through, end=period.end, timezone=period.timezone)
