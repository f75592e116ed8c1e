"""Group commit: what waits while one batch is being written is the next batch.

Alone, a request is written at once. Where many are open and writes come often, the first waits
for the others, up to :data:`GATHER_S` since the last batch, so that more of them share one fsync
(PostgreSQL's ``commit_delay`` and ``commit_siblings``). The fewer in such a batch, openings or
settlements, wait once more: they find their like in the next one, and a batch of one kind takes
half the statements. So clients that ask again at once come to move together, step by step.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from proxy.core.rates import RecentRate
from proxy.core.usage import Measurement, RequestState, Usage
from proxy.errors import LedgerUnavailableError
from proxy.ledger.batch import Batch, Change
from proxy.ledger.connection import CLOSED, LedgerConnection
from proxy.ledger.faults import PASSING, fault_name, unavailable
from proxy.ledger.port import Admission, OpenCall, Refusal, Settlement
from proxy.ledger.settlements import settlement_of
from proxy.ledger.transactions import Transactions

_LOG = logging.getLogger(__name__)
T = TypeVar("T")

PENDING_LIMIT = 4096
STALL_LIMIT_S = 5.0
WATCH_INTERVAL_S = 0.5
GATHER_S = 0.003
SIBLINGS = 16
"""How many requests must be open, in this process, for one to wait for others."""
OFTEN_PER_S = 2_000
"""How many writes there must be: of less, a wait would gather a handful, and who is alone waits."""
RATE_WINDOW_S = 0.020
WITHDRAWN = "withdrawn before it was sent upstream"

_FULL = "Too many requests wait for the ledger: try again in a moment."
_STALLED = "The ledger's database does not answer: check its disk, and what else uses its file."


class GroupWriter:
    """Collects writes on the loop and has them written, a batch at a time, by one thread.

    ``pending_limit`` bounds openings and settlements each. A batch that takes longer than
    ``stall_limit_s`` fails the openings that wait (settlements wait on: their callers have
    another place to go); should such an opening be written after all, it is settled as failed.
    """

    def __init__(
        self,
        transactions: Transactions,
        connect: Callable[[], Awaitable[LedgerConnection]],
        *,
        pending_limit: int = PENDING_LIMIT,
        stall_limit_s: float = STALL_LIMIT_S,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transactions = transactions
        self._connect = connect
        self._connection: LedgerConnection | None = None
        self._pending_limit = pending_limit
        self._stall_limit_s = stall_limit_s
        self._pending = Batch()
        self._writing: Batch | None = None
        self._in_writing = 0
        self._began_s = 0.0
        self._sleeper: asyncio.Future[None] | None = None
        self._wanted = 1
        self._gathered = self._left_some = False
        self._expected = 0
        self._unsettled: set[int] = set()
        self._rate = RecentRate(RATE_WINDOW_S)
        self._refusing: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.fault: str | None = None
        self.batches = 0
        self.written = 0
        self.after_batch: Callable[[], None] | None = None
        self.on_written: Callable[[], None] | None = None
        """Called in the writer's thread once a batch is written, or could not be."""

    async def start(self) -> None:
        """Connect, and begin to write."""
        self._connection = await self._connect()
        self._task = asyncio.create_task(self._run(), name="ledger-writer")  # noqa: TID251 - held until it is done
        self._watch = self._loop.call_later(WATCH_INTERVAL_S, self._look)

    @property
    def unwritten(self) -> int:
        """How many writes wait for the disk; what is written may still have to be told."""
        return len(self._pending) + self._in_writing

    def open(self, call: OpenCall) -> asyncio.Future[Admission | Refusal]:
        """Queue an opening."""
        future: asyncio.Future[Admission | Refusal] = self._loop.create_future()
        waiting = self._pending.opens
        if self._refusing is not None or len(waiting.items) >= self._pending_limit:
            future.set_exception(LedgerUnavailableError(self._refusing or _FULL))
            return future
        waiting.items.append(call)
        waiting.futures.append(future)
        self._unsettled.add(call.id)
        if self._sleeper is not None and len(self._pending) >= self._wanted:
            self._wake()
        return future

    def settle(self, settlement: Settlement) -> asyncio.Future[bool]:
        """Queue a settlement."""
        future: asyncio.Future[bool] = self._loop.create_future()
        waiting = self._pending.settles
        if self._task is None or len(waiting.items) >= self._pending_limit:
            self._unsettled.discard(settlement.request_id)
            future.set_exception(LedgerUnavailableError(_FULL if self._task else CLOSED))
            return future
        waiting.items.append(settlement)
        waiting.futures.append(future)
        if self._sleeper is not None and len(self._pending) >= self._wanted:
            self._wake()
        return future

    async def change(self, change: Callable[..., T]) -> T:
        """Have a change written in a transaction of its own, and return its value."""
        if self._task is None:
            raise LedgerUnavailableError(CLOSED)
        future: asyncio.Future[object] = self._loop.create_future()
        self._pending.changes.items.append(cast("Change", change))
        self._pending.changes.futures.append(future)
        if self._sleeper is not None:
            self._wake()
        return cast("T", await future)

    async def close(self, farewell: Callable[[sqlite3.Connection], bool] | None = None) -> bool:
        """Write what waits, then ``farewell``; let go of the connection and the lock.

        Return what ``farewell`` returned, False where it could not be written.
        """
        task, self._task = self._task, None
        self._refusing = CLOSED
        if task is None:
            return False
        if self._sleeper is not None:
            self._wake()
        if self._watch is not None:
            self._watch.cancel()
        await task
        last = self._loop.create_future()
        if farewell is not None:
            self._pending.changes.items.append(farewell)
            self._pending.changes.futures.append(last)
            await self._write()
        await self._disconnect()
        self._transactions.close()
        return farewell is not None and last.exception() is None and bool(last.result())

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def _run(self) -> None:
        while True:
            if not len(self._pending):
                if self._task is None:
                    return
                self._sleeper = self._loop.create_future()
                await self._sleeper
                self._sleeper = None
                self._began_s = self._loop.time()
                continue
            often = self._rate.per_s >= OFTEN_PER_S and not self._pending.changes.items
            self._gathered = often and await self._gather()
            await self._write()

    async def _gather(self) -> bool:
        """Wait for all open requests, where they are many; no longer than since the last batch.

        Whose request the last batch has settled is taken to ask again. False where they are few.
        """
        wanted = max(len(self._unsettled), self._expected)
        if wanted < SIBLINGS:
            return False
        left_s = self._began_s + GATHER_S - self._loop.time()
        if left_s > 0 and len(self._pending) < wanted and self._task is not None:
            self._wanted = wanted
            self._sleeper = self._loop.create_future()
            timer = self._loop.call_later(left_s, self._wake)
            await self._sleeper
            self._sleeper = None
            timer.cancel()
            self._wanted = 1
        return True

    def _left(self, batch: Batch) -> Batch:
        """Take out of a gathered batch what waits for the next one: nothing waits twice."""
        wait = self._gathered and not self._left_some and self._task is not None
        left = batch.without_the_fewer() if wait else None
        self._left_some = left is not None
        return left or Batch()

    async def _write(self) -> None:
        batch, self._pending = self._pending, self._left(self._pending)
        self._writing = batch
        self._in_writing = len(batch)
        self._began_s = self._loop.time()
        self._rate.count(len(batch), self._began_s)
        error = LedgerUnavailableError(_STALLED)
        try:
            if self._connection is None:
                self._connection = await self._connect()
            written = await self._connection.run(lambda connection: self._rows(connection, batch))
        except Exception as reason:  # noqa: BLE001 - it is logged, and writing goes on
            error = unavailable(reason)
            self._note_fault(error.message, reason)
            if fault_name(reason) not in PASSING:
                await self._disconnect()
        else:
            self._note_outcome(batch, written)
        self._writing = None
        self._in_writing = 0
        self.batches += 1
        self.written += len(batch)
        self._resolve(batch, error)
        if self.after_batch is not None:
            self.after_batch()

    def _rows(self, connection: sqlite3.Connection, batch: Batch) -> int:
        """Write a batch in the connection's thread; return how many rows that changed."""
        before = connection.total_changes
        try:
            self._transactions.write(connection, batch)
        finally:
            self._in_writing = 0
            if self.on_written is not None:
                self.on_written()
        return connection.total_changes - before

    def _note_outcome(self, batch: Batch, written: int) -> None:
        """Take note of what a batch shows: one that changed no row touched no disk."""
        for outcome in batch.changes.outcomes:
            if isinstance(outcome, LedgerUnavailableError):
                self._note_fault(outcome.message)
                return
        if written or self.fault == _STALLED:
            self._note_fault(None)

    def _note_fault(self, fault: str | None, reason: Exception | None = None) -> None:
        """Log a fault when it begins, changes and ends, not for each batch."""
        if fault is not None and fault != self.fault:
            _LOG.error("the ledger can't be written: %s", fault, exc_info=reason)
        elif fault is None and self.fault is not None:
            _LOG.warning("the ledger can be written again")
        self.fault = fault

    def _resolve(self, batch: Batch, error: LedgerUnavailableError) -> None:
        if self._refusing is _STALLED:
            self._refusing = None
        batch.changes.resolve(error)
        batch.settles.resolve(error)
        self._note_ends(batch)
        for call, outcome in batch.opens.resolve(error):
            if isinstance(outcome, Admission):
                self._withdraw(call)

    def _note_ends(self, batch: Batch) -> None:
        """Wait no more for those that have ended: by their ids, since some are settled twice."""
        opens = batch.opens
        if [type(outcome) for outcome in opens.outcomes].count(Admission) < len(opens.items):
            outcomes = opens.outcomes or (None,) * len(opens.items)
            for call, outcome in zip(opens.items, outcomes, strict=True):
                if not isinstance(outcome, Admission):
                    self._unsettled.discard(call.id)
        ended = [each.request_id for each in batch.settles.items if not each.appended_from]
        self._unsettled.difference_update(ended)
        self._expected = len(self._unsettled) + len(ended)

    def _withdraw(self, call: OpenCall) -> None:
        """Settle a request that was admitted when nobody waited for it any more."""
        usage = Usage(quantities=(), notes=(WITHDRAWN,))
        measurement = Measurement(state=RequestState.FAILED, usage=usage)
        settlement = settlement_of(call, measurement, call.opened_at_us)
        settled: asyncio.Future[bool] = self._loop.create_future()
        settled.add_done_callback(lambda done: self._note_withdrawn(call, done))
        self._pending.settles.items.append(settlement)
        self._pending.settles.futures.append(settled)

    def _note_withdrawn(self, call: OpenCall, settled: asyncio.Future[bool]) -> None:
        """Try again later where it could not be written: while we live, nobody else settles it."""
        if settled.exception() is not None:
            self._loop.call_later(WATCH_INTERVAL_S, self._withdraw_again, call)

    def _withdraw_again(self, call: OpenCall) -> None:
        if self._task is not None:
            self._withdraw(call)
            self._wake()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close()
        except Exception as reason:  # noqa: BLE001 - it is logged, and writing goes on
            _LOG.info("closing the ledger's connection: %s", reason)

    def _look(self) -> None:
        """Refuse openings while a batch takes too long: a lock or a disk that hangs."""
        self._watch = self._loop.call_later(WATCH_INTERVAL_S, self._look)
        batch = self._writing
        if batch is None or self._loop.time() - self._began_s < self._stall_limit_s:
            return
        if self._refusing is None:
            self._refusing = _STALLED
            self._note_fault(_STALLED)
        error = LedgerUnavailableError(_STALLED)
        batch.opens.refuse(error)
        pending = self._pending.opens
        self._unsettled.difference_update([call.id for call in pending.items])
        pending.refuse(error)
        pending.items.clear()
        pending.futures.clear()
