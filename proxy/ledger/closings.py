"""Closed periods in SQLite: what they are made from, and their making.

The functions run in a connection's thread; :func:`close_period` within a transaction of the
caller's.
"""

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from proxy.core.periods import Period, utc_text
from proxy.core.series import SeriesSum
from proxy.core.subscriptions import Subscription
from proxy.core.times import from_us, to_us
from proxy.errors import ConflictError, NotFoundError
from proxy.ledger.late import read_closed_through, read_late, series_sum
from proxy.ledger.periods import Activity, ClosedPeriod, Closing, PeriodSums
from proxy.ledger.rows import read_book, read_subscription, read_subscriptions
from proxy.ledger.slots import QUARTER_US
from proxy.ledger.standing import quarters, read_sums

_DIMENSIONS = (
    "segment_id", "plan", "metric", "type", "model", "model_requested", "service_tier",
    "context_class", "source", "quantity",
)  # fmt: skip
_CLOSED = (
    "SELECT p.id, p.number, s.external_id, p.starts_at_us, p.ends_at_us, p.timezone,"
    " p.closed_at_us, p.book_sequence, p.book_sha256, p.currency, p.amount, p.precise_amount,"
    " p.sums, p.invoice FROM closed_periods AS p"
    " JOIN subscriptions AS s ON s.id = p.subscription_id"
)


def read_period(
    connection: sqlite3.Connection, external_id: str, windows: Sequence[datetime]
) -> PeriodSums | None:
    """Read what an invoice of the windows is made from, as of one moment."""
    bounds = quarters(windows)
    connection.execute("BEGIN")
    try:
        return _period(connection, external_id, bounds)
    finally:
        connection.execute("COMMIT")


def _period(
    connection: sqlite3.Connection, external_id: str, bounds: Sequence[int]
) -> PeriodSums | None:
    # The plan is that of the period's last moment: a later one is on no line of its invoice.
    last_us = bounds[-1] * QUARTER_US - 1
    subscription = read_subscription(connection, external_id, last_us)
    if subscription is None:
        return None
    (unsettled,) = connection.execute(
        "SELECT count(*) FROM requests WHERE settled_at_us IS NULL AND subscription_id = ?"
        " AND opened_at_us < ?",
        (subscription.id, bounds[-1] * QUARTER_US),
    ).fetchone()
    return PeriodSums(
        subscription=subscription,
        sums=read_sums(connection, subscription.id, bounds),
        late=read_late(connection, subscription.id),
        unsettled=unsettled,
    )


def read_closed_periods(
    connection: sqlite3.Connection, external_id: str | None
) -> list[ClosedPeriod]:
    """Read the closed periods of one subscription, or all, in the order of their numbers."""
    where, values = ("WHERE s.external_id = ?", (external_id,)) if external_id else ("", ())
    return [_closed(row) for row in connection.execute(f"{_CLOSED} {where} ORDER BY p.id", values)]


def read_closed_period(
    connection: sqlite3.Connection, external_id: str, at: datetime
) -> ClosedPeriod | None:
    """Read the first closed period that ends after a moment: the one that settled that time."""
    row = connection.execute(
        f"{_CLOSED} WHERE s.external_id = ? AND p.ends_at_us > ? ORDER BY p.ends_at_us LIMIT 1",
        (external_id, to_us(at)),
    ).fetchone()
    return None if row is None else _closed(row)


def read_activity(
    connection: sqlite3.Connection, after: str, limit: int, now_us: int
) -> list[Activity]:
    """Read where the next ``limit`` subscriptions by external id stand."""
    found = read_subscriptions(connection, now_us, after=after, limit=limit)
    return [_activity(connection, subscription) for subscription in found]


def read_activity_of(
    connection: sqlite3.Connection, external_id: str, now_us: int
) -> Activity | None:
    """Read where one subscription stands; None where there is none of that name."""
    subscription = read_subscription(connection, external_id, now_us)
    return None if subscription is None else _activity(connection, subscription)


def _activity(connection: sqlite3.Connection, subscription: Subscription) -> Activity:
    through = read_closed_through(connection, subscription.id)
    through_us = to_us(through) if through is not None else 0
    (quarter,) = connection.execute(
        "SELECT min((SELECT min(q.quarter) FROM sums_quarter AS q WHERE q.series_id = e.id"
        " AND q.quarter >= ?))"
        " FROM segments AS g CROSS JOIN series AS e ON e.segment_id = g.id"
        " WHERE g.subscription_id = ?",
        (through_us // QUARTER_US, subscription.id),
    ).fetchone()
    (opened_at_us,) = connection.execute(
        "SELECT min(opened_at_us) FROM requests WHERE settled_at_us IS NULL"
        " AND subscription_id = ? AND opened_at_us >= ?",
        (subscription.id, through_us),
    ).fetchone()
    late = connection.execute(
        "SELECT 1 FROM late_sums WHERE subscription_id = ? AND billed_in IS NULL",
        (subscription.id,),
    ).fetchone()
    known = [q for q in (quarter, opened_at_us and opened_at_us // QUARTER_US) if q is not None]
    return Activity(
        subscription=subscription,
        through=through,
        first=from_us(min(known) * QUARTER_US) if known else None,
        late=late is not None,
    )


def close_period(connection: sqlite3.Connection, closing: Closing, now_us: int) -> ClosedPeriod:
    """Close a period; one that is closed already is returned as it is.

    Raises :class:`ConflictError` where the facts are no longer what the invoice was made from.
    """
    facts, period = closing.facts, closing.period
    name = facts.subscription.external_id
    known = read_closed_period(connection, name, period.start)
    if known is not None:
        if known.period == period:
            return known
        msg = f"Subscription {name!r} is closed through {utc_text(known.period.end)} already."
        raise ConflictError(msg)
    book = read_book(connection)
    now = _period(connection, name, quarters(closing.bounds))
    if book is None or book.sequence != closing.book_sequence or now != facts or facts.unsettled:
        msg = f"The usage or the prices of subscription {name!r} moved meanwhile: close it again."
        raise ConflictError(msg)
    _insert(connection, closing, book.sha256, now_us)
    made = read_closed_period(connection, name, period.start)
    if made is None:
        msg = f"There is no subscription {name!r}."
        raise NotFoundError(msg)
    connection.executemany(
        "UPDATE late_sums SET billed_in = ? WHERE id = ?",
        [(made.id, late.id) for late in facts.late],
    )
    connection.execute(
        "UPDATE meta SET value = max(value, ?) WHERE name = 'closed_through_us'",
        (to_us(period.end),),
    )
    return made


def _insert(connection: sqlite3.Connection, closing: Closing, sha256: str, now_us: int) -> None:
    (number,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM closed_periods").fetchone()
    text = f"WB-{from_us(now_us):%Y}-{number:06d}"
    invoice = dict(closing.invoice) | {
        "number": text,
        "status": "final",
        "issued_at": utc_text(from_us(now_us).replace(microsecond=0)),
        "prices": {"sequence": closing.book_sequence, "sha256": sha256},
    }
    connection.execute(
        "INSERT INTO closed_periods (id, number, subscription_id, starts_at_us, ends_at_us,"
        " timezone, closed_at_us, book_sequence, book_sha256, currency, amount, precise_amount,"
        " sums, invoice) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            text,
            closing.facts.subscription.id,
            to_us(closing.period.start),
            to_us(closing.period.end),
            closing.period.timezone,
            now_us,
            closing.book_sequence,
            sha256,
            closing.currency,
            closing.amount,
            closing.precise_amount,
            json.dumps([_plain(row) for row in closing.facts.sums]),
            json.dumps(invoice, ensure_ascii=False),
        ),
    )


def _plain(row: SeriesSum) -> list[object]:
    return [row.window, *(getattr(row, name) for name in _DIMENSIONS)]


def _closed(row: Sequence[Any]) -> ClosedPeriod:
    number, text, name, start, end, timezone, closed, sequence, sha256, *money, sums, invoice = row
    currency, amount, precise = money
    return ClosedPeriod(
        id=number,
        number=text,
        subscription=name,
        period=Period(start=from_us(start), end=from_us(end), timezone=timezone),
        closed_at=from_us(closed),
        book_sequence=sequence,
        book_sha256=sha256,
        currency=currency,
        amount=amount,
        precise_amount=precise,
        sums=[series_sum(window, values) for window, *values in json.loads(sums)],
        invoice=json.loads(invoice),
    )
