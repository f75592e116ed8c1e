"""Budgets and rate limits in the ledger: reserved, booked, released, derived, over all workers."""

import asyncio
from decimal import Decimal
from pathlib import Path

from proxy.core.limits import Window
from proxy.core.subscriptions import key_digest
from proxy.core.usage import RequestState
from proxy.ledger.port import ADMITTED, Admission, Refusal
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import (
    START_US,
    Caller,
    Clock,
    assert_sums_equal_events,
    database,
    make_key,
    settlement,
    usage,
)
from tests.ledger.limited import (
    BOOK,
    adopt,
    bounded,
    differences,
    kept,
    limited_key,
    refusal,
    spent,
)

DAY_US = 86_400_000_000


async def test_what_fits_one_owner_alone_is_taken_from_none(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_total": Decimal("5.00")}, subscription="acme")
    made = await limited_key(ledger)
    await ledger.set_limits({"spend_total": Decimal("0.70")}, key=str(made.id))
    key = await limited_key(ledger)
    one, two = [ledger.open(bounded(caller, key)) for _ in range(2)]
    assert await one == ADMITTED
    assert isinstance(await two, Refusal)
    for owner in (2, 2 * key.id + 1):
        assert spent(path, Window.TOTAL, owner=owner) == (0, Decimal("0.50"))
        assert kept(path)[owner].state.running == 1


async def test_what_was_not_taken_from_a_bucket_is_not_given_back(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    """A limit on tokens that is set while a request runs counts all that it then uses."""
    await adopt(ledger)
    await make_key(ledger)
    limits: dict[str, object] = {"spend_per_period": Decimal("5.00")}
    await ledger.set_limits(limits, subscription="acme")
    call = bounded(caller, await limited_key(ledger))
    assert await ledger.open(call) == ADMITTED
    await ledger.set_limits({**limits, "tokens_per_minute": 1000}, subscription="acme")
    await ledger.settle(settlement(call, usage(input=10, output=10)))
    assert kept(path)[2].state.tokens_level_us == 20 * 60_000


async def test_a_budget_is_reserved_booked_and_released(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_per_period": Decimal("1.00")}, subscription="acme")
    key = await limited_key(ledger)
    assert key.limited
    one, two = bounded(caller, key), bounded(caller, key)
    assert await ledger.open(one) == ADMITTED
    assert await ledger.open(two) == ADMITTED
    assert spent(path) == (0, Decimal("1.00"))
    waiting = await refusal(ledger, caller)
    assert (waiting.status, waiting.code) == (429, "rate_limit_exceeded")
    assert waiting.retry_after_s
    await ledger.settle(settlement(one, usage(input=10, output=10)))
    assert spent(path) == (Decimal("0.30"), Decimal("0.50"))
    await ledger.settle(settlement(two, usage(), state=RequestState.FAILED))
    assert spent(path) == (Decimal("0.30"), 0)
    three = bounded(caller, key)
    await ledger.open(three)
    await ledger.settle(settlement(three, usage(input=30, output=20)))
    assert spent(path) == (Decimal("1.00"), 0)
    assert kept(path)[2].state.overruns == 1
    over = await refusal(ledger, caller)
    assert (over.status, over.code, over.retry_after_s) == (429, "insufficient_quota", None)
    for part in ("limit 1.00", "spent 1.00", "reserved 0.00", "2027-01-01T00:00:00Z"):
        assert part in over.message
    assert kept(path)[2].state.running == 0
    assert differences(path) == []
    assert_sums_equal_events(path)


async def test_only_who_counts_money_has_reservations_exceeded(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    """The subscription has a budget, its key a limit of requests alone."""
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_total": Decimal(5)}, subscription="acme")
    made = await limited_key(ledger)
    await ledger.set_limits({"requests_per_minute": 60}, key=str(made.id))
    call = bounded(caller, await limited_key(ledger))
    assert isinstance(await ledger.open(call), Admission)
    await ledger.settle(settlement(call, usage(input=30, output=20)))
    assert spent(path, Window.TOTAL) == (Decimal("0.70"), 0)
    states = [kept(path)[owner].state for owner in (2, 2 * made.id + 1)]
    assert [(state.overruns, state.running) for state in states] == [(1, 0), (0, 0)]


async def test_a_settlement_counts_once(ledger: SqliteLedger, caller: Caller, path: Path) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_total": Decimal(10)}, subscription="acme")
    key = await limited_key(ledger)
    calls = [bounded(caller, key) for _ in range(5)]
    await asyncio.gather(*(ledger.open(call) for call in calls))
    ends = [settlement(call) for call in calls]
    applied = await asyncio.gather(*(ledger.settle(end) for end in [*ends, *ends]))
    assert sorted(applied) == [False] * 5 + [True] * 5
    assert spent(path, Window.TOTAL) == (Decimal("1.00"), 0)
    assert differences(path) == []


async def test_a_batch_is_decided_one_after_the_other(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_per_day": Decimal(2)}, subscription="acme")
    key = await limited_key(ledger)
    before = ledger.batches
    calls = [bounded(caller, key) for _ in range(40)]
    outcomes = await asyncio.gather(*(ledger.open(call) for call in calls))
    assert ledger.batches - before <= 2
    assert sum(isinstance(outcome, Admission) for outcome in outcomes) == 4
    assert spent(path, Window.DAY) == (0, 2)


async def test_limits_hold_over_workers(
    ledger: SqliteLedger, clock: Clock, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits(
        {"spend_total": Decimal(2), "concurrent_requests": 3}, subscription="acme"
    )
    other = await SqliteLedger.open_database(path, clock)
    try:
        key = await limited_key(ledger)
        theirs = Caller(worker=2)
        calls = [(ledger, bounded(caller, key)) for _ in range(10)]
        calls += [(other, bounded(theirs, key)) for _ in range(10)]
        outcomes = await asyncio.gather(*(at.open(call) for at, call in calls))
        assert sum(isinstance(outcome, Admission) for outcome in outcomes) == 3
        for (_, call), outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, Admission):
                await other.settle(settlement(call, usage(input=10, output=20)))
        assert spent(path, Window.TOTAL) == (Decimal("1.50"), 0)
        assert differences(path) == []
    finally:
        await other.close()


async def test_what_a_dead_worker_reserved_is_released(
    ledger: SqliteLedger, clock: Clock, path: Path
) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_total": Decimal(2)}, subscription="acme")
    dying = await SqliteLedger.open_database(path, clock)
    key = await limited_key(dying)
    await dying.open(bounded(Caller(worker=2), key))
    await dying.close()
    assert spent(path, Window.TOTAL) == (0, Decimal("0.50"))
    assert await ledger.recover() == 1
    assert spent(path, Window.TOTAL) == (Decimal("0.03"), 0)
    assert kept(path)[2].state.running == 0
    assert differences(path) == []


async def test_who_gives_up_waiting_leaves_no_reservation(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_total": Decimal(2)}, subscription="acme")
    key = await limited_key(ledger)
    ledger.open(bounded(caller, key)).cancel()  # type: ignore[attr-defined]
    for _ in range(20):
        await asyncio.sleep(0.01)
        await ledger.recover()
    assert spent(path, Window.TOTAL) == (0, 0)
    assert kept(path)[2].state.running == 0


async def test_what_is_deferred_holds_its_reservation(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_total": Decimal(2)}, subscription="acme")
    key = await limited_key(ledger)
    call = bounded(caller, key)
    await ledger.open(call)
    await ledger.settle(settlement(call, state=RequestState.DEFERRED))
    assert spent(path, Window.TOTAL) == (0, Decimal("0.50"))
    assert kept(path)[2].state.running == 0
    assert differences(path) == []
    await ledger.settle(settlement(call))
    assert spent(path, Window.TOTAL) == (Decimal("0.20"), 0)
    assert differences(path) == []


async def test_what_is_deferred_and_settled_at_once_is_booked_once(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_total": Decimal(2)}, subscription="acme")
    call = bounded(caller, await limited_key(ledger))
    await ledger.open(call)
    ends = [settlement(call, state=RequestState.DEFERRED), settlement(call)]
    assert await asyncio.gather(*(ledger.settle(end) for end in ends)) == [True, True]
    assert spent(path, Window.TOTAL) == (Decimal("0.20"), 0)
    assert kept(path)[2].state.running == 0
    assert differences(path) == []


async def test_a_key_has_limits_of_its_own(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    free = await make_key(ledger)
    first = caller.call(free)
    await ledger.open(first)
    await ledger.settle(settlement(first))
    await make_key(ledger, "acme", b"s2")
    await ledger.set_limits({"spend_total": Decimal("0.95")}, key=str(free.id))
    key = await limited_key(ledger)
    assert key.limited
    other = await ledger.key(key_digest(b"acmes2"))
    assert other is not None
    assert not other.limited
    call = bounded(caller, key)
    assert isinstance(await ledger.open(call), Admission)
    await ledger.settle(settlement(call, usage(input=10, output=10)))
    assert spent(path, Window.TOTAL, owner=2 * key.id + 1) == (Decimal("0.50"), 0)
    refused = await ledger.open(bounded(caller, key))
    assert isinstance(refused, Refusal)
    assert "Key wb-acme" in refused.message
    unlimited = caller.call(other)
    assert isinstance(await ledger.open(unlimited), Admission)
    await ledger.settle(settlement(unlimited))
    assert differences(path) == []


async def test_limits_come_from_the_plan(ledger: SqliteLedger, caller: Caller, path: Path) -> None:
    await adopt(ledger)
    await make_key(ledger)
    with database(path) as connection:
        connection.execute("UPDATE segments SET plan = 'small'")
    await ledger.adopt_book(BOOK + "\n", "other")
    key = await limited_key(ledger)
    assert key.limited
    outcomes = [await ledger.open(bounded(caller, key)) for _ in range(3)]
    assert [isinstance(outcome, Admission) for outcome in outcomes] == [True, True, False]
    last = outcomes[-1]
    assert isinstance(last, Refusal)
    assert "may have 2" in last.message
    await ledger.set_limits({"concurrent_requests": None}, key=str(key.id))
    assert isinstance(await ledger.open(bounded(caller, key)), Admission)
    assert await ledger.clear_limits(key=str(key.id))
    assert not await ledger.clear_limits(key=str(key.id))
    assert isinstance(await ledger.open(bounded(caller, key)), Refusal)
    assert differences(path) == []


async def test_a_new_book_rates_again_what_is_spent(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    free = await make_key(ledger)
    await ledger.set_limits({"spend_per_period": Decimal(4)}, subscription="acme")
    await ledger.set_limits({"spend_per_day": Decimal(4)}, key=str(free.id))
    key = await limited_key(ledger)
    call = bounded(caller, key)
    await ledger.open(call)
    await ledger.settle(settlement(call, usage(input=100, output=0)))
    assert spent(path) == (1, 0)
    await adopt(ledger, BOOK.replace("input = 1\noutput = 2", "input = 3\noutput = 2"))
    call = bounded(caller, key)
    assert isinstance(await ledger.open(call), Admission)
    assert spent(path) == (3, Decimal("0.70"))
    assert spent(path, Window.DAY, owner=2 * key.id + 1) == (3, Decimal("0.70"))
    assert isinstance(await ledger.open(bounded(caller, key)), Refusal)
    assert differences(path) == []


async def test_windows_begin_anew_and_old_ones_still_count(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_per_day": Decimal("0.90")}, subscription="acme")
    key = await limited_key(ledger)
    caller.at_us = START_US + DAY_US - 1000
    running = bounded(caller, key)
    await ledger.open(running)
    caller.at_us = START_US + DAY_US
    tomorrow = bounded(caller, key)
    assert isinstance(await ledger.open(tomorrow), Admission)
    assert spent(path, Window.DAY) == (0, Decimal("0.50"))
    caller.at_us = START_US + DAY_US - 500
    late = bounded(caller, key)
    assert isinstance(await ledger.open(late), Refusal)
    await ledger.settle(settlement(running))
    assert isinstance(await ledger.open(bounded(caller, key)), Admission)
    late_ones = await asyncio.gather(*(ledger.open(bounded(caller, key)) for _ in range(2)))
    assert all(isinstance(outcome, Refusal) for outcome in late_ones)
    assert spent(path, Window.DAY) == (0, Decimal("0.50"))
    await ledger.settle(settlement(tomorrow))
    assert spent(path, Window.DAY) == (Decimal("0.20"), 0)
    assert kept(path)[2].state.running == 1
    assert differences(path) == []


async def test_packages_are_rated_with_all_of_the_window(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_per_period": Decimal(9)}, subscription="acme")
    key = await limited_key(ledger)
    for tokens, whole in ((10, 1), (90, 1), (1, 2)):
        call = bounded(caller, key, model="packed")
        assert isinstance(await ledger.open(call), Admission)
        end = settlement(call, usage(input=tokens), model="packed")
        await ledger.settle(end)
        assert spent(path) == (whole, 0)
    assert differences(path) == []
