"""Answers that run when a socket's client leaves: read on to their usage, as other answers are."""

import asyncio
from collections.abc import Callable, Hashable

from proxy.metering.relay import DisconnectPolicy


class SessionDrain:
    """Bounds what is read for a client that left; ``over`` is called when it takes too long."""

    def __init__(
        self, policy: DisconnectPolicy, holder: Hashable, over: Callable[[], None]
    ) -> None:
        self._policy = policy
        self._holder = holder
        self._over = over
        self._left_bytes = policy.drain_bytes
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether it has begun and not ended."""
        return self._timer is not None

    def begin(self) -> bool:
        """Begin, if the setting and the subscription's other drains allow it."""
        policy = self._policy
        if self._timer is not None:
            return True
        if not policy.drain:
            return False
        if policy.drains is not None and not policy.drains.enter(self._holder):
            return False
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(policy.drain_timeout_s, self._over)
        return True

    def take(self, count: int) -> None:
        """Count what is read."""
        self._left_bytes -= count
        if self._left_bytes < 0:
            self._over()

    def end(self) -> None:
        """Read no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            if self._policy.drains is not None:
                self._policy.drains.leave(self._holder)
