"""One run, made of its seed, and what must hold after it."""

import asyncio
import logging
import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from proxy.core.subscriptions import ApiKey
from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.verify import Verified, verify
from tests.ledger.calls import START_US, make_key
from tests.simulation.clients import Seen, Shop, visit
from tests.simulation.simulated_disk import Disk, Mood, simulated_disk
from tests.simulation.simulated_loop import SimulatedLoop
from tests.simulation.simulated_upstream import KINDS, Account, Truth
from tests.simulation.worker import POINTS, Worker

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - if it is there, it is the fastest disk
MOODS = ("locked", "slow", "SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_BUSY", "spool")
SECOND_US = 1_000_000
BOTH = 0.3
"""How often the spool fails together with the ledger."""
CALM_STEP_S = 3.0
CALM_STEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much happens in a run; ``faults`` false: nothing goes wrong."""

    clients: int = 12
    seconds: float = 20.0
    faults: bool = True


@dataclass(slots=True, kw_only=True)
class Played:
    """What happened: the upstream's account, what clients saw, and who died."""

    path: Path
    account: Account
    seen: list[Seen] = field(default_factory=list)
    deaths: int = 0
    unsettled: int = 0
    days_passed: bool = False
    left_over: list[str] = field(default_factory=list)


def temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    folder = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    return tempfile.TemporaryDirectory(prefix="weighbridge-", dir=folder)


BOOK = """
currency = "USD"
package_size = 1
[models."gpt-4o"]
input = 0.001
cached_input = 0.0005
output = 0.002
max_output = 1000
context_window = 10000
"""
LIMITS: dict[str, dict[str, Any]] = {
    "beta": {"spend_per_period": Decimal("0.26"), "spend_total": Decimal("0.30")},
    "gamma": {"concurrent_requests": 2, "requests_per_minute": 30, "tokens_per_minute": 3_000},
}
"""A request's worst case is about 0.21: one at a time fills beta's budget."""


@cache
def _template() -> tuple[bytes, list[ApiKey]]:
    """A fresh ledger with its keys, made once: each run starts from a copy."""

    async def make(path: Path) -> list[ApiKey]:
        ledger = await SqliteLedger.open_database(path, lambda: START_US, worker=False)
        await ledger.adopt_book(BOOK, "simulated")
        for name, values in LIMITS.items():
            await make_key(ledger, name)
            await ledger.set_limits(values, subscription=name)
        keys = [await make_key(ledger, name) for name in ("acme", "beta", "gamma")]
        await ledger.close()
        return keys

    with temporary_folder() as folder:
        path = Path(folder) / "ledger.db"
        with asyncio.Runner() as runner:
            keys = runner.run(make(path))
        return path.read_bytes(), keys


def play(seed: int, size: Size = Size()) -> str | None:
    """Play a run; return what is wrong after it, or None."""
    content, keys = _template()
    logging.disable()
    folder = temporary_folder()
    try:
        path = Path(folder.name) / "ledger.db"
        path.write_bytes(content)
        played = Played(path=path, account=Account())
        with simulated_disk(), asyncio.Runner(loop_factory=SimulatedLoop) as runner:
            runner.run(_play(played, random.Random(seed), keys, size))
        problems = [*check(played)]
        return None if not problems else f"seed {seed}: " + "; ".join(problems[:5])
    finally:
        logging.disable(logging.NOTSET)
        shutil.rmtree(folder.name)
        folder._finalizer.detach()  # type: ignore[attr-defined]


class _Clock:
    """The wall clock: it follows the run's time, and jumps."""

    def __init__(self) -> None:
        self.jumped_us = 0

    def __call__(self) -> int:
        run_us = int(asyncio.get_running_loop().time() * SECOND_US)
        return START_US + 3_600 * SECOND_US * 24 * 14 + run_us + self.jumped_us


async def _play(played: Played, dice: random.Random, keys: list[ApiKey], size: Size) -> None:
    clock = _Clock()
    disk = Disk(_moods(dice, size) if size.faults else [])
    drains = dice.random() < 0.7

    made: list[Worker] = []

    def worker() -> Worker:
        made.append(
            Worker(
                played.path,
                disk=disk,
                dice=dice,
                account=played.account,
                clock=clock,
                drains=drains,
            )
        )
        return made[-1]

    workers = [worker() for _ in range(dice.randrange(1, 4))]
    shop = Shop(
        dice=dice,
        clock=clock,
        workers=workers,
        keys=keys,
        kinds=list(KINDS),
        weights=list(KINDS.values()),
        seen=played.seen,
    )
    async with asyncio.TaskGroup() as group:
        for one in workers:
            group.create_task(one.start())
        for _ in range(size.clients):
            group.create_task(_later(dice.uniform(0, size.seconds), visit(shop)))
        if size.faults:
            for slot in range(len(workers)):
                group.create_task(_deaths(workers, slot, worker, (dice, size, played)))
            group.create_task(_jumps(clock, dice, size))
    await _calm(workers, disk)
    played.days_passed = clock.jumped_us > 0
    await _end(played, workers, worker)
    for one in made:
        one.dead = one.buried = True


async def _calm(workers: list[Worker], disk: Disk) -> None:
    """Wait until the disk is well and whatever lives has nothing to do; not for ever."""
    for _ in range(CALM_STEPS):
        await asyncio.sleep(CALM_STEP_S)
        if disk.well and not any(one.left_over for one in workers if not one.dead):
            return


async def _later(seconds: float, work: object) -> None:
    await asyncio.sleep(seconds)
    await work  # type: ignore[misc]


def _moods(dice: random.Random, size: Size) -> list[Mood]:
    moods = []
    for _ in range(dice.choice((0, 1, 1, 2, 3))):
        starts_s = dice.uniform(0, size.seconds)
        lasts_s = dice.choice((0.01, 0.5, 3.0, 8.0, 20.0))
        kinds = [dice.choice(MOODS)]
        if dice.random() < BOTH:
            kinds.append("spool")
        moods += [Mood(kind=kind, starts_s=starts_s, ends_s=starts_s + lasts_s) for kind in kinds]
    return moods


async def _deaths(
    workers: list[Worker], slot: int, make: object, world: tuple[random.Random, Size, Played]
) -> None:
    """Let a worker die now and then, at a point of its work or at any moment, and start anew."""
    dice, size, played = world
    for _ in range(dice.choice((0, 0, 1, 1, 2))):
        await asyncio.sleep(dice.uniform(0, size.seconds / 2))
        worker = workers[slot]
        if dice.random() < 0.6:
            worker.die_at(dice.choice(POINTS))
            await asyncio.sleep(3.0)
        if dice.random() < 0.8:
            worker.die()
        if worker.dead:
            played.deaths += 1
            played.unsettled += worker.unsettled
            await asyncio.sleep(dice.choice((0.0, 0.3, 5.0)))
            workers[slot] = make()  # type: ignore[operator]
            await workers[slot].start()
        else:
            worker.die_at("")


async def _jumps(clock: _Clock, dice: random.Random, size: Size) -> None:
    for _ in range(dice.choice((0, 0, 1, 3))):
        await asyncio.sleep(dice.uniform(0, size.seconds / 2))
        clock.jumped_us += dice.choice((-86_400, -3_600, -1, 1, 900, 86_400 * 20)) * SECOND_US


async def _end(played: Played, workers: list[Worker], make: object) -> None:
    """Stop who lives, and let a last one recover what the dead left."""
    for worker in workers:
        if not worker.dead:
            played.unsettled += worker.unsettled
            played.left_over += worker.left_over
            await worker.task(worker.stop())
    last = make()  # type: ignore[operator]
    await last.start()
    await last.task(last.stop())


# What must hold.


def check(played: Played) -> list[str]:
    """Return what is wrong with a ledger after a run."""
    problems = list(played.left_over)
    with closing(sqlite3.connect(played.path, isolation_level=None)) as connection:
        rows = {
            row[0]: row[1:]
            for row in connection.execute(
                "SELECT id, state, upstream_status, subscription_id IS NOT NULL FROM requests"
            )
        }
        problems += [str(difference) for difference in verify(connection, Verified())]
        problems += _leftovers(connection, played.path)
        problems += _overdrawn(connection)
        tokens = _tokens(connection)
    asked = Counter(truth.request_id for truth in played.account.truths)
    seen = {one.request_id: one for one in played.seen}
    for request_id in asked.keys() - rows.keys():
        if played.days_passed and not seen[request_id].known:
            continue  # what is nobody's is kept for a day
        problems.append(f"request {request_id} reached the upstream and is lost")
    truths = {truth.request_id: truth for truth in played.account.truths}
    for request_id, (state, _, owned) in rows.items():
        problem = _problem(
            state, owned, truths.get(request_id), seen[request_id], tokens[request_id], played
        )
        if problem:
            problems.append(f"request {request_id} is {state}: {problem}")
    problems += _refusals(played, truths)
    return problems


def _leftovers(connection: sqlite3.Connection, path: Path) -> list[str]:
    problems = []
    (running,) = connection.execute(
        "SELECT count(*) FROM requests WHERE settled_at_us IS NULL"
    ).fetchone()
    if running:
        problems.append(f"{running} requests are open")
    (workers,) = connection.execute("SELECT count(*) FROM workers").fetchone()
    if workers:
        problems.append(f"{workers} workers are entered")
    files = [file.name for file in path.parent.rglob("*") if file.is_file()]
    expected = {path.name, f"{path.name}.lock", f"{path.name}.lead"}
    left = [name for name in files if name not in expected and not name.endswith(("-shm", "-wal"))]
    return problems + [f"the file {name} is left" for name in left]


def _overdrawn(connection: sqlite3.Connection) -> list[str]:
    """Limits, reckoned here from the events alone, and what is still held against them."""
    prices = {"input": Decimal("0.001"), "cached_input": Decimal("0.0005")}
    spent = sum(
        prices.get(kind, Decimal("0.002")) * quantity
        for kind, quantity in connection.execute(
            "SELECT s.type, sum(e.quantity) FROM events AS e JOIN series AS s ON s.id = e.series_id"
            " JOIN subscriptions AS u ON u.id = e.subscription_id WHERE s.metric = 'tokens'"
            " AND u.external_id = 'beta' GROUP BY 1"
        )
    )
    problems = []
    if spent > LIMITS["beta"]["spend_total"]:
        problems.append(f"beta has spent {spent}")
    held = connection.execute(
        "SELECT count(*) FROM limit_states WHERE running <> 0"
        " OR coalesce(period_reserved + 0, 0) <> 0 OR coalesce(total_reserved + 0, 0) <> 0"
    ).fetchone()
    if held[0]:
        problems.append(f"{held[0]} owners have something reserved or running")
    return problems


def _tokens(connection: sqlite3.Connection) -> dict[int, dict[str, int]]:
    tokens: dict[int, dict[str, int]] = {}
    rows = connection.execute(
        "SELECT r.id, s.type, sum(e.quantity) FROM requests AS r LEFT JOIN events AS e"
        " ON e.request_id = r.id AND e.subscription_id = r.subscription_id"
        " LEFT JOIN series AS s ON s.id = e.series_id AND s.metric = 'tokens' GROUP BY 1, 2"
    )
    for request_id, kind, quantity in rows:
        found = tokens.setdefault(request_id, {})
        if kind is not None:
            found[kind] = quantity
    return tokens


def _problem(  # noqa: C901, PLR0911 - a table in words, of all that is known
    state: str,
    owned: int,
    truth: Truth | None,
    seen: Seen,
    tokens: dict[str, int],
    played: Played,
) -> str | None:
    """Hold one request against the truth."""
    if state == "abandoned":
        if seen.whole and seen.status == 200:
            return "its client has a whole answer"
        if not seen.worker.dead and not played.unsettled:
            return "its worker did not die"
        return None
    if truth is None:
        return None if state == "failed" and not tokens else "it never reached the upstream"
    if truth.ended in {"error", "refused"} or (truth.ended == "broken" and not truth.begun):
        fine = state == "failed" or (state == "partial" and seen.left)
        return None if fine else f"the upstream's answer was {truth.ended}"
    if not owned:
        return None if state == "failed" else "it is nobody's"
    if truth.ended == "silent" and state != "partial":
        return "the upstream may be working still: what it has read is billed"
    if truth.reported and truth.ended == "whole" and state == "exact":
        return None if tokens == truth.tokens else f"{tokens}, and not {truth.tokens}"
    if truth.reported and truth.ended == "whole" and not seen.left:
        return "usage was reported, whole"
    if truth.ended == "whole" and state not in {"exact", "estimated", "partial"}:
        return "the answer was whole"
    if state == "exact" and truth.reported:
        return None if tokens == truth.tokens else f"{tokens}, and not {truth.tokens}"
    if state == "exact":
        return "the upstream reported nothing"
    return None


def _refusals(played: Played, truths: dict[int, Truth]) -> list[str]:
    return [
        f"request {one.request_id} was refused as not meterable, and went upstream"
        for one in played.seen
        if one.refused == "metering_unavailable" and one.request_id in truths
    ]
