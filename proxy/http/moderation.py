"""Interrupt moderation, as network cards do it: many small pieces a wake-up, not one each.

Waking up for a chunk costs more than relaying it. So while chunks come thick and fast, the loop
rests a moment before it looks again, and then finds several. It does not rest while few come, nor
where each look finds many anyhow; a large piece is not counted, since it is a batch itself. Nor
does it while a request is in hand: to admit or to settle one takes many rounds of the loop, and
each would be late. A rest ends as soon as the ledger has written what requests wait for, a client
says something, or an upstream begins an answer.

What a round brings meanwhile is read first and then taken, one after the other: the code that
relays stays in the processor's caches, which the kernel's would push it out of.
"""

import asyncio
import time
from collections.abc import Callable

from proxy.core.rates import RecentRate
from proxy.http.alarm import CAN_REST, Alarm, descriptor_of

REST_S = 0.001
BUSY_PIECES_PER_S = 4_000
"""Below this, a rest would collect few pieces, and there is time for each."""
ENOUGH_PIECES = 32
"""As many in one round are a batch already: resting would only make them late."""
SMALL_BYTES = 4096
WINDOW_S = 0.010


class Moderator:
    """Decides after each round of the loop how long to rest before the next."""

    __slots__ = ("_rate", "busy")

    def __init__(self) -> None:
        self._rate = RecentRate(WINDOW_S)
        self.busy = False
        """Whether pieces come thick and fast."""

    def rest_s(self, pieces: int, now_s: float) -> float:
        """Return the seconds to rest after a round with this many pieces, which ended now."""
        self._rate.count(pieces, now_s)
        self.busy = self._rate.per_s >= BUSY_PIECES_PER_S
        return REST_S if self.busy and pieces < ENOUGH_PIECES else 0.0


Take = Callable[[bytes], None]


class Moderation:
    """Has the loop rest between rounds, and a round's pieces taken one after the other.

    ``in_hand`` returns how many requests wait for this loop and for nothing else.
    """

    __slots__ = ("_alarm", "_in_hand", "_kept", "_loop", "_moderator", "_pieces")

    def __init__(self, loop: asyncio.AbstractEventLoop, in_hand: Callable[[], int]) -> None:
        self._loop = loop
        self._in_hand = in_hand
        self._alarm = Alarm() if CAN_REST else None
        self._moderator = Moderator()
        self._pieces = 0
        self._kept: list[tuple[Take, bytes]] = []

    def keep(self, take: Take, data: bytes) -> bool:
        """Keep a piece of an answer until the round's end, when ``take`` is called with it.

        False: it is not kept, and to be taken now.
        """
        if len(data) > SMALL_BYTES:
            self.take_kept()
            return False
        if not self._pieces:
            self._loop.call_soon(self._end_round)
        self._pieces += 1
        if self._moderator.busy:
            self._kept.append((take, data))
            return True
        return False

    def take_kept(self) -> None:
        """Have all that is kept taken now: something comes after it."""
        kept, self._kept = self._kept, []
        for take, data in kept:
            try:
                take(data)
            except Exception as error:  # noqa: BLE001 - it is reported, and harms no neighbour
                context = {"message": "a piece of an answer was not taken", "exception": error}
                self._loop.call_exception_handler(context)

    def _end_round(self) -> None:
        pieces, self._pieces = self._pieces, 0
        rest_s = self._moderator.rest_s(pieces, time.monotonic())
        self.take_kept()
        if rest_s and self._alarm is not None:
            self._alarm.rest(rest_s, self._needed)

    def _needed(self) -> bool:
        return self._in_hand() > 0

    def wake(self) -> None:
        """End a rest: there is something to do. Any thread may call it."""
        alarm = self._alarm
        if alarm is not None:
            alarm.ring()

    def listen(self, descriptor: int) -> None:
        """Let what comes on a socket end rests, until it is closed."""
        if self._alarm is not None:
            self._alarm.listen(descriptor)

    def await_answer(self, transport: asyncio.BaseTransport) -> int | None:
        """Let the beginning of an answer end a rest, where there are any now.

        Return what :meth:`ignore` is to be told once it has begun; None: nothing.
        """
        if self._alarm is None or not self._moderator.busy:
            return None
        descriptor = descriptor_of(transport)
        if descriptor is not None:
            self._alarm.listen(descriptor)
        return descriptor

    def ignore(self, descriptor: int) -> None:
        """Let what comes on a socket wait for the rounds."""
        if self._alarm is not None:
            self._alarm.ignore(descriptor)

    def close(self) -> None:
        """Rest no more."""
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.close()
