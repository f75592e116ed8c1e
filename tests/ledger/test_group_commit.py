"""Many writes, few commits; and nobody's haste or absence harms a neighbour."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from proxy.core.usage import RequestState
from proxy.errors import LedgerUnavailableError
from proxy.ledger import writer
from proxy.ledger.connection import LedgerConnection
from proxy.ledger.locks import WriteLock
from proxy.ledger.port import Admission, Refusal
from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.transactions import Transactions
from proxy.ledger.writer import SIBLINGS, WITHDRAWN
from tests.ledger.calls import (
    Caller,
    Clock,
    assert_sums_equal_events,
    database,
    make_key,
    settlement,
    states,
    usage,
)
from tests.ledger.test_appending import part


def test_aiosqlite_still_has_what_the_connection_builds_on() -> None:
    assert asyncio.iscoroutinefunction(LedgerConnection._execute)


async def test_writes_of_one_moment_share_a_commit(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    key = await make_key(ledger)
    calls = [caller.call(key) for _ in range(1000)]
    before = ledger.batches
    await asyncio.gather(*(ledger.open(call) for call in calls))
    assert ledger.batches - before <= 2
    assert all(await asyncio.gather(*(ledger.settle(settlement(call)) for call in calls)))
    assert ledger.batches - before <= 4
    assert set(states(path).values()) == {"exact"}
    assert_sums_equal_events(path)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for others takes so long that only what ends it early is seen."""
    monkeypatch.setattr(writer, "GATHER_S", 60.0)
    monkeypatch.setattr(writer, "OFTEN_PER_S", 0)


@pytest.mark.usefixtures("patient")
async def test_alone_nothing_waits_for_others(ledger: SqliteLedger, caller: Caller) -> None:
    key = await make_key(ledger)
    for _ in range(3):
        call = caller.call(key)
        async with asyncio.timeout(10):
            await ledger.open(call)
            assert await ledger.settle(settlement(call))


@pytest.mark.usefixtures("patient")
async def test_among_many_the_first_waits_for_the_others(
    ledger: SqliteLedger, caller: Caller
) -> None:
    key = await make_key(ledger)
    calls = [caller.call(key) for _ in range(2 * SIBLINGS)]
    await asyncio.gather(*(ledger.open(call) for call in calls))
    before = ledger.batches
    first = ledger.settle(settlement(calls[0]))
    done, _ = await asyncio.wait([first], timeout=0.05)
    assert not done
    assert ledger.unwritten == 1
    others = [ledger.settle(settlement(call)) for call in calls[1:]]
    async with asyncio.timeout(10):
        assert all(await asyncio.gather(first, *others))
    assert ledger.batches - before == 1
    assert ledger.unwritten == 0


@pytest.mark.parametrize(
    ("openings", "settlements", "batches"),
    [
        pytest.param(SIBLINGS, 1, 2, id="a settlement among openings"),
        pytest.param(1, SIBLINGS, 2, id="an opening among settlements"),
        pytest.param(SIBLINGS, SIBLINGS, 2, id="as many of each"),
        pytest.param(SIBLINGS, 0, 1, id="all of one kind"),
        pytest.param(SIBLINGS - 2, 1, 1, id="not many"),
    ],
)
async def test_the_fewer_of_a_gathered_batch_wait_for_the_next(
    ledger: SqliteLedger,
    caller: Caller,
    monkeypatch: pytest.MonkeyPatch,
    openings: int,
    settlements: int,
    batches: int,
) -> None:
    key = await make_key(ledger)
    opened = [caller.call(key) for _ in range(settlements)]
    await asyncio.gather(*(ledger.open(call) for call in opened))
    monkeypatch.setattr(writer, "OFTEN_PER_S", 0)
    monkeypatch.setattr(writer, "GATHER_S", 0)
    before = ledger.batches
    opens = [ledger.open(caller.call(key)) for _ in range(openings)]
    settles = [ledger.settle(settlement(call)) for call in opened]
    assert all(await asyncio.gather(*opens, *settles))
    assert ledger.batches - before == batches


async def test_nothing_waits_for_a_next_batch_twice(
    ledger: SqliteLedger, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await make_key(ledger)
    call = caller.call(key)
    await ledger.open(call)
    monkeypatch.setattr(writer, "OFTEN_PER_S", 0)
    monkeypatch.setattr(writer, "GATHER_S", 0)
    opens: list[Awaitable[Admission | Refusal]] = []

    def open_many() -> None:
        opens.extend(ledger.open(caller.call(key)) for _ in range(SIBLINGS))

    ledger.tell_written(lambda: asyncio.run_coroutine_threadsafe(_call(open_many), loop).result())
    loop = asyncio.get_running_loop()
    before = ledger.batches
    open_many()
    settled = ledger.settle(settlement(call))
    assert await settled
    assert ledger.batches - before == 2
    ledger.tell_written(lambda: None)
    await asyncio.gather(*opens)


async def _call(function: Callable[[], None]) -> None:
    function()


async def test_who_is_told_of_a_batch_finds_it_written(
    ledger: SqliteLedger, caller: Caller
) -> None:
    key = await make_key(ledger)
    unwritten: list[int] = []
    ledger.tell_written(lambda: unwritten.append(ledger.unwritten))
    await ledger.open(caller.call(key))
    assert unwritten == [0]


async def test_who_is_told_of_batches_hears_of_one_that_failed(
    ledger: SqliteLedger, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await make_key(ledger)
    told: list[None] = []
    ledger.tell_written(lambda: told.append(None))

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Transactions, "write", fail)
    with pytest.raises(LedgerUnavailableError):
        await ledger.open(caller.call(key))
    assert told == [None]
    assert ledger.unwritten == 0


@pytest.mark.usefixtures("patient")
async def test_what_is_settled_twice_leaves_the_others_open(
    ledger: SqliteLedger, caller: Caller
) -> None:
    key = await make_key(ledger)
    calls = [caller.call(key) for _ in range(2 * SIBLINGS)]
    await asyncio.gather(*(ledger.open(call) for call in calls))
    ended = caller.call(key)
    for number in range(2 * SIBLINGS):  # what is deferred, or was spooled, is settled again
        written = ledger.settle(settlement(ended))
        await ledger.make_customer(f"in-between-{number}")
        await written
    first = ledger.settle(settlement(calls[0]))
    done, _ = await asyncio.wait([first], timeout=0.05)
    assert not done
    await ledger.make_customer("in-between")
    assert await first


async def test_nothing_waits_where_writes_are_rare(
    ledger: SqliteLedger, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "GATHER_S", 60.0)
    key = await make_key(ledger)
    calls = [caller.call(key) for _ in range(2 * SIBLINGS)]
    await asyncio.gather(*(ledger.open(call) for call in calls))
    async with asyncio.timeout(10):
        assert await ledger.settle(settlement(calls[0]))


@pytest.mark.usefixtures("patient")
async def test_what_is_appended_ends_no_request(ledger: SqliteLedger, caller: Caller) -> None:
    key = await make_key(ledger)
    calls = [caller.call(key) for _ in range(SIBLINGS)]
    await asyncio.gather(*(ledger.open(call) for call in calls))
    parts = [part(call, 0, usage()) for call in calls]
    async with asyncio.timeout(10):
        await asyncio.gather(*(ledger.append(one) for one in parts))
    alone = ledger.append(part(calls[0], 1, usage()))
    done, _ = await asyncio.wait([alone], timeout=0.05)
    assert not done  # all sixteen are still open: it waits for others
    await ledger.make_customer("in-between")
    assert await alone


async def test_an_open_request_shows_no_raw_usage(ledger: SqliteLedger, caller: Caller) -> None:
    call = caller.call(await make_key(ledger))
    await ledger.open(call)
    record = await ledger.request(call.id)
    assert record is not None
    assert record.raw_usage == b""


@pytest.mark.usefixtures("patient")
async def test_a_change_does_not_wait_for_others(ledger: SqliteLedger, caller: Caller) -> None:
    key = await make_key(ledger)
    calls = [caller.call(key) for _ in range(2 * SIBLINGS)]
    await asyncio.gather(*(ledger.open(call) for call in calls))
    waiting = ledger.settle(settlement(calls[0]))
    async with asyncio.timeout(10):
        await ledger.make_customer("in-between")
        assert await waiting


@pytest.mark.usefixtures("patient")
async def test_who_has_just_been_settled_is_expected_back(
    ledger: SqliteLedger, caller: Caller
) -> None:
    key = await make_key(ledger)
    calls = [caller.call(key) for _ in range(2 * SIBLINGS)]
    await asyncio.gather(*(ledger.open(call) for call in calls))
    await asyncio.gather(*(ledger.settle(settlement(call)) for call in calls))
    before = ledger.batches
    first = ledger.open(caller.call(key))
    done, _ = await asyncio.wait([asyncio.ensure_future(first)], timeout=0.05)
    assert not done
    others = [ledger.open(caller.call(key)) for _ in calls[1:]]
    async with asyncio.timeout(10):
        await asyncio.gather(first, *others)
    assert ledger.batches - before == 1


@pytest.mark.usefixtures("patient")
async def test_what_was_refused_is_not_waited_for(path: Path, clock: Clock, caller: Caller) -> None:
    ledger = await SqliteLedger.open_database(path, clock)
    key = await make_key(ledger)
    await ledger.revoke_key(key.prefix)
    calls = [caller.call(key) for _ in range(2 * SIBLINGS)]
    outcomes = await asyncio.gather(*(ledger.open(call) for call in calls))
    assert {type(outcome) for outcome in outcomes} == {Refusal}
    async with asyncio.timeout(10):
        await ledger.open(caller.call(key))
    await ledger.close()


async def test_too_many_waiting_are_refused_at_once(
    path: Path, clock: Clock, caller: Caller
) -> None:
    ledger = await SqliteLedger.open_database(path, clock, pending_limit=2)
    key = await make_key(ledger)
    calls = [caller.call(key) for _ in range(5)]
    outcomes = await asyncio.gather(*(ledger.open(c) for c in calls), return_exceptions=True)
    assert [isinstance(o, Admission) for o in outcomes] == [True, True, False, False, False]
    assert all(isinstance(o, LedgerUnavailableError) for o in outcomes[2:])
    ends = await asyncio.gather(
        *(ledger.settle(settlement(c)) for c in calls), return_exceptions=True
    )
    assert ends[:2] == [True, True]
    assert isinstance(ends[2], LedgerUnavailableError)
    assert len(states(path)) == 2
    await ledger.close()


async def test_an_opening_nobody_waits_for_is_withdrawn(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    key = await make_key(ledger)
    gone, stays = caller.call(key), caller.call(key)
    given_up = asyncio.ensure_future(ledger.open(gone))
    kept = ledger.open(stays)
    given_up.cancel()
    assert isinstance(await kept, Admission)
    await ledger.recover()
    assert states(path) == {gone.id: "failed", stays.id: "open"}
    with database(path) as db:
        row = db.execute("SELECT notes FROM requests WHERE id = ?", (gone.id,)).fetchone()
    assert row == (WITHDRAWN,)
    assert_sums_equal_events(path)


async def test_a_settlement_nobody_waits_for_is_written(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    call = caller.call(await make_key(ledger))
    await ledger.open(call)
    waiter = asyncio.ensure_future(ledger.settle(settlement(call)))
    waiter.cancel()
    await ledger.recover()
    assert states(path) == {call.id: RequestState.EXACT}


async def test_a_database_that_hangs_refuses_openings_and_comes_back(
    path: Path, clock: Clock, caller: Caller
) -> None:
    ledger = await SqliteLedger.open_database(path, clock, stall_limit_s=0.01)
    key = await make_key(ledger)
    running = caller.call(key)
    await ledger.open(running)
    lock = WriteLock(path)
    late = caller.call(key)
    with lock:
        settling = ledger.settle(settlement(running))
        with pytest.raises(LedgerUnavailableError, match="does not answer"):
            await ledger.open(late)
        with pytest.raises(LedgerUnavailableError, match="does not answer"):
            await ledger.open(caller.call(key))
    lock.close()
    assert await settling
    again = caller.call(key)
    assert isinstance(await ledger.open(again), Admission)
    await ledger.recover()
    assert states(path) == {running.id: "exact", late.id: "failed", again.id: "open"}
    assert_sums_equal_events(path)
    await ledger.close()


async def test_closing_writes_what_waits(path: Path, clock: Clock, caller: Caller) -> None:
    ledger = await SqliteLedger.open_database(path, clock)
    call = caller.call(await make_key(ledger))
    await ledger.open(call)
    settling = ledger.settle(settlement(call))
    await ledger.close()
    assert await settling
    with pytest.raises(LedgerUnavailableError):
        await ledger.settle(settlement(call))
    with pytest.raises(LedgerUnavailableError):
        await ledger.open(call)
    with pytest.raises(LedgerUnavailableError):
        await ledger.make_customer("late")
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]
    await ledger.close()


async def test_lone_commits_keep_the_log_short(path: Path, clock: Clock, caller: Caller) -> None:
    ledger = await SqliteLedger.open_database(path, clock)
    key = await make_key(ledger)
    log = path.with_name(path.name + "-wal")
    sizes = []
    for _ in range(3):
        for _ in range(300):
            call = caller.call(key)
            await ledger.open(call)
            await ledger.settle(settlement(call))
        sizes.append(log.stat().st_size)
    assert sizes[-1] < 2 * sizes[0]
    await ledger.close()


async def test_checkpoints_keep_the_log_short(path: Path, clock: Clock, caller: Caller) -> None:
    ledger = await SqliteLedger.open_database(path, clock)
    key = await make_key(ledger)
    log = path.with_name(path.name + "-wal")
    sizes = []
    for _ in range(60):
        calls = [caller.call(key) for _ in range(100)]
        await asyncio.gather(*(ledger.open(call) for call in calls))
        await asyncio.gather(*(ledger.settle(settlement(call)) for call in calls))
        sizes.append(log.stat().st_size)
    assert sizes[-1] < 2 * sizes[20]
    await ledger.close()
    assert not log.exists()
    assert_sums_equal_events(path)
