"""What is closed and old goes, and nothing that is billed, runs, or is to be billed, moves."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from proxy.ledger import pruning_closed as pruning
from proxy.ledger.maintenance import maintained
from proxy.ledger.pruning_closed import Pruned, prune
from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.verify import Verified, verify
from tests.ledger.calls import START, START_US, Caller, database, make_key, settlement, states
from tests.ledger.test_verify import differences

DAY_US = 86_400_000_000


def close(path: Path, subscription: str, end_us: int, timezone: str = "UTC") -> None:
    """Close everything of a subscription up to a time, as the ledger would."""
    with database(path) as db:
        db.execute("INSERT OR IGNORE INTO books VALUES (1, '', '', 0, 1)")
        (number,) = db.execute("SELECT count(*) + 1 FROM closed_periods").fetchone()
        sums = db.execute(
            "SELECT 0, s.segment_id, g.plan, s.metric, s.type, s.model, s.model_requested,"
            " s.service_tier, s.context_class, s.source, sum(q.quantity) FROM series AS s"
            " JOIN segments AS g ON g.id = s.segment_id JOIN sums_quarter AS q"
            " ON q.series_id = s.id JOIN subscriptions AS u ON u.id = g.subscription_id"
            " WHERE u.external_id = ? AND q.quarter < ? GROUP BY s.id",
            (subscription, end_us // 900_000_000),
        ).fetchall()
        text = f"WB-{number}"
        invoice = {"number": text, "total": {"amount": "1.00", "precise_amount": "1.00"}}
        db.execute(
            "INSERT INTO closed_periods (id, number, subscription_id, starts_at_us, ends_at_us,"
            " timezone, closed_at_us, book_sequence, book_sha256, currency, amount,"
            " precise_amount, sums, invoice) SELECT ?, ?, id, 0, ?, ?, 0, 1, '', 'USD', '1.00',"
            " '1.00', ?, ? FROM subscriptions WHERE external_id = ?",
            (number, text, end_us, timezone, json.dumps(sums), json.dumps(invoice), subscription),
        )
        db.execute(
            "UPDATE meta SET value = max(value, ?) WHERE name = 'closed_through_us'", (end_us,)
        )


def run(path: Path, before: date) -> Pruned:
    with maintained(path, up_to_date=True) as connection:
        return prune(connection, path, before, START_US)


async def fill(ledger: SqliteLedger, caller: Caller, customer: str, days: int) -> list[int]:
    """Settle a request each day; return the ids."""
    key = await make_key(ledger, customer)
    ids = []
    for day in range(days):
        caller.at_us = START_US + day * DAY_US
        call = caller.call(key)
        await ledger.open(call)
        await ledger.settle(settlement(call))
        ids.append(call.id)
    return ids


async def test_only_closed_periods_go(ledger: SqliteLedger, caller: Caller, path: Path) -> None:
    acme = await fill(ledger, caller, "acme", 40)
    other = await fill(ledger, caller, "other", 40)
    caller.at_us = START_US
    running = caller.call(await make_key(ledger, "acme"))
    await ledger.open(running)
    end_us = START_US + 31 * DAY_US
    close(path, "acme", end_us)
    window = [START, START + timedelta(days=60)]
    before = await ledger.standing("acme", window)
    assert run(path, date(2026, 12, 31)) == Pruned()
    assert run(path, date(2027, 1, 1)) == Pruned(subscriptions=1, events=93, requests=31)
    assert run(path, date(2027, 1, 1)) == Pruned(subscriptions=1)
    assert states(path).keys() == {*acme[31:], *other, running.id}
    assert await ledger.standing("acme", window) == before
    assert differences(path) == []
    with database(path) as db:
        assert db.execute("SELECT count(*) FROM closed_periods").fetchone() == (1,)
    # What was open settles, late, and is billed once.
    await ledger.settle(settlement(running))
    assert differences(path) == []
    assert run(path, date(2027, 1, 1)) == Pruned(subscriptions=1, events=3, requests=1)
    assert differences(path) == []


async def test_a_settlement_of_what_is_pruned_changes_nothing(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    key = await make_key(ledger)
    call = caller.call(key)
    await ledger.open(call)
    await ledger.settle(settlement(call))
    close(path, "acme", START_US + DAY_US)
    assert run(path, date(2027, 1, 1)).requests == 1
    assert not await ledger.settle(settlement(call))
    assert states(path) == {}
    assert differences(path) == []


@pytest.mark.parametrize(("day", "goes"), [(1, 0), (2, 1)])
async def test_the_day_begins_in_the_periods_timezone(
    ledger: SqliteLedger, caller: Caller, path: Path, day: int, goes: int
) -> None:
    await fill(ledger, caller, "acme", 1)
    # 2026-12-01T05:00Z is midnight in New York.
    close(path, "acme", START_US + 29 * 3_600_000_000, "America/New_York")
    assert run(path, date(2026, 12, day)).requests == goes


async def test_a_changed_sum_of_a_pruned_period_is_found(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await fill(ledger, caller, "acme", 3)
    close(path, "acme", START_US + 2 * DAY_US)
    run(path, date(2027, 1, 1))
    with database(path) as db:
        db.execute(
            "UPDATE sums_quarter SET quantity = quantity + 1 WHERE quarter < ?",
            ((START_US + DAY_US) // 900_000_000,),
        )
    assert {difference.what for difference in differences(path)} == {"closed period", "day"}


async def test_serving_goes_on(
    ledger: SqliteLedger, caller: Caller, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "ROWS_AT_ONCE", 5)
    monkeypatch.setattr(pruning, "PAGE", 20)
    monkeypatch.setattr(pruning, "CHECKPOINT_EVERY", 2)
    await fill(ledger, caller, "acme", 60)
    end_us = START_US + 59 * DAY_US
    close(path, "acme", end_us)
    caller.at_us = end_us + DAY_US
    key = await make_key(ledger)
    pruned = asyncio.create_task(asyncio.to_thread(run, path, datetime(2028, 1, 1, tzinfo=UTC)))
    served = 0
    while not pruned.done() or served < 10:
        call = caller.call(key)
        await ledger.open(call)
        await ledger.settle(settlement(call))
        served += 1
        with maintained(path, up_to_date=False) as connection:
            assert not list(verify(connection, Verified()))
    assert (await pruned).requests == 59
    assert len(states(path)) == served + 1
