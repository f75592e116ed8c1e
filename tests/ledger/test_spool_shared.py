"""Several ledgers in one spool folder: each takes what is its own, and destroys nothing."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.ledger.backup import back_up
from proxy.ledger.maintenance import maintained
from proxy.ledger.port import OpenCall
from proxy.ledger.spool import Spool, file_name, files, names_its_ledger, read_file, write_line
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import Caller, Clock, assert_sums_equal_events, make_key, settlement, states


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


@pytest.fixture
def other_path(tmp_path: Path) -> Path:
    return tmp_path / "other.db"


@pytest.fixture
async def other(other_path: Path, clock: Clock, folder: Path) -> AsyncIterator[SqliteLedger]:
    """Another ledger on the same folder; its worker lives and has the number 1."""
    ledger = await SqliteLedger.open_database(other_path, clock, spool_directory=folder)
    yield ledger
    await ledger.close()


async def second_worker(path: Path, clock: Clock, folder: Path) -> SqliteLedger:
    """Open a ledger whose worker 1 is gone: to it, files of a worker 1 are a dead one's."""
    await (await SqliteLedger.open_database(path, clock, spool_directory=folder)).close()
    ledger = await SqliteLedger.open_database(path, clock, spool_directory=folder)
    assert ledger.worker_id == 2
    return ledger


async def opened(ledger: SqliteLedger, caller: Caller, count: int = 1) -> list[OpenCall]:
    key = await make_key(ledger)
    calls = [caller.call(key) for _ in range(count)]
    await asyncio.gather(*(ledger.open(call) for call in calls))
    return calls


def as_older_programs_did(folder: Path, *calls: OpenCall) -> Path:
    """Spool into a file whose name says nothing of the ledger."""
    file = folder / "worker-1-1.spool"
    file.write_bytes(b"".join(write_line(settlement(call)) for call in calls))
    return file


async def test_the_settlements_of_one_ledger_are_not_taken_by_another(
    other: SqliteLedger, other_path: Path, path: Path, clock: Clock, folder: Path, caller: Caller
) -> None:
    (call,) = await opened(other, caller)
    spool = Spool(folder, other.worker_id, other.ledger_id)
    await spool.append(settlement(call))
    mine = await second_worker(path, clock, folder)
    await mine.recover()
    assert len(list(folder.iterdir())) == 1
    assert await spool.replay(other.settle) == 1
    assert states(other_path) == {call.id: "exact"}
    assert list(folder.iterdir()) == []
    assert_sums_equal_events(other_path)
    spool.close()
    await mine.close()


@pytest.mark.parametrize("same_time", [True, False])
async def test_an_older_programs_file_is_left_to_the_ledger_whose_it_is(
    other: SqliteLedger,
    other_path: Path,
    path: Path,
    clock: Clock,
    folder: Path,
    caller: Caller,
    same_time: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not even a part of it is taken: ids are made of time, so one may be there by chance."""
    theirs = await opened(other, caller, 2)
    mine = await second_worker(path, clock, folder)
    alike = Caller(at_us=caller.at_us + (0 if same_time else 1))
    (call,) = await opened(mine, alike)
    assert call.id == theirs[0].id
    held = theirs if same_time else theirs[:1]
    file = as_older_programs_did(folder, *held)
    for _ in range(2):
        await mine.recover()
    assert states(path) == {call.id: "open"}
    assert [each.request_id for each in read_file(file)] == [each.id for each in held]
    assert caplog.text.count("worker-1-1.spool stays") == 1
    await mine.close()

    lock, other._worker = other._worker, None
    assert lock is not None
    lock.release()
    heir = await SqliteLedger.open_database(other_path, clock, spool_directory=folder)
    assert {states(other_path)[each.id] for each in held} == {"exact"}
    assert list(folder.iterdir()) == []
    await heir.close()


async def test_a_file_that_may_be_anyones_and_holds_nothing_yet_is_left(
    path: Path, clock: Clock, folder: Path
) -> None:
    file = as_older_programs_did(folder)
    mine = await second_worker(path, clock, folder)
    assert list(folder.iterdir()) == [file]
    await mine.close()


async def test_a_ledger_that_was_moved_knows_its_files(
    other_path: Path, path: Path, clock: Clock, folder: Path, caller: Caller
) -> None:
    ledger = await SqliteLedger.open_database(other_path, clock, spool_directory=folder)
    (call,) = await opened(ledger, caller)
    spool = Spool(folder, ledger.worker_id, ledger.ledger_id)
    await spool.append(settlement(call))
    await ledger.close()
    spool.close()
    shutil.move(other_path, path)
    moved = await SqliteLedger.open_database(path, clock, spool_directory=folder)
    assert moved.ledger_id == ledger.ledger_id
    assert states(path) == {call.id: "exact"}
    assert list(folder.iterdir()) == []
    await moved.close()


async def test_what_came_after_an_older_copy_stays_in_the_spool(
    path: Path, other_path: Path, clock: Clock, folder: Path, caller: Caller
) -> None:
    """What the copy has is booked, the rest is kept."""
    ledger = await SqliteLedger.open_database(path, clock, spool_directory=folder)
    (before,) = await opened(ledger, caller)
    with maintained(path, up_to_date=False) as connection:
        back_up(connection, other_path)
    (after,) = await opened(ledger, caller)
    spool = Spool(folder, ledger.worker_id, ledger.ledger_id)
    await spool.append(settlement(before))
    await spool.append(settlement(after))
    spool.close()
    (file,) = folder.iterdir()
    restored = await SqliteLedger.open_database(other_path, clock, spool_directory=folder)
    assert restored.ledger_id == ledger.ledger_id
    assert states(other_path) == {before.id: "exact"}
    assert_sums_equal_events(other_path)
    assert list(folder.iterdir()) == [file]
    assert len(list(read_file(file))) == 2
    await restored.close()
    await ledger.close()


async def test_a_worker_writes_into_no_file_that_was_there(
    ledger: SqliteLedger, path: Path, folder: Path, caller: Caller
) -> None:
    """Restored from a copy, a ledger gives a worker's number again."""
    lost, call = caller.call(), (await opened(ledger, caller))[0]
    file = folder / file_name(ledger.ledger_id, ledger.worker_id, 1)
    file.write_bytes(write_line(settlement(lost)))
    spool = Spool(folder, ledger.worker_id, ledger.ledger_id)
    await spool.append(settlement(call))
    assert await spool.replay(ledger.settle) == 1
    assert states(path) == {call.id: "exact"}
    assert list(folder.iterdir()) == [file]
    assert len(list(read_file(file))) == 1
    spool.close()


def test_names(folder: Path) -> None:
    for name in (
        "ledger-00000000000000ff-worker-3-10.spool",
        "ledger-00000000000000ff-worker-3-9.spool",
        "ledger-00000000000000fe-worker-3-1.spool",
        "worker-4-1.spool",
        "worker-4-1.spool.damaged",
    ):
        (folder / name).touch()
    found = files(folder, 255)
    assert {
        worker_id: [path.name[-10:] for path in paths] for worker_id, paths in found.items()
    } == {
        3: ["-3-9.spool", "3-10.spool"],
        4: ["-4-1.spool"],
    }
    assert [names_its_ledger(paths[0]) for paths in found.values()].count(True) == 1
