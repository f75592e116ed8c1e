"""What operators set, clear and see of limits. The functions run in a connection's thread."""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from proxy.core.budgets import LimitStanding
from proxy.core.limits import LimitState, Spend
from proxy.core.plans import Limits
from proxy.errors import BadRequestError, ConflictError, NotFoundError
from proxy.ledger.changes import raise_sequence
from proxy.ledger.limit_owners import (
    LedgerBook,
    LimitedOwner,
    is_limit,
    merged,
    owner_number,
    read_overrides,
    read_owners,
    write_overrides,
)
from proxy.ledger.limit_states import StateRow, read_states
from proxy.ledger.limit_sums import Derivation, derive

KEYS_SHOWN = 200
_ID_DIGITS = 18
_KEYS = "SELECT id, subscription_id, prefix FROM api_keys"


class LimitSubject(NamedTuple):
    """Whom an operator means: a subscription, or one of its keys."""

    subscription_id: int
    key_id: int | None = None

    @property
    def number(self) -> int:
        """The owner's number."""
        return owner_number(subscription_id=self.subscription_id, key_id=self.key_id)


def find_subject(
    connection: sqlite3.Connection, *, subscription: str | None, key: str | None
) -> LimitSubject:
    """Find a subscription by its external id, or a key by its prefix or id."""
    if key is not None:
        return _find_key(connection, key)
    row = connection.execute(
        "SELECT id FROM subscriptions WHERE external_id = ?", (subscription,)
    ).fetchone()
    if row is None:
        msg = f"There is no subscription {subscription!r}: `weighbridge subscriptions list`."
        raise NotFoundError(msg)
    return LimitSubject(row[0])


def set_limits(
    connection: sqlite3.Connection, subject: LimitSubject, values: Mapping[str, Any]
) -> None:
    """Set some limits over the plan's: None is without limit. Others stay as they were set."""
    if not values:
        msg = "Name at least one limit to set."
        raise BadRequestError(msg)
    row = connection.execute(
        "SELECT overrides FROM limits WHERE owner = ?", (subject.number,)
    ).fetchone()
    overrides = {**(read_overrides(row[0]) if row else {}), **values}
    connection.execute(
        "INSERT INTO limits (owner, subscription_id, overrides) VALUES (?, ?, ?)"
        " ON CONFLICT (owner) DO UPDATE SET overrides = excluded.overrides",
        (subject.number, subject.subscription_id, write_overrides(overrides)),
    )
    raise_sequence(connection)


def clear_limits(connection: sqlite3.Connection, subject: LimitSubject) -> bool:
    """Forget what was set, so that the plan's limits hold; False if nothing was.

    A key's sums go, too: they follow from its events and from what was kept of pruned ones.
    """
    gone = connection.execute("DELETE FROM limits WHERE owner = ?", (subject.number,)).rowcount
    connection.execute("DELETE FROM limit_states WHERE owner = ?", (subject.number,))
    connection.execute("DELETE FROM sums_key_quarter WHERE key_id = ?", (subject.key_id,))
    raise_sequence(connection)
    return gone > 0


def read_standings(
    connection: sqlite3.Connection,
    book: LedgerBook,
    subscription: str,
    at_us: int,
    key_id: int | None = None,
) -> list[LimitStanding]:
    """Read where a subscription and its limited keys (or the one) stand, as of one moment."""
    connection.execute("BEGIN")
    try:
        book.refresh(connection)
        row = connection.execute(
            "SELECT id FROM subscriptions WHERE external_id = ?", (subscription,)
        ).fetchone()
        if row is None:
            return []
        keys: list[int | None] = [key_id]
        if key_id is None:
            keys += _limited_keys(connection, row[0])
        owners: dict[int, LimitedOwner] = {}
        for key in keys:
            for owner in read_owners(connection, book, (key, row[0])):
                owners[owner.number] = owner
        limited = [owner for owner in owners.values() if is_limit(owner.caps.limits)]
        return list(_standings(connection, book, subscription, limited, at_us))
    finally:
        connection.execute("COMMIT")


def read_limited(connection: sqlite3.Connection) -> list[str]:
    """Return the subscriptions for which, or for whose keys, an operator set anything."""
    rows = connection.execute(
        "SELECT DISTINCT s.external_id FROM limits AS l"
        " JOIN subscriptions AS s ON s.id = l.subscription_id ORDER BY s.external_id"
    )
    return [row[0] for row in rows]


def is_limited(
    connection: sqlite3.Connection, book: LedgerBook, key_id: int, subscription_id: int, plan: str
) -> bool:
    """Tell whether a request of a key must bring its bounds: whether anything limits it."""
    book.refresh(connection)
    buyer = book.book.plan(plan)
    numbers = owner_number(subscription_id=subscription_id), owner_number(key_id=key_id)
    found = connection.execute("SELECT owner, overrides FROM limits WHERE owner IN (?, ?)", numbers)
    overrides = dict(found.fetchall())
    return _limits(buyer.limits, overrides.get(numbers[0])) or _limits(
        buyer.key_limits, overrides.get(numbers[1])
    )


def _limits(limits: Limits, overrides: str | None) -> bool:
    return is_limit(merged(limits, overrides))


def current_state(
    connection: sqlite3.Connection,
    book: LedgerBook,
    owner: LimitedOwner,
    row: StateRow | None,
    at_us: int,
) -> LimitState:
    """Return an owner's state as of a moment, derived where what is kept is not of it."""
    state = LimitState() if row is None else row.state
    wanted = [window for window, _ in owner.caps.spends]
    kept = {spend.window: spend for spend in state.spends}
    in_force = row is not None and row.basis == owner.basis
    if in_force and all(_holds(kept.get(window), at_us) for window in wanted):
        return state
    derivation = Derivation(connection, book.book, owner, kept=row is not None and row.sums_kept)
    return derive(derivation, state, wanted, at_us)


def _holds(spend: Spend | None, at_us: int) -> bool:
    return spend is not None and spend.start_us <= at_us < spend.end_us


def _standings(
    connection: sqlite3.Connection,
    book: LedgerBook,
    subscription: str,
    owners: list[LimitedOwner],
    at_us: int,
) -> Iterable[LimitStanding]:
    numbers = [owner.number for owner in owners]
    rows = read_states(connection, numbers) if numbers else {}
    for owner in owners:
        found = connection.execute(
            "SELECT overrides FROM limits WHERE owner = ?", (owner.number,)
        ).fetchone()
        yield LimitStanding(
            subscription=subscription,
            prefix=None if owner.key_id is None else _prefix(connection, owner.key_id),
            plan=owner.plan,
            caps=owner.caps,
            overrides=read_overrides(found[0]) if found else {},
            state=current_state(connection, book, owner, rows.get(owner.number), at_us),
            assumed_output=book.book.plan(owner.plan).assumed_output,
        )


def _limited_keys(connection: sqlite3.Connection, subscription_id: int) -> list[int]:
    """Return the keys with limits set or in use; a plan may limit many that never called."""
    rows = connection.execute(
        "SELECT owner / 2 FROM limits WHERE subscription_id = ? AND owner % 2 = 1"
        " UNION SELECT owner / 2 FROM limit_states WHERE subscription_id = ? AND owner % 2 = 1"
        " LIMIT ?",
        (subscription_id, subscription_id, KEYS_SHOWN),
    )
    return [row[0] for row in rows]


def _prefix(connection: sqlite3.Connection, key_id: int) -> str:
    (prefix,) = connection.execute("SELECT prefix FROM api_keys WHERE id = ?", (key_id,)).fetchone()
    return str(prefix)


def _find_key(connection: sqlite3.Connection, key: str) -> LimitSubject:
    found: list[tuple[int, int, str]] = []
    if key.isascii() and key.isdigit() and len(key) <= _ID_DIGITS:
        found = connection.execute(f"{_KEYS} WHERE id = ?", (int(key),)).fetchall()
    if not found and key:
        found = connection.execute(
            f"{_KEYS} WHERE revoked_at_us IS NULL AND substr(prefix, 1, length(?)) = ?", (key, key)
        ).fetchall()
    if not found:
        msg = f"No key in use has the id or prefix {key!r}: `weighbridge keys list` shows all."
        raise NotFoundError(msg)
    if len(found) > 1:
        ids = ", ".join(str(row[0]) for row in found[:10])
        msg = f"{key!r} names {len(found)} keys: name one by its id ({ids})."
        raise ConflictError(msg)
    return LimitSubject(found[0][1], found[0][0])
