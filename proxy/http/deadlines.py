"""Timeouts without a timer for each: one sweep a second over everything that can be late."""

import asyncio
from typing import Protocol

SWEEP_S = 1.0


class Expiring(Protocol):
    """Something that may be late; ``deadline`` is in the loop's seconds, infinity for never."""

    @property
    def deadline(self) -> float:
        """When it is late."""

    def expire(self) -> None:
        """Act on the deadline's having passed."""


class Deadlines:
    """Watches a set of things; each is told, at most a second late, when its time is over."""

    def __init__(self) -> None:
        self._watched: set[Expiring] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, thing: Expiring) -> None:
        """Watch ``thing`` until :meth:`forget`."""
        self._watched.add(thing)
        if self._timer is None:
            self._arm()

    def forget(self, thing: Expiring) -> None:
        """Watch ``thing`` no longer."""
        self._watched.discard(thing)

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for thing in [thing for thing in self._watched if thing.deadline <= now]:
            thing.expire()
        self._timer = None
        if self._watched:
            self._arm()

    def close(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._watched.clear()
