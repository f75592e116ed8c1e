"""How fast a client sends and reads, and when that is too slow."""

import asyncio
import contextlib
import fcntl
import math
import termios
from array import array

SLOWEST_BYTES_PER_S = 1024
"""A body that comes more slowly than this is late, however steadily it trickles."""


class BodyPace:
    """When the next piece of a body is due: no long silence, and not too slow in all."""

    __slots__ = ("_began_s", "_bytes")

    def __init__(self) -> None:
        self._began_s = math.inf
        self._bytes = 0

    def restart(self) -> None:
        """Forget what came: a body begins, or goes on after we had it wait."""
        self._began_s = math.inf
        self._bytes = 0

    def came(self, count: int) -> None:
        """Count a piece of the body."""
        self._bytes += count

    def due_s(self, now_s: float, patience_s: float) -> float:
        """Return when the client is too slow."""
        self._began_s = min(self._began_s, now_s)
        return min(now_s, self._began_s + self._bytes / SLOWEST_BYTES_PER_S) + patience_s


class ReaderPace:
    """When a client that was sent more than it has taken is looked at: has it read any since?"""

    __slots__ = ("_patience_s", "_unsent", "due_s")

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._unsent = 0
        self.due_s = math.inf

    def watch(self, transport: asyncio.Transport, now_s: float) -> None:
        """Look at the client once its time to read some is over."""
        self._unsent = unsent_bytes(transport)
        self.due_s = now_s + self._patience_s

    def rest(self) -> None:
        """Look no more: it has caught up, or is gone."""
        self.due_s = math.inf

    def has_stalled(self, transport: asyncio.Transport, now_s: float) -> bool:
        """Tell whether it has taken nothing since it was last looked at; otherwise watch on."""
        before = self._unsent
        self.watch(transport, now_s)
        stalled = self._unsent >= before
        if stalled:
            self.rest()
        return stalled


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes the peer has not taken, those of the kernel's queue included."""
    queued = array("i", [0])
    connected = transport.get_extra_info("socket")
    with contextlib.suppress(OSError, ValueError):
        fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, queued)
    return transport.get_write_buffer_size() + queued[0]
