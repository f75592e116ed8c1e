"""The ledger on SQLite: one file; in each process a thread to write, to read, for checkpoints."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self

from proxy.clock import now_us
from proxy.core.book import READING
from proxy.core.subscriptions import Customer, Segment, Subscription
from proxy.core.times import to_us
from proxy.errors import LedgerUnavailableError
from proxy.ledger import changes, pruning, recovery, rows, spool
from proxy.ledger.billing import SqliteBilling
from proxy.ledger.booking import Booking
from proxy.ledger.checkpoints import Checkpointer
from proxy.ledger.connection import Reader, configure, connect, refuse_foreign_log
from proxy.ledger.deferred import SqliteDeferred
from proxy.ledger.faults import is_fault, unusable
from proxy.ledger.leading import LeadLock
from proxy.ledger.limit_owners import LedgerBook
from proxy.ledger.limit_verbs import SqliteLimits
from proxy.ledger.locks import WriteLock
from proxy.ledger.migrate import migrate
from proxy.ledger.port import (
    APPENDED_FROM,
    Admission,
    AdoptedBook,
    KeyRecord,
    OpenCall,
    Refusal,
    RequestRecord,
    Settlement,
    Standing,
)
from proxy.ledger.requests import read_request
from proxy.ledger.standing import read_standing
from proxy.ledger.transactions import Fault, Transactions
from proxy.ledger.writer import PENDING_LIMIT, STALL_LIMIT_S, GroupWriter

PROBE_S = 1.0
"""How long it may take to find out that the ledger can be written again."""
Clock = Callable[[], int]
"""Microseconds of Unix time."""


def no_fault(_: str) -> None:
    """Let every named point pass."""


def no_spool() -> bool:
    """Say that there is no spool, so nothing is in it."""
    return False


_SPOOLED = (
    "Usage could not be recorded in the ledger for a while and waits to be: until it is, requests "
    "with a limit are not admitted. Try again in a moment."
)


class SqliteLedger(SqliteBilling, SqliteDeferred, SqliteLimits):
    """:class:`proxy.ledger.port.Ledger` on SQLite. Make it with :meth:`open_database`."""

    def __init__(
        self, path: Path, clock: Clock, booking: Booking, entered: recovery.Entered | None
    ) -> None:
        self._path = path
        self._clock = clock
        self._booking = booking
        self._worker = entered.lock if entered else None
        self.ledger_id = entered.ledger_id if entered else 0
        """The ledger's own number, wherever its file lies; 0 where this is no worker."""
        self._spool: Path | None = None
        self._left_in_spool: frozenset[Path] = frozenset()
        self._reader = Reader(path)
        self._checkpointer = Checkpointer(path)
        self._lead = LeadLock(path)
        self._book_read = LedgerBook()
        self._writer: GroupWriter
        self.spooled: Callable[[], bool] = no_spool
        """Whether settlements wait in the spool: what is spent is not known then."""

    @classmethod
    async def open_database(
        cls,
        path: str | Path,
        clock: Clock = now_us,
        *,
        worker: bool = True,
        fault: Fault = no_fault,
        spool_directory: Path | None = None,
        pending_limit: int = PENDING_LIMIT,
        stall_limit_s: float = STALL_LIMIT_S,
    ) -> Self:
        """Open or make a database, bring its schema up to date, and recover what was left open.

        A command that meters nothing passes ``worker=False``: it recovers nothing by itself and
        can't open requests.

        Raises :class:`SettingsError` for a newer database or another program's, and
        :class:`LedgerUnavailableError` for one that can't be read or written.
        """
        file = Path(path).resolve()  # noqa: ASYNC240 - once, at the start
        try:
            entered = await asyncio.to_thread(_prepare, file, clock, worker=worker)
            booking = Booking(entered.lock.worker_id if entered else 0, clock)
            ledger = cls(file, clock, booking, entered)
            ledger._spool = spool_directory
            ledger._writer = GroupWriter(
                Transactions(file, booking, fault),
                partial(connect, file),
                pending_limit=pending_limit,
                stall_limit_s=stall_limit_s,
            )
        except (sqlite3.Error, OSError) as error:
            raise unusable(error, file) from error
        try:
            await ledger._writer.start()
            ledger._writer.after_batch = ledger._after_batch
            if worker:
                await ledger.recover()
        except BaseException as error:
            # Its threads would keep the process from ending, its lock its place from recovery.
            await ledger.close()
            if is_fault(error):
                raise unusable(error, file) from error
            raise
        return ledger

    @property
    def worker_id(self) -> int:
        """The number of this worker, never given to another; 0 where it is none."""
        return self._worker.worker_id if self._worker else 0

    @property
    def unwritten(self) -> int:
        """How many writes wait for the disk; what is written may still have to be told."""
        return self._writer.unwritten

    def tell_written(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called, in the writer's thread, once a batch is written or has failed."""
        self._writer.on_written = tell

    @property
    def batches(self) -> int:
        """How many transactions of openings and settlements there were: the shared commits."""
        return self._writer.batches

    def open(self, call: OpenCall) -> Awaitable[Admission | Refusal]:
        """Admit a request; the future is there at once, its result when it is durable."""
        if self._worker is None:
            msg = "This program opened the ledger to look at it: it can't admit requests."
            raise LedgerUnavailableError(msg)
        if call.bounds is not None and self.spooled():
            raise LedgerUnavailableError(_SPOOLED)
        return self._writer.open(call)

    def settle(self, settlement: Settlement) -> asyncio.Future[bool]:
        """Record how a request ended; False if it had been settled before, or never opened."""
        return self._writer.settle(settlement)

    def append(self, part: Settlement) -> asyncio.Future[bool]:
        """Record usage of a request while it runs; the request stays open."""
        if part.appended_from < APPENDED_FROM:
            msg = f"Appended events are numbered from {APPENDED_FROM} on."
            raise ValueError(msg)
        return self._writer.settle(part)

    async def recover(self) -> int:
        """Abandon what workers that died left open; return how many requests that were.

        Errors: LedgerUnavailableError, also where the spool's files can't be removed that are
        booked by then.
        """
        now_us = self._clock()
        recovered = await self._writer.change(
            partial(
                recovery.recover,
                booking=self._booking,
                database=self._path,
                worker_id=self.worker_id,
                now_us=now_us,
                spooled=self._spooled,
            )
        )
        self._left_in_spool |= frozenset(recovered.left)
        if recovered.replayed:
            try:
                await asyncio.to_thread(spool.remove, recovered.replayed)
            except OSError as error:
                raise spool.not_removed(recovered.replayed[0].parent, error) from error
        return recovered.abandoned

    def _spooled(self) -> Mapping[int, list[Path]]:
        """List the spool's files by worker, but for those that were left there once."""
        if self._spool is None:
            return {}
        found = spool.files(self._spool, self.ledger_id)
        kept = {
            worker_id: [path for path in paths if path not in self._left_in_spool]
            for worker_id, paths in found.items()
        }
        return {worker_id: paths for worker_id, paths in kept.items() if paths}

    async def prune_unowned(self, before_us: int) -> int:
        """Delete failed requests of keys that never worked; return how many those were."""
        pruned = 0
        while True:
            page = await self._writer.change(lambda db: pruning.prune_unowned(db, before_us))
            pruned += page
            if page < pruning.PAGE:
                return pruned

    async def check_writable(self) -> None:
        """Raise LedgerUnavailableError where nothing can be written: tried, if it could not be."""
        await self._reader.read(rows.read_sequence)
        fault = self._writer.fault
        if fault is not None:
            try:
                async with asyncio.timeout(PROBE_S):
                    await self._writer.change(changes.probe)
            except TimeoutError:
                raise LedgerUnavailableError(fault) from None

    async def configuration_sequence(self) -> int:
        """Return the number that every change of the configuration raises."""
        return await self._reader.read(rows.read_sequence)

    async def make_customer(self, external_id: str, **attributes: str | None) -> Customer:
        """Make a customer, or return it where what is given is as it was."""
        now_us = self._clock()
        return await self._writer.change(
            lambda db: changes.insert_customer(db, external_id, attributes, now_us)
        )

    async def change_customer(self, external_id: str, **attributes: str | None) -> Customer:
        """Change the attributes that are given."""
        return await self._writer.change(
            lambda db: changes.change_customer(db, external_id, attributes)
        )

    async def make_subscription(
        self, external_id: str, *, customer: str, plan: str, started_at: datetime
    ) -> Subscription:
        """Make or return a subscription."""
        now_us, started_at_us = self._clock(), to_us(started_at)
        return await self._writer.change(
            lambda db: changes.make_subscription(
                db, external_id, customer, plan, (started_at_us, now_us)
            )
        )

    async def change_plan(self, subscription: str, *, plan: str) -> Subscription:
        """End the subscription's segment now and start the next on another plan."""
        now_us = self._clock()
        return await self._writer.change(
            lambda db: changes.change_plan(db, subscription, plan, now_us)
        )

    async def make_key(
        self, *, digest: bytes, prefix: str, name: str | None, subscription: str
    ) -> KeyRecord:
        """Store a key's digest for a subscription."""
        now_us = self._clock()
        return await self._writer.change(
            lambda db: changes.insert_key(db, digest, (prefix, name), subscription, now_us)
        )

    async def revoke_key(self, prefix_or_id: str) -> KeyRecord:
        """Revoke the one key that this prefix or id names."""
        now_us = self._clock()
        return await self._writer.change(lambda db: changes.revoke_key(db, prefix_or_id, now_us))

    async def keys(self) -> Sequence[KeyRecord]:
        """Return all keys, newest first."""
        now_us = self._clock()
        return await self._reader.read(lambda db: rows.read_keys(db, now_us))

    async def customers(self) -> Sequence[Customer]:
        """Return all customers by external id."""
        return await self._reader.read(rows.read_customers)

    async def subscriptions(self) -> Sequence[Subscription]:
        """Return all subscriptions by external id."""
        now_us = self._clock()
        return await self._reader.read(lambda db: rows.read_subscriptions(db, now_us))

    async def subscription(self, external_id: str) -> Subscription | None:
        """Return one subscription by its external id."""
        now_us = self._clock()
        return await self._reader.read(lambda db: rows.read_subscription(db, external_id, now_us))

    async def segments(self, subscription_id: int) -> Sequence[Segment]:
        """Return a subscription's segments in order."""
        return await self._reader.read(lambda db: rows.read_segments(db, subscription_id))

    async def standing(self, external_id: str, windows: Sequence[datetime]) -> Standing | None:
        """Sum a subscription's series between each two neighbours of ``windows``."""
        now_us = self._clock()
        return await self._reader.read(lambda db: read_standing(db, external_id, windows, now_us))

    async def request(self, request_id: int) -> RequestRecord | None:
        """Return all that is known of one request."""
        return await self._reader.read(lambda db: read_request(db, request_id))

    async def adopt_book(self, text: str, sha256: str, *, reading: int = READING) -> AdoptedBook:
        """Put a price book in force for every worker."""
        now_us = self._clock()
        return await self._writer.change(
            lambda db: changes.insert_book(db, text, sha256, now_us, reading=reading)
        )

    async def close(self) -> None:
        """Write what is queued and let go of every file. What is still open stays open."""
        lock, self._worker = self._worker, None
        farewell = partial(recovery.retire, worker_id=lock.worker_id) if lock else None
        nothing_left = await self._writer.close(farewell)
        await self._reader.close()
        await self._checkpointer.close()
        self._lead.release()
        if lock is not None:
            if nothing_left:
                lock.remove()
            else:
                lock.release()

    def _after_batch(self) -> None:
        self._checkpointer.consider(self._writer.written, self._writer.batches)


def _prepare(path: Path, clock: Clock, *, worker: bool) -> recovery.Entered | None:
    """Bring the schema up to date and enter this worker, under the write lock."""
    lock = WriteLock(path)
    try:
        with lock:
            refuse_foreign_log(path)
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                configure(connection, reads_only=False)
                migrate(connection)
                return recovery.register(connection, path, clock()) if worker else None
            finally:
                connection.close()
    finally:
        lock.close()
