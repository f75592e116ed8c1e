"""How fast the core under test runs plain Python, which neighbours on its machine may halve.

A neighbour on the same physical core slows a busy interpreter by half or more, and hardly what
waits for memory or the kernel, as nginx does: so the ratios follow the neighbour. No program's own
CPU tells; a loop that always does the same does.
"""

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
    """What the loop took, each time that it was run, in milliseconds of CPU."""

    samples_ms: list[float] = field(default_factory=list)

    def sample(self) -> float:
        """Run the loop once; what it took."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {CORE_UNDER_TEST})
        try:
            took_ms = _loop_ms()
        finally:
            os.sched_setaffinity(0, before)
        self.samples_ms.append(took_ms)
        return took_ms

    def await_calm(self, seconds: float) -> None:
        """Wait until the loop is about as fast as it has ever been here, or for so long."""
        give_up_s = time.monotonic() + seconds
        while time.monotonic() < give_up_s:
            if self.sample() <= _CALM * min(self.samples_ms):
                return
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
    began_s, total = time.thread_time(), 0
    for number in range(_STEPS):
        total += number * number % 7
    return (time.thread_time() - began_s) * 1000
