"""An opening that nobody waits for is withdrawn, also where that can't be written at once."""

import asyncio
import gc
import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.ledger import writer
from proxy.ledger.batch import Batch
from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.transactions import Transactions
from tests.ledger.calls import Caller, Clock, assert_sums_equal_events, make_key, states


def fill_up(monkeypatch: pytest.MonkeyPatch, failures: Iterator[int]) -> None:
    """Let the disk be full for settlements, as often as there are ``failures``."""
    write = Transactions.write

    def written(transactions: Transactions, connection: sqlite3.Connection, batch: Batch) -> None:
        if batch.settles.items and next(failures, None) is not None:
            raise sqlite3.OperationalError("database or disk is full")
        write(transactions, connection, batch)

    monkeypatch.setattr(Transactions, "write", written)


async def test_a_withdrawal_that_can_not_be_written_is_tried_again(
    ledger: SqliteLedger,
    caller: Caller,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    key = await make_key(ledger)
    monkeypatch.setattr(writer, "WATCH_INTERVAL_S", 0.01)
    failures = iter(range(3))
    fill_up(monkeypatch, failures)
    gone = caller.call(key)
    asyncio.ensure_future(ledger.open(gone)).cancel()
    async with asyncio.timeout(10):
        while states(path).get(gone.id) != "failed":
            await asyncio.sleep(0.005)
    assert next(failures, None) is None
    gc.collect()
    assert "never retrieved" not in caplog.text
    assert_sums_equal_events(path)


async def test_a_withdrawal_is_not_tried_again_once_it_is_closed(
    path: Path, clock: Clock, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WATCH_INTERVAL_S", 0.01)
    ledger = await SqliteLedger.open_database(path, clock)
    key = await make_key(ledger)
    fill_up(monkeypatch, itertools.count())
    gone = caller.call(key)
    asyncio.ensure_future(ledger.open(gone)).cancel()
    async with asyncio.timeout(10):
        while states(path).get(gone.id) != "open":
            await asyncio.sleep(0.005)
        await ledger.close()
    await asyncio.sleep(0.05)
    assert states(path) == {gone.id: "open"}  # for its siblings, or its next start
