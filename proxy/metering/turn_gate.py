"""The way up of a socket with turns: each goes up when the ledger has admitted it, in its order.

While one is looked at, the client is read no further.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Container
from typing import Protocol

from proxy.errors import BadRequestError, ProxyError
from proxy.metering.session_events import declined_event
from proxy.wire.turns import Control, Declined, Turn, TurnReader, Unread
from proxy.wire.websocket_frames import CLOSE, write_frame

Admit = Callable[[Turn], Awaitable[None]]
"""Has a turn admitted and sent; raises ProxyError for one that may not go up."""


class Line(Protocol):
    """What the gate may do with the socket."""

    @property
    def takes(self) -> bool:
        """Whether anything may go up."""

    def hold(self, *, held: bool) -> None:
        """Read the client no further; or go on."""

    async def say(self, message: bytes) -> None:
        """Tell the client something of ours; wait for one that does not read."""


class TurnGate:
    """Guards the way up of one socket; ``closing`` is as a guard's.

    ``closed`` tells whether the upstream has closed; ``left``: the client did before.
    """

    def __init__(self, made: Container[str], closed: Callable[[], bool]) -> None:
        self._reader = TurnReader(made)
        self._said: deque[Unread] = deque()
        self._news = asyncio.Event()
        self._line: Line | None = None
        self._over = False
        self._closed = closed
        self.closing: int | None = None
        self.left = False

    @property
    def held(self) -> int:
        """How many bytes are kept of messages that have not gone up."""
        return self._reader.held + sum(len(each.message or b"") for each in self._said)

    def feed(self, data: bytes) -> tuple[bytes, ProxyError | None]:
        """Take bytes; control frames may go up at once, turns wait for their admission."""
        allowed = b""
        for said in self._reader.feed(data):
            if not isinstance(said, Control):
                self._said.append(said)
                continue
            if said.opcode == CLOSE and self.closing is None:
                self.closing = len(allowed)
                self.left = not self._closed()
                self._said.clear()  # who leaves wants no more of what has not gone up
            allowed += masked_frame(*said)
        if self._reader.lost:
            return b"", BadRequestError("What was sent are no WebSocket frames.")
        if self._said:
            self._news.set()
            if self._line is not None:
                self._line.hold(held=True)
        return allowed, None

    async def run(self, line: Line, admit: Admit) -> None:
        """Have turns admitted one after the other, until it is over."""
        self._line = line
        while not self._over:
            await self._news.wait()
            self._news.clear()
            while self._said and line.takes:
                await self._hear(self._said.popleft(), line, admit)
            line.hold(held=False)

    def end(self) -> None:
        """Let no more go up."""
        self._over = True
        self._said.clear()
        self._news.set()

    async def _hear(self, unread: Unread, line: Line, admit: Admit) -> None:
        said = self._reader.read(unread)
        if isinstance(said, Turn):
            try:
                await admit(said)
            except ProxyError as error:
                said = Declined(error, said.lane)
        if isinstance(said, Declined):
            await line.say(declined_event(said))
            await asyncio.sleep(0)  # others have their turn, however many are declined


def masked_frame(opcode: int, payload: bytes) -> bytes:
    """Write a frame as a client does: with a key that nobody can foresee."""
    return write_frame(opcode, payload, secrets.token_bytes(4))
