"""A rest of the event loop that ends early: when another thread rings, or when somebody speaks up.

A loop that waits for its sockets wakes up for each of them. A rest listens to few: to clients,
except for those with a tunnel, and to upstreams that have not begun to answer.
"""

import asyncio
import os
import select
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import cast

_MOST_EVENTS = 16
CAN_REST = sys.platform == "linux"


class Alarm:
    """A rest of one thread. The sockets that it listens to are read elsewhere.

    Edges are waited for: who has said something and is not read, yet, ends one rest, not all.
    """

    __slots__ = ("_bell", "_heard", "_resting")

    def __init__(self) -> None:
        self._heard = select.epoll()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._heard.register(self._bell, select.EPOLLIN | select.EPOLLET)
        self._resting = False

    def listen(self, descriptor: int) -> None:
        """Let what comes on a socket end rests, until it is ignored, or closed for good.

        One that can't be listened to, since the system allows no more of them, only waits.
        """
        with suppress(OSError):
            self._heard.register(descriptor, select.EPOLLIN | select.EPOLLET)

    def ignore(self, descriptor: int) -> None:
        """Let a socket end no more rests."""
        with suppress(OSError):
            self._heard.unregister(descriptor)

    def rest(self, seconds: float, needless: Callable[[], bool]) -> bool:
        """Rest so long, or until something ends it; say whether it did. Not if it is ``needless``.

        ``seconds`` are rounded up to milliseconds.
        """
        self._resting = True  # first: what rings from here on is heard
        try:
            return not needless() and bool(self._heard.poll(seconds, _MOST_EVENTS))
        finally:
            self._resting = False

    def ring(self) -> None:
        """End the rest, if there is one or is to be one; any thread may."""
        if self._resting:
            os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Let go of the descriptors; nobody may rest or ring any more."""
        self._heard.close()
        os.close(self._bell)


def descriptor_of(transport: asyncio.BaseTransport) -> int | None:
    """Return a transport's socket by number; None where it has none, or no longer."""
    sock = cast("socket.socket | None", transport.get_extra_info("socket"))
    number = -1 if sock is None else sock.fileno()
    return None if number < 0 else number
