"""What neighbours in a batch use is not spent by who is limited."""

import asyncio
from pathlib import Path

import pytest

from proxy.core.usage import RequestState
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import Caller, Clock, make_key, settlement, usage
from tests.ledger.limited import adopt, bounded, spent
from tests.ledger.test_verify import differences


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_neighbour_without_a_limit_is_not_charged_to_it(
    ledger: SqliteLedger, caller: Caller, path: Path, place: int
) -> None:
    await adopt(ledger)
    await make_key(ledger, "limited")
    await ledger.set_limits({"spend_per_period": 5}, subscription="limited")
    limited, free = await make_key(ledger, "limited"), await make_key(ledger, "free")
    calls = [caller.call(free), caller.call(free)]
    calls.insert(place, bounded(caller, limited))
    await asyncio.gather(*(ledger.open(call) for call in calls))
    ends = [settlement(call, usage(input=5, output=5), model="gpt-4o") for call in calls]
    await asyncio.gather(*(ledger.settle(end) for end in ends))
    assert [f"{figure:f}" for figure in spent(path)] == ["0.15", "0.00"]
    assert differences(path) == []


async def test_what_another_worker_deferred_is_not_given_back_twice(
    ledger: SqliteLedger, caller: Caller, path: Path, clock: Clock
) -> None:
    await adopt(ledger)
    key = await make_key(ledger)
    await ledger.set_limits({"spend_per_period": 5}, subscription="acme")
    key = await make_key(ledger)
    deferred, running = bounded(caller, key), bounded(caller, key)
    await asyncio.gather(ledger.open(deferred), ledger.open(running))
    other = await SqliteLedger.open_database(path, clock)
    await other.settle(settlement(deferred, usage(), state=RequestState.DEFERRED))
    await other.close()
    assert await ledger.settle(settlement(deferred, usage(input=1), model="gpt-4o"))
    assert differences(path) == []
    await ledger.settle(settlement(running, usage(input=1), model="gpt-4o"))
    assert differences(path) == []
