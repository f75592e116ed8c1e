"""Checkpoints, off the commit path: a connection and a thread of their own.

A passive checkpoint never blocks a writer inside SQLite, but one that runs beside writers never
reaches the end of the log, which then grows for ever. So the bulk is copied without the lock,
and what came meanwhile under it: short, and the next commit starts the log anew.
"""

import asyncio
import logging
import sqlite3
from pathlib import Path

from proxy.ledger.connection import LedgerConnection, connect
from proxy.ledger.locks import WriteLock

_LOG = logging.getLogger(__name__)

WRITES_BETWEEN = 2_000
BATCHES_BETWEEN = 400
"""Each writes some five pages, however little is in it. A log that starts anew is written over; one
that grows has each commit wait for the file system's journal too."""


class Checkpointer:
    """Moves the log's pages into the database from time to time."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._lock = WriteLock(database)
        self._connection: LedgerConnection | None = None
        self._running: asyncio.Task[None] | None = None
        self._due_writes = WRITES_BETWEEN
        self._due_batches = BATCHES_BETWEEN

    def consider(self, writes: int, batches: int) -> None:
        """Begin a checkpoint if enough was written since the last one, and none is running."""
        due = writes >= self._due_writes or batches >= self._due_batches
        if not due or self._running is not None:
            return
        self._due_writes = writes + WRITES_BETWEEN
        self._due_batches = batches + BATCHES_BETWEEN
        self._running = asyncio.create_task(self._checkpoint(), name="ledger-checkpoint")  # noqa: TID251 - held until it is done

    async def close(self) -> None:
        """Finish, empty the log, and let go of the files."""
        if self._running is not None:
            await self._running
        try:
            connection = self._connection or await connect(self._database)
            self._connection = None
            try:
                await connection.run(self._truncate)
            finally:
                await connection.close()
        except (sqlite3.Error, OSError) as reason:
            _LOG.info("the ledger's log was not emptied: %s", reason)
        self._lock.close()

    async def _checkpoint(self) -> None:
        try:
            if self._connection is None:
                self._connection = await connect(self._database)
            await self._connection.run(_passive)
            await self._connection.run(self._finish)
        except (sqlite3.Error, OSError) as reason:
            _LOG.warning("the ledger's log was not checkpointed: %s", reason)
        finally:
            self._running = None

    def _finish(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            _passive(connection)

    def _truncate(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _passive(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
