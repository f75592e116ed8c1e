"""The changes that operators make: customers, subscriptions, plans, keys and books.

The functions run in the writer's thread, within a transaction of theirs.
"""

import sqlite3
from collections.abc import Mapping
from typing import TypeVar
from zoneinfo import ZoneInfo

from proxy.core.subscriptions import Customer, Subscription
from proxy.core.times import from_us, to_us
from proxy.errors import BadRequestError, ConflictError, NotFoundError
from proxy.ledger.port import AdoptedBook, KeyRecord
from proxy.ledger.rows import (
    KEYS,
    key_record,
    read_book,
    read_customer,
    read_segments,
    read_subscription,
)

NAME_LENGTH = 255
DIGEST_BYTES = 32
ID_DIGITS = 18
ATTRIBUTES = ("name", "email", "currency", "timezone")
Found = TypeVar("Found")


def raise_sequence(connection: sqlite3.Connection) -> None:
    """Tell every worker that keys, subscriptions, plans or books changed."""
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'configuration_sequence'")


def probe(connection: sqlite3.Connection) -> None:
    """Write something new, to see whether anything can be: what is the same is never written."""
    connection.execute(
        "INSERT INTO meta (name, value) VALUES ('probes', 1)"
        " ON CONFLICT (name) DO UPDATE SET value = value + 1"
    )


def insert_book(
    connection: sqlite3.Connection, text: str, sha256: str, now_us: int, *, reading: int
) -> AdoptedBook:
    """Put a book in force, unless it is; a text that is read otherwise is another book."""
    book = read_book(connection)
    if book is not None and (book.sha256, book.reading) == (sha256, reading):
        return book
    made = connection.execute(
        "INSERT INTO books (text, sha256, adopted_at_us, reading) VALUES (?, ?, ?, ?)",
        (text, sha256, now_us, reading),
    )
    raise_sequence(connection)
    return AdoptedBook(
        sequence=made.lastrowid or 0,
        text=text,
        sha256=sha256,
        adopted_at=from_us(now_us),
        reading=reading,
    )


def insert_customer(
    connection: sqlite3.Connection,
    external_id: str,
    attributes: Mapping[str, str | None],
    now_us: int,
) -> Customer:
    """Make a customer, or return the one that is there, if all that is given is as it was.

    Raises:
        ConflictError: It is there, and something that is given is different.
    """
    _check_name("customer", external_id)
    _check_attributes(attributes)
    made = connection.execute(
        "INSERT INTO customers (external_id, name, email, currency, timezone, created_at_us)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (external_id) DO NOTHING",
        (
            external_id,
            attributes.get("name"),
            attributes.get("email"),
            attributes.get("currency") or "USD",
            attributes.get("timezone") or "UTC",
            now_us,
        ),
    )
    if made.rowcount:
        raise_sequence(connection)
    customer = _found(read_customer(connection, external_id), "customer", external_id)
    different = [name for name in ATTRIBUTES if _differs(customer, name, attributes.get(name))]
    if different:
        known = ((name, getattr(customer, name)) for name in different)
        there = " and ".join(
            f"{name} {value!r}" if value else f"no {name}" for name, value in known
        )
        msg = (
            f"Customer {external_id!r} is there already, with {there}, and stays as it is: "
            "`weighbridge customers change` changes it."
        )
        raise ConflictError(msg)
    return customer


def change_customer(
    connection: sqlite3.Connection, external_id: str, attributes: Mapping[str, str | None]
) -> Customer:
    """Change what is given of a customer; an empty name or email is none.

    The timezone bounds billing periods. As long as none of them is closed, all are drawn anew;
    afterwards a month would no longer be what was billed as that month, so it stays.

    Raises:
        ConflictError: A period of the customer is closed, and the timezone is another one.
    """
    _check_attributes(attributes)
    customer = _found(read_customer(connection, external_id), "customer", external_id)
    changed = [name for name in ATTRIBUTES if _differs(customer, name, attributes.get(name))]
    if "timezone" in changed:
        _refuse_moving_periods(connection, customer)
    for name in changed:
        connection.execute(
            f"UPDATE customers SET {name} = ? WHERE id = ?",  # noqa: S608 - one of ATTRIBUTES
            (attributes[name] or None, customer.id),
        )
    if changed:
        raise_sequence(connection)
    return _found(read_customer(connection, external_id), "customer", external_id)


def _differs(customer: Customer, name: str, given: str | None) -> bool:
    """Tell whether an attribute is given that is another than the customer's."""
    return given is not None and given != (getattr(customer, name) or "")


def _refuse_moving_periods(connection: sqlite3.Connection, customer: Customer) -> None:
    row = connection.execute(
        "SELECT p.number FROM closed_periods AS p JOIN subscriptions AS s"
        " ON s.id = p.subscription_id WHERE s.customer_id = ? ORDER BY p.id LIMIT 1",
        (customer.id,),
    ).fetchone()
    if row is not None:
        msg = (
            f"Customer {customer.external_id!r} has closed periods by the days of "
            f"{customer.timezone} ({row[0]} is the first), so its timezone stays: for another one, "
            "make another customer, and keys of its own."
        )
        raise ConflictError(msg)


def make_subscription(
    connection: sqlite3.Connection,
    external_id: str,
    customer: str,
    plan: str,
    times_us: tuple[int, int],
) -> Subscription:
    """Make or return a subscription; ``times_us`` are its start and now."""
    started_at_us, now_us = times_us
    _insert_subscription(connection, external_id, customer, plan, started_at_us)
    return _found(read_subscription(connection, external_id, now_us), "subscription", external_id)


def _insert_subscription(
    connection: sqlite3.Connection, external_id: str, customer: str, plan: str, started_at_us: int
) -> None:
    _check_name("subscription", external_id)
    _check_name("plan", plan)
    owner = _found(read_customer(connection, customer), "customer", customer)
    row = connection.execute(
        "SELECT customer_id FROM subscriptions WHERE external_id = ?", (external_id,)
    ).fetchone()
    if row is not None:
        if row[0] != owner.id:
            msg = f"Subscription {external_id!r} belongs to another customer: name another one."
            raise ConflictError(msg)
        return
    made = connection.execute(
        "INSERT INTO subscriptions (external_id, customer_id, started_at_us) VALUES (?, ?, ?)",
        (external_id, owner.id, started_at_us),
    )
    _start_segment(connection, made.lastrowid or 0, plan, started_at_us)


def change_plan(
    connection: sqlite3.Connection, external_id: str, plan: str, now_us: int
) -> Subscription:
    """End the running segment now and start the next on another plan."""
    _check_name("plan", plan)
    before = _found(read_subscription(connection, external_id, now_us), "subscription", external_id)
    last = read_segments(connection, before.id)[-1]
    # Where the clock was set back, a change may lie ahead: it would end this one, untold.
    if before.plan != plan or last.plan != plan:
        if to_us(last.starts_at) >= now_us:
            msg = f"Subscription {external_id!r} changes its plan at {last.starts_at}: wait for it."
            raise ConflictError(msg)
        connection.execute("UPDATE segments SET ends_at_us = ? WHERE id = ?", (now_us, last.id))
        _start_segment(connection, before.id, plan, now_us)
    return _found(read_subscription(connection, external_id, now_us), "subscription", external_id)


def _start_segment(
    connection: sqlite3.Connection, subscription_id: int, plan: str, starts_at_us: int
) -> None:
    connection.execute(
        "INSERT INTO segments (subscription_id, plan, starts_at_us) VALUES (?, ?, ?)",
        (subscription_id, plan, starts_at_us),
    )
    raise_sequence(connection)


def insert_key(
    connection: sqlite3.Connection,
    digest: bytes,
    label: tuple[str, str | None],
    subscription: str,
    now_us: int,
) -> KeyRecord:
    """Store a key, labelled by prefix and name, or find it with the same subscription."""
    if len(digest) != DIGEST_BYTES:
        msg = f"A key's digest has {DIGEST_BYTES} bytes, not {len(digest)}."
        raise BadRequestError(msg)
    owner = _found(
        read_subscription(connection, subscription, now_us), "subscription", subscription
    )
    made = connection.execute(
        "INSERT INTO api_keys (digest, prefix, name, subscription_id, created_at_us)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING",
        (digest, *label, owner.id, now_us),
    )
    if made.rowcount:
        raise_sequence(connection)
    record = key_record(
        connection.execute(f"{KEYS} WHERE k.digest = ?", (now_us, digest)).fetchone()
    )
    if record.subscription != subscription:
        msg = f"The key {record.prefix}… is subscription {record.subscription!r}'s: make a new key."
        raise ConflictError(msg)
    return record


def revoke_key(connection: sqlite3.Connection, prefix_or_id: str, now_us: int) -> KeyRecord:
    """Revoke the one key that this names; of several, the one that is not revoked yet."""
    matching = _matching_keys(connection, prefix_or_id, now_us)
    live = [record for record in matching if record.revoked_at is None]
    chosen = live or matching
    if not chosen:
        msg = f"No key has the id or prefix {prefix_or_id!r}: `weighbridge keys list` shows all."
        raise NotFoundError(msg)
    if len(chosen) > 1:
        ids = ", ".join(str(record.id) for record in chosen[:10])
        msg = f"{prefix_or_id!r} names {len(chosen)} keys: name one by its id ({ids})."
        raise ConflictError(msg)
    if live:
        connection.execute(
            "UPDATE api_keys SET revoked_at_us = ? WHERE id = ?", (now_us, chosen[0].id)
        )
        raise_sequence(connection)
    row = connection.execute(f"{KEYS} WHERE k.id = ?", (now_us, chosen[0].id)).fetchone()
    return key_record(row)


def _matching_keys(
    connection: sqlite3.Connection, prefix_or_id: str, now_us: int
) -> list[KeyRecord]:
    if prefix_or_id.isascii() and prefix_or_id.isdigit() and len(prefix_or_id) <= ID_DIGITS:
        rows = connection.execute(f"{KEYS} WHERE k.id = ?", (now_us, int(prefix_or_id))).fetchall()
        if rows:
            return [key_record(row) for row in rows]
    rows = connection.execute(
        f"{KEYS} WHERE ? <> '' AND substr(k.prefix, 1, length(?)) = ? ORDER BY k.id",
        (now_us, prefix_or_id, prefix_or_id, prefix_or_id),
    ).fetchall()
    return [key_record(row) for row in rows]


def _check_name(what: str, name: str) -> None:
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        msg = f"A {what}'s id is 1 to {NAME_LENGTH} printable characters, not {name[:40]!r}."
        raise BadRequestError(msg)


def _check_attributes(attributes: Mapping[str, str | None]) -> None:
    unknown = attributes.keys() - set(ATTRIBUTES)
    if unknown:
        msg = f"A customer has no {min(unknown)!r}, but {', '.join(ATTRIBUTES)}."
        raise BadRequestError(msg)
    for name in ("currency", "timezone"):
        if attributes.get(name) == "":
            msg = f"A customer's {name} can't be empty: leave it out, or write one."
            raise BadRequestError(msg)
    timezone = attributes.get("timezone")
    try:
        ZoneInfo(timezone or "UTC")
    except (LookupError, ValueError, OSError):
        msg = f"{timezone!r} is no timezone: use an IANA name such as 'Europe/Paris'."
        raise BadRequestError(msg) from None


def _found(value: Found | None, what: str, name: str) -> Found:
    if value is None:
        msg = f"There is no {what} {name!r}: make it first."
        raise NotFoundError(msg)
    return value
