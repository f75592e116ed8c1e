"""The ledger's verbs of billing on SQLite: books, periods, and their closing."""

from collections.abc import Callable, Sequence
from datetime import datetime

from proxy.core.rating import PricedRequest
from proxy.ledger import closings, rows
from proxy.ledger.connection import Reader
from proxy.ledger.late import read_late_of, read_late_within
from proxy.ledger.leading import LeadLock
from proxy.ledger.periods import Activity, ClosedPeriod, Closing, LateSum, PeriodSums
from proxy.ledger.port import AdoptedBook
from proxy.ledger.priced import read_priced_request
from proxy.ledger.writer import GroupWriter


class SqliteBilling:
    """A part of :class:`proxy.ledger.sqlite.SqliteLedger`, which has these members."""

    _clock: Callable[[], int]
    _reader: Reader
    _writer: GroupWriter
    _lead: LeadLock

    async def leads(self) -> bool:
        """Tell whether this worker is the one that does what only one may; it stays so."""
        return self._lead.take()

    async def book(self, sequence: int | None = None) -> AdoptedBook | None:
        """Return the price book in force, or the one with this sequence number."""
        return await self._reader.read(lambda db: rows.read_book(db, sequence))

    async def used_plans(self) -> Sequence[str]:
        """Return the plans that anything was used on."""
        return await self._reader.read(rows.read_used_plans)

    async def priced_request(self, request_id: int) -> Sequence[PricedRequest]:
        """Return what rating needs to know of a request: one for each place its events are in."""
        return await self._reader.read(lambda db: read_priced_request(db, request_id))

    async def period_sums(self, external_id: str, windows: Sequence[datetime]) -> PeriodSums | None:
        """Return what an invoice of the windows is made from."""
        return await self._reader.read(lambda db: closings.read_period(db, external_id, windows))

    async def late_within(
        self, subscription_id: int, start: datetime, end: datetime
    ) -> Sequence[LateSum]:
        """Return what came late for ``[start, end)``, billed or not, as it came."""
        return await self._reader.read(lambda db: read_late_within(db, subscription_id, start, end))

    async def late_of(self, request_id: int) -> int | None:
        """Return the id of the late sum that a request's usage is in; None: it came in time."""
        return await self._reader.read(lambda db: read_late_of(db, request_id))

    async def close_period(self, closing: Closing) -> ClosedPeriod:
        """Close a period, once; ConflictError if it is no longer what the invoice says."""
        now_us = self._clock()
        return await self._writer.change(lambda db: closings.close_period(db, closing, now_us))

    async def closed_periods(self, external_id: str | None = None) -> Sequence[ClosedPeriod]:
        """Return the closed periods of one subscription, or all, in the order of their numbers."""
        return await self._reader.read(lambda db: closings.read_closed_periods(db, external_id))

    async def closed_period(self, external_id: str, at: datetime) -> ClosedPeriod | None:
        """Return the first closed period of a subscription that ends after a moment."""
        return await self._reader.read(lambda db: closings.read_closed_period(db, external_id, at))

    async def activity(self, *, after: str = "", limit: int = 200) -> Sequence[Activity]:
        """Return where the next subscriptions by external id stand, for closing."""
        now_us = self._clock()
        return await self._reader.read(lambda db: closings.read_activity(db, after, limit, now_us))

    async def activity_of(self, external_id: str) -> Activity | None:
        """Return where one subscription stands, for closing."""
        now_us = self._clock()
        return await self._reader.read(
            lambda db: closings.read_activity_of(db, external_id, now_us)
        )
