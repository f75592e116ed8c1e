"""The scripted upstream in a thread of its own: tests with blocking sockets script it."""

import asyncio
from threading import Thread
from types import TracebackType
from typing import Self

from proxy.demo.scripted import Received, Responder, ScriptedUpstream, steps, whole


class ScriptedThread:
    """``with`` it: an upstream whose ``responder`` may be changed at any time."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self.upstream = ScriptedUpstream(steps(whole(200, b"{}")))

    @property
    def base_url(self) -> str:
        return self.upstream.base_url

    @property
    def port(self) -> int:
        return self.upstream.port

    @property
    def received(self) -> list[Received]:
        return self.upstream.received

    def answers(self, responder: Responder) -> None:
        """From now on, answer like this; forget what came before."""
        self.upstream.responder = responder
        self.upstream.received.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.upstream.start(), self._loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self.upstream.stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
