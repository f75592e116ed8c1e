"""A subscription's usage over windows of time, read from days and edge quarters alone."""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from proxy.core.series import SeriesSum
from proxy.core.times import to_us
from proxy.errors import BadRequestError
from proxy.ledger.late import read_closed_through, read_late, series_sum
from proxy.ledger.port import Standing
from proxy.ledger.rows import read_subscription
from proxy.ledger.slots import QUARTER_US, QUARTERS_A_DAY

_SUMS = (
    "SELECT * FROM (SELECT e.segment_id, g.plan, e.metric, e.type, e.model, e.model_requested,"
    " e.service_tier, e.context_class, e.source,"
    " (SELECT sum(quantity) FROM ({parts})) AS quantity"
    " FROM segments AS g CROSS JOIN series AS e ON e.segment_id = g.id"
    " WHERE g.subscription_id = ? ORDER BY e.id) WHERE quantity IS NOT NULL"
)
_PART = "SELECT quantity FROM {table} WHERE series_id = e.id AND {slot} >= ? AND {slot} < ?"
_DAYS = _PART.format(table="sums_day", slot="day")
_QUARTERS = _PART.format(table="sums_quarter", slot="quarter")


def read_standing(
    connection: sqlite3.Connection, external_id: str, windows: Sequence[datetime], now_us: int
) -> Standing | None:
    """Read sums and what is running as of one moment; None where there is no subscription."""
    bounds = quarters(windows)
    connection.execute("BEGIN")
    try:
        subscription = read_subscription(connection, external_id, now_us)
        if subscription is None:
            return None
        sums = read_sums(connection, subscription.id, bounds)
        running = dict(_running(connection, subscription.id, bounds))
        late = read_late(connection, subscription.id)
        through = read_closed_through(connection, subscription.id)
    finally:
        connection.execute("COMMIT")
    return Standing(
        subscription=subscription,
        sums=sums,
        open=running.get("open", 0),
        deferred=running.get("deferred", 0),
        late=late,
        closed_through=through,
    )


def read_sums(
    connection: sqlite3.Connection, subscription_id: int, bounds: Sequence[int]
) -> list[SeriesSum]:
    """Sum a subscription's series between each two neighbours of ``bounds``, in quarter hours."""
    return [
        sum_
        for window, (start, end) in enumerate(pairwise(bounds))
        for sum_ in _sums(connection, subscription_id, window, (start, end))
    ]


def quarters(windows: Sequence[datetime]) -> list[int]:
    """Return the bounds in quarter hours; they must ascend and be on one."""
    bounds = []
    for moment in windows:
        quarter, rest = divmod(to_us(moment), QUARTER_US)
        if rest:
            msg = f"{moment.isoformat()} is not on a quarter hour: sums are kept by quarters."
            raise BadRequestError(msg)
        bounds.append(quarter)
    if any(start > end for start, end in pairwise(bounds)):
        msg = "The windows' bounds must be in order."
        raise BadRequestError(msg)
    return bounds


def parts(start: int, end: int) -> Iterator[tuple[bool, int, int]]:
    """Split ``[start, end)`` of quarters into (whole days?, from, to): edges stay quarters."""
    first_day = -(-start // QUARTERS_A_DAY)
    last_day = end // QUARTERS_A_DAY
    if first_day >= last_day:
        if start < end:
            yield False, start, end
        return
    if start < first_day * QUARTERS_A_DAY:
        yield False, start, first_day * QUARTERS_A_DAY
    yield True, first_day, last_day
    if last_day * QUARTERS_A_DAY < end:
        yield False, last_day * QUARTERS_A_DAY, end


def _sums(
    connection: sqlite3.Connection, subscription_id: int, window: int, bounds: tuple[int, int]
) -> Iterator[SeriesSum]:
    texts: list[str] = []
    parameters: list[int] = []
    for whole_days, start, end in parts(*bounds):
        texts.append(_DAYS if whole_days else _QUARTERS)
        parameters += (start, end)
    if not texts:
        return
    statement = _SUMS.format(parts=" UNION ALL ".join(texts))
    for row in connection.execute(statement, (*parameters, subscription_id)):
        yield series_sum(window, row)


def _running(
    connection: sqlite3.Connection, subscription_id: int, bounds: Sequence[int]
) -> Iterator[tuple[str, int]]:
    """Count what is open and deferred of the requests accepted within the bounds."""
    if not bounds:
        return iter(())
    return connection.execute(
        "SELECT state, count(*) FROM requests WHERE settled_at_us IS NULL AND subscription_id = ?"
        " AND opened_at_us >= ? AND opened_at_us < ? GROUP BY state",
        (subscription_id, bounds[0] * QUARTER_US, bounds[-1] * QUARTER_US),
    )
