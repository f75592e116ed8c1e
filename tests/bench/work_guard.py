"""Runs a command of the proxy and counts its work: calls, and system calls that read or write.

    python -m tests.bench.work_guard serve

Work is counted, not timed: the same requests cost the same counts on any machine, so a bound
can be tight. Each line on standard input is answered by one on standard output, ``work {json}``:
``calls`` are the calls of Python and C functions so far, on all threads; ``io`` are the system
calls that read or wrote (uvloop's sockets and SQLite's file alike).
"""

import json
import sys
import threading
from pathlib import Path
from types import FrameType

from proxy.__main__ import main

MARK = "work "
_COUNTED = frozenset({"call", "c_call"})


class CallCounter:
    """A profile function for every thread; each thread's count is its own, so none is lost."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def __call__(self, _frame: FrameType, event: str, _argument: object) -> None:
        """Count one call."""
        if event in _COUNTED:
            thread = threading.get_ident()
            self._counts[thread] = self._counts.get(thread, 0) + 1

    def total(self) -> int:
        """Return the calls so far."""
        return sum(self._counts.copy().values())


def _answer(counter: CallCounter) -> None:
    for _ in sys.stdin:
        work = {"calls": counter.total(), "io": _reads_and_writes()}
        sys.stdout.write(f"{MARK}{json.dumps(work)}\n")
        sys.stdout.flush()


def _reads_and_writes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    counts = dict(line.split(": ") for line in lines)
    return int(counts["syscr"]) + int(counts["syscw"])


if __name__ == "__main__":
    counting = CallCounter()
    threading.Thread(target=_answer, args=(counting,), daemon=True).start()
    threading.setprofile(counting)
    sys.setprofile(counting)
    sys.exit(main())
