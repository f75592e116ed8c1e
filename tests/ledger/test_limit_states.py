"""What was read of states holds only as long as nobody else can have changed them."""

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.core.limits import Window
from proxy.core.subscriptions import ApiKey
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


async def budgeted_key(ledger: SqliteLedger) -> ApiKey:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_total": Decimal(5)}, subscription="acme")
    return await make_key(ledger)


async def test_what_a_change_writes_is_read_even_where_it_looked_before(
    ledger: SqliteLedger, caller: Caller, clock: Clock, path: Path
) -> None:
    key = await budgeted_key(ledger)
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


async def test_what_was_rolled_back_is_not_known(
    ledger: SqliteLedger, caller: Caller, clock: Clock, path: Path
) -> None:
    key = await budgeted_key(ledger)
    failing = False

    def fault(point: str) -> None:
        if failing and point == "before_commit":
            raise sqlite3.OperationalError("disk I/O error")

    transactions = Transactions(path, Booking(ledger.worker_id, clock), fault)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        transactions.write(connection, batch(bounded(caller, key)))
        failing = True
        with pytest.raises(sqlite3.OperationalError):
            transactions.write(connection, batch(bounded(caller, key)))
        failing = False
        transactions.write(connection, batch(bounded(caller, key)))
    transactions.close()
    assert spent(path, Window.TOTAL) == (0, Decimal("1.00"))


async def test_states_are_not_read_again_while_nobody_else_commits(
    ledger: SqliteLedger, caller: Caller, clock: Clock, path: Path
) -> None:
    key = await budgeted_key(ledger)
    transactions = Transactions(path, Booking(ledger.worker_id, clock), no_fault)
    statements: list[str] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        transactions.write(connection, batch(bounded(caller, key)))
        connection.set_trace_callback(statements.append)
        transactions.write(connection, batch(bounded(caller, key)))
        reads = [text for text in statements if "FROM limit_states" in text]
        assert reads == []
        await ledger.open(bounded(caller, key))
        transactions.write(connection, batch(bounded(caller, key)))
        reads = [text for text in statements if "FROM limit_states" in text]
        assert len(reads) == 1
    transactions.close()
    assert spent(path, Window.TOTAL) == (0, Decimal("2.00"))
