"""The database's connection without its thread, and with the moods of a disk."""

import asyncio
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from unittest import mock

import proxy.ledger.connection
import proxy.ledger.sqlite
from proxy.ledger.connection import configure
from tests.simulation.simulated_loop import WORKER


class DiedError(BaseException):
    """The worker ends here, at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mood:
    """What is wrong with a disk for a while; seconds of the run."""

    kind: str
    starts_s: float
    ends_s: float


def database_error(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(name)
    error.sqlite_errorname = name
    return error


class Disk:
    """Says what becomes of the next access; ``kind``: locked, slow, SQLITE_… or spool."""

    def __init__(self, moods: list[Mood]) -> None:
        self._moods = moods

    def now(self, *kinds: str) -> Mood | None:
        at_s = asyncio.get_running_loop().time()
        for mood in self._moods:
            if mood.starts_s <= at_s < mood.ends_s and (not kinds or mood.kind in kinds):
                return mood
        return None

    @property
    def well(self) -> bool:
        """Whether nothing is wrong from now on."""
        at_s = asyncio.get_running_loop().time()
        return all(mood.ends_s < at_s for mood in self._moods)

    async def access(self) -> None:
        """Wait as long as it takes; raise what it says."""
        loop = asyncio.get_running_loop()
        while (mood := self.now("locked")) is not None:
            await asyncio.sleep(mood.ends_s - loop.time() + 0.001)
        if (mood := self.now("slow")) is not None:
            await asyncio.sleep(0.3)
        for name in ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_BUSY", "SQLITE_READONLY"):
            if self.now(name) is not None:
                raise database_error(name)


class SimulatedConnection:
    """:class:`proxy.ledger.connection.LedgerConnection` for one thread."""

    def __init__(self, connector: Callable[[], sqlite3.Connection], _limit: int) -> None:
        self._connector = connector
        self._conn: sqlite3.Connection | None = None

    def __await__(self) -> Generator[Any, None, Self]:
        return self._connect().__await__()

    async def _connect(self) -> Self:
        worker = WORKER.get()
        if worker is not None:
            await worker.live()
            await worker.disk.access()
            await worker.live()
            worker.connections.append(self)
        self._conn = self._connector()
        return self

    async def run(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        assert self._conn is not None
        worker = WORKER.get()
        if worker is None:
            return work(self._conn)
        await worker.live()
        await worker.disk.access()
        await worker.live()
        try:
            result = work(self._conn)
        except DiedError:
            worker.die()
            await worker.live()
        delay = worker.dice.choice((0.0, 0.0005, 0.002, 0.02))
        if delay:
            await asyncio.sleep(delay)
        await worker.live()
        return result

    async def close(self) -> None:
        self.close_now()

    def close_now(self) -> None:
        if self._conn is not None:
            self._conn.close()


def _configure(connection: sqlite3.Connection, *, reads_only: bool) -> None:
    configure(connection, reads_only=reads_only)
    # Only processes die here, not machines: nothing needs to reach the disk.
    connection.execute("PRAGMA synchronous = OFF")


@contextmanager
def simulated_disk() -> Iterator[None]:
    """Let ledgers that are opened meanwhile work without threads and without fsync."""
    with (
        mock.patch.object(proxy.ledger.connection, "LedgerConnection", SimulatedConnection),
        mock.patch.object(proxy.ledger.connection, "configure", _configure),
        mock.patch.object(proxy.ledger.sqlite, "configure", _configure),
        mock.patch("os.fdatasync"),
        mock.patch("os.fsync"),
    ):
        yield
