"""Connections to SQLite: each has a thread of its own, and runs one function at a time there."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import aiosqlite

from proxy.errors import LedgerUnavailableError
from proxy.ledger.faults import unavailable

_LOG = logging.getLogger(__name__)
T = TypeVar("T")

BUSY_TIMEOUT_MS = 5_000
CACHED_STATEMENTS = 256
JOURNAL_LIMIT_BYTES = 64 << 20
OLDEST_SQLITE = (3, 37, 0)
"""STRICT tables came with it."""
_VERSION_AT = 18
_WITHOUT_LOG = 1
"""The write version in the header of a database that is not in WAL mode; it is 2 in one that is."""
CLOSED = "The ledger is closed: the server is stopping; try another one or later."

# Before it binds anything but a number or a text, sqlite3 looks for an adapter, and where there is
# none goes on to ask for attributes that nothing has: three times as long as being told at once.
sqlite3.register_adapter(type(None), {None: None}.get)
sqlite3.register_adapter(bytes, bytes)


class LedgerConnection(aiosqlite.Connection):
    """aiosqlite's connection, and a way to run several statements in one hop to its thread."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``work`` with the SQLite connection, in the connection's thread.

        Its errors come out here. Cancelling the wait does not stop the work.
        """
        return cast("T", await self._execute(work, self._conn))  # type: ignore[no-untyped-call]


async def connect(path: Path, *, reads_only: bool = False) -> LedgerConnection:
    """Connect to a database; ``sqlite3.Error`` where that fails."""

    def connector() -> sqlite3.Connection:
        connection = sqlite3.connect(
            path, isolation_level=None, cached_statements=CACHED_STATEMENTS
        )
        try:
            configure(connection, reads_only=reads_only)
        except BaseException:
            connection.close()
            raise
        return connection

    return cast("LedgerConnection", await LedgerConnection(connector, 64))


def refuse_foreign_log(path: Path) -> None:
    """Refuse a ledger beside the log of another: SQLite would write the one into the other.

    A copy that ``weighbridge backup`` made says in its header that it has no log, until it is
    opened. So a log beside it is that of the file which was there before, and was not closed.

    Call it before anything is read by SQLite. Errors: LedgerUnavailableError.
    """
    path = path.resolve()  # as SQLite does, which looks for the log beside the file itself
    log = path.with_name(path.name + "-wal")
    try:
        # The log first: between two looks, another worker may make a copy a ledger's again.
        left = log.stat().st_size
        with path.open("rb") as file:
            header = file.read(_VERSION_AT + 1)
    except FileNotFoundError:
        return
    if left and header[_VERSION_AT:] == bytes([_WITHOUT_LOG]):
        msg = (
            f"The ledger {path} was restored from a copy, and {log.name} beside it is the log of "
            f"the one that was there before: it would damage the copy. Move {log.name} and "
            f"{path.name}-shm away, and start again."
        )
        raise LedgerUnavailableError(msg)


def configure(connection: sqlite3.Connection, *, reads_only: bool) -> None:
    """Set what holds for a connection; WAL itself is a property of the file.

    Temporary tables in memory: a file for each is most of a small statement's time. Deleted bytes
    are left alone: some builds of SQLite overwrite them, and none of ours is a secret.
    """
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA secure_delete = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_LIMIT_BYTES}")
    if reads_only:
        connection.execute("PRAGMA query_only = ON")


class Reader:
    """The connection for reads: made when first used, and again after a fault, until closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._making = asyncio.Lock()
        self._connection: LedgerConnection | None = None
        self._closed = False

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` on a snapshot of its own making.

        Raises :class:`LedgerUnavailableError` where the database can't be read.
        """
        try:
            connection = self._connection or await self._connect()
            return await connection.run(work)
        except (sqlite3.Error, OSError) as error:
            _LOG.warning("the ledger can't be read", exc_info=error)
            await self._let_go()
            raise unavailable(error) from error

    async def close(self) -> None:
        """Let go of the connection, for good: one that is being made is waited for."""
        async with self._making:
            self._closed = True
        await self._let_go()

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close()
            except sqlite3.Error as error:
                _LOG.info("closing the ledger's reading connection: %s", error)

    async def _connect(self) -> LedgerConnection:
        async with self._making:
            if self._closed:
                raise LedgerUnavailableError(CLOSED)
            if self._connection is None:
                self._connection = await connect(self._path, reads_only=True)
            return self._connection
