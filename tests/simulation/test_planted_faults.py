"""The simulation would find it: each fault is planted on purpose, and must be found."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy.core.limits_together import Ended
from proxy.core.reservations import Bounds
from proxy.errors import LedgerUnavailableError
from proxy.ledger import booking, recovery, spool, statements, sums
from proxy.ledger.limit_accounts import Account
from proxy.ledger.locks import WorkerLock
from proxy.ledger.port import Settlement
from proxy.ledger.statements import BulkStatement
from proxy.metering.call import Call, Caller
from proxy.metering.settling import Settler
from tests.simulation.play import Size, play

Plant = Callable[[pytest.MonkeyPatch], None]
SEEDS = 150
SIZE = Size(clients=10, seconds=10.0)


def a_settlement_is_dropped(patch: pytest.MonkeyPatch) -> None:
    settle, count = Settler.settle, iter(range(1 << 30))

    async def forgetful(self: Settler, settlement: Settlement) -> None:
        if next(count) % 50:
            await settle(self, settlement)

    patch.setattr(Settler, "settle", forgetful)


def an_answer_is_released_before_it_is_settled(patch: pytest.MonkeyPatch) -> None:
    settle, kept = Settler.settle, set[asyncio.Task[bool]]()

    async def hasty(self: Settler, settlement: Settlement) -> None:
        kept.add(asyncio.get_running_loop().create_task(settle(self, settlement)))

    patch.setattr(Settler, "settle", hasty)


def the_spool_keeps_nothing(patch: pytest.MonkeyPatch) -> None:
    async def append(self: spool.Spool, settlement: Settlement) -> None: ...

    patch.setattr(spool.Spool, "append", append)


def a_dead_workers_spool_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery, "_replay", lambda *_: True)


def living_workers_are_recovered(patch: pytest.MonkeyPatch) -> None:
    def take_over(cls: type[WorkerLock], database: Path, worker_id: int) -> WorkerLock:
        import os  # noqa: PLC0415

        return cls(database.with_name("none"), os.open("/dev/null", os.O_RDONLY), worker_id)

    patch.setattr(WorkerLock, "take_over", classmethod(take_over))


def a_sum_moves_without_an_event(patch: pytest.MonkeyPatch) -> None:
    add, count = sums.add_to_sums, iter(range(1 << 30))

    def generous(connection: sqlite3.Connection, quarters: dict[tuple[int, int], int]) -> None:
        add(connection, quarters)
        if not next(count) % 40:
            add(connection, quarters)

    patch.setattr(booking, "add_to_sums", generous)


def events_are_not_idempotent(patch: pytest.MonkeyPatch) -> None:
    insert = statements.INSERT_EVENTS

    class Anew(BulkStatement):
        def run(self, connection: sqlite3.Connection, rows: Any, **more: Any) -> int:
            return max(insert.run(connection, rows, **more), len(rows))

    class Again(BulkStatement):
        def run(self, connection: sqlite3.Connection, rows: Any, **more: Any) -> int:
            changed = settle.run(connection, rows, **more)
            return max(changed, len(rows))

    settle = statements.SETTLE
    patch.setattr(statements, "INSERT_EVENTS", Anew("", 1))
    patch.setattr(statements, "SETTLE", Again("", 1))


def requests_go_up_before_they_are_open(patch: pytest.MonkeyPatch) -> None:
    open_, kept = Caller.admit, set[asyncio.Task[Any]]()

    async def hasty(self: Caller, *call: Any) -> None:
        kept.add(asyncio.get_running_loop().create_task(open_(self, *call)))

    patch.setattr(Caller, "admit", hasty)


def what_can_not_be_settled_is_released(patch: pytest.MonkeyPatch) -> None:
    settle = Settler.settle

    async def careless(self: Settler, settlement: Settlement) -> None:
        try:
            await settle(self, settlement)
        except LedgerUnavailableError:
            return

    patch.setattr(Settler, "settle", careless)


def a_reservation_is_not_released(patch: pytest.MonkeyPatch) -> None:
    settle, count = Account.settle, iter(range(1 << 30))

    def forgetful(self: Account, ends: Sequence[Ended]) -> None:
        settle(self, [end for end in ends if next(count) % 10])

    patch.setattr(Account, "settle", forgetful)


def nothing_is_reserved(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Call, "bounds", lambda _: Bounds(free=True))


PLANTS: Sequence[Plant] = (
    a_settlement_is_dropped,
    an_answer_is_released_before_it_is_settled,
    the_spool_keeps_nothing,
    a_dead_workers_spool_is_forgotten,
    living_workers_are_recovered,
    a_sum_moves_without_an_event,
    events_are_not_idempotent,
    requests_go_up_before_they_are_open,
    what_can_not_be_settled_is_released,
    a_reservation_is_not_released,
    nothing_is_reserved,
)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
@pytest.mark.filterwarnings("ignore")
def test_a_planted_fault_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert any(_fails(seed) for seed in range(SEEDS))


def _fails(seed: int) -> bool:
    return play(seed, SIZE) is not None
