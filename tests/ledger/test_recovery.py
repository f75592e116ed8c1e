"""Real processes that are killed, and what the next one makes of what they left."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from proxy.core.usage import ABANDONED_NOTE
from proxy.ledger.locks import worker_path
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import Caller, assert_sums_equal_events, database, make_key, states

WORKER = Path(__file__).with_name("worker.py")
ROOT = WORKER.parents[2]


async def start(path: Path, how: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(WORKER), str(path), how, stdout=PIPE, env={"PYTHONPATH": str(ROOT)}
    )


async def line(process: Process) -> list[int]:
    assert process.stdout is not None
    return [int(word) for word in (await process.stdout.readline()).split()]


async def end(process: Process) -> None:
    process.kill()
    await process.communicate()


async def prepare(path: Path) -> None:
    ledger = await SqliteLedger.open_database(path, worker=False)
    await make_key(ledger)
    await ledger.close()


async def test_only_what_a_dead_worker_left_open_is_abandoned(path: Path) -> None:
    await prepare(path)
    process = await start(path, "sleep")
    worker_id, settled, running, deferred, unknown = await line(process)
    ledger = await SqliteLedger.open_database(path)
    assert await ledger.recover() == 0
    living = {settled: "exact", running: "open", deferred: "deferred", unknown: "open"}
    assert states(path) == living
    await end(process)
    assert worker_path(path, worker_id).exists()
    assert await ledger.recover() == 2
    assert await ledger.recover() == 0
    assert not worker_path(path, worker_id).exists()
    assert states(path) == {
        settled: "exact",
        running: "abandoned",
        deferred: "deferred",
        unknown: "abandoned",
    }
    with database(path) as db:
        events = db.execute(
            "SELECT s.metric, s.type, s.source, e.quantity, e.occurred_at_us = r.opened_at_us,"
            " r.notes FROM events AS e JOIN series AS s ON s.id = e.series_id"
            " JOIN requests AS r ON r.id = e.request_id WHERE r.id = ? ORDER BY e.n",
            (running,),
        ).fetchall()
        workers = db.execute("SELECT id FROM workers").fetchall()
    assert events == [
        ("requests", "abandoned", "abandoned", 1, 1, ABANDONED_NOTE),
        ("tokens", "input", "abandoned", 101, 1, ABANDONED_NOTE),
    ]
    assert workers == [(ledger.worker_id,)]
    assert_sums_equal_events(path)
    await ledger.close()


@pytest.mark.parametrize(
    ("point", "left"), [("before_commit", "abandoned"), ("after_commit", "exact")]
)
async def test_a_worker_killed_at_a_commit_leaves_all_of_it_or_nothing(
    path: Path, point: str, left: str
) -> None:
    await prepare(path)
    process = await start(path, point)
    output, _ = await process.communicate()
    assert output.split() == [b"hit"]
    ledger = await SqliteLedger.open_database(path)
    assert sorted(states(path).values()) == sorted([left, "abandoned", "deferred", "abandoned"])
    assert_sums_equal_events(path)
    await ledger.close()


async def test_requests_of_a_worker_that_is_not_entered_are_abandoned(path: Path) -> None:
    await prepare(path)
    process = await start(path, "sleep")
    worker_id, *_ = await line(process)
    await end(process)
    with database(path) as db:
        db.execute("DELETE FROM workers")
    worker_path(path, worker_id).unlink()
    ledger = await SqliteLedger.open_database(path)
    assert "open" not in states(path).values()
    assert ledger.worker_id > worker_id
    await ledger.close()


async def test_what_is_abandoned_has_the_class_of_its_estimate(path: Path) -> None:
    ledger = await SqliteLedger.open_database(path)
    prices = "input = 2.50\nlong_context = { above = 272_000, input = 5 }\n"
    await ledger.adopt_book(f'[models."gpt-4o"]\nmatch = ["4o"]\n{prices}', "hash")
    key = await make_key(ledger)
    caller = Caller(worker=99)
    bodies = {2_000_000: "4o", 1_088_000: "gpt-4o", 1_088_004: "gpt-4o", 4_000_000: "unknown"}
    for body_bytes, model in bodies.items():
        await ledger.open(caller.call(key, body_bytes=body_bytes, model=model))
    await ledger.close()
    ledger = await SqliteLedger.open_database(path)
    with database(path) as db:
        rows = db.execute(
            "SELECT r.body_bytes, r.context_class, e.type, e.context_class FROM requests AS r"
            " JOIN events ON request_id = r.id JOIN series AS e ON e.id = series_id"
            " WHERE r.state = 'abandoned'"
        ).fetchall()
    classes = {
        2_000_000: "above_272000",
        1_088_000: "",
        1_088_004: "above_272000",
        4_000_000: "",
    }
    expected = {
        (size, name, kind, name)
        for size, name in classes.items()
        for kind in ("abandoned", "input")
    }
    assert set(rows) == expected
    await ledger.close()


async def test_two_processes_write_side_by_side(path: Path) -> None:
    await prepare(path)
    processes = [await start(path, "count:500") for _ in range(2)]
    for process in processes:
        await process.communicate()
        assert process.returncode == 0
    assert list(states(path).values()) == ["exact"] * 1000
    with database(path) as db:
        assert db.execute("SELECT count(*) FROM subscriptions").fetchone() == (2,)
        assert db.execute("SELECT count(*) FROM events").fetchone() == (2000,)
        assert db.execute("SELECT count(*) FROM series").fetchone() == (2,)
    assert_sums_equal_events(path)
