"""What a unit of a series costs, remembered: budgets are moved by it, settlement by settlement."""

import sqlite3
from bisect import bisect_right
from datetime import UTC, datetime
from decimal import Decimal

from proxy.core.money import ZERO, exact, ratio
from proxy.core.rating import rate
from proxy.core.times import from_us, to_us
from proxy.ledger.late import series_sum
from proxy.ledger.limit_owners import LedgerBook

_REMEMBERED = 50_000
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)
_SERIES = (
    "SELECT x.segment_id, g.plan, x.metric, x.type, x.model, x.model_requested, x.service_tier,"
    " x.context_class, x.source, 1 FROM series AS x JOIN segments AS g ON g.id = x.segment_id"
    " WHERE x.id = ?"
)


class SeriesPrices:
    """Unit prices by series, as rating finds them in the book in force.

    What has no price costs nothing: zero. None: it depends on all that its pool has used.
    """

    def __init__(self, book: LedgerBook) -> None:
        self._book = book
        self._dates: list[int] = []
        self._known: list[dict[int, Decimal | None]] = []

    def forget(self) -> None:
        """Forget every price: the book may be another one."""
        self._known.clear()

    def known(self, at_us: int) -> dict[int, Decimal | None]:
        """Return what units cost at a moment, by series, as far as that is known.

        There is one for each time between two dates of the book. To look there first saves a
        call for each event.
        """
        if not self._known:
            boundaries = self._book.book.boundaries(_EARLIEST, _LATEST)
            self._dates = [to_us(date) for date in boundaries]
            self._known = [{} for _ in range(len(boundaries) + 1)]
        return self._known[bisect_right(self._dates, at_us)]

    def find(self, connection: sqlite3.Connection, series_id: int, at_us: int) -> Decimal | None:
        """Return what a unit of a series costs at a moment: as known, else by rating it."""
        known = self.known(at_us)
        if series_id in known:  # pooled, for who has looked before
            return known[series_id]
        if sum(map(len, self._known)) >= _REMEMBERED:
            self.forget()
        price = self.known(at_us)[series_id] = self._find(connection, series_id, at_us)
        return price

    def _find(self, connection: sqlite3.Connection, series_id: int, at_us: int) -> Decimal | None:
        row = connection.execute(_SERIES, (series_id,)).fetchone()
        lines = rate(self._book.book, [series_sum(0, row)], [from_us(at_us)])
        price = lines[0].price if lines else None
        if price is None:
            return ZERO
        if price.pooled or price.price is None:
            return None
        with exact():
            return ratio(price.price, price.package_size)
