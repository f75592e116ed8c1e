"""How fast the core under test runs plain Python, which neighbours on its machine may halve.

A neighbour on the same physical core slows a busy interpreter by half or more, and hardly what
waits for memory or the kernel, as nginx does: so the ratios follow the neighbour. No program's own
CPU tells; a loop that always does the same does.
"""

import math
import os
import time
from dataclasses import dataclass, field
from statistics import median

from tests.bench.machine import CORE_UNDER_TEST

_STEPS = 200_000
"""Some ten milliseconds' worth."""
_CALM = 1.15
"""How much slower than the fastest is still undisturbed."""
_REST_S = 0.2


@dataclass(slots=True)
class Pace:
    """What the loop took before each turn, in milliseconds of CPU."""

    samples_ms: list[float] = field(default_factory=list)

    def sample(self) -> None:
        """Run the loop once, and keep what it took."""
        self.samples_ms.append(_loop_ms())

    def wait_for_calm(self, seconds: float) -> None:
        """Wait until the loop is about as fast as it has been in this run, or for so long.

        What it takes meanwhile is not kept: nothing is measured beside it.
        """
        fastest_ms = min(self.samples_ms, default=math.inf)
        give_up_s = time.monotonic() + seconds
        while time.monotonic() < give_up_s and _loop_ms() > _CALM * fastest_ms:
            time.sleep(_REST_S)

    def told(self) -> str:
        """Say how even it was, in one sentence."""
        fastest = min(self.samples_ms)
        usual, slowest = (take(self.samples_ms) / fastest for take in (median, max))
        return (
            f"A loop of plain Python took {fastest:.1f} ms on the core under test at best,"
            f" {usual:.2f} times that at the median, {slowest:.2f} times at worst."
        )


def _loop_ms() -> float:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORE_UNDER_TEST})
    try:
        began_s, total = time.thread_time(), 0
        for number in range(_STEPS):
            total += number * number % 7
        return (time.thread_time() - began_s) * 1000
    finally:
        os.sched_setaffinity(0, allowed)
