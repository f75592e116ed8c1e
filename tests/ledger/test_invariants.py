"""Any order of openings, settlements, repeats and losses, in any batches: sums equal events."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.usage import RequestState
from proxy.ledger.port import Admission, OpenCall
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import (
    Caller,
    Clock,
    assert_sums_equal_events,
    make_key,
    settlement,
    states,
    usage,
)

FINAL = st.sampled_from(
    [RequestState.EXACT, RequestState.ESTIMATED, RequestState.PARTIAL, RequestState.FAILED]
)
STEP = st.one_of(
    st.tuples(st.just("open"), st.integers(0, 2), FINAL),
    st.tuples(st.just("settle"), st.integers(0, 9), FINAL),
    st.tuples(st.just("settle"), st.integers(0, 9), st.just(RequestState.DEFERRED)),
    st.tuples(st.just("lose"), st.integers(0, 9), FINAL),
)
BATCHES = st.lists(st.lists(STEP, min_size=1, max_size=12), max_size=6)


@settings(max_examples=25, deadline=None)
@given(BATCHES)
def test_every_request_ends_once(batches: list[list[tuple[str, int, RequestState]]]) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(_play(Path(folder) / "x.db", batches))


async def _play(path: Path, batches: list[list[tuple[str, int, RequestState]]]) -> None:
    ledger = await SqliteLedger.open_database(path, Clock())
    key, caller = await make_key(ledger), Caller()
    opened: list[OpenCall] = []
    ends: dict[int, list[str]] = {}
    for steps in batches:
        writes: list[tuple[int, str, Awaitable[object]]] = []
        made: list[OpenCall] = []
        for what, number, state in steps:
            if what == "open":
                digest = bytes([number]) * 32
                made.append(caller.call(digest=digest) if number else caller.call(key))
                writes.append((made[-1].id, "open", ledger.open(made[-1])))
            elif what == "settle" and opened:
                call = opened[number % len(opened)]
                end = settlement(call, usage(input=number + 1), state=state)
                writes.append((call.id, str(state), ledger.settle(end)))
            elif opened:
                ledger.settle(settlement(opened[number % len(opened)], state=state)).cancel()
        for request_id, state_, write in writes:
            outcome = await write
            if isinstance(outcome, Admission):
                ends[request_id] = []
            elif outcome is True and state_ != "deferred":
                ends[request_id].append(state_)
        opened += made
    await ledger.close()
    assert all(len(ended) <= 1 for ended in ends.values())
    assert states(path).keys() == ends.keys()
    for request_id, ended in ends.items():
        assert not ended or states(path)[request_id] == ended[0]
    assert_sums_equal_events(path)
