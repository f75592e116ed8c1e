"""An event loop whose time is simulated, and whose threads do their work at once."""

import asyncio
import selectors
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.worker import Worker

WORKER: "ContextVar[Worker | None]" = ContextVar("worker", default=None)
"""Whose task is running: all that a worker starts inherits it."""

FOREVER_S = 100_000.0


class _Leap(selectors.BaseSelector):
    """Waits for nothing: time leaps to when the next thing is due."""

    def __init__(self, loop: "SimulatedLoop") -> None:
        self._loop = loop

    def register(self, *_: Any, **__: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(0, 0, 0, None)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        raise KeyError(fileobj)

    def get_map(self) -> dict[Any, selectors.SelectorKey]:
        return {}

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("nothing is due ever again: somebody waits for nothing")
        self._loop.now_s += timeout
        assert self._loop.now_s < FOREVER_S, "the run does not end"
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Same seed, same order: there is one thread, and time is a figure."""

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(_Leap(self))

    def _make_self_pipe(self) -> None:
        """Nobody else wakes this loop."""

    def _close_self_pipe(self) -> None:
        """There is none."""

    def time(self) -> float:
        return self.now_s

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Do it at once, in the name of the worker that asks; a dead one's is never done."""
        future = self.create_future()
        worker = WORKER.get()
        if worker is not None and worker.dead:
            if worker.buried:
                future.cancel()
            return future
        try:
            if worker is not None:
                worker.before_thread(func)
            result = func(*args)
        except Exception as error:  # noqa: BLE001 - it is the future's
            future.set_exception(error)
            return future
        delay = 0.0 if worker is None else worker.dice.choice((0.0, 0.0, 0.001, 0.01))

        def deliver() -> None:
            if not future.done() and not (worker is not None and worker.dead):
                future.set_result(result)

        self.call_later(delay, deliver)
        return future
