"""The proxy, ended by its own hand at a named point: ``python -m tests.e2e.crashing_proxy``.

Usage: crashing_proxy kill POINTS SIGN [SECONDS]: when POINTS (names joined by ``/``, the later
ones after the earlier) have been passed, write a byte to SIGN, and SIGKILL (SECONDS later).

Usage: crashing_proxy hold POINTS SIGN: there, write a byte to SIGN, and wait until it is gone.

Usage: crashing_proxy fail POINTS SIGN: there, write a byte to SIGN, and raise.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from proxy.app import run
from proxy.settings import Settings


class Sequence:
    """Calls ``act`` once, when the last of some points is passed after the others."""

    def __init__(self, points: str, act: Callable[[], None]) -> None:
        self._left = points.split("/")
        self._act = act

    def __call__(self, point: str) -> None:
        if self._left and self._left[0] == point:
            del self._left[0]
            if not self._left:
                self._act()


def main(action: str, points: str, sign: str, seconds: str = "0") -> None:
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def hit() -> None:
        Path(sign).write_bytes(b"!")
        if action == "fail":
            raise RuntimeError(points)
        if action == "hold":
            while Path(sign).exists():
                time.sleep(0.005)
        elif float(seconds):
            threading.Timer(float(seconds), kill).start()
        else:
            kill()

    uvloop.run(run(Settings.load(), fault=Sequence(points, hit)))


if __name__ == "__main__":
    main(*sys.argv[1:])
