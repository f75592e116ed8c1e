"""What an edit of prices does to periods that are still open."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from proxy.billing.books import BookShelf
from proxy.billing.spans import period_at
from proxy.core.book import PriceBook
from proxy.core.money import ZERO, decimal_text, half_up, minor_digits, total
from proxy.core.rating import rate, windows
from proxy.core.series import SeriesSum

PAGE = 50
MOST_SUBSCRIPTIONS = 1_000
"""So many are rated twice; of more, it is said that there are more."""
PAUSE_S = 0.005
"""Between two subscriptions: requests come first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repricing:
    """How an edit moved open periods: ``change`` is the exact sum over ``changed`` subscriptions.

    ``complete`` is False where there were more subscriptions than were looked at.
    """

    looked_at: int
    changed: int
    change: Decimal
    currency: str
    complete: bool

    def __str__(self) -> str:
        """Say it in a sentence."""
        digits = minor_digits(self.currency)
        amount = decimal_text(half_up(abs(self.change), digits), digits)
        sign = "-" if self.change < 0 else "+"
        seen = f"{self.looked_at:,}" if self.complete else f"the first {self.looked_at:,}"
        return (
            f"the open period of {self.changed:,} of {seen} subscriptions changed by "
            f"{self.currency} {sign}{amount}"
        )


async def reprice(shelf: BookShelf, old: PriceBook, new: PriceBook, now: datetime) -> Repricing:
    """Rate open periods by two books; bounded work, in threads, with pauses."""
    looked_at = changed = 0
    changes: list[Decimal] = []
    after = ""
    while looked_at < MOST_SUBSCRIPTIONS:
        page = await shelf.ledger.activity(after=after, limit=PAGE)
        for activity in page:
            looked_at += 1
            if activity.first is None:
                continue
            subscription = activity.subscription
            period = period_at(new, subscription, now, activity.through)
            bounds = sorted({*windows(old, period), *windows(new, period)})
            standing = await shelf.ledger.standing(subscription.external_id, bounds)
            sums = standing.sums if standing is not None else ()
            change = await asyncio.to_thread(_change, old, new, sums, bounds)
            if change:
                changed += 1
                changes.append(change)
            await asyncio.sleep(PAUSE_S)
        if len(page) < PAGE:
            break
        after = page[-1].subscription.external_id
    return Repricing(
        looked_at=looked_at,
        changed=changed,
        change=total(changes),
        currency=new.currency,
        complete=looked_at < MOST_SUBSCRIPTIONS,
    )


def _change(
    old: PriceBook, new: PriceBook, sums: Sequence[SeriesSum], bounds: Sequence[datetime]
) -> Decimal:
    before, after = (
        total([line.amount for line in rate(book, sums, bounds) if line.amount is not None])
        for book in (old, new)
    )
    return total([after, before.copy_negate()]) if after != before else ZERO
