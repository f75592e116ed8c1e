"""Deadlines: each is told once it is late, and nobody else."""

import asyncio
import math
from collections.abc import Callable

import pytest

from proxy.http import deadlines
from proxy.http.deadlines import Deadlines


class Thing:
    """Something with a deadline; it is on time again after it was told, as a connection is."""

    def __init__(self, deadline: float, then: Callable[[], None] = lambda: None) -> None:
        self.deadline = deadline
        self.expired = asyncio.Event()
        self.times = 0
        self._then = then

    def expire(self) -> None:
        self.deadline = math.inf
        self.times += 1
        self.expired.set()
        self._then()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "SWEEP_S", 0.001)


async def sweeps(watch: Deadlines, number: int = 3) -> None:
    """Let some sweeps pass: each tells a thing of ours."""
    for _ in range(number):
        late = Thing(-1)
        watch.watch(late)
        await late.expired.wait()
        watch.forget(late)


async def test_who_is_late_is_told() -> None:
    watch = Deadlines()
    late, never, forgotten = Thing(-1), Thing(math.inf), Thing(-1)
    for thing in (late, never, forgotten):
        watch.watch(thing)
    watch.forget(forgotten)
    watch.forget(forgotten)
    await sweeps(watch)
    assert (late.times, never.times, forgotten.times) == (1, 0, 0)
    never.deadline = asyncio.get_running_loop().time()
    await never.expired.wait()
    watch.close()


async def test_the_clock_rests_while_nothing_is_watched_and_starts_again() -> None:
    watch = Deadlines()
    late = Thing(-1)
    late._then = lambda: watch.forget(late)
    watch.watch(late)
    await late.expired.wait()
    await asyncio.sleep(0.01)
    assert watch._timer is None
    await sweeps(watch)
    watch.close()
    watch.close()


async def test_closing_stops_everything() -> None:
    watch = Deadlines()
    late = Thing(-1)
    watch.watch(late)
    watch.close()
    await asyncio.sleep(0.01)
    assert late.times == 0


async def test_a_thing_may_close_the_watch_that_tells_it() -> None:
    watch = Deadlines()
    late = Thing(-1, watch.close)
    watch.watch(late)
    await late.expired.wait()
    await asyncio.sleep(0.01)
    assert watch._timer is None
