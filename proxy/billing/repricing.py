"""What an edit of prices does to periods that are not closed: the open one, and any before it."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from proxy.billing.books import BookShelf
from proxy.billing.spans import period_at
from proxy.core.book import PriceBook
from proxy.core.money import ZERO, decimal_text, half_up, minor_digits, total
from proxy.core.periods import Period, utc_text
from proxy.core.rating import rate, windows
from proxy.core.series import SeriesSum
from proxy.ledger.periods import Activity
from proxy.ledger.port import Ledger
from proxy.pricing import diff

PAGE = 50
MOST_SUBSCRIPTIONS = 1_000
"""So many are rated twice; of more, it is said that there are more."""
MOST_ENDS = 3
"""Ends of periods that are named; of more, it is said that there are later ones."""
PAUSE_S = 0.005
"""Between two periods: requests come first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repricing:
    """How an edit moved open periods: ``change`` is the exact sum over ``changed`` subscriptions.

    ``ended_change`` is the part of it in periods that have ended and are not closed yet: those of
    them that changed end at ``ended``. ``complete`` is False where there were more subscriptions
    than were looked at.
    """

    looked_at: int
    changed: int
    change: Decimal
    currency: str
    complete: bool
    ended: tuple[datetime, ...] = ()
    ended_change: Decimal = ZERO

    def __str__(self) -> str:
        """Say it in a sentence."""
        seen = f"{self.looked_at:,}" if self.complete else f"the first {self.looked_at:,}"
        text = (
            f"the open period of {self.changed:,} of {seen} subscriptions changed by "
            f"{self._amount(self.change)}"
        )
        if not self.ended:
            return text
        ends = ", ".join(utc_text(end) for end in self.ended[:MOST_ENDS])
        more = " and later" if len(self.ended) > MOST_ENDS else ""
        return (
            f"{text}, {self._amount(self.ended_change)} of it in periods that have ended and are "
            f"not closed yet (through {ends}{more})"
        )

    def _amount(self, change: Decimal) -> str:
        digits = minor_digits(self.currency)
        sign = "-" if change < 0 else "+"
        return f"{self.currency} {sign}{decimal_text(half_up(abs(change), digits), digits)}"


async def changes_between(ledger: Ledger, old: PriceBook, new: PriceBook) -> list[str]:
    """Return what an edit changes, in words; of a plan that it removes, for how many."""
    on_plan = None
    if old.plans.keys() - new.plans.keys():
        on_plan = Counter(
            each.plan for each in await ledger.subscriptions() if each.ended_at is None
        )
    return await asyncio.to_thread(diff, old, new, on_plan)


async def reprice(shelf: BookShelf, old: PriceBook, new: PriceBook, now: datetime) -> Repricing:
    """Rate periods that are not closed by two books; bounded work, in threads, with pauses."""
    looked_at = changed = 0
    changes: list[tuple[Period, Decimal]] = []
    after = ""
    while looked_at < MOST_SUBSCRIPTIONS:
        page = await shelf.ledger.activity(after=after, limit=PAGE)
        for activity in page:
            looked_at += 1
            found = await _changes(shelf, (old, new), activity, now)
            changed += bool(found)
            changes += found
        if len(page) < PAGE:
            break
        after = page[-1].subscription.external_id
    ended = [(period, change) for period, change in changes if period.end <= now]
    return Repricing(
        looked_at=looked_at,
        changed=changed,
        change=total([change for _, change in changes]),
        currency=new.currency,
        complete=looked_at < MOST_SUBSCRIPTIONS,
        ended=tuple(sorted({period.end for period, _ in ended})),
        ended_change=total([change for _, change in ended]),
    )


async def _changes(
    shelf: BookShelf, books: tuple[PriceBook, PriceBook], activity: Activity, now: datetime
) -> list[tuple[Period, Decimal]]:
    """Return the periods of a subscription that changed: from the first that is not closed."""
    if activity.first is None:
        return []
    subscription = activity.subscription
    changes = []
    period = period_at(books[1], subscription, activity.first, activity.through)
    last = max(now, activity.first)
    while period.start <= last:
        bounds = sorted({bound for book in books for bound in windows(book, period)})
        standing = await shelf.ledger.standing(subscription.external_id, bounds)
        sums = standing.sums if standing is not None else ()
        change = await asyncio.to_thread(_change, *books, sums, bounds)
        if change:
            changes.append((period, change))
        period = period_at(books[1], subscription, period.end, activity.through)
        await asyncio.sleep(PAUSE_S)
    return changes


def _change(
    old: PriceBook, new: PriceBook, sums: Sequence[SeriesSum], bounds: Sequence[datetime]
) -> Decimal:
    before, after = (
        total([line.amount for line in rate(book, sums, bounds) if line.amount is not None])
        for book in (old, new)
    )
    return total([after, before.copy_negate()]) if after != before else ZERO
