"""Sums over windows, against every event added up by hand."""

import sqlite3
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.times import to_us
from proxy.ledger.booking import Booking
from proxy.ledger.changes import insert_customer, insert_key, make_subscription
from proxy.ledger.migrate import migrate
from proxy.ledger.rows import read_key
from proxy.ledger.slots import QUARTER_US
from proxy.ledger.standing import parts, read_standing
from tests.ledger.calls import START, START_US, Caller, settlement, usage

QUARTERS = st.integers(0, 5 * 96)


@given(QUARTERS, QUARTERS)
def test_days_and_edges_cover_a_window_once(start: int, length: int) -> None:
    covered: list[int] = []
    for whole_days, first, last in parts(start, start + length):
        step = 96 if whole_days else 1
        covered += range(first * step, last * step)
        assert whole_days or last - first < 2 * 96
    assert covered == list(range(start, start + length))


@settings(max_examples=60, deadline=None)
@given(
    offsets_s=st.lists(st.integers(0, 5 * 86_400 - 1), max_size=40),
    bounds=st.lists(QUARTERS, min_size=1, max_size=5).map(sorted),
)
def test_sums_are_those_of_the_events(offsets_s: list[int], bounds: list[int]) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    insert_customer(connection, "acme", {}, START_US)
    make_subscription(connection, "acme", "acme", "default", (START_US, START_US))
    insert_key(connection, bytes(32), ("wb-acme", None), "acme", START_US)
    key = read_key(connection, bytes(32), START_US)
    booking, caller = Booking(1), Caller()
    calls = []
    for offset_s in offsets_s:
        caller.at_us = START_US + offset_s * 1_000_000
        calls.append(caller.call(key))
    if calls:
        booking.admit(connection, calls)
        booking.book(
            connection,
            [settlement(call, usage(input=n + 1)) for n, call in enumerate(calls)],
        )
    running = caller.call(key)
    booking.admit(connection, [running])
    windows = [START + timedelta(minutes=15 * bound) for bound in bounds]
    standing = read_standing(connection, "acme", windows, START_US)
    assert standing is not None
    for window, (start, end) in enumerate(pairwise(windows)):
        inside = [
            n + 1 for n, call in enumerate(calls) if to_us(start) <= call.opened_at_us < to_us(end)
        ]
        found = {s.type: s.quantity for s in standing.sums if s.window == window}
        assert found == ({"input": sum(inside), "exact": len(inside)} if inside else {})
    first, last = (to_us(moment) for moment in (windows[0], windows[-1]))
    assert standing.open == (first <= running.opened_at_us < last)
    connection.close()


def test_quarters_are_of_unix_time() -> None:
    assert to_us(datetime(2026, 12, 1, tzinfo=UTC)) % QUARTER_US == 0
