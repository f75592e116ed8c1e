"""Rates in the ledger go by the moment of the decision, whenever a request was accepted."""

from pathlib import Path

from proxy.core.allowances import Rate
from proxy.core.subscriptions import ApiKey
from proxy.ledger.port import Admission, Refusal
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import START_US, Caller, Clock, make_key
from tests.ledger.limited import adopt, bounded, kept, limited_key

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US


async def rated(ledger: SqliteLedger, most: int = 2) -> ApiKey:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"requests_per_minute": most}, subscription="acme")
    return await limited_key(ledger)


async def ask(ledger: SqliteLedger, caller: Caller, key: ApiKey, at_us: int) -> bool:
    caller.at_us = at_us
    return isinstance(await ledger.open(bounded(caller, key)), Admission)


async def test_a_body_that_comes_slowly_refills_nothing(
    ledger: SqliteLedger, clock: Clock, caller: Caller, path: Path
) -> None:
    key = await rated(ledger)
    clock.us = now_us = START_US + 10 * MINUTE_US
    for _ in range(2):
        assert await ask(ledger, caller, key, now_us)
    other = await SqliteLedger.open_database(path, clock)
    theirs = Caller(worker=2)
    for slow_us in (SECOND_US, 11 * SECOND_US, 5 * MINUTE_US):
        assert not await ask(other, theirs, key, now_us - slow_us)
        assert not await ask(ledger, caller, key, now_us)
    clock.us += MINUTE_US // 2
    assert await ask(other, theirs, key, now_us - 5 * MINUTE_US)
    assert not await ask(ledger, caller, key, clock.us)
    assert not await ask(other, theirs, key, now_us)
    assert kept(path)[2].state.levels_at_us == clock.us
    await other.close()


async def test_the_slow_request_is_kept_as_of_its_acceptance(
    ledger: SqliteLedger, clock: Clock, caller: Caller
) -> None:
    key = await rated(ledger)
    clock.us = START_US + MINUTE_US
    call = bounded(caller, key)
    admitted = await ledger.open(call)
    assert isinstance(admitted, Admission)
    assert admitted.allowance is not None
    assert admitted.allowance.requests == Rate(2, 1, MINUTE_US // 2)
    record = await ledger.request(call.id)
    assert record is not None
    assert record.opened_at.timestamp() * SECOND_US == START_US


async def test_a_clock_that_was_set_back_blocks_nobody_for_long(
    ledger: SqliteLedger, clock: Clock, caller: Caller
) -> None:
    key = await rated(ledger)
    for _ in range(2):
        assert await ask(ledger, caller, key, clock.us)
    clock.us -= 24 * 60 * MINUTE_US
    caller.at_us = clock.us
    refused = await ledger.open(bounded(caller, key))
    assert isinstance(refused, Refusal)
    assert refused.retry_after_s == 30
    clock.us += MINUTE_US // 2 - 1
    assert not await ask(ledger, caller, key, clock.us)
    clock.us += 1
    assert await ask(ledger, caller, key, clock.us)
