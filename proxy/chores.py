"""What runs in the background for as long as a worker does, and is started again if it fails.

Each chore sees to the failures it knows. What it does not know must not end it for good, unseen:
keys that were revoked would stay good, what dead workers reserved would stay reserved.
"""

import asyncio
import logging
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
STEADY_S = 60.0
"""Who has run for so long since it failed is well again."""
log = logging.getLogger("weighbridge")

Chore = Callable[[], Coroutine[Any, Any, None]]


class Chores:
    """The chores that run, each by a name that an operator understands."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._failing: set[str] = set()

    def start(self, name: str, chore: Chore) -> None:
        """Run ``chore`` until :meth:`stop`, again and again where it fails."""
        self._tasks.append(asyncio.get_running_loop().create_task(self._keep(name, chore)))

    def status(self) -> dict[str, Any]:
        """Return what ``/readyz`` says: which failed, and have not run well for long since."""
        return {"failing": sorted(self._failing)}

    def stop(self) -> None:
        """End them all."""
        for task in self._tasks:
            task.cancel()

    async def _keep(self, name: str, chore: Chore) -> None:
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        while True:
            steady = loop.call_later(STEADY_S, self._failing.discard, name)
            try:
                await chore()
            except asyncio.CancelledError as error:
                # Ours, or that of something it waited for? Only the former is an end.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                failure: BaseException = error
            except Exception as error:  # noqa: BLE001 - it is logged, and must not end the chore
                failure = error
            else:
                return
            finally:
                steady.cancel()
            if name not in self._failing:
                pause_s = FIRST_PAUSE_S
            self._failing.add(name)
            log.error("background: %s failed; again in %g s: %s", name, pause_s, told(failure))
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


def told(error: BaseException) -> str:
    """Say what failed and where, not with which values: a message may quote a secret."""
    reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    places = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    return f"{type(error).__name__}{reason}\n{places}"
