"""What a key spent counts for its budgets for ever, whether or not its events were pruned."""

from datetime import date
from decimal import Decimal
from pathlib import Path

from proxy.core.limits import Window
from proxy.core.subscriptions import ApiKey
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import START_US, Caller, Clock, database, make_key, settlement, usage
from tests.ledger.limited import adopt, bounded, differences, limited_key, refusal, spent
from tests.ledger.test_pruning_closed import DAY_US, close, run
from tests.ledger.test_verify import differences as all_differences


async def use(ledger: SqliteLedger, caller: Caller, key: ApiKey, tokens: int) -> None:
    """Use so many cents."""
    call = bounded(caller, key)
    await ledger.open(call)
    assert await ledger.settle(settlement(call, usage(input=tokens)))


async def total(ledger: SqliteLedger) -> Decimal:
    """What the key has spent of its total, as operators see it."""
    (found,) = [each for each in await ledger.limits("acme") if each.prefix]
    (spend,) = [each for each in found.state.spends if each.window is Window.TOTAL]
    return spend.spent


async def old_usage(ledger: SqliteLedger, clock: Clock, caller: Caller, path: Path) -> ApiKey:
    """A key that spent 0.50, which is closed and pruned, and 0.10 after it."""
    await adopt(ledger)
    key = await make_key(ledger)
    other = await make_key(ledger, secret=b"s2")
    await use(ledger, caller, key, 30)
    caller.at_us = START_US + DAY_US
    await use(ledger, caller, key, 20)
    await use(ledger, caller, other, 7)
    close(path, "acme", START_US + 2 * DAY_US)
    caller.at_us = clock.us = START_US + 3 * DAY_US
    await use(ledger, caller, key, 10)
    assert run(path, date(2027, 1, 1)).requests == 3
    return key


async def test_a_limit_that_is_set_after_pruning_counts_what_was_pruned(
    ledger: SqliteLedger, clock: Clock, caller: Caller, path: Path
) -> None:
    key = await old_usage(ledger, clock, caller, path)
    await ledger.set_limits({"spend_total": Decimal("0.90")}, key=str(key.id))
    assert await total(ledger) == Decimal("0.60")
    assert (await refusal(ledger, caller)).code == "insufficient_quota"
    await ledger.set_limits({"spend_total": Decimal("1.10")}, key=str(key.id))
    await use(ledger, caller, await limited_key(ledger), 5)
    assert spent(path, Window.TOTAL, owner=2 * key.id + 1) == (Decimal("0.65"), 0)
    assert differences(path) == []
    assert all_differences(path) == []


async def test_clearing_a_limit_forgets_nothing_that_was_pruned(
    ledger: SqliteLedger, clock: Clock, caller: Caller, path: Path
) -> None:
    key = await old_usage(ledger, clock, caller, path)
    for tokens in (1, 2, 3):
        await ledger.set_limits({"spend_total": Decimal(5)}, key=str(key.id))
        await use(ledger, caller, await limited_key(ledger), tokens)
        await ledger.clear_limits(key=str(key.id))
    await ledger.set_limits({"spend_total": Decimal(5)}, key=str(key.id))
    assert await total(ledger) == Decimal("0.66")
    assert all_differences(path) == []


async def test_what_is_pruned_while_a_key_is_limited_counts_once(
    ledger: SqliteLedger, clock: Clock, caller: Caller, path: Path
) -> None:
    key = await old_usage(ledger, clock, caller, path)
    await ledger.set_limits({"spend_total": Decimal(5)}, key=str(key.id))
    await use(ledger, caller, await limited_key(ledger), 4)
    close(path, "acme", START_US + 5 * DAY_US)
    caller.at_us = clock.us = START_US + 6 * DAY_US
    assert run(path, date(2027, 1, 1)).requests == 2
    assert await total(ledger) == Decimal("0.64")
    await use(ledger, caller, await limited_key(ledger), 1)
    assert spent(path, Window.TOTAL, owner=2 * key.id + 1) == (Decimal("0.65"), 0)
    await ledger.clear_limits(key=str(key.id))
    await ledger.set_limits({"spend_total": Decimal(5)}, key=str(key.id))
    assert await total(ledger) == Decimal("0.65")
    assert all_differences(path) == []


async def test_a_changed_sum_of_what_is_not_pruned_is_found(
    ledger: SqliteLedger, clock: Clock, caller: Caller, path: Path
) -> None:
    key = await old_usage(ledger, clock, caller, path)
    await ledger.set_limits({"spend_total": Decimal(5)}, key=str(key.id))
    await use(ledger, caller, await limited_key(ledger), 4)
    with database(path) as db:
        db.execute(
            "UPDATE sums_key_quarter SET quantity = quantity + 1 WHERE key_id = ? AND quarter >= ?",
            (key.id, (START_US + 2 * DAY_US) // 900_000_000),
        )
    assert "key sum" in {difference.what for difference in differences(path)}
