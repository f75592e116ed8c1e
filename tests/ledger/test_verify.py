"""``verify`` finds every figure that does not follow from the events, also beside a writer."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from proxy.core.usage import RequestState
from proxy.ledger import verify as verification
from proxy.ledger.maintenance import maintained
from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.verify import Difference, Verified, verify
from tests.ledger.calls import Caller, database, make_key, settlement, usage


def differences(path: Path) -> list[Difference]:
    with maintained(path, up_to_date=True) as connection:
        return list(verify(connection, Verified()))


async def fill(ledger: SqliteLedger, caller: Caller, count: int = 20) -> None:
    key = await make_key(ledger)
    for n in range(count):
        caller.at_us += 400_000_000
        call = caller.call(key)
        await ledger.open(call)
        if n % 5:
            await ledger.settle(settlement(call, usage(input=n, output=7)))
        elif n % 2:
            await ledger.settle(settlement(call, state=RequestState.DEFERRED))
    stranger = caller.call(digest=b"x" * 32)
    await ledger.open(stranger)
    await ledger.settle(settlement(stranger, status=401))


async def test_a_sound_ledger_has_no_difference(
    ledger: SqliteLedger, caller: Caller, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "PAGE", 3)
    await fill(ledger, caller)
    looked_at = Verified()
    with maintained(path, up_to_date=True) as connection:
        assert not list(verify(connection, looked_at))
    assert (looked_at.requests, looked_at.events) == (21, 48)
    assert looked_at.sums > 10


PLANTED: list[tuple[str, str]] = [
    ("UPDATE sums_quarter SET quantity = quantity + 1 WHERE rowid IN (SELECT 1)", "quarter"),
    ("DELETE FROM events WHERE seq = 5", "quarter"),
    ("DELETE FROM events WHERE n = 0 AND seq > 20", "request"),
    ("DELETE FROM sums_quarter WHERE quarter % 2 = 0", "quarter"),
    ("DELETE FROM sums_day", "day"),
    ("UPDATE sums_day SET quantity = quantity - 1", "day"),
    ("UPDATE requests SET state = 'open' WHERE state = 'exact'", "request"),
    ("UPDATE requests SET state = 'partial' WHERE state = 'exact'", "request"),
    ("UPDATE requests SET state = 'paid' WHERE state = 'exact'", "request"),
    ("UPDATE requests SET state = 'exact' WHERE subscription_id IS NULL", "request"),
    ("UPDATE requests SET opened_at_us = opened_at_us + 1", "request"),
    ("UPDATE requests SET settled_at_us = NULL, state = 'open' WHERE state = 'exact'", "request"),
    ("DELETE FROM requests WHERE state = 'exact'", "event"),
    ("UPDATE events SET subscription_id = 99", "event"),
    ("UPDATE events SET quantity = quantity + 1 WHERE seq = 3", "quarter"),
]


@pytest.mark.parametrize(("plant", "what"), PLANTED)
async def test_a_planted_difference_is_found(
    ledger: SqliteLedger, caller: Caller, path: Path, plant: str, what: str
) -> None:
    await fill(ledger, caller)
    plant = plant.replace("WHERE rowid IN (SELECT 1)", "WHERE quarter % 2 = 1")
    with database(path) as connection:
        assert connection.execute(plant).rowcount
    found = differences(path)
    assert what in {difference.what for difference in found}
    assert all(str(difference).startswith(f"{difference.what}: ") for difference in found)


async def test_a_lost_event_is_found_by_quarter_and_request(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await fill(ledger, caller)
    with database(path) as connection:
        connection.execute("DELETE FROM events WHERE seq = 1")
    quarter, request = differences(path)
    assert (quarter.kept, quarter.derived) == ("1", "0")
    assert "acme requests exact" in quarter.where
    assert request.kept.startswith("0 closing events")


async def test_it_works_beside_a_writer(
    ledger: SqliteLedger, caller: Caller, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "PAGE", 50)
    key = await make_key(ledger)
    stop = False

    async def write() -> None:
        while not stop:
            caller.at_us += 100_000_000
            calls = [caller.call(key) for _ in range(20)]
            await asyncio.gather(*(ledger.open(call) for call in calls))
            await asyncio.gather(*(ledger.settle(settlement(call)) for call in calls))

    writing = asyncio.create_task(write())
    await asyncio.sleep(0.1)
    for _ in range(5):
        assert await asyncio.to_thread(differences, path) == []
    stop = True
    await writing


def closed_period(connection: sqlite3.Connection, number: int, sums: str, amount: str) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO books (sequence, text, sha256, adopted_at_us) VALUES (1, '', '', 0)"
    )
    connection.execute(
        "INSERT INTO closed_periods (id, number, subscription_id, starts_at_us, ends_at_us,"
        " timezone, closed_at_us, book_sequence, book_sha256, currency, amount, precise_amount,"
        " sums, invoice) VALUES (?, ?, 1, 1793491200000000 + ?, 1798761600000000 + ?, 'UTC', 0, 1,"
        " '', 'USD', ?, '1.00', ?, ?)",
        (
            number,
            f"WB-{number}",
            number,
            number,
            amount,
            sums,
            f'{{"number": "WB-{number}", "total": {{"amount": "1.00", "precise_amount": "1.00"}}}}',
        ),
    )


def _billed(connection: sqlite3.Connection, more: int = 0) -> str:
    import json  # noqa: PLC0415

    rows = connection.execute(
        "SELECT 0, s.segment_id, g.plan, s.metric, s.type, s.model, s.model_requested,"
        " s.service_tier, s.context_class, s.source, sum(q.quantity) + ? FROM series AS s"
        " JOIN segments AS g ON g.id = s.segment_id JOIN sums_quarter AS q ON q.series_id = s.id"
        " GROUP BY s.id",
        (more,),
    ).fetchall()
    return json.dumps(rows)


CLOSED: list[tuple[Callable[[sqlite3.Connection], None], int]] = [
    (lambda db: closed_period(db, 1, _billed(db), "1.00"), 0),
    (lambda db: closed_period(db, 1, _billed(db, 1), "1.00"), 3),
    (lambda db: closed_period(db, 1, _billed(db), "2.00"), 1),
    (lambda db: closed_period(db, 2, _billed(db), "1.00"), 1),
]


@pytest.mark.parametrize(("close", "wrong"), CLOSED)
async def test_closed_periods_are_what_their_sums_were(
    ledger: SqliteLedger,
    caller: Caller,
    path: Path,
    close: Callable[[sqlite3.Connection], None],
    wrong: int,
) -> None:
    await fill(ledger, caller)
    with database(path) as connection:
        close(connection)
    found = differences(path)
    assert [difference.what for difference in found] == ["closed period"] * wrong


async def test_what_came_late_is_a_part_of_a_closed_period(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    key = await make_key(ledger)
    late = caller.call(key)
    await ledger.open(late)
    await fill(ledger, caller)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        closed_period(connection, 1, _billed(connection), "1.00")
        connection.execute(
            "UPDATE meta SET value = 1798761600000000 WHERE name = 'closed_through_us'"
        )
    await ledger.settle(settlement(late))
    assert differences(path) == []
    with database(path) as connection:
        connection.execute("DELETE FROM late_sums")
    assert {difference.what for difference in differences(path)} == {"closed period"}
