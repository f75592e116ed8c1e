"""Every released schema, with data in it, becomes today's: nothing is lost and nothing moves."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.ledger.maintenance import maintained
from proxy.ledger.migrate import migrate, migrations
from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.verify import Verified, verify
from tests.ledger.calls import Caller, Clock, assert_sums_equal_events, settlement, states

SCHEMAS = sorted((Path(__file__).parent / "schemas").glob("*.sql"))
TABLES = (
    "customers subscriptions segments api_keys requests series events sums_quarter sums_day books"
)
WINDOW = [datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)]


@pytest.fixture(params=SCHEMAS, ids=lambda file: file.stem)
def released(request: pytest.FixtureRequest, path: Path) -> Path:
    """A ledger as a released program left it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(request.param.read_text())
        assert connection.execute("PRAGMA user_version").fetchone() == (int(request.param.stem),)
    return path


def content(path: Path) -> dict[str, list[dict[str, object]]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return {
            table: [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]  # noqa: S608
            for table in TABLES.split()
        }


def schema(path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        found = set()
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"):
            for row in connection.execute(f"PRAGMA table_info('{name}')"):
                found.add((name, f"{row[1]} {row[2]} {row[3]} {row[4]}"))
        found |= set(
            connection.execute("SELECT type, name FROM sqlite_schema WHERE type <> 'table'")
        )
        return found


def test_there_is_a_ledger_of_every_release() -> None:
    assert [int(file.stem) for file in SCHEMAS] == list(range(1, len(SCHEMAS) + 1))
    assert SCHEMAS


def test_nothing_is_lost(released: Path) -> None:
    before = content(released)
    with maintained(released, up_to_date=True) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(migrations()),)
        assert not list(verify(connection, Verified()))
    after = content(released)
    for table, rows in before.items():
        assert [
            {name: row[name] for name in old} for row, old in zip(after[table], rows, strict=True)
        ] == rows


def test_it_becomes_what_a_new_one_is(released: Path, tmp_path: Path) -> None:
    for path in (released, tmp_path / "new.db"):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            migrate(connection)
    assert schema(released) == schema(tmp_path / "new.db")


async def test_its_prices_are_read_as_they_were(released: Path, clock: Clock) -> None:
    ledger = await SqliteLedger.open_database(released, clock)
    book = await ledger.book()
    assert book is not None
    assert book.reading == 1
    assert (await ledger.adopt_book(book.text, book.sha256)).sequence == book.sequence + 1
    await ledger.close()


async def test_it_serves_on(released: Path, clock: Clock, caller: Caller) -> None:
    ledger = await SqliteLedger.open_database(released, clock)
    assert states(released) == {
        100: "exact",
        101: "partial",
        102: "abandoned",
        103: "deferred",
        104: "failed",
    }
    key = await ledger.key(b"\xaa" * 32)
    revoked = await ledger.key(b"\xbb" * 32)
    assert key is not None
    assert revoked is not None
    assert (key.plan, revoked.revoked) == ("default", True)
    caller.at_us += 60_000_000
    call = caller.call(key)
    await ledger.open(call)
    assert await ledger.settle(settlement(call))
    standing = await ledger.standing("acme", WINDOW)
    assert standing is not None
    totals: dict[str, int] = {}
    for row in standing.sums:
        totals[row.source] = totals.get(row.source, 0) + row.quantity
    assert totals == {"exact": 16 + 16, "partial": 8, "abandoned": 102}
    await ledger.close()
    assert_sums_equal_events(released)
