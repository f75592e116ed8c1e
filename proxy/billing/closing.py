"""Closing periods: once, after their end and the grace time, when nothing in them still runs."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from proxy.billing.books import BookShelf, Edition
from proxy.billing.rated import usage_of
from proxy.billing.spans import next_to_close, required
from proxy.core.invoices import invoice, render_invoice
from proxy.core.periods import Period
from proxy.core.rating import windows
from proxy.errors import ConflictError
from proxy.ledger.periods import Activity, ClosedPeriod, Closing

PAGE = 20
"""Subscriptions looked at in one read: reading must not keep usage reports waiting."""
ATTEMPTS = 3
"""Usage or prices may move between reading and closing; then it is read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a period that is due: closed, or why not."""

    subscription: str
    period: Period
    closed: ClosedPeriod | None = None
    reason: str = ""


class Closer:
    """Closes what is due by the book in force; ``pause_s`` leaves room for others in between."""

    def __init__(self, shelf: BookShelf, grace_s: float, pause_s: float = 0.0) -> None:
        self._pause_s = pause_s
        self._ledger = shelf.ledger
        self._shelf = shelf
        self._grace = timedelta(seconds=grace_s)

    async def close_due(
        self, now: datetime, *, only: str | None = None, through: datetime | None = None
    ) -> AsyncIterator[Outcome]:
        """Close every period that is due; yield one outcome for each as it comes.

        ``only`` names one subscription; ``through`` leaves out periods that end later.

        Errors: NotFoundError for a subscription that is not there; LedgerUnavailableError.
        """
        latest = now - self._grace
        if through is not None:
            latest = min(latest, through)
        async for activity in self._standings(only):
            known: Activity | None = activity
            while known is not None:
                edition = await self._shelf.in_force()
                period = next_to_close(edition.book, known, now)
                if period is None or period.end > latest:
                    break
                outcome = await self._close(known, period, edition)
                yield outcome
                if outcome.closed is None:
                    break
                known = await self._ledger.activity_of(activity.subscription.external_id)

    async def _standings(self, only: str | None) -> AsyncIterator[Activity]:
        if only is not None:
            yield required(await self._ledger.activity_of(only), only)
            return
        after = ""
        while page := await self._ledger.activity(after=after, limit=PAGE):
            for activity in page:
                yield activity
            after = page[-1].subscription.external_id
            await asyncio.sleep(self._pause_s)

    async def _close(self, activity: Activity, period: Period, edition: Edition) -> Outcome:
        name = activity.subscription.external_id
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                closed, reason = await self._try(name, period, edition)
            except ConflictError as error:
                reason = error.message
                edition = await self._shelf.in_force()
                continue
            return Outcome(subscription=name, period=period, closed=closed, reason=reason)
        return Outcome(subscription=name, period=period, reason=reason)

    async def _try(
        self, name: str, period: Period, edition: Edition
    ) -> tuple[ClosedPeriod | None, str]:
        bounds = windows(edition.book, period)
        facts = required(await self._ledger.period_sums(name, bounds), name)
        if facts.unsettled:
            return None, f"{facts.unsettled} requests that were accepted before its end still run"
        usage = await usage_of(self._shelf, edition.book, period, facts)
        rendered = render_invoice(invoice(usage))
        closing = Closing(
            period=period,
            bounds=bounds,
            facts=facts,
            book_sequence=edition.sequence,
            currency=usage.currency,
            amount=rendered["total"]["amount"],
            precise_amount=rendered["total"]["precise_amount"],
            invoice=rendered,
        )
        return await self._ledger.close_period(closing), ""
