"""Any order of requests, ends, deaths, new prices and limits: no limit passed, nothing held."""

import asyncio
from collections.abc import Awaitable
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.usage import RequestState, Usage
from proxy.ledger.port import Admission, OpenCall, Refusal
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
from tests.ledger.limited import BOOK, adopt, bounded, differences, kept, limited_key

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
    stage = Stage(path)
    await stage.set_up()
    for steps in play:
        for what, number, more in steps:
            await getattr(stage, what)(number, more)
        await stage.gather()
    if not stage.repriced:
        for row in kept(path).values():
            for spend in row.state.spends:
                assert spend.spent + spend.reserved <= LIMIT
    assert differences(path) == []
    for call in stage.opened:
        await stage.workers[0].settle(settlement(call, usage(input=1)))
    assert differences(path) == []
    for row in kept(path).values():
        assert row.state.running == 0
        assert all(spend.reserved == 0 for spend in row.state.spends)
    for worker in stage.workers:
        await worker.close()
    assert_sums_equal_events(path)


class Stage:
    """Two workers on one ledger, and a method for each step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.callers = [Caller(worker=number + 1, at_us=START_US) for number in range(2)]
        self.workers: list[SqliteLedger] = []
        self.opened: list[OpenCall] = []
        self.waiting: list[tuple[OpenCall, Awaitable[Admission | Refusal]]] = []
        self.repriced = False

    async def set_up(self) -> None:
        self.workers = [await SqliteLedger.open_database(self.path, self.clock) for _ in range(2)]
        first = self.workers[0]
        await adopt(first)
        await make_key(first)
        limits = {"spend_per_day": LIMIT, "spend_total": LIMIT}
        await first.set_limits(limits, subscription="acme")

    async def gather(self) -> None:
        for call, outcome in self.waiting:
            if isinstance(await outcome, Admission):
                self.opened.append(call)
        self.waiting.clear()

    async def open(self, number: int, priced: int) -> None:
        key = await limited_key(self.workers[number])
        call = bounded(self.callers[number], key, model="gpt-4o" if priced else "packed")
        self.waiting.append((call, self.workers[number].open(call)))

    async def settle(self, number: int, out: int) -> None:
        await self._end(number, RequestState.EXACT, usage(input=10, output=out))

    async def fail(self, number: int, _: int) -> None:
        await self._end(number, RequestState.FAILED, usage())

    async def defer(self, number: int, _: int) -> None:
        await self._end(number, RequestState.DEFERRED, usage(input=1))

    async def _end(self, number: int, state: RequestState, used: Usage) -> None:
        if self.opened:
            call = self.opened[number % len(self.opened)]
            end = settlement(call, used, state=state, model=call.model)
            await self.workers[number % 2].settle(end)

    async def hours(self, number: int, _: int) -> None:
        for caller in self.callers:
            caller.at_us += number * HOUR_US

    async def limit(self, _: int, __: int) -> None:
        await self.workers[0].set_limits({"spend_per_period": LIMIT}, key="1")

    async def book(self, number: int, _: int) -> None:
        self.repriced = True
        await adopt(self.workers[1], BOOK.replace("input = 1", f"input = {number}"))

    async def die(self, _: int, __: int) -> None:
        await self.gather()
        await self.workers[1].close()
        await self.workers[0].recover()
        self.workers[1] = await SqliteLedger.open_database(self.path, self.clock)
