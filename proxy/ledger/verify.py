"""``weighbridge verify``: whether everything that is kept as a figure follows from the events.

Works beside writers. Every look is a short snapshot: the events are added up page by page, in
the order in which they came to be known, and each page of kept sums is compared after the few
events that came meanwhile were added in the same snapshot. Memory is that of the sums.
"""

# ruff: noqa: S608 - texts are made of constants, values are bound

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from proxy.core.periods import utc_text
from proxy.core.times import from_us
from proxy.ledger.maintenance import snapshot
from proxy.ledger.slots import QUARTER_US, QUARTERS_A_DAY
from proxy.ledger.verify_limits import limit_differences
from proxy.ledger.verify_objects import object_differences
from proxy.ledger.verify_periods import period_differences
from proxy.ledger.verify_requests import request_differences

PAGE = 5_000
Slot = tuple[int, int]
"""series, quarter hour"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A figure that is not what it follows from; ``kept`` and ``derived`` as text."""

    what: str
    where: str
    kept: str
    derived: str

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.what}: {self.where}: kept {self.kept}, should be {self.derived}"


@dataclass(slots=True, kw_only=True)
class Verified:
    """How much was looked at."""

    events: int = 0
    sums: int = 0
    requests: int = 0
    objects: int = 0
    closed_periods: int = 0
    limits: int = 0


def verify(connection: sqlite3.Connection, looked_at: Verified) -> Iterator[Difference]:
    """Yield all differences; ``looked_at`` counts along."""
    derived = _EventSums(looked_at)
    yield from derived.read_all(connection)
    yield from _quarters(connection, derived, looked_at)
    yield from _days(connection, looked_at)
    for find, count in _FURTHER:
        yield from _as_differences(find(connection, PAGE), looked_at, count)


_FURTHER = (
    (request_differences, "requests"),
    (object_differences, "objects"),
    (period_differences, "closed_periods"),
    (limit_differences, "limits"),
)


def _as_differences(
    found: Iterable[tuple[str, str, object, object] | None], looked_at: Verified, count: str
) -> Iterator[Difference]:
    """Count what was looked at (None: it was as it should be) and pass on what differs."""
    for difference in found:
        if difference is None:
            setattr(looked_at, count, getattr(looked_at, count) + 1)
        else:
            what, where, kept, derived = difference
            yield Difference(what=what, where=where, kept=str(kept), derived=str(derived))


class _EventSums:
    """The sums by (series, quarter) of all events up to ``seq``."""

    def __init__(self, looked_at: Verified) -> None:
        self.sums: dict[Slot, int] = {}
        self._looked_at = looked_at
        self._seq = 0

    def read_all(self, connection: sqlite3.Connection) -> Iterator[Difference]:
        """Add the events up in short snapshots; yield those that belong to nothing."""
        more = True
        while more:
            with snapshot(connection):
                before = self._seq
                more = self._read_page(connection)
                strays = list(_strays(connection, before, self._seq))
            yield from strays

    def catch_up(self, connection: sqlite3.Connection) -> None:
        """Add what came meanwhile, within the caller's snapshot."""
        while self._read_page(connection):
            pass

    def _read_page(self, connection: sqlite3.Connection) -> bool:
        rows = connection.execute(
            "SELECT seq, series_id, occurred_at_us, quantity FROM events WHERE seq > ?"
            " ORDER BY seq LIMIT ?",
            (self._seq, PAGE),
        ).fetchall()
        for seq, series_id, occurred_at_us, quantity in rows:
            slot = series_id, occurred_at_us // QUARTER_US
            self.sums[slot] = self.sums.get(slot, 0) + quantity
            self._seq = seq
        self._looked_at.events += len(rows)
        return len(rows) == PAGE


def _strays(connection: sqlite3.Connection, after: int, last: int) -> Iterator[Difference]:
    rows = connection.execute(
        "SELECT e.seq, e.request_id, e.n, r.id IS NULL FROM events AS e"
        " LEFT JOIN requests AS r ON r.id = e.request_id"
        " JOIN series AS s ON s.id = e.series_id JOIN segments AS g ON g.id = s.segment_id"
        " WHERE e.seq > ? AND e.seq <= ? AND (g.subscription_id <> e.subscription_id"
        " OR (e.transaction_id IS NULL AND r.subscription_id IS NOT e.subscription_id))",
        (after, last),
    )
    for seq, request_id, n, missing in rows:
        kept = "no request" if missing else "another subscription's"
        where = f"event {request_id}.{n} (number {seq})"
        yield Difference(what="event", where=where, kept=kept, derived="its request's")


def _quarters(
    connection: sqlite3.Connection, derived: _EventSums, looked_at: Verified
) -> Iterator[Difference]:
    seen: set[Slot] = set()
    after: Slot = (-1, -1)
    rows: list[tuple[int, int, int, int]] = [(0, 0, 0, 0)]
    while rows:
        with snapshot(connection):
            derived.catch_up(connection)
            rows = connection.execute(
                "SELECT q.series_id, q.quarter, q.quantity, d.day IS NULL FROM sums_quarter AS q"
                " LEFT JOIN sums_day AS d ON d.series_id = q.series_id"
                f" AND d.day = q.quarter / {QUARTERS_A_DAY} WHERE (q.series_id, q.quarter) > (?, ?)"
                " ORDER BY q.series_id, q.quarter LIMIT ?",
                (*after, PAGE),
            ).fetchall()
            wrong = [
                (what, series_id, quarter, kept, should)
                for series_id, quarter, kept, dayless in rows
                for what, kept, should in _compare(derived, (series_id, quarter), kept, dayless)
                if not _pruned(connection, series_id, quarter) or what == "day"
            ]
        for series_id, quarter, _, _ in rows:
            seen.add((series_id, quarter))
            after = series_id, quarter
        looked_at.sums += len(rows)
        for what, series_id, quarter, kept, should in wrong:
            yield _difference(connection, what, (series_id, quarter * QUARTER_US), (kept, should))
    yield from _unkept(connection, derived, seen)


def _compare(
    derived: _EventSums, slot: Slot, kept: int, dayless: int
) -> Iterator[tuple[str, int, int]]:
    should = derived.sums.get(slot, 0)
    if should != kept:
        yield "quarter", kept, should
    if dayless:
        yield "day", 0, kept


def _unkept(
    connection: sqlite3.Connection, derived: _EventSums, seen: set[Slot]
) -> Iterator[Difference]:
    """Events whose quarter has no sum, at least none when its page was read."""
    with snapshot(connection):
        derived.catch_up(connection)
        missing = []
        for series_id, quarter in sorted(derived.sums.keys() - seen):
            row = connection.execute(
                "SELECT quantity FROM sums_quarter WHERE series_id = ? AND quarter = ?",
                (series_id, quarter),
            ).fetchone()
            should, kept = derived.sums[series_id, quarter], row[0] if row else 0
            if kept != should:
                missing.append((series_id, quarter, kept, should))
    for series_id, quarter, kept, should in missing:
        yield _difference(connection, "quarter", (series_id, quarter * QUARTER_US), (kept, should))


def _pruned(connection: sqlite3.Connection, series_id: int, quarter: int) -> bool:
    """Whether the events of a sum were pruned: the closed period answers for it then."""
    row = connection.execute(
        "SELECT 1 FROM series AS s JOIN segments AS g ON g.id = s.segment_id"
        " JOIN prunings AS p ON p.subscription_id = g.subscription_id"
        " WHERE s.id = ? AND p.through_us > ?",
        (series_id, quarter * QUARTER_US),
    ).fetchone()
    return row is not None


def _days(connection: sqlite3.Connection, looked_at: Verified) -> Iterator[Difference]:
    after = (-1, -1)
    while True:
        with snapshot(connection):
            rows = connection.execute(
                "SELECT d.series_id, d.day, d.quantity, coalesce((SELECT sum(q.quantity)"
                " FROM sums_quarter AS q WHERE q.series_id = d.series_id"
                f" AND q.quarter >= d.day * {QUARTERS_A_DAY}"
                f" AND q.quarter < (d.day + 1) * {QUARTERS_A_DAY}), 0) FROM sums_day AS d"
                " WHERE (d.series_id, d.day) > (?, ?) ORDER BY d.series_id, d.day LIMIT ?",
                (*after, PAGE),
            ).fetchall()
        if not rows:
            return
        for series_id, day, kept, should in rows:
            after = series_id, day
            if kept != should:
                at_us = day * QUARTERS_A_DAY * QUARTER_US
                yield _difference(connection, "day", (series_id, at_us), (kept, should))
        looked_at.sums += len(rows)


def _difference(
    connection: sqlite3.Connection, what: str, place: tuple[int, int], figures: tuple[int, int]
) -> Difference:
    """Say where in words; ``place`` is a series and a time in µs, ``figures`` kept and derived."""
    (series_id, at_us), (kept, should) = place, figures
    row = connection.execute(
        "SELECT u.external_id, s.metric, s.type, s.model, s.source FROM series AS s"
        " JOIN segments AS g ON g.id = s.segment_id"
        " JOIN subscriptions AS u ON u.id = g.subscription_id WHERE s.id = ?",
        (series_id,),
    ).fetchone()
    name = " ".join(word for word in row if word) if row else "of no subscription"
    where = f"series {series_id} ({name}) at {utc_text(from_us(at_us))}"
    return Difference(what=what, where=where, kept=str(kept), derived=str(should))
