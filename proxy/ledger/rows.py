"""Customers, subscriptions, segments, keys and books as they are read.

The functions run in a connection's thread.
"""

# ruff: noqa: S608 - texts are made of constants, values are bound

import sqlite3
from datetime import datetime
from typing import Any

from proxy.core.subscriptions import ApiKey, Customer, Segment, Subscription
from proxy.core.times import from_us
from proxy.core.usage import Metric, RequestState
from proxy.ledger.port import AdoptedBook, KeyRecord

_CUSTOMER = "c.id, c.external_id, c.name, c.email, c.currency, c.timezone, c.created_at_us"
# The plan at a moment (its parameter): the segment that holds it, the first one before the start.
_SEGMENT_AT = (
    "coalesce((SELECT max(starts_at_us) FROM segments WHERE subscription_id = s.id"
    " AND starts_at_us <= ?), s.started_at_us)"
)
# All plans with their beginnings, a line each: what can't be printed is in no plan's name.
_PLANS = (
    "(SELECT group_concat(starts_at_us || ' ' || plan, char(10)) FROM segments"
    " WHERE subscription_id = s.id)"
)
_SUBSCRIPTIONS = (
    f"SELECT s.id, s.external_id, s.started_at_us, s.ended_at_us, g.plan, {_PLANS}, {_CUSTOMER}"
    " FROM subscriptions AS s JOIN customers AS c ON c.id = s.customer_id"
    f" JOIN segments AS g ON g.subscription_id = s.id AND g.starts_at_us = {_SEGMENT_AT}"
)
KEYS = (
    "SELECT k.id, k.prefix, k.name, c.external_id, s.external_id, g.plan, k.created_at_us,"
    " k.last_used_at_us, k.revoked_at_us FROM api_keys AS k"
    " JOIN subscriptions AS s ON s.id = k.subscription_id"
    " JOIN customers AS c ON c.id = s.customer_id"
    f" JOIN segments AS g ON g.subscription_id = s.id AND g.starts_at_us = {_SEGMENT_AT}"
)
_KEY_BY_DIGEST = (
    "SELECT k.id, k.prefix, k.name, s.id, s.external_id, g.plan,"
    " k.revoked_at_us IS NOT NULL OR coalesce(s.ended_at_us <= ?, 0) FROM api_keys AS k"
    " JOIN subscriptions AS s ON s.id = k.subscription_id"
    f" JOIN segments AS g ON g.subscription_id = s.id AND g.starts_at_us = {_SEGMENT_AT}"
    " WHERE k.digest = ?"
)


def _from_us(moment_us: int | None) -> datetime | None:
    return None if moment_us is None else from_us(moment_us)


def read_sequence(connection: sqlite3.Connection) -> int:
    """Return the configuration sequence."""
    (value,) = connection.execute(
        "SELECT value FROM meta WHERE name = 'configuration_sequence'"
    ).fetchone()
    return int(value)


def read_key(connection: sqlite3.Connection, digest: bytes, now_us: int) -> ApiKey | None:
    """Look a key up by its digest."""
    row = connection.execute(_KEY_BY_DIGEST, (now_us, now_us, digest)).fetchone()
    if row is None:
        return None
    key_id, prefix, name, subscription_id, subscription, plan, revoked = row
    return ApiKey(
        id=key_id,
        prefix=prefix,
        name=name,
        subscription_id=subscription_id,
        subscription=subscription,
        plan=plan,
        revoked=bool(revoked),
    )


def read_keys(connection: sqlite3.Connection, now_us: int) -> list[KeyRecord]:
    """Return all keys, newest first."""
    rows = connection.execute(f"{KEYS} ORDER BY k.id DESC", (now_us,))
    return [key_record(row) for row in rows]


def read_customers(connection: sqlite3.Connection) -> list[Customer]:
    """Return all customers by external id."""
    rows = connection.execute(f"SELECT {_CUSTOMER} FROM customers AS c ORDER BY c.external_id")
    return [_customer(row) for row in rows]


def read_customer(connection: sqlite3.Connection, external_id: str) -> Customer | None:
    """Return one customer."""
    row = connection.execute(
        f"SELECT {_CUSTOMER} FROM customers AS c WHERE c.external_id = ?",
        (external_id,),
    ).fetchone()
    return None if row is None else _customer(row)


def read_subscriptions(
    connection: sqlite3.Connection, now_us: int, *, after: str = "", limit: int = -1
) -> list[Subscription]:
    """Return subscriptions by external id: all, or so many that come ``after`` one."""
    rows = connection.execute(
        f"{_SUBSCRIPTIONS} WHERE s.external_id > ? ORDER BY s.external_id LIMIT ?",
        (now_us, after, limit),
    )
    return [_subscription(row) for row in rows]


def read_subscription(
    connection: sqlite3.Connection, external_id: str, now_us: int
) -> Subscription | None:
    """Return one subscription."""
    row = connection.execute(
        f"{_SUBSCRIPTIONS} WHERE s.external_id = ?", (now_us, external_id)
    ).fetchone()
    return None if row is None else _subscription(row)


def read_segments(connection: sqlite3.Connection, subscription_id: int) -> list[Segment]:
    """Return a subscription's segments in order."""
    rows = connection.execute(
        "SELECT id, subscription_id, plan, starts_at_us, ends_at_us FROM segments"
        " WHERE subscription_id = ? ORDER BY starts_at_us",
        (subscription_id,),
    )
    return [
        Segment(
            id=number,
            subscription_id=owner,
            plan=plan,
            starts_at=from_us(starts_at_us),
            ends_at=_from_us(ends_at_us),
        )
        for number, owner, plan, starts_at_us, ends_at_us in rows
    ]


def read_used_plans(connection: sqlite3.Connection) -> list[str]:
    """Return the plans that anything was used on; a request that failed used nothing."""
    rows = connection.execute(
        "SELECT DISTINCT g.plan FROM segments AS g WHERE EXISTS (SELECT 1 FROM series AS e"
        " WHERE e.segment_id = g.id AND NOT (e.metric = ? AND e.type = ?)) ORDER BY g.plan",
        (Metric.REQUESTS.value, RequestState.FAILED.value),
    )
    return [row[0] for row in rows]


def read_book(connection: sqlite3.Connection, sequence: int | None = None) -> AdoptedBook | None:
    """Return the price book in force, or the one with this sequence number."""
    row = connection.execute(
        # All columns: 'check' looks at ledgers of older programs as they are, without a reading.
        "SELECT * FROM books WHERE sequence = ? OR ? IS NULL ORDER BY sequence DESC LIMIT 1",
        (sequence, sequence),
    ).fetchone()
    if row is None:
        return None
    sequence, text, sha256, adopted_at_us, *reading = row
    return AdoptedBook(
        sequence=sequence,
        text=text,
        sha256=sha256,
        adopted_at=from_us(adopted_at_us),
        reading=reading[0] if reading else 1,
    )


def _customer(row: tuple[Any, ...]) -> Customer:
    number, external_id, name, email, currency, timezone, created_at_us = row
    return Customer(
        id=number,
        external_id=external_id,
        name=name,
        email=email,
        currency=currency,
        timezone=timezone,
        created_at=from_us(created_at_us),
    )


def _subscription(row: tuple[Any, ...]) -> Subscription:
    number, external_id, started_at_us, ended_at_us, plan, plans, *customer = row
    return Subscription(
        id=number,
        external_id=external_id,
        customer=_customer(tuple(customer)),
        plan=plan,
        started_at=from_us(started_at_us),
        ended_at=_from_us(ended_at_us),
        plans=_plans(plans),
    )


def _plans(lines: str) -> tuple[tuple[datetime, str], ...]:
    parts = (line.partition(" ") for line in lines.split("\n"))
    return tuple(sorted((from_us(int(since_us)), code) for since_us, _, code in parts))


def key_record(row: tuple[Any, ...]) -> KeyRecord:
    """Make a record of a row of :data:`KEYS`."""
    number, prefix, name, customer, subscription, plan, created, last_used, revoked = row
    return KeyRecord(
        id=number,
        prefix=prefix,
        name=name,
        customer=customer,
        subscription=subscription,
        plan=plan,
        created_at=from_us(created),
        last_used_at=_from_us(last_used),
        revoked_at=_from_us(revoked),
    )
