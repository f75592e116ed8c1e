"""A plan's limits hold from its change on, whatever comes late or can't be read."""

import sqlite3
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.core.limits import Window
from proxy.errors import LedgerUnavailableError
from proxy.ledger import limit_owners
from proxy.ledger.port import ADMITTED, Refusal
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import START, Caller, Clock, make_key, settlement, usage
from tests.ledger.limited import BOOK, adopt, bounded, differences, kept, limited_key, spent
from tests.ledger.test_verify import differences as all_differences

HOUR_US = 3_600_000_000
ANNIVERSARY = """
[plans.monthly.limits]
spend_per_period = 50
[plans.yearly]
billing_time = "anniversary"
limits.spend_per_period = 50
"""
DEAR = """
[plans.dear]
markup = 3
[plans.day.limits]
spend_per_day = 2
"""
LARGE = """
[plans.large.limits]
spend_per_day = 50
"""


async def test_what_settles_after_a_change_of_plan_does_not_lift_its_limits(
    ledger: SqliteLedger, caller: Caller, clock: Clock, path: Path
) -> None:
    await adopt(ledger)
    key = await make_key(ledger)
    before = bounded(caller, key)
    assert await ledger.open(before) == ADMITTED
    caller.at_us = clock.us = clock.us + HOUR_US
    await ledger.change_plan("acme", plan="small")
    assert await ledger.settle(settlement(before, usage(input=30)))
    key = await limited_key(ledger)
    assert key.limited
    calls = [bounded(caller, key) for _ in range(3)]
    first, second, third = [await ledger.open(call) for call in calls]
    assert (first, second) == (ADMITTED, ADMITTED)
    assert isinstance(third, Refusal)
    assert kept(path)[2 * key.id + 1].state.running == 2
    for call in calls[:2]:
        assert await ledger.settle(settlement(call, usage(input=10)))
    assert spent(path, Window.DAY) == (Decimal("0.50"), 0)
    assert differences(path) == all_differences(path) == []


async def test_a_smaller_budget_holds_at_once(
    ledger: SqliteLedger, caller: Caller, clock: Clock, path: Path
) -> None:
    await adopt(ledger, BOOK + LARGE)
    await make_key(ledger)
    caller.at_us = clock.us = clock.us + HOUR_US
    await ledger.change_plan("acme", plan="large")
    before = bounded(caller, await limited_key(ledger))
    assert await ledger.open(before) == ADMITTED
    caller.at_us = clock.us = clock.us + HOUR_US
    await ledger.change_plan("acme", plan="small")
    assert await ledger.settle(settlement(before, usage(input=480)))
    refused = await ledger.open(bounded(caller, await limited_key(ledger)))
    assert isinstance(refused, Refusal)
    assert refused.code == "insufficient_quota"
    assert differences(path) == []


async def test_a_book_that_cannot_be_read_lifts_no_limits(
    ledger: SqliteLedger, caller: Caller, clock: Clock, path: Path
) -> None:
    """A newer version of this program may adopt one while this one still serves."""
    await adopt(ledger)
    await make_key(ledger)
    clock.us += HOUR_US
    await ledger.change_plan("acme", plan="small")
    key = await limited_key(ledger)
    assert await ledger.open(bounded(caller, key)) == ADMITTED
    await adopt(ledger, "what = is this")
    assert (await limited_key(ledger)).limited
    assert await ledger.open(bounded(caller, key)) == ADMITTED
    assert isinstance(await ledger.open(bounded(caller, key)), Refusal)


async def test_a_book_that_the_disk_did_not_give_is_read_again(
    ledger: SqliteLedger, caller: Caller, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise nobody would be limited until the next one."""
    await make_key(ledger)
    clock.us += HOUR_US
    await ledger.change_plan("acme", plan="small")
    await adopt(ledger)
    key = await limited_key(ledger)
    with monkeypatch.context() as patch:
        patch.setattr(limit_owners, "read_book", _fails)
        with pytest.raises(LedgerUnavailableError):
            await ledger.open(bounded(caller, key))
    outcomes = [await ledger.open(bounded(caller, key)) for _ in range(3)]
    assert outcomes[:2] == [ADMITTED, ADMITTED]
    assert isinstance(outcomes[2], Refusal)


def _fails(_: sqlite3.Connection) -> None:
    raise sqlite3.OperationalError("disk I/O error")


async def test_a_clock_that_was_set_back_over_a_change_changes_nothing_for_limits(
    ledger: SqliteLedger, caller: Caller, clock: Clock, path: Path
) -> None:
    await adopt(ledger)
    await make_key(ledger)
    clock.us += 2 * HOUR_US
    await ledger.change_plan("acme", plan="small")
    clock.us -= HOUR_US
    caller.at_us = clock.us
    key = await limited_key(ledger)
    assert await ledger.open(bounded(caller, key)) == ADMITTED
    caller.at_us = clock.us = clock.us + 2 * HOUR_US
    assert await ledger.open(bounded(caller, key)) == ADMITTED
    assert isinstance(await ledger.open(bounded(caller, key)), Refusal)
    assert differences(path) == []


async def test_what_runs_over_a_change_of_billing_time_is_no_difference(
    ledger: SqliteLedger, caller: Caller, clock: Clock, path: Path
) -> None:
    await adopt(ledger, BOOK + ANNIVERSARY)
    await ledger.make_customer("acme")
    since = START - timedelta(days=20)
    await ledger.make_subscription("acme", customer="acme", plan="default", started_at=since)
    await make_key(ledger)
    clock.us += HOUR_US
    await ledger.change_plan("acme", plan="monthly")
    caller.at_us = clock.us = clock.us + 40 * 24 * HOUR_US
    call = bounded(caller, await limited_key(ledger))
    assert await ledger.open(call) == ADMITTED
    clock.us += HOUR_US
    await ledger.change_plan("acme", plan="yearly")
    assert differences(path) == []
    caller.at_us = clock.us
    after = bounded(caller, await limited_key(ledger))
    assert await ledger.open(after) == ADMITTED
    assert differences(path) == []
    for each in (call, after):
        assert await ledger.settle(settlement(each, usage(input=10)))
    assert differences(path) == all_differences(path) == []


async def test_what_came_before_a_change_of_plan_reserves_what_it_costs(
    ledger: SqliteLedger, caller: Caller, clock: Clock, path: Path
) -> None:
    """A body that comes slowly: it is admitted after the change, and priced as before it."""
    await adopt(ledger, BOOK + DEAR)
    await ledger.make_customer("acme")
    await ledger.make_subscription("acme", customer="acme", plan="dear", started_at=START)
    await make_key(ledger)
    calls = [bounded(caller, await limited_key(ledger)) for _ in range(4)]
    clock.us += HOUR_US
    await ledger.change_plan("acme", plan="day")
    key = await limited_key(ledger)
    for call in calls:
        call.key = key
    admitted = [call for call in calls if await ledger.open(call) == ADMITTED]
    for call in admitted:
        assert await ledger.settle(settlement(call, usage(input=10, output=20)))
    assert spent(path, Window.DAY) == (Decimal("1.50"), 0)
    assert kept(path)[2].state.overruns == 0
    assert differences(path) == all_differences(path) == []
