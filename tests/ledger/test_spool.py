"""The spool: what it keeps is booked once, however often and by whomever it is replayed."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.core.usage import Metric, Quantity, Usage
from proxy.errors import LedgerUnavailableError
from proxy.ledger import spool as spooling
from proxy.ledger.booking import LARGEST_QUANTITY
from proxy.ledger.port import OpenCall, Settlement
from proxy.ledger.spool import DAMAGED, Spool, read_file, write_line
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import (
    Caller,
    Clock,
    assert_sums_equal_events,
    make_key,
    settlement,
    states,
    usage,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
async def dying(path: Path, clock: Clock, folder: Path) -> AsyncIterator[SqliteLedger]:
    """A worker that will die; :func:`kill` it."""
    ledger = await SqliteLedger.open_database(path, clock, spool_directory=folder)
    yield ledger
    await ledger.close()


async def kill(ledger: SqliteLedger) -> None:
    """Free its lock, as the kernel does; what it has open stays."""
    lock, ledger._worker = ledger._worker, None
    assert lock is not None
    lock.release()


async def opened(ledger: SqliteLedger, caller: Caller, count: int) -> list[OpenCall]:
    key = await make_key(ledger)
    calls = [caller.call(key) for _ in range(count)]
    await asyncio.gather(*(ledger.open(call) for call in calls))
    return calls


async def keep(spool: Spool, *settlements: Settlement) -> None:
    await asyncio.gather(*(spool.append(settlement) for settlement in settlements))


def test_a_line_says_it_all(caller: Caller, folder: Path) -> None:
    folder.mkdir()
    file = folder / "worker-1-1.spool"
    written = settlement(caller.call(digest=b"\x00\xff" * 16), usage(input=3, cached_input=1))
    file.write_bytes(write_line(written))
    assert list(read_file(file)) == [written]


async def test_it_is_replayed_once(
    ledger: SqliteLedger, caller: Caller, path: Path, folder: Path
) -> None:
    calls = await opened(ledger, caller, 600)
    spool = Spool(folder, ledger.worker_id, ledger.ledger_id)
    await keep(spool, *(settlement(call) for call in calls))
    assert spool.pending == 600
    assert await spool.replay(ledger.settle) == 600
    assert await spool.replay(ledger.settle) == 0
    assert set(states(path).values()) == {"exact"}
    assert list(folder.iterdir()) == []
    assert_sums_equal_events(path)
    spool.close()


async def test_a_replay_that_broke_off_is_done_again(
    ledger: SqliteLedger, caller: Caller, path: Path, folder: Path
) -> None:
    calls = await opened(ledger, caller, 4)
    spool = Spool(folder, ledger.worker_id, ledger.ledger_id)
    await keep(spool, *(settlement(call) for call in calls))
    count = iter(range(4))

    def settle(one: Settlement) -> asyncio.Future[bool]:
        if next(count) < 2:
            return ledger.settle(one)
        failed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        failed.set_exception(LedgerUnavailableError("still full"))
        return failed

    with pytest.raises(LedgerUnavailableError):
        await spool.replay(settle)
    await ledger.recover()
    assert sorted(states(path).values()) == ["exact", "exact", "open", "open"]
    assert spool.pending == 4
    assert await spool.replay(ledger.settle) == 4
    assert set(states(path).values()) == {"exact"}
    assert_sums_equal_events(path)
    spool.close()


async def test_what_comes_during_a_replay_is_replayed_next(
    ledger: SqliteLedger, caller: Caller, path: Path, folder: Path
) -> None:
    first, second = await opened(ledger, caller, 2)
    spool = Spool(folder, ledger.worker_id, ledger.ledger_id)
    await keep(spool, settlement(first))
    _, replayed = await asyncio.gather(
        spool.append(settlement(second)), spool.replay(ledger.settle)
    )
    assert replayed in {0, 1}
    while spool.pending:
        await spool.replay(ledger.settle)
    assert set(states(path).values()) == {"exact"}
    assert list(folder.iterdir()) == []
    spool.close()


async def test_a_dead_workers_spool_is_replayed_before_its_requests_are_abandoned(
    dying: SqliteLedger, caller: Caller, path: Path, clock: Clock, folder: Path
) -> None:
    kept, lost = await opened(dying, caller, 2)
    spool = Spool(folder, dying.worker_id, dying.ledger_id)
    await keep(spool, settlement(kept))
    await kill(dying)
    ledger = await SqliteLedger.open_database(path, clock, spool_directory=folder)
    assert states(path) == {kept.id: "exact", lost.id: "abandoned"}
    assert list(folder.iterdir()) == []
    assert_sums_equal_events(path)
    await ledger.close()
    spool.close()


async def test_a_spool_that_cannot_be_emptied_stops_no_upkeep(
    dying: SqliteLedger,
    caller: Caller,
    path: Path,
    clock: Clock,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    ledger = await SqliteLedger.open_database(path, clock, spool_directory=folder)
    (call,) = await opened(dying, caller, 1)
    spool = Spool(folder, dying.worker_id, dying.ledger_id)
    await keep(spool, settlement(call))
    await kill(dying)
    with monkeypatch.context() as patch:
        patch.setattr(spooling, "remove", refuse)
        with pytest.raises(LedgerUnavailableError, match="can't be removed"):
            await ledger.recover()
    assert states(path) == {call.id: "exact"}
    await ledger.recover()
    assert list(folder.iterdir()) == []
    assert_sums_equal_events(path)
    await ledger.close()
    spool.close()


async def test_what_it_wrote_just_before_it_died_is_not_missed(
    dying: SqliteLedger,
    caller: Caller,
    path: Path,
    clock: Clock,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever recovers looks at the folder once the worker is known to be dead."""
    (call,) = await opened(dying, caller, 1)
    look = spooling.files
    looks: list[dict[int, list[Path]]] = []

    def late(directory: Path, ledger_id: int) -> dict[int, list[Path]]:
        found = look(directory, ledger_id)
        if not looks:
            looks.append(found)
            folder.mkdir()
            file = folder / f"worker-{worker_id}-1.spool"
            file.write_bytes(write_line(settlement(call)))
        return found

    worker_id = dying.worker_id
    await kill(dying)
    monkeypatch.setattr(spooling, "files", late)
    ledger = await SqliteLedger.open_database(path, clock, spool_directory=folder)
    assert states(path) == {call.id: "exact"}
    await ledger.close()


async def test_a_living_workers_spool_is_its_own(
    dying: SqliteLedger, caller: Caller, path: Path, clock: Clock, folder: Path
) -> None:
    (call,) = await opened(dying, caller, 1)
    spool = Spool(folder, dying.worker_id, dying.ledger_id)
    await keep(spool, settlement(call))
    other = await SqliteLedger.open_database(path, clock, spool_directory=folder)
    mine = Spool(folder, other.worker_id, other.ledger_id)
    (second,) = await opened(other, Caller(worker=2), 1)
    await keep(mine, settlement(second))
    assert await mine.replay(other.settle) == 1
    assert states(path) == {call.id: "open", second.id: "exact"}
    assert len(list(folder.iterdir())) == 1
    assert await spool.replay(dying.settle) == 1
    assert set(states(path).values()) == {"exact"}
    await other.close()
    for one in (spool, mine):
        one.close()


@pytest.mark.parametrize("tear", [1, 8, 9, 60])
async def test_a_torn_line_was_never_acknowledged(
    dying: SqliteLedger, caller: Caller, path: Path, clock: Clock, folder: Path, tear: int
) -> None:
    kept, torn = await opened(dying, caller, 2)
    folder.mkdir()
    file = folder / f"worker-{dying.worker_id}-1.spool"
    file.write_bytes(write_line(settlement(kept)) + write_line(settlement(torn))[:tear])
    await kill(dying)
    ledger = await SqliteLedger.open_database(path, clock, spool_directory=folder)
    assert states(path) == {kept.id: "exact", torn.id: "abandoned"}
    assert list(folder.iterdir()) == []
    await ledger.close()


async def test_a_damaged_line_is_put_aside_and_harms_no_other(
    dying: SqliteLedger, caller: Caller, path: Path, clock: Clock, folder: Path
) -> None:
    calls = await opened(dying, caller, 3)
    lines = [write_line(settlement(call)) for call in calls]
    lines[1] = lines[1].replace(b"exact", b"ex_ct")
    folder.mkdir()
    file = folder / f"worker-{dying.worker_id}-1.spool"
    file.write_bytes(b"".join(lines))
    await kill(dying)
    ledger = await SqliteLedger.open_database(path, clock, spool_directory=folder)
    assert list(states(path).values()) == ["exact", "abandoned", "exact"]
    assert [one.name for one in folder.iterdir()] == [file.name + DAMAGED]
    await ledger.close()


@pytest.mark.parametrize("dies", [True, False])
async def test_one_that_can_never_be_booked_holds_up_no_other(
    dying: SqliteLedger, caller: Caller, path: Path, clock: Clock, folder: Path, dies: bool
) -> None:
    bad, good = await opened(dying, caller, 2)
    much = Quantity(metric=Metric.TOKENS, type="input", quantity=LARGEST_QUANTITY + 1)
    spool = Spool(folder, dying.worker_id, dying.ledger_id)
    await keep(spool, settlement(bad, Usage(quantities=(much,))), settlement(good))
    if dies:
        await kill(dying)
        ledger = await SqliteLedger.open_database(path, clock, spool_directory=folder)
        assert states(path) == {bad.id: "abandoned", good.id: "exact"}
        await ledger.close()
    else:
        await spool.replay(dying.settle)
        assert states(path) == {bad.id: "open", good.id: "exact"}
    assert list(folder.iterdir()) == []
    spool.close()


async def test_a_spool_that_can_not_be_written_says_so(
    caller: Caller, folder: Path, tmp_path: Path
) -> None:
    folder.write_text("no folder")
    spool = Spool(folder, 1, 7)
    with pytest.raises(LedgerUnavailableError, match="Neither the ledger nor its spool"):
        await spool.append(settlement(caller.call(digest=b"x" * 32)))
    assert spool.pending == 1  # in memory: what is limited must wait for it
    folder.unlink()
    await spool.append(settlement(caller.call(digest=b"x" * 32)))
    assert spool.pending == 2
    spool.close()
    assert len(list((tmp_path / "spool").iterdir())) == 1


async def test_half_a_batch_does_not_stay(
    caller: Caller, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, 1, 7)
    first, second = (settlement(caller.call(digest=b"x" * 32)) for _ in range(2))
    await spool.append(first)

    def unsynced(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.fdatasync", unsynced)
        with pytest.raises(LedgerUnavailableError):
            await spool.append(second)
    (file,) = folder.iterdir()
    assert list(read_file(file)) == [first]
    spool.close()


async def test_nothing_is_kept_behind_a_line_that_is_torn(
    caller: Caller, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails may not even let half a batch be taken back."""
    spool = Spool(folder, 1, 7)
    first, second, third = (settlement(caller.call(digest=b"x" * 32)) for _ in range(3))
    await spool.append(first)
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:-99])

    def stuck(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.write", half)
        patch.setattr("os.ftruncate", stuck)
        with pytest.raises(LedgerUnavailableError):
            await spool.append(second)
    await spool.append(third)
    kept = [settled for file in sorted(folder.iterdir()) for settled in read_file(file)]
    assert kept == [first, third]
    spool.close()


async def test_the_folder_s_entry_of_a_file_is_on_the_disk_before_its_lines(
    caller: Caller, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, 1, 7)
    first, second = (settlement(caller.call(digest=b"x" * 32)) for _ in range(2))
    synced: list[int] = []

    def fsync(_: int) -> None:
        synced.append(len(synced))
        if len(synced) == 1:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(LedgerUnavailableError):
        await spool.append(first)
    await spool.append(second)
    assert len(synced) == 2
    spool.close()


async def test_some_file_systems_sync_no_folder(
    caller: Caller, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("os.fsync", fsync)
    spool = Spool(folder, 1, 7)
    kept = settlement(caller.call(digest=b"x" * 32))
    await spool.append(kept)
    (file,) = folder.iterdir()
    assert list(read_file(file)) == [kept]
    spool.close()


async def test_what_no_disk_took_is_settled_as_soon_as_the_ledger_can_be_written(
    ledger: SqliteLedger, caller: Caller, path: Path, folder: Path
) -> None:
    """A full disk is often that of both: who lives on must not hold what it has measured."""
    first, second, third = await opened(ledger, caller, 3)
    folder.write_text("no folder")
    spool = Spool(folder, ledger.worker_id, ledger.ledger_id)
    for call in (first, second) * 2:  # a poll is tried again and again
        with pytest.raises(LedgerUnavailableError, match="Neither the ledger nor its spool"):
            await spool.append(settlement(call))
    assert spool.pending == 2

    def still_full(_: Settlement) -> asyncio.Future[bool]:
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(LedgerUnavailableError("full"))
        return failed

    with pytest.raises(LedgerUnavailableError, match="full"):
        await spool.replay(still_full)
    assert set(states(path).values()) == {"open"}
    folder.unlink()
    await spool.append(settlement(third))
    assert await spool.replay(ledger.settle) == 3
    assert set(states(path).values()) == {"exact"}
    assert await spool.replay(ledger.settle) == spool.pending == 0
    spool.close()
    assert_sums_equal_events(path)
