"""One worker: the product's ledger, spool, settler and caller, and the ways in which it dies."""

import asyncio
import contextvars
import os
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

from proxy.core.ids import RequestIds
from proxy.errors import LedgerUnavailableError, ProxyError
from proxy.ledger.spool import Spool
from proxy.ledger.sqlite import SqliteLedger
from proxy.metering.call import Call, Caller
from proxy.metering.outcome import Estimated
from proxy.metering.relay import DisconnectPolicy
from proxy.metering.settling import Settler
from proxy.metering.upkeep import empty_spool, keep_up
from proxy.metering.upstreams import Upstream
from tests.simulation.simulated_disk import DiedError, Disk, SimulatedConnection
from tests.simulation.simulated_loop import WORKER
from tests.simulation.simulated_upstream import Account, SimulatedPool

SETTLE_TIMEOUT_S = 5.0
STALL_LIMIT_S = 5.0
POINTS = ("before_commit", "after_commit", "opened", "sent", "measured", "settled", "released")


class Gone(Protocol):
    """Who is told that the worker is no more."""

    def worker_died(self) -> None: ...


class CountingEstimator:
    """Counts text deltas, as the simulated upstream does."""

    async def estimate(self, **_: Any) -> Estimated:
        await asyncio.sleep(0.002)
        return Estimated(input_tokens=7, output_tokens=3)


class OneClass:
    def context_class(self, *_: object) -> str:
        return ""


class Worker:
    """A process, as far as the ledger and the upstream can tell."""

    def __init__(
        self,
        path: Path,
        *,
        disk: Disk,
        dice: random.Random,
        account: Account,
        clock: Callable[[], int],
        drains: bool,
    ) -> None:
        self.dead = False
        self.buried = False
        self.disk = disk
        self.dice = dice
        self.connections: list[SimulatedConnection] = []
        self.clients: dict[Gone, None] = {}
        """In order: a set's order would not be the seed's."""
        self.ledger: SqliteLedger | None = None
        self.spool: Spool | None = None
        self.unsettled = 0
        self._path = path
        self._clock = clock
        self._drains = drains
        self._pool = SimulatedPool(account, dice)
        self._dies_at: str | None = None
        self._chores: list[asyncio.Task[None]] = []
        self._context = contextvars.copy_context()
        self._context.run(WORKER.set, self)

    def task(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in this worker."""
        loop = asyncio.get_running_loop()
        return self._context.run(loop.create_task, work)

    async def start(self) -> None:
        """Start as a new process would; a ledger that can't be opened is tried again."""
        while not self.dead:
            starting = self.task(self._start())
            while not starting.done() and not self.dead:
                await asyncio.sleep(0.01)
            if not starting.done() or starting.exception() is None:
                return
            assert isinstance(starting.exception(), LedgerUnavailableError)
            self._leave_half()
            await asyncio.sleep(1.0)

    async def _start(self) -> None:
        spool_path = self._path.with_name("spool")
        self.ledger = ledger = await SqliteLedger.open_database(
            self._path,
            self._clock,
            fault=self._fault,
            spool_directory=spool_path,
            stall_limit_s=STALL_LIMIT_S,
        )
        self.spool = Spool(spool_path, ledger.worker_id, ledger.ledger_id)
        self.ids = RequestIds(ledger.worker_id)
        self.caller = Caller(
            ledger=ledger,
            settler=Settler(ledger, self.spool, timeout_s=SETTLE_TIMEOUT_S),
            estimator=CountingEstimator(),
            classifier=OneClass(),
            policy=DisconnectPolicy(drain=self._drains, drain_timeout_s=20.0, drain_bytes=4_000),
            clock_us=self._clock,
            fault=self._fault,
        )
        self.upstream = Upstream(name="simulated", pool=self._pool.as_pool(), credentials=[])
        loop = asyncio.get_running_loop()
        self._chores = [
            loop.create_task(keep_up(ledger, self._clock)),
            loop.create_task(empty_spool(self.spool, ledger)),
        ]

    def _leave_half(self) -> None:
        """A start that failed is a process that ended: nothing of it stays."""
        for connection in self.connections:
            connection.close_now()
        self.connections.clear()

    async def carry(self, exchange: Any, call: Call) -> ProxyError | None:
        """Serve a call as the server and the gateway do."""
        try:
            measurement = await self.caller.carry(exchange, call)
            if measurement is None:
                self.unsettled += 1
        except ProxyError as error:
            return error
        finally:
            if not self.dead and not exchange.answered:
                exchange.cut()
        return None

    @property
    def serving(self) -> bool:
        return not self.dead and bool(self._chores)

    @property
    def left_over(self) -> list[str]:
        """What a worker that has nothing to do must not hold."""
        held = {
            "relays": len(self.caller.running),
            "upstream connections": len(self._pool.in_use),
            "settlements": len(self.caller._settler._waiting),
            "spooled": self.spool.pending if self.spool else 0,
        }
        return [f"{count} {name}" for name, count in held.items() if count]

    async def stop(self) -> None:
        """Stop in good order, as ``Application.stop`` does."""
        assert self.ledger is not None
        assert self.spool is not None
        await self.caller.stop_all()
        for chore in self._chores:
            chore.cancel()
        await self.spool.replay(self.ledger.settle)
        self.spool.close()
        await self.ledger.close()

    # Death.

    def die_at(self, point: str) -> None:
        """Die when this point is next passed."""
        self._dies_at = point

    def _fault(self, point: str) -> None:
        if point == self._dies_at and not self.dead and self.ledger is not None:
            if point.endswith("_commit"):
                raise DiedError
            self.die()

    def before_thread(self, func: Callable[..., Any]) -> None:
        """What the disk does to the spool."""
        if getattr(func, "__name__", "") == "_write" and self.disk.now("spool"):
            raise OSError(28, "No space left on device")

    async def live(self) -> None:
        """Return if alive; never, if not, until the run is over."""
        if self.buried:
            raise asyncio.CancelledError
        if self.dead:
            await asyncio.get_running_loop().create_future()

    def die(self) -> None:
        """End: files are closed, locks are free, sockets are reset, nothing else is done."""
        if self.dead or self.ledger is None:  # what is half made has no parts yet to be taken away
            return
        self.dead = True
        self._pool.die()
        for client in list(self.clients):
            client.worker_died()
        for connection in self.connections:
            connection.close_now()
        if self.spool is not None:
            self._tear_spool(self.spool)
        if self.ledger is not None:
            self._free_locks(self.ledger)

    def _tear_spool(self, spool: Spool) -> None:
        descriptor, spool._descriptor = spool._descriptor, None
        if descriptor is not None:
            if self.dice.random() < 0.5:
                os.write(descriptor, b'0badc0de {"request_id":')
            os.close(descriptor)

    def _free_locks(self, ledger: SqliteLedger) -> None:
        lock, ledger._worker = ledger._worker, None
        if lock is not None:
            lock.release()
        ledger._lead.release()
        ledger._writer._transactions.close()
        ledger._checkpointer._lock.close()
        if ledger._writer._watch is not None:
            ledger._writer._watch.cancel()
