"""Whether what limits keep follows from what it should: sums, and the requests that still run."""

# ruff: noqa: S608 - texts are made of constants, values are bound

import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from proxy.ledger.limit_owners import LedgerBook, LimitedOwner, read_owners
from proxy.ledger.limit_states import StateRow, read_all_states
from proxy.ledger.limit_sums import Derivation, key_sums
from proxy.ledger.slots import QUARTER_US

TOLERANCE = Decimal("1e-15")
"""What rounding to 30 places, price by price and then summed, may differ by at the most."""
_KEPT = "SELECT series_id, quarter, quantity FROM sums_key_quarter WHERE key_id = ?"
_PRUNED = "SELECT through_us FROM prunings WHERE subscription_id = ?"


class LimitDifference(NamedTuple):
    """A figure that is kept and is not what it follows from."""

    what: str
    where: str
    kept: object
    derived: object


def rederive_limits(
    connection: sqlite3.Connection, after: int = -1, page: int = 200
) -> tuple[list[LimitDifference], int, int]:
    """Hold a page of kept states against what they follow from, in the caller's snapshot.

    Return the differences, how many states were looked at, and the last of them: go on after it,
    until none was looked at. A state by an older price book, timezone or plan is not compared:
    it is derived anew before it is next used.
    """
    book = LedgerBook()
    book.refresh(connection)
    rows = read_all_states(connection, after, page)
    found: list[LimitDifference] = []
    for row in rows:
        owner = _owner(connection, book, row)
        if owner is not None:
            found += _differences(connection, book, owner, row)
    return found, len(rows), rows[-1].owner if rows else after


def _owner(connection: sqlite3.Connection, book: LedgerBook, row: StateRow) -> LimitedOwner | None:
    key_id = row.owner // 2 if row.owner % 2 else None
    owners = read_owners(connection, book, (key_id, row.subscription_id))
    return next((owner for owner in owners if owner.number == row.owner), None)


def _differences(
    connection: sqlite3.Connection, book: LedgerBook, owner: LimitedOwner, row: StateRow
) -> Iterator[LimitDifference]:
    derivation = Derivation(connection, book.book, owner, kept=row.sums_kept)
    where = f"of {owner.whose[0].lower()}{owner.whose[1:]}"
    running = derivation.running()
    if running != row.state.running:
        yield LimitDifference("running", where, row.state.running, running)
    if row.sums_kept:
        yield from _key_sums(connection, owner, where)
    for kept in row.state.spends:
        # Of another plan, the window that is kept may be another than the one of now.
        within = kept.start_us, kept.end_us
        place = f"in the {kept.window} window {where}"
        reserved = derivation.reserved(*within)
        if reserved != kept.reserved:
            yield LimitDifference("reserved", place, kept.reserved, reserved)
        if row.basis == owner.basis:
            spent = derivation.spent(*within)
            if abs(spent - kept.spent) > TOLERANCE:
                yield LimitDifference("spent", place, kept.spent, spent)


def _key_sums(
    connection: sqlite3.Connection, owner: LimitedOwner, where: str
) -> Iterator[LimitDifference]:
    """Compare a key's own sums with its events, as far as these are not pruned."""
    pruned = connection.execute(_PRUNED, (owner.subscription_id,)).fetchone()
    first = 0 if pruned is None else -(-pruned[0] // QUARTER_US)
    source, values = key_sums(owner)
    text = f"SELECT series_id, quarter, sum(quantity) FROM ({source}) GROUP BY 1, 2"
    should = {row[:2]: row[2] for row in connection.execute(text, values)}
    kept = {row[:2]: row[2] for row in connection.execute(_KEPT, (owner.key_id,))}
    for slot in sorted(should.keys() | kept.keys()):
        if slot[1] >= first and should.get(slot, 0) != kept.get(slot, 0):
            place = f"series {slot[0]}, quarter {slot[1]}, {where}"
            yield LimitDifference("key sum", place, kept.get(slot, 0), should.get(slot, 0))
