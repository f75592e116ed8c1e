"""What was read of states holds only as long as nobody else can have changed them."""

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.core.limits import Window
from proxy.ledger.batch import Batch, Change
from proxy.ledger.booking import Booking
from proxy.ledger.limit_states import OtherWriters
from proxy.ledger.port import OpenCall
from proxy.ledger.sqlite import SqliteLedger, no_fault
from proxy.ledger.transactions import Transactions
from tests.ledger.calls import Caller, Clock, make_key, settlement
from tests.ledger.limited import adopt, bounded, spent

pytestmark = pytest.mark.usefixtures("ledger")

WRITE = "INSERT INTO meta (name, value) VALUES (?, 1)"


async def test_what_another_connection_commits_is_noticed(path: Path) -> None:
    others = OtherWriters()
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as own,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        assert others.wrote(own)
        assert not others.wrote(own)
        other.execute(WRITE, ("theirs",))
        assert others.wrote(own)
        own.execute(WRITE, ("ours",))
        assert not others.wrote(own)


async def test_a_new_connection_knows_nothing(path: Path) -> None:
    others = OtherWriters()
    with closing(sqlite3.connect(path, isolation_level=None)) as first:
        assert others.wrote(first)
    with closing(sqlite3.connect(path, isolation_level=None)) as again:
        assert others.wrote(again)
        assert not others.wrote(again)


def batch(*opens: OpenCall, changes: tuple[Change, ...] = ()) -> Batch:
    made = Batch()
    made.opens.items += opens
    made.changes.items += changes
    return made


async def test_what_a_change_writes_is_read_even_where_it_looked_before(
    ledger: SqliteLedger, caller: Caller, clock: Clock, path: Path
) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_total": Decimal(5)}, subscription="acme")
    key = await make_key(ledger)
    over = bounded(caller, key)
    await ledger.open(over)
    await ledger.settle(settlement(over))
    booking = Booking(ledger.worker_id, clock)
    transactions = Transactions(path, booking, no_fault)

    def change(connection: sqlite3.Connection) -> None:
        assert not booking.book_one(connection, settlement(over))
        connection.execute("UPDATE limit_states SET total_spent = '3'")

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        transactions.write(connection, batch(bounded(caller, key)))
        transactions.write(connection, batch(changes=(change,)))
        transactions.write(connection, batch(bounded(caller, key)))
    transactions.close()
    assert spent(path, Window.TOTAL) == (3, Decimal("1.00"))
