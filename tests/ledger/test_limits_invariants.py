"""Any order of requests, ends, deaths, new prices and limits: no limit passed, nothing held."""

import asyncio
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.limits import Window
from proxy.core.subscriptions import key_digest
from proxy.core.usage import RequestState
from proxy.ledger.port import Admission, OpenCall
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import (
    START_US,
    Caller,
    Clock,
    assert_sums_equal_events,
    make_key,
    settlement,
    usage,
)
from tests.ledger.limited import BOOK, adopt, bounded, differences, kept

HOUR_US = 3_600_000_000
LIMIT = Decimal(3)
STEP = st.one_of(
    st.tuples(st.just("open"), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("settle"), st.integers(0, 9), st.integers(0, 20)),
    st.tuples(st.just("fail"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("defer"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("hours"), st.integers(-5, 30), st.just(0)),
    st.tuples(st.just("limit"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("die"), st.just(0), st.just(0)),
    st.tuples(st.just("book"), st.integers(1, 3), st.just(0)),
)
PLAY = st.lists(st.lists(STEP, min_size=1, max_size=8), max_size=8)


@settings(max_examples=60, deadline=None)
@given(PLAY)
def test_what_limits_keep_follows_from_what_happened(
    play: list[list[tuple[str, int, int]]],
) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(_play(Path(folder) / "x.db", play))


async def _play(path: Path, play: list[list[tuple[str, int, int]]]) -> None:
    clock = Clock()
    workers = [await SqliteLedger.open_database(path, clock) for _ in range(2)]
    callers = [Caller(worker=number + 1, at_us=START_US) for number in range(2)]
    await adopt(workers[0])
    await make_key(workers[0])
    await workers[0].set_limits({"spend_per_day": LIMIT, "spend_total": LIMIT}, subscription="acme")
    opened: list[OpenCall] = []
    dearer = False
    for steps in play:
        writes = []
        for what, number, more in steps:
            if what == "open":
                key = await workers[number].key(_DIGEST)
                assert key is not None
                model = "gpt-4o" if more else "packed"
                call = bounded(callers[number], key, model=model)
                writes.append((call, workers[number].open(call)))
            elif what in {"settle", "fail", "defer"} and opened:
                await _end(workers[more % 2], opened[number % len(opened)], what, more)
            elif what == "hours":
                for caller in callers:
                    caller.at_us += number * HOUR_US
            elif what == "limit":
                await workers[0].set_limits({"spend_per_period": LIMIT}, key="1")
            elif what == "book":
                dearer = True
                await adopt(workers[1], BOOK.replace("input = 1", f"input = {number}"))
            elif what == "die":
                await workers[1].close()
                await workers[0].recover()
                workers[1] = await SqliteLedger.open_database(path, clock)
        for call, write in writes:
            if isinstance(await write, Admission):
                opened.append(call)
    if not dearer:
        for row in kept(path).values():
            for spend in row.state.spends:
                assert spend.spent + spend.reserved <= LIMIT
    assert differences(path) == []
    for call in opened:
        await workers[0].settle(settlement(call, usage(input=1)))
    assert differences(path) == []
    for row in kept(path).values():
        assert row.state.running == 0
        assert all(spend.reserved == 0 for spend in row.state.spends)
        assert {spend.window for spend in row.state.spends} <= set(Window)
    for worker in workers:
        await worker.close()
    assert_sums_equal_events(path)


async def _end(worker: SqliteLedger, call: OpenCall, how: str, out: int) -> None:
    state = {
        "settle": RequestState.EXACT,
        "fail": RequestState.FAILED,
        "defer": RequestState.DEFERRED,
    }[how]
    used = usage() if how == "fail" else usage(input=10, output=out)
    await worker.settle(settlement(call, used, state=state, model=call.model))


_DIGEST = key_digest(b"acmes1")
