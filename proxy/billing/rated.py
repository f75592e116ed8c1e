"""Periods that are not closed, rated by the book in force."""

from collections.abc import Sequence
from datetime import datetime

from proxy.billing.adjusting import adjustments_of
from proxy.billing.books import BookShelf
from proxy.billing.spans import next_to_close, period_at, present
from proxy.core.adjustments import Adjustment
from proxy.core.book import PriceBook
from proxy.core.periods import Period
from proxy.core.rating import windows
from proxy.core.report import CurrentUsage, current_usage
from proxy.core.subscriptions import Subscription
from proxy.ledger.periods import LateSum, PeriodSums


async def usage_now(
    shelf: BookShelf, book: PriceBook, subscription: str, now: datetime
) -> CurrentUsage | None:
    """Return a subscription's current usage, rated; None: no such subscription."""
    holder = await shelf.ledger.subscription(subscription)
    if holder is None:
        return None
    period = period_at(book, holder, now)
    bounds = windows(book, period)
    standing = await shelf.ledger.standing(subscription, bounds)
    if standing is None:
        return None
    through = standing.closed_through
    if through is not None and through > period.start:
        period = period_at(book, holder, present(now, through), through)
        bounds = windows(book, period)
        standing = await shelf.ledger.standing(subscription, bounds) or standing
    return current_usage(
        book,
        subscription=standing.subscription,
        period=period,
        bounds=bounds,
        sums=standing.sums,
        open_requests=standing.open,
        deferred_requests=standing.deferred,
        adjustments=await charged_in(
            shelf, book, (standing.subscription, standing.late), period, now
        ),
    )


async def charged_in(
    shelf: BookShelf,
    book: PriceBook,
    known: tuple[Subscription, Sequence[LateSum]],
    period: Period,
    now: datetime,
) -> tuple[Adjustment, ...]:
    """Return the adjustments that a period charges: if it is the next to close, all that wait."""
    subscription, late = known
    if not late:
        return ()
    activity = await shelf.ledger.activity_of(subscription.external_id)
    if activity is None or next_to_close(book, activity, now) != period:
        return ()
    return await adjustments_of(shelf, subscription, late)


async def usage_of(
    shelf: BookShelf, book: PriceBook, period: Period, facts: PeriodSums
) -> CurrentUsage:
    """Rate a period from what an invoice of it is made from; all that came late is charged."""
    return current_usage(
        book,
        subscription=facts.subscription,
        period=period,
        bounds=windows(book, period),
        sums=facts.sums,
        open_requests=facts.unsettled,
        adjustments=await adjustments_of(shelf, facts.subscription, facts.late),
    )
