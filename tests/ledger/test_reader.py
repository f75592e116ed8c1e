"""The connection for reads, and its end."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.errors import LedgerUnavailableError
from proxy.ledger import connection
from proxy.ledger.connection import LedgerConnection, Reader, connect


@pytest.fixture
async def made(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[LedgerConnection]]:
    """Keep the connections that are made; those that were let go of have none of SQLite's."""
    made: list[LedgerConnection] = []

    async def counted(path: Path, *, reads_only: bool = False) -> LedgerConnection:
        made.append(await connect(path, reads_only=reads_only))
        return made[-1]

    monkeypatch.setattr(connection, "connect", counted)
    yield made
    for each in made:
        await each.close()


def one(db: sqlite3.Connection) -> int:
    (number,) = db.execute("SELECT 1").fetchone()
    return int(number)


async def test_what_is_read_after_the_end_makes_no_connection(
    path: Path, made: list[LedgerConnection]
) -> None:
    reader = Reader(path)
    assert await reader.read(one) == 1
    await reader.close()
    with pytest.raises(LedgerUnavailableError, match="closed"):
        await reader.read(one)
    assert len(made) == 1


async def test_a_connection_that_is_being_made_at_the_end_is_let_go(
    path: Path, made: list[LedgerConnection]
) -> None:
    reader = Reader(path)
    reading = asyncio.ensure_future(reader.read(one))
    await asyncio.sleep(0)
    await reader.close()
    await asyncio.wait([reading])
    (single,) = made
    with pytest.raises(ValueError, match="no active connection"):
        await single.run(one)
