"""A copy while it is written: consistent, whole or not there, never in another's place."""

import asyncio
import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.errors import (
    BadRequestError,
    ConflictError,
    LedgerUnavailableError,
    NotFoundError,
    SettingsError,
)
from proxy.ledger import backup as copying
from proxy.ledger.backup import back_up
from proxy.ledger.connection import refuse_foreign_log
from proxy.ledger.maintenance import maintained
from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.verify import Verified, verify
from tests.ledger.calls import (
    Caller,
    Clock,
    assert_sums_equal_events,
    database,
    make_key,
    settlement,
    states,
)


def copy(path: Path, target: Path) -> int:
    with maintained(path, up_to_date=False) as connection:
        return back_up(connection, target)


async def test_a_copy_is_served_as_it_is(
    ledger: SqliteLedger, caller: Caller, path: Path, tmp_path: Path, clock: Clock
) -> None:
    key = await make_key(ledger)
    done, running = caller.call(key), caller.call(key)
    await ledger.open(done)
    await ledger.open(running)
    await ledger.settle(settlement(done))
    target = tmp_path / "copy.db"
    assert copy(path, target) == target.stat().st_size
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.glob(".*")) == []
    assert sorted(tmp_path.glob("copy.db*")) == [target]
    restored = await SqliteLedger.open_database(target, clock)
    assert states(target) == {done.id: "exact", running.id: "abandoned"}
    assert len(await restored.keys()) == 1
    await restored.close()
    assert_sums_equal_events(target)
    assert states(path)[running.id] == "open"


@pytest.mark.parametrize("pages", [1, 10_000])
async def test_it_is_of_one_moment_though_others_write(
    ledger: SqliteLedger,
    caller: Caller,
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pages: int,
) -> None:
    monkeypatch.setattr(copying, "STEP_PAGES", pages)
    key = await make_key(ledger)
    stop = False

    async def write() -> None:
        while not stop:
            calls = [caller.call(key) for _ in range(20)]
            await asyncio.gather(*(ledger.open(call) for call in calls))
            await asyncio.gather(*(ledger.settle(settlement(call)) for call in calls))

    writing = asyncio.create_task(write())
    await asyncio.sleep(0.1)
    for n in range(4):
        await asyncio.to_thread(copy, path, tmp_path / f"{n}.copy")
    stop = True
    await writing
    for n in range(4):
        assert_sums_equal_events(tmp_path / f"{n}.copy")
        with maintained(tmp_path / f"{n}.copy", up_to_date=False) as connection:
            assert not list(verify(connection, Verified()))


async def test_nothing_is_overwritten(ledger: SqliteLedger, path: Path, tmp_path: Path) -> None:
    await make_key(ledger)
    target = tmp_path / "precious"
    target.write_text("mine")
    with pytest.raises(ConflictError, match="is there already"):
        copy(path, target)
    assert target.read_text() == "mine"


async def test_nothing_is_overwritten_that_came_meanwhile(
    ledger: SqliteLedger, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_key(ledger)
    target = tmp_path / "precious"
    monkeypatch.setattr(copying, "_sync", lambda _: target.write_text("mine"))
    with pytest.raises(ConflictError, match="is there already"):
        copy(path, target)
    assert target.read_text() == "mine"
    assert list(tmp_path.glob("*.partial")) + list(tmp_path.glob(".*")) == []


def _failing(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def _full(name: str) -> sqlite3.Error:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = name
    return error


async def test_a_folder_that_is_not_there_is_said(ledger: SqliteLedger, path: Path) -> None:
    await make_key(ledger)
    target = path.parent / "none" / "copy.db"
    with pytest.raises(BadRequestError) as told:
        copy(path, target)
    assert told.value.message == (
        f"{target} can't be written: there is no folder {target.parent}; make it first, or name "
        "another one."
    )


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("_copy", PermissionError(errno.EACCES, "Permission denied"),
         r"copy.db can't be written \(Permission denied\); make it and its folder writable"),
        ("_copy", FileNotFoundError(errno.ENOENT, "No such file"), r"copy.db fails \(No such file"),
        ("_copy", OSError(errno.EROFS, "Read-only file system"), "folder writable for the user"),
        ("_copy", OSError(errno.ENOSPC, "No space left on device"), "disk is full .* free some"),
        ("_copy", OSError(errno.EIO, "Input/output error"), r"fails \(Input.*; check its disk and"),
        ("_copy", _full("SQLITE_FULL"), "its disk is full; free some space, or name another"),
        ("_copy", _full("SQLITE_IOERR_WRITE"), r"its disk reports errors \(SQLITE_IOERR_WRITE\)"),
        ("os.link", PermissionError(errno.EPERM, "Operation not permitted"),
         "has no hard links .* back up into a folder on another one, and copy the file from there"),
        ("os.link", OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
    ],
)  # fmt: skip
async def test_what_keeps_the_copy_from_being_written_is_said(
    ledger: SqliteLedger,
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: Exception,
    said: str,
) -> None:
    await make_key(ledger)
    target = tmp_path / "copies" / "copy.db"
    target.parent.mkdir()
    monkeypatch.setattr(f"proxy.ledger.backup.{name}", _failing(error))
    with pytest.raises(BadRequestError, match=f"^{target} can't be written: .*{said}"):
        copy(path, target)
    assert list(target.parent.iterdir()) == []


async def test_a_fault_of_the_ledger_names_it(
    ledger: SqliteLedger, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_key(ledger)
    monkeypatch.setattr(copying, "_copy", _failing(_full("SQLITE_CORRUPT")))
    with pytest.raises(LedgerUnavailableError, match=rf"{path} can't be used \(SQLITE_CORRUPT\)"):
        copy(path, tmp_path / "copy.db")


def test_only_a_ledger_is_copied(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="There is no ledger at"):
        copy(tmp_path / "none.db", tmp_path / "copy.db")
    with database(tmp_path / "theirs.db") as connection:
        connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(SettingsError, match="not a Weighbridge ledger"):
        copy(tmp_path / "theirs.db", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


async def test_a_copy_beside_the_log_of_the_ledger_before_is_refused_unharmed(
    ledger: SqliteLedger, caller: Caller, path: Path, tmp_path: Path, clock: Clock
) -> None:
    key = await make_key(ledger)
    done = caller.call(key)
    await ledger.open(done)
    target = tmp_path / "copy.db"
    copy(path, target)
    await ledger.settle(settlement(done))
    log, foreign = path.with_name(path.name + "-wal"), target.with_name("copy.db-wal")
    shutil.copyfile(log, foreign)  # As a killed program leaves it: its own log, then the copy.
    before = target.read_bytes()
    with pytest.raises(LedgerUnavailableError, match=r"Move copy\.db-wal"):
        await SqliteLedger.open_database(target, clock)
    with pytest.raises(LedgerUnavailableError, match=r"Move copy\.db-wal"):
        copy(target, tmp_path / "another.db")
    assert target.read_bytes() == before
    foreign.unlink()
    restored = await SqliteLedger.open_database(target, clock)
    assert states(target) == {done.id: "abandoned"}
    await restored.close()
    assert_sums_equal_events(target)


async def test_so_it_is_by_another_name(ledger: SqliteLedger, path: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "copy.db", tmp_path / "link.db"
    copy(path, target)
    await make_key(ledger)
    shutil.copyfile(path.with_name(path.name + "-wal"), target.with_name("copy.db-wal"))
    link.symlink_to(target)
    before = target.read_bytes()
    with pytest.raises(LedgerUnavailableError, match=r"Move copy\.db-wal"):
        copy(link, tmp_path / "another.db")
    assert target.read_bytes() == before


async def test_a_copy_that_just_becomes_a_ledger_again_is_not_refused(
    ledger: SqliteLedger, path: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first worker opens it while a command looks at it."""
    target = tmp_path / "copy.db"
    copy(path, target)
    worker = sqlite3.connect(target, isolation_level=None)
    look = Path.stat

    def begin(file: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if file.name == "copy.db-wal":
            worker.execute("PRAGMA journal_mode = WAL")
            worker.execute("UPDATE meta SET value = value + 1")
        return look(file, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", begin)
    refuse_foreign_log(target)
    assert look(target.with_name("copy.db-wal")).st_size
    worker.close()
