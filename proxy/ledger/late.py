"""What is added to sums of closed periods: it must not change them, nor be lost.

The sums move all the same, because they are those of the events. A copy of what was added waits
to be billed with the next period that closes. The functions run in a connection's thread.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from proxy.core.series import SeriesSum
from proxy.core.times import from_us, to_us
from proxy.core.usage import Metric
from proxy.ledger.periods import LateSum
from proxy.ledger.slots import QUARTER_US

_LATE = (
    "SELECT l.id, l.quarter, (SELECT number FROM closed_periods WHERE id = l.billed_in), g.id,"
    " g.plan, e.metric, e.type, e.model, e.model_requested, e.service_tier, e.context_class,"
    " e.source, l.quantity FROM late_sums AS l"
    " JOIN series AS e ON e.id = l.series_id JOIN segments AS g ON g.id = e.segment_id"
    " WHERE l.subscription_id = ?"
)
_FIRST_EVENT = (
    f"SELECT e.seq, e.subscription_id, e.series_id, e.occurred_at_us / {QUARTER_US}"  # noqa: S608
    " FROM requests AS r JOIN events AS e ON e.subscription_id = r.subscription_id"
    " AND e.request_id = r.id WHERE r.id = ? ORDER BY e.n LIMIT 1"
)


def note_late(connection: sqlite3.Connection, quarters_: Mapping[tuple[int, int], int]) -> None:
    """Keep a copy of what is being added to sums of closed periods, (series, quarter) by quantity.

    The sums themselves move all the same: they are those of the events. One look at the latest
    closing tells that nothing is late, as nearly always.
    """
    (latest_us,) = connection.execute(
        "SELECT value FROM meta WHERE name = 'closed_through_us'"
    ).fetchone()
    for (series_id, quarter), quantity in quarters_.items():
        if quarter * QUARTER_US < latest_us:
            connection.execute(
                "INSERT INTO late_sums (subscription_id, series_id, quarter, quantity)"
                " SELECT g.subscription_id, e.id, ?, ? FROM series AS e"
                " JOIN segments AS g ON g.id = e.segment_id WHERE e.id = ? AND ? <"
                " (SELECT max(ends_at_us) FROM closed_periods"
                " WHERE subscription_id = g.subscription_id)",
                (quarter, quantity, series_id, quarter * QUARTER_US),
            )


def read_closed_through(connection: sqlite3.Connection, subscription_id: int) -> datetime | None:
    """Return the end of a subscription's last closed period."""
    (through_us,) = connection.execute(
        "SELECT max(ends_at_us) FROM closed_periods WHERE subscription_id = ?", (subscription_id,)
    ).fetchone()
    return None if through_us is None else from_us(through_us)


def read_late(connection: sqlite3.Connection, subscription_id: int) -> list[LateSum]:
    """Read what came late and is not billed yet, in the order in which it came."""
    rows = connection.execute(f"{_LATE} AND l.billed_in IS NULL ORDER BY l.id", (subscription_id,))
    return [_late(row) for row in rows]


def read_late_within(
    connection: sqlite3.Connection, subscription_id: int, start: datetime, end: datetime
) -> list[LateSum]:
    """Read what came late for ``[start, end)``, billed or not, in the order in which it came."""
    rows = connection.execute(
        f"{_LATE} AND l.quarter >= ? AND l.quarter < ? ORDER BY l.id",
        (subscription_id, to_us(start) // QUARTER_US, to_us(end) // QUARTER_US),
    )
    return [_late(row) for row in rows]


def read_late_of(connection: sqlite3.Connection, request_id: int) -> int | None:
    """Return which late sum a request's usage is in, by its id; None: it came in time.

    Sums name no requests. But in one series and quarter hour, nothing comes in time any more once
    anything came late: so the last events there are those that were late, in the order in which
    that was noted. A request comes late as a whole; its first event tells for it.
    """
    event = connection.execute(_FIRST_EVENT, (request_id,)).fetchone()
    if event is None:
        return None
    seq, subscription_id, series_id, quarter = event
    noted = connection.execute(
        "SELECT id, quantity FROM late_sums WHERE subscription_id = ? AND quarter = ?"
        " AND series_id = ? ORDER BY id DESC",
        (subscription_id, quarter, series_id),
    ).fetchall()
    if not noted:
        return None
    (later,) = connection.execute(
        "SELECT coalesce(sum(quantity), 0) FROM events WHERE subscription_id = ? AND series_id = ?"
        " AND seq > ? AND occurred_at_us >= ? AND occurred_at_us < ?",
        (subscription_id, series_id, seq, quarter * QUARTER_US, (quarter + 1) * QUARTER_US),
    ).fetchone()
    for number, quantity in noted:
        later -= quantity
        if later < 0:
            return int(number)
    return None


def series_sum(window: int, row: Sequence[Any]) -> SeriesSum:
    """Make a sum of a row: segment, plan, metric, type, models, tier, class, source, quantity."""
    segment_id, plan, metric, kind, model, requested, tier, context, source, quantity = row
    return SeriesSum(
        window=window,
        segment_id=segment_id,
        plan=plan,
        metric=Metric(metric),
        type=kind,
        model=model,
        model_requested=requested,
        service_tier=tier,
        context_class=context,
        source=source,
        quantity=quantity,
    )


def _late(row: Sequence[Any]) -> LateSum:
    number, quarter, billed_in, *values = row
    return LateSum(
        id=number,
        at=from_us(quarter * QUARTER_US),
        sum=series_sum(0, values),
        billed_in=billed_in,
    )
