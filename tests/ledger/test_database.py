"""The file: its schema, strangers' files, and what happens when the disk fails."""

import sqlite3
from pathlib import Path

import pytest

from proxy.core.subscriptions import ApiKey
from proxy.core.usage import RequestState
from proxy.errors import ConflictError, LedgerUnavailableError, SettingsError
from proxy.ledger import series
from proxy.ledger.booking import Booking
from proxy.ledger.connection import connect
from proxy.ledger.migrate import migrate, migrations
from proxy.ledger.port import Admission
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import (
    START_US,
    Caller,
    Clock,
    assert_sums_equal_events,
    database,
    make_key,
    settlement,
    states,
)


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


async def test_a_database_survives_being_opened_again(path: Path, clock: Clock) -> None:
    first = await SqliteLedger.open_database(path, clock)
    await make_key(first)
    await first.close()
    second = await SqliteLedger.open_database(path, clock)
    assert len(await second.keys()) == 1
    with database(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(migrations()),)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    await second.close()


async def test_a_newer_database_is_refused(path: Path, clock: Clock) -> None:
    await (await SqliteLedger.open_database(path, clock)).close()
    with database(path) as db:
        db.execute("PRAGMA user_version = 999")
    with pytest.raises(SettingsError, match="schema is version 999"):
        await SqliteLedger.open_database(path, clock)


async def test_another_programs_database_is_refused(path: Path, clock: Clock) -> None:
    with database(path) as db:
        db.execute("CREATE TABLE theirs (a)")
    with pytest.raises(SettingsError, match="not a Weighbridge ledger"):
        await SqliteLedger.open_database(path, clock)


async def test_a_migration_that_fails_leaves_nothing(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [*migrations(), (len(migrations()) + 1, "CREATE TABLE half (a); SELECT nonsense;")]
    monkeypatch.setattr("proxy.ledger.migrate.migrations", lambda: steps)
    with pytest.raises(LedgerUnavailableError):
        await SqliteLedger.open_database(path, clock)
    with database(path) as db:
        assert db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'half'").fetchone() is None
        assert db.execute("PRAGMA user_version").fetchone() == (len(migrations()),)


@pytest.mark.parametrize("content", [b"this is no database, and longer than a header" * 50])
async def test_a_file_that_is_no_database_is_refused(
    path: Path, clock: Clock, content: bytes
) -> None:
    path.write_bytes(content)
    with pytest.raises(LedgerUnavailableError, match="not an SQLite file"):
        await SqliteLedger.open_database(path, clock)


async def test_a_folder_that_is_not_there_is_said(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(LedgerUnavailableError):
        await SqliteLedger.open_database(tmp_path / "none" / "x.db", clock)


async def test_who_only_looks_admits_nothing(path: Path, clock: Clock, caller: Caller) -> None:
    ledger = await SqliteLedger.open_database(path, clock, worker=False)
    key = await make_key(ledger)
    with pytest.raises(LedgerUnavailableError, match="to look at it"):
        await ledger.open(caller.call(key))
    assert ledger.worker_id == 0
    await ledger.close()


async def limit_pages(ledger: SqliteLedger, pages: int) -> None:
    """Let the database grow to so many pages: SQLite then says that the disk is full."""
    connection = ledger._writer._connection
    assert connection is not None
    await connection.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchall())


async def open_many(ledger: SqliteLedger, caller: Caller, key: ApiKey) -> None:
    for _ in range(500):
        await ledger.open(caller.call(key))


async def test_a_full_disk_fails_and_passes(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    key = await make_key(ledger)
    running = caller.call(key)
    await ledger.open(running)
    await limit_pages(ledger, 1)
    with pytest.raises(LedgerUnavailableError, match="is full"):
        await open_many(ledger, caller, key)
    assert "is full" in (ledger._writer.fault or "")
    before = states(path)
    big = settlement(running)
    with pytest.raises(LedgerUnavailableError, match="free some space"):
        await open_many(ledger, caller, key)
    assert states(path).keys() >= before.keys()
    assert_sums_equal_events(path)
    await limit_pages(ledger, 1 << 30)
    assert await ledger.settle(big)
    assert not ledger._writer.fault
    assert isinstance(await ledger.open(caller.call(key)), Admission)
    assert_sums_equal_events(path)


async def test_a_broken_connection_is_made_anew(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    key = await make_key(ledger)
    connection = ledger._writer._connection
    assert connection is not None
    await connection.run(lambda db: db.close())
    with pytest.raises(LedgerUnavailableError):
        await ledger.open(caller.call(key))
    assert isinstance(await ledger.open(caller.call(key)), Admission)
    reader = ledger._reader._connection
    assert reader is not None
    await reader.run(lambda db: db.close())
    with pytest.raises(LedgerUnavailableError):
        await ledger.keys()
    assert len(await ledger.keys()) == 1
    assert len(states(path)) == 1


async def test_a_writer_that_ignores_the_lock_is_waited_for(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    key = await make_key(ledger)
    connection = ledger._writer._connection
    assert connection is not None
    await connection.run(lambda db: db.execute("PRAGMA busy_timeout = 1").fetchall())
    with database(path) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailableError, match="end it"):
            await ledger.open(caller.call(key))
        db.execute("ROLLBACK")
    assert isinstance(await ledger.open(caller.call(key)), Admission)


async def test_series_and_owners_remembered_are_bounded(
    ledger: SqliteLedger, caller: Caller, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "_REMEMBERED", 3)
    monkeypatch.setattr("proxy.ledger.identities._REMEMBERED", 1)
    monkeypatch.setattr("proxy.ledger.booking._REMEMBERED", 1)
    for n in range(5):
        call = caller.call(await make_key(ledger, f"c{n}"))
        strange = caller.call(digest=bytes([n]) * 32)
        await ledger.open(call)
        await ledger.open(strange)
        assert await ledger.settle(settlement(call))
        assert await ledger.settle(settlement(strange))
    assert set(states(path).values()) == {"exact"}
    assert_sums_equal_events(path)


async def test_a_change_of_plan_that_lies_ahead_is_told(ledger: SqliteLedger, clock: Clock) -> None:
    """By a clock that was set back: what is asked for holds now, but not for long."""
    await make_key(ledger)
    clock.us = START_US + 3_600_000_000
    await ledger.change_plan("acme", plan="pro")
    clock.us = START_US + 1_800_000_000
    with pytest.raises(ConflictError, match="changes its plan at"):
        await ledger.change_plan("acme", plan="default")


async def test_a_plan_change_ends_a_segment_and_starts_the_next(
    ledger: SqliteLedger, clock: Clock, caller: Caller, path: Path
) -> None:
    key = await make_key(ledger)
    before = caller.call(key)
    await ledger.open(before)
    clock.us = caller.at_us = START_US + 3_600_000_000
    changed = await ledger.change_plan("acme", plan="pro")
    assert changed.plan == "pro"
    assert await ledger.change_plan("acme", plan="pro") == changed
    after = caller.call(key)
    await ledger.open(after)
    await ledger.settle(settlement(before))
    await ledger.settle(settlement(after))
    first, second = await ledger.segments(key.subscription_id)
    assert (first.plan, first.ends_at) == ("default", second.starts_at)
    assert (second.plan, second.ends_at) == ("pro", None)
    with database(path) as db:
        segments = db.execute("SELECT segment_id FROM requests ORDER BY id").fetchall()
        booked = db.execute(
            "SELECT DISTINCT e.request_id, s.segment_id FROM events AS e"
            " JOIN series AS s ON s.id = e.series_id ORDER BY 1"
        ).fetchall()
    assert segments == [(first.id,), (second.id,)]
    assert booked == [(before.id, first.id), (after.id, second.id)]
    assert_sums_equal_events(path)


async def test_events_that_came_before_are_not_added_again(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    """A request may have events before it settles: only those that are new move the sums."""
    call = caller.call(await make_key(ledger))
    await ledger.open(call)
    booking = Booking(ledger.worker_id)
    writer = await connect(path)
    await writer.run(lambda db: booking.book(db, [settlement(call)]))
    await writer.execute("UPDATE requests SET settled_at_us = NULL, state = 'open'")
    assert await ledger.settle(settlement(call))
    await writer.close()
    assert states(path) == {call.id: RequestState.EXACT}
    assert_sums_equal_events(path)


def test_the_oldest_sqlite_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 30, 0))
    connection = sqlite3.connect(":memory:")
    with pytest.raises(SettingsError, match="too old"):
        migrate(connection)
    connection.close()
