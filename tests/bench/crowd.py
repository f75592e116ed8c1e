"""A ledger with ten thousand subscriptions and ten million events, written past the program.

The first subscription (the bench's own) is busy in every quarter hour of 31 days with five models;
the others have 252 requests each, over as many days. Every request has four events: three token
types and itself. Sums are those of the events, as the ledger keeps them. Almost empty, it has one
subscription, with one request of each of the five models: the same answer, from nothing.
"""

# ruff: noqa: S608 - texts are made of constants, values are bound

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from proxy.clock import now

SUBSCRIPTIONS = 10_000
DAYS = 31
MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "o1", "gpt-4")
_SLOTS = 63
"""Quarter hours in which each of the others is busy: two a day, and one more."""
_REQUESTS_EACH = 4 * _SLOTS
_ROOM = 100_000
"""Request ids of each subscription; the first has 14,880 requests."""
_QUARTER_US = 900_000_000

# Of the others: request r of 252 is on day r / 8, in one of its two quarters after 10:00; the
# four requests of a quarter are of one model. Of the first: five models in every quarter.
_OTHERS = f"""
    SELECT s.i AS subscription, r.i AS request, (r.i / 4) % 5 AS model,
           (:day + r.i / 8) * 96 + 40 + (r.i % 8) / 4 AS quarter
    FROM numbers AS s CROSS JOIN numbers AS r
    WHERE s.i BETWEEN 2 AND :subscriptions AND r.i < {_REQUESTS_EACH}
"""
_FIRST = """
    SELECT 1 AS subscription, r.i AS request, r.i % 5 AS model, :day * 96 + r.i / 5 AS quarter
    FROM numbers AS r WHERE r.i < :quarters * 5
"""
_PARTS = """
    WITH parts (n, metric, type, quantity) AS (VALUES (0, 'requests', 'exact', 1),
        (1, 'tokens', 'input', 1000), (2, 'tokens', 'cached_input', 1000),
        (3, 'tokens', 'output', 1000))
"""
_SERIES_ID = ":series + subscription * 20 + model * 4 + n"


def fill(database: Path, *, subscriptions: int = SUBSCRIPTIONS, quarters: int = DAYS * 96) -> int:
    """Fill a ledger whose only subscription is the bench's own; return the number of events.

    That one is then the first of so many ``subscriptions``, and busy in so many ``quarters``.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        # Nothing else has it open, and a half-filled ledger is thrown away.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        connection.execute("BEGIN")
        _fill(connection, now(), subscriptions, quarters)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
        (events,) = connection.execute("SELECT max(seq) FROM events").fetchone()
    return int(events)


def _fill(connection: sqlite3.Connection, at: datetime, subscriptions: int, quarters: int) -> None:
    month = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    (series,) = connection.execute("SELECT coalesce(max(id), 0) FROM series").fetchone()
    values = {
        "day": int(month.timestamp()) // 86_400,
        "series": series + 1_000,
        "subscriptions": subscriptions,
        "quarters": quarters,
    }
    connection.execute("CREATE TEMP TABLE numbers (i INTEGER PRIMARY KEY)")
    connection.execute(
        "INSERT INTO numbers WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n"
        f" WHERE i < {DAYS * 96 * 5}) SELECT i FROM n"
    )
    connection.execute("CREATE TEMP TABLE models (i INTEGER PRIMARY KEY, name TEXT)")
    connection.executemany("INSERT INTO models VALUES (?, ?)", enumerate(MODELS))
    _fill_subscriptions(connection, values)
    for requests in (_FIRST, _OTHERS):
        _fill_requests(connection, requests, values)
    _fill_sums(connection, values)


def _fill_subscriptions(connection: sqlite3.Connection, values: dict[str, int]) -> None:
    others = "FROM numbers WHERE i BETWEEN 2 AND :subscriptions"
    connection.execute(
        "INSERT INTO customers (id, external_id, currency, timezone, created_at_us)"
        f" SELECT i, 'customer-' || i, 'USD', 'UTC', 0 {others}",
        values,
    )
    connection.execute(
        "INSERT INTO subscriptions (id, external_id, customer_id, started_at_us)"
        f" SELECT i, 'customer-' || i, i, 0 {others}",
        values,
    )
    connection.execute(
        "INSERT INTO segments (id, subscription_id, plan, starts_at_us)"
        f" SELECT i, i, 'default', 0 {others}",
        values,
    )
    connection.execute(
        f"INSERT INTO series (id, segment_id, metric, type, model, model_requested, service_tier,"
        f" context_class, source) {_PARTS} SELECT {_SERIES_ID}, subscription, metric, type, name,"
        " name, 'default', '', 'exact' FROM (SELECT s.i AS subscription, m.i AS model, m.name,"
        " p.n, p.metric, p.type FROM numbers AS s CROSS JOIN models AS m CROSS JOIN parts AS p"
        " WHERE s.i BETWEEN 1 AND :subscriptions)",
        values,
    )


def _fill_requests(connection: sqlite3.Connection, requests: str, values: dict[str, int]) -> None:
    connection.execute(
        "INSERT INTO requests (id, subscription_id, segment_id, opened_at_us, settled_at_us, state,"
        " endpoint, model_requested, model, upstream_status, service_tier, context_class)"
        f" SELECT subscription * {_ROOM} + request, subscription, subscription,"
        f" quarter * {_QUARTER_US}, quarter * {_QUARTER_US} + 1000000, 'exact',"
        f" 'chat.completions', name, name, 200, 'default', '' FROM ({requests})"
        " JOIN models ON i = model",
        values,
    )
    connection.execute(
        "INSERT INTO events (subscription_id, request_id, n, series_id, occurred_at_us, quantity)"
        f" {_PARTS} SELECT subscription, subscription * {_ROOM} + request, n, {_SERIES_ID},"
        f" quarter * {_QUARTER_US}, quantity FROM ({requests}) CROSS JOIN parts",
        values,
    )


def _fill_sums(connection: sqlite3.Connection, values: dict[str, int]) -> None:
    """Sum by series in their order; slot k of the others is the quarter of four requests."""
    others = (
        "SELECT s.i AS subscription, m.i AS model, p.n, k.i AS slot, p.quantity * 4 AS quantity"
        " FROM numbers AS s CROSS JOIN models AS m CROSS JOIN parts AS p CROSS JOIN numbers AS k"
        f" WHERE s.i BETWEEN 2 AND :subscriptions AND k.i < {_SLOTS} AND k.i % 5 = m.i"
    )
    first = (
        "SELECT 1 AS subscription, m.i AS model, p.n, k.i AS slot, p.quantity FROM models AS m"
        " CROSS JOIN parts AS p CROSS JOIN numbers AS k WHERE k.i < :quarters"
    )
    for rows, quarter in ((first, "slot"), (others, "slot / 2 * 96 + 40 + slot % 2")):
        connection.execute(
            f"INSERT INTO sums_quarter (series_id, quarter, quantity) {_PARTS}"
            f" SELECT {_SERIES_ID}, :day * 96 + {quarter}, quantity FROM ({rows})",
            values,
        )
    connection.execute(
        "INSERT INTO sums_day (series_id, day, quantity)"
        " SELECT series_id, quarter / 96, sum(quantity) FROM sums_quarter WHERE series_id > ?"
        " GROUP BY 1, 2 ORDER BY 1, 2",
        (values["series"],),
    )
