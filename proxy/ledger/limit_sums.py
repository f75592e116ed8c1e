"""What limits have spent and reserved, derived from sums and from the requests that still run.

It is derived when an owner is first limited, when a window begins, and when prices, timezone or
the day on which its periods begin change: what is then kept moves by what settles, and where that
has free units, packages or tiers, what is spent is rated anew. The functions run in a connection's
thread, within a transaction of its own or the caller's.
"""

# ruff: noqa: S608 - texts are made of constants, values are bound

import sqlite3
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise

from proxy.core.book import PriceBook
from proxy.core.limits import FOREVER_US, LimitState, Spend, Window, window_at
from proxy.core.money import EXACT, ZERO, total
from proxy.core.periods import Period, period_of
from proxy.core.rating import rate, windows
from proxy.core.series import SeriesSum
from proxy.core.times import from_us
from proxy.ledger.late import series_sum
from proxy.ledger.limit_owners import LimitedOwner
from proxy.ledger.slots import QUARTER_US, QUARTERS_A_DAY
from proxy.ledger.standing import quarters, read_sums

_OF_EVENTS = (
    f"SELECT e.series_id, e.occurred_at_us / {QUARTER_US} AS quarter, sum(e.quantity) AS quantity"
    " FROM events AS e JOIN requests AS r ON r.id = e.request_id"
    " WHERE e.subscription_id = ? AND r.key_id = ? GROUP BY 1, 2"
)
_KEY_SUMS = (
    "SELECT x.segment_id, g.plan, x.metric, x.type, x.model, x.model_requested, x.service_tier,"
    " x.context_class, x.source, sum(t.quantity) FROM ({source}) AS t"
    " JOIN series AS x ON x.id = t.series_id JOIN segments AS g ON g.id = x.segment_id"
    " WHERE t.quarter >= ? AND t.quarter < ? GROUP BY x.id ORDER BY x.id"
)
_KEPT = "SELECT series_id, quarter, quantity FROM sums_key_quarter WHERE key_id = ?"
_RESERVED = (
    "SELECT opened_at_us, reserved, state FROM requests WHERE settled_at_us IS NULL"
    " AND subscription_id = ?"
)
_DAYS_OF = (
    "SELECT min(d.day), max(d.day) FROM segments AS g JOIN series AS x ON x.segment_id = g.id"
    " JOIN sums_day AS d ON d.series_id = x.id WHERE g.subscription_id = ?"
)


KEEP_PRUNED = (
    "INSERT INTO sums_key_quarter (key_id, series_id, quarter, quantity)"
    f" SELECT -r.key_id, e.series_id, e.occurred_at_us / {QUARTER_US}, e.quantity"
    " FROM events AS e JOIN requests AS r ON r.id = e.request_id"
    " WHERE e.seq = ? AND r.key_id IS NOT NULL"
    " ON CONFLICT (key_id, series_id, quarter)"
    " DO UPDATE SET quantity = quantity + excluded.quantity"
)
"""Keeps what an event that is about to be pruned says of its key, limited or not: whatever limit
is set later, it counts. It is kept under the negative of the key's number, and stays."""


def key_sums(owner: LimitedOwner) -> tuple[str, tuple[int | None, ...]]:
    """Return a query for a key's sums and its values: what was pruned, and what its events say.

    It may have several rows for one series and quarter hour.
    """
    pruned = None if owner.key_id is None else -owner.key_id
    values = pruned, owner.subscription_id, owner.key_id
    return f"{_KEPT} UNION ALL {_OF_EVENTS}", values


def keep_key_sums(connection: sqlite3.Connection, owner: LimitedOwner) -> None:
    """Begin to keep a key's own sums: all that is known of it so far."""
    source, values = key_sums(owner)
    connection.execute("DELETE FROM sums_key_quarter WHERE key_id = ?", (owner.key_id,))
    connection.execute(
        f"INSERT INTO sums_key_quarter (key_id, series_id, quarter, quantity)"
        f" SELECT ?, series_id, quarter, sum(quantity) FROM ({source}) GROUP BY 2, 3",
        (owner.key_id, *values),
    )


class Derivation:
    """Derives an owner's figures; ``kept``: a key's own sums are there to be read."""

    def __init__(
        self, connection: sqlite3.Connection, book: PriceBook, owner: LimitedOwner, *, kept: bool
    ) -> None:
        self._connection = connection
        self._book = book
        self._owner = owner
        self._kept = kept
        self._open: list[tuple[int, str | None, str]] | None = None

    def spend(self, window: Window, at_us: int) -> Spend:
        """Return what is spent and reserved in the window that holds a moment."""
        owner = self._owner
        start_us, end_us = window_at(window, at_us, owner.timezone, owner.anchor)
        spent, reserved = self.spent(start_us, end_us), self.reserved(start_us, end_us)
        return Spend(window, start_us, end_us, spent, reserved)

    def reserved(self, start_us: int, end_us: int) -> Decimal:
        """Add up what the requests hold that were accepted between two moments and run on."""
        return total(
            [
                Decimal(amount)
                for opened_at_us, amount, _ in self._unsettled()
                if amount is not None and start_us <= opened_at_us < end_us
            ]
        )

    def running(self) -> int:
        """Count the requests that run."""
        return sum(state == "open" for _, _, state in self._unsettled())

    def spent(self, start_us: int, end_us: int) -> Decimal:
        """Rate what was used between two moments: each billing period by itself."""
        whole = ZERO
        for period in self._periods(start_us, end_us):
            bounds = windows(self._book, period)
            lines = rate(self._book, self._sums(quarters(bounds)), bounds)
            whole = EXACT.add(whole, total([line.amount for line in lines if line.amount]))
        return whole

    def _periods(self, start_us: int, end_us: int) -> Iterator[Period]:
        owner = self._owner
        if end_us < FOREVER_US:
            start, end = from_us(start_us), from_us(end_us)
            yield Period(start=start, end=end, timezone=owner.timezone)
            return
        first, last = self._used()
        if first is None or last is None:
            return
        period = period_of(from_us(first * QUARTER_US), owner.timezone, owner.anchor)
        end = from_us((last + 1) * QUARTER_US)
        while period.start < end:
            yield period
            period = period_of(period.end, owner.timezone, owner.anchor)

    def _used(self) -> tuple[int | None, int | None]:
        """Return the first and the last quarter hour that may have usage."""
        owner = self._owner
        if owner.key_id is None:
            row = self._connection.execute(_DAYS_OF, (owner.subscription_id,)).fetchone()
            first, last = row
            return first and first * QUARTERS_A_DAY, last and (last + 1) * QUARTERS_A_DAY - 1
        source, values = self._key_source()
        text = f"SELECT min(quarter), max(quarter) FROM ({source})"
        first, last = self._connection.execute(text, values).fetchone()
        return first, last

    def _sums(self, bounds: Sequence[int]) -> list[SeriesSum]:
        if self._owner.key_id is None:
            return read_sums(self._connection, self._owner.subscription_id, bounds)
        source, values = self._key_source()
        text = _KEY_SUMS.format(source=source)
        return [
            series_sum(window, row)
            for window, slots in enumerate(pairwise(bounds))
            for row in self._connection.execute(text, (*values, *slots))
        ]

    def _key_source(self) -> tuple[str, tuple[int | None, ...]]:
        owner = self._owner
        if self._kept:
            return _KEPT, (owner.key_id,)
        return key_sums(owner)

    def _unsettled(self) -> list[tuple[int, str | None, str]]:
        if self._open is None:
            text, values = _RESERVED, [self._owner.subscription_id]
            if self._owner.key_id is not None:
                text, values = f"{text} AND key_id = ?", [*values, self._owner.key_id]
            self._open = self._connection.execute(text, values).fetchall()
        return self._open


def derive(
    derivation: Derivation, state: LimitState, wanted: Sequence[Window], at_us: int
) -> LimitState:
    """Return a state whose windows are derived as of a moment; its levels stay as they are."""
    return LimitState(
        tuple(derivation.spend(window, at_us) for window in wanted),
        derivation.running(),
        *state[2:],
    )
