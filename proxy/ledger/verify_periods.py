"""Whether closed periods are what their sums were, and what came late is noted as such."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import Any

from proxy.ledger.maintenance import snapshot
from proxy.ledger.slots import QUARTER_US

_SERIES = (
    "SELECT s.id FROM series AS s WHERE s.segment_id = ? AND s.metric = ? AND s.type = ?"
    " AND s.model = ? AND s.model_requested = ? AND s.service_tier = ? AND s.context_class = ?"
    " AND s.source = ?"
)
_KEPT = (
    "SELECT q.series_id, sum(q.quantity) FROM segments AS g"
    " CROSS JOIN series AS s ON s.segment_id = g.id"
    " CROSS JOIN sums_quarter AS q ON q.series_id = s.id AND q.quarter >= ? AND q.quarter < ?"
    " WHERE g.subscription_id = ? GROUP BY 1"
)
_LATE = (
    "SELECT series_id, sum(quantity) FROM late_sums WHERE quarter >= ? AND quarter < ?"
    " AND subscription_id = ? GROUP BY 1"
)
Found = Iterator[tuple[str, str, object, object] | None]


def period_differences(connection: sqlite3.Connection, page: int) -> Found:
    """Yield (what, where, kept, derived) for each difference, None for each period looked at."""
    del page
    last = 0
    while True:
        with snapshot(connection):
            row = connection.execute(
                "SELECT id, number, subscription_id, starts_at_us, ends_at_us, amount,"
                " precise_amount, sums, invoice FROM closed_periods WHERE id > ? ORDER BY id",
                (last,),
            ).fetchone()
            if row is None:
                return
            found = [*_totals(row), *_sums(connection, row)]
        yield None
        if row[0] != last + 1:
            yield "closed period", row[1], f"id {row[0]}", f"id {last + 1}: numbers have no gaps"
        last = row[0]
        yield from found


def _totals(row: tuple[Any, ...]) -> Found:
    _, number, _, _, _, amount, precise, _, text = row
    invoice = json.loads(text)
    total = invoice["total"]
    pairs = (
        ("number", number, invoice["number"]),
        ("amount", amount, total["amount"]),
        ("precise amount", precise, total["precise_amount"]),
    )
    for what, kept, should in pairs:
        if kept != should:
            yield "closed period", f"{number} {what}", kept, should


def _sums(connection: sqlite3.Connection, row: tuple[Any, ...]) -> Found:
    _, number, subscription_id, start_us, end_us, _, _, text, _ = row
    billed: Counter[int] = Counter()
    for _, segment_id, _, metric, kind, *others, quantity in json.loads(text):
        series = connection.execute(_SERIES, (segment_id, metric, kind, *others)).fetchone()
        billed[series[0] if series else 0] += quantity
    slots = (start_us // QUARTER_US, end_us // QUARTER_US, subscription_id)
    late = Counter(dict(connection.execute(_LATE, slots).fetchall()))
    kept = Counter(dict(connection.execute(_KEPT, slots).fetchall()))
    for series_id in sorted(kept.keys() | billed.keys() | late.keys()):
        should = billed[series_id] + late[series_id]
        if kept[series_id] != should:
            yield "closed period", f"{number} series {series_id}", kept[series_id], should
