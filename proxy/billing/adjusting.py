"""What came late for closed periods, priced as those were."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from proxy.billing.books import BookShelf
from proxy.billing.spans import period_at
from proxy.core.adjustments import Adjustment, adjusted_lines
from proxy.core.book import PriceBook
from proxy.core.periods import Period
from proxy.core.rating import windows
from proxy.core.series import SeriesSum
from proxy.core.subscriptions import Subscription
from proxy.ledger.periods import ClosedPeriod, LateSum
from proxy.ledger.port import Ledger


async def adjustments_of(
    shelf: BookShelf, subscription: Subscription, late: Sequence[LateSum]
) -> tuple[Adjustment, ...]:
    """Return what late sums add to the closed periods that they belong to."""
    grouped: defaultdict[tuple[str, Period], list[LateSum]] = defaultdict(list)
    closed: dict[str, ClosedPeriod] = {}
    for item in late:
        found = await _settled_by(shelf.ledger, subscription, item.at, closed)
        if found is None:  # not closed, so not late: it is in the sums of its own period
            continue
        book = await shelf.of(found.book_sequence)
        period, _ = settled_period(book, subscription, found, item.at)
        grouped[found.number, period].append(item)
    return tuple(
        [
            await _adjustment(shelf, subscription, closed[number], period, items)
            for (number, period), items in grouped.items()
        ]
    )


def settled_period(
    book: PriceBook, subscription: Subscription, closed: ClosedPeriod, at: datetime
) -> tuple[Period, Sequence[SeriesSum]]:
    """Return the period that holds a moment, and what of it was known when ``closed`` was made.

    ``closed`` is the first that ends after the moment, ``book`` the one that it was closed with.
    """
    if at in closed.period:
        return closed.period, closed.sums
    # Nothing was known of this time when the next period was closed: a pool of its own.
    return period_at(book, subscription, at), ()


async def _settled_by(
    ledger: Ledger, subscription: Subscription, at: datetime, closed: dict[str, ClosedPeriod]
) -> ClosedPeriod | None:
    for known in closed.values():
        if at in known.period:
            return known
    found = await ledger.closed_period(subscription.external_id, at)
    if found is not None:
        closed[found.number] = found
    return found


async def _adjustment(
    shelf: BookShelf,
    subscription: Subscription,
    closed: ClosedPeriod,
    period: Period,
    late: Sequence[LateSum],
) -> Adjustment:
    book = await shelf.of(closed.book_sequence)
    known = await shelf.ledger.late_within(subscription.id, period.start, period.end)
    return adjustment(book, closed, period, [each for each in known if each.billed_in], late)


def adjustment(
    book: PriceBook,
    closed: ClosedPeriod,
    period: Period,
    before: Sequence[LateSum],
    late: Sequence[LateSum],
) -> Adjustment:
    """Return what late sums add to a period, beyond its own and those that were late ``before``.

    ``closed`` is the invoice that settled the period, or, where nothing of it was known, the next.
    """
    bounds = windows(book, period)
    found = windowed(late, bounds)
    billed = [*(closed.sums if period == closed.period else ()), *windowed(before, bounds)]
    return Adjustment(
        number=closed.number,
        period=period,
        lines=adjusted_lines(book, bounds, billed, found),
        late=tuple(found),
    )


def windowed(late: Sequence[LateSum], bounds: Sequence[datetime]) -> list[SeriesSum]:
    """Return late sums, each in the window that it is in."""
    return [
        replace(item.sum, window=max(0, min(bisect_right(bounds, item.at), len(bounds) - 1) - 1))
        for item in late
    ]
