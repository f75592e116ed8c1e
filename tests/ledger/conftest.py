"""Ledgers to test: whatever implements the port joins the contract by a line here."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import Caller, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def caller() -> Caller:
    return Caller()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger with a space.db"


@pytest.fixture
async def ledger(path: Path, clock: Clock) -> AsyncIterator[SqliteLedger]:
    ledger = await SqliteLedger.open_database(path, clock)
    yield ledger
    await ledger.close()
