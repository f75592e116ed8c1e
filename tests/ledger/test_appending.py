"""Usage of a running request: in the ledger at once, and once, whatever becomes of it."""

import asyncio
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.core.usage import RequestState, Usage
from proxy.ledger.maintenance import maintained
from proxy.ledger.port import APPENDED_FROM, Ledger, OpenCall, Settlement
from proxy.ledger.spool import Spool
from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.verify import Verified, verify
from tests.ledger.calls import (
    START_US,
    Caller,
    Clock,
    assert_sums_equal_events,
    make_key,
    settlement,
    states,
    usage,
)
from tests.ledger.limited import adopt, bounded, kept
from tests.ledger.test_contract import totals
from tests.ledger.test_pruning_closed import DAY_US, close, run

NOTHING = Usage(quantities=())
CONCURRENT = (
    'currency = "USD"\n[models."gpt-4o"]\ninput = 1\noutput = 1\n'
    "[plans.default.limits]\nspend_total = 5\nconcurrent_requests = 3\n"
)


def part(call: OpenCall, number: int, used: Usage) -> Settlement:
    appended = settlement(call, used, status=101)
    appended.appended_from = APPENDED_FROM + number
    return appended


def assert_sound(path: Path) -> None:
    assert_sums_equal_events(path)
    with maintained(path, up_to_date=False) as connection:
        assert not list(verify(connection, Verified()))


def assert_running(path: Path, number: int) -> None:
    """So many requests run, by what the only limited owner's state says."""
    (row,) = kept(path).values()
    assert row.state.running == number
    assert_sound(path)


async def test_appends_are_there_while_it_runs_and_count_once(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    call = caller.call(await make_key(ledger))
    await ledger.open(call)
    first, second = part(call, 0, usage(input=7, output=5)), part(call, 2, usage(input=1))
    await ledger.append(first)
    await ledger.append(first)
    await asyncio.gather(ledger.append(first), ledger.append(second), ledger.append(second))
    both = {("tokens", "input", "exact"): 8, ("tokens", "output", "exact"): 5}
    assert await totals(ledger) == both
    assert states(path) == {call.id: "open"}
    assert_sound(path)
    assert await ledger.settle(settlement(call, NOTHING, state=RequestState.PARTIAL, status=101))
    assert await totals(ledger) == both | {("requests", "partial", "partial"): 1}
    await ledger.append(second)
    await ledger.append(part(call, 3, usage(output=4)))
    assert (await totals(ledger))["tokens", "output", "exact"] == 9
    assert_sound(path)
    record = await ledger.request(call.id)
    assert record is not None
    numbers = [event.n - APPENDED_FROM for event in record.events if event.n]
    assert numbers == [0, 1, 2, 3]


async def test_other_numbers_are_refused(ledger: Ledger, caller: Caller) -> None:
    with pytest.raises(ValueError, match="numbered from"):
        ledger.append(settlement(caller.call(await make_key(ledger))))


async def test_a_key_that_was_unknown_has_its_subscription_at_once(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    call = caller.call(digest=b"d" * 32)
    await ledger.open(call)
    await ledger.append(part(call, 0, usage(input=7)))
    (name,) = [subscription.external_id for subscription in await ledger.subscriptions()]
    assert await totals(ledger, name) == {("tokens", "input", "exact"): 7}
    assert_sound(path)
    await ledger.settle(settlement(call, NOTHING, status=101))
    assert (await totals(ledger, name))["requests", "exact", "exact"] == 1
    assert_sound(path)


async def test_a_socket_without_usage_shows_that_its_key_works(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    call = caller.call(digest=b"d" * 32)
    await ledger.open(call)
    await ledger.settle(settlement(call, NOTHING, status=101))
    assert states(path) == {call.id: "exact"}


async def test_an_unknown_key_of_a_limited_plan_runs_as_its_own(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger, CONCURRENT)
    call = caller.call(digest=b"d" * 32)
    await ledger.open(call)
    await ledger.append(part(call, 0, usage(input=7)))
    await ledger.append(part(call, 1, usage(input=7)))
    assert_running(path, 1)
    await ledger.settle(settlement(call, NOTHING, status=101))
    assert_running(path, 0)


async def test_an_append_and_an_end_at_once_leave_nothing_running(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    """As after a time without the ledger: the append makes the request somebody's."""
    await adopt(ledger, CONCURRENT)
    call = caller.call(digest=b"d" * 32)
    await ledger.open(call)
    before = ledger.batches
    await asyncio.gather(
        ledger.append(part(call, 0, usage(input=7))),
        ledger.settle(settlement(call, NOTHING, status=101)),
    )
    assert ledger.batches - before == 1
    assert_running(path, 0)


async def test_an_append_to_what_has_ended_does_not_make_it_run(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    """It was abandoned as nobody's, while its append waited in the spool."""
    await adopt(ledger, CONCURRENT)
    call = caller.call(digest=b"d" * 32)
    await ledger.open(call)
    await ledger.settle(settlement(call, NOTHING, state=RequestState.ABANDONED, status=None))
    await ledger.append(part(call, 0, usage(input=7)))
    assert_running(path, 0)


async def test_a_budget_counts_each_append_and_holds_its_reservation(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    key = await make_key(ledger)
    await ledger.set_limits({"spend_per_period": Decimal(5)}, subscription="acme")
    call = bounded(caller, key)
    await ledger.open(call)
    for number in range(2):
        await ledger.append(part(call, number, usage(output=50)))
    (standing,) = await ledger.limits("acme")
    (spend,) = standing.state.spends
    assert (spend.spent, spend.reserved) == (2, Decimal("0.5"))
    assert standing.state.running == 1
    assert_sound(path)
    await ledger.settle(settlement(call, NOTHING, status=101))
    (standing,) = await ledger.limits("acme")
    (spend,) = standing.state.spends
    assert (spend.spent, spend.reserved, standing.state.running) == (2, 0, 0)
    assert_sound(path)


async def test_a_limit_that_another_process_set_counts_from_the_next_append(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    key = await make_key(ledger)
    call = bounded(caller, key)
    await ledger.open(call)
    await ledger.append(part(call, 0, usage(output=50)))
    other = await SqliteLedger.open_database(path, worker=False)
    await other.set_limits({"spend_per_period": Decimal(5)}, subscription="acme")
    await other.close()
    await ledger.append(part(call, 1, usage(output=50)))
    (standing,) = await ledger.limits("acme")
    assert standing.state.spends[0].spent == 2
    assert_sound(path)
    await ledger.settle(settlement(call, NOTHING, status=101))
    assert_sound(path)


async def test_what_was_spooled_is_replayed_once(
    ledger: SqliteLedger, caller: Caller, path: Path, tmp_path: Path
) -> None:
    call = caller.call(await make_key(ledger))
    await ledger.open(call)
    spool = Spool(tmp_path / "spool", 1, ledger.ledger_id)
    first, second = part(call, 0, usage(input=7)), part(call, 1, usage(input=1))
    await ledger.append(first)
    await spool.append(first)
    await spool.append(second)
    await ledger.settle(settlement(call, NOTHING, status=101))
    assert await spool.replay(ledger.settle) == 2
    assert (await totals(ledger))["tokens", "input", "exact"] == 8
    assert_sound(path)
    spool.close()


async def test_what_is_appended_again_after_its_request_was_pruned_is_not_counted(
    ledger: SqliteLedger, caller: Caller, clock: Clock, path: Path
) -> None:
    """A spool whose files can't be removed is replayed for as long as that stays so."""
    call = caller.call(await make_key(ledger))
    await ledger.open(call)
    appended = part(call, 0, usage(input=7, output=5))
    assert await ledger.append(appended)
    assert await ledger.settle(settlement(call, NOTHING, status=101))
    close(path, "acme", START_US + 2 * DAY_US)
    clock.us = START_US + 3 * DAY_US
    assert run(path, date(2027, 1, 1)).requests == 1
    assert not await ledger.append(appended)
    assert not await ledger.settle(settlement(call, NOTHING, status=101))
    with maintained(path, up_to_date=False) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM late_sums").fetchone() == (0,)
        assert not list(verify(connection, Verified()))
