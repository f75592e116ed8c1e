"""A socket's bytes, both ways: unchanged, and those that complete an answer not before its usage.

What the upstream sends goes on at once, pushed, unless usage is in it: then everything from there
on waits in a queue, in its order, while the upstream is read no further.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

from proxy.errors import OverloadedError, ProxyError, UpstreamError
from proxy.http.exchange import Exchange
from proxy.http.upstream import UpstreamConnection
from proxy.metering.outcome import Ended, ended_by
from proxy.metering.relay import DisconnectPolicy
from proxy.metering.session_drain import SessionDrain
from proxy.wire.headers import AnswerHead, Headers
from proxy.wire.session_pieces import SessionPiece
from proxy.wire.websocket_frames import write_close
from proxy.wire.websocket_handshake import SWITCHED

UNSAID_MAX: Final = 64
"""How many messages of ours, and pieces of the upstream's, may wait before no more are made."""
REFUSAL_BYTES_MAX: Final = 1 << 20
"""How long an answer may be that is no 101: it is kept until it is whole."""
NORMAL: Final = 1000
GOING_AWAY: Final = 1001
POLICY: Final = 1008
TRY_AGAIN_LATER: Final = 1013
T = TypeVar("T")
Keep = Callable[[T], Awaitable[ProxyError | None]]
"""Makes what was told durable; returns why the session may not go on, if it may not."""


class Meter(Protocol[T]):
    """Reads the way down."""

    @property
    def running(self) -> bool:
        """Whether an answer has not ended."""

    @property
    def idle(self) -> bool:
        """Whether what came ends with a message."""

    @property
    def closed(self) -> bool:
        """Whether the upstream's close frame came."""

    def feed(self, data: bytes) -> list[SessionPiece[T]]:
        """Take bytes; return the same in pieces, each with what must be durable before it."""


class Guard(Protocol):
    """Looks through the way up."""

    @property
    def closing(self) -> int | None:
        """Where the close frame is among the last bytes that may go up; None: none came."""

    @property
    def held(self) -> int:
        """How many bytes it keeps."""

    def feed(self, data: bytes) -> tuple[bytes, ProxyError | None]:
        """Take bytes; return those that may go up, and why no more may, if so."""


class SessionRelay(Generic[T]):
    """Relays one socket; :meth:`run` it to its end, then :meth:`finish`.

    ``status`` is the handshake's, None where none came. ``refusal`` is an answer other than 101.
    """

    def __init__(
        self,
        exchange: Exchange,
        meter: Meter[T],
        guard: Guard,
        begin: Callable[[AnswerHead], Headers],
        policy: DisconnectPolicy,
    ) -> None:
        self._exchange = exchange
        self._meter = meter
        self._guard = guard
        self._begin = begin
        self._drain = SessionDrain(policy, exchange.holder, self._drained_enough)
        self._queue: deque[SessionPiece[T]] = deque()
        self._news = asyncio.Event()
        self._ours: list[bytes] = []
        self._room = asyncio.Event()
        self._client_slow = self._upstream_slow = self._held = False
        self._cut_short = False
        self._leaving = self._left = False
        self._farewell: tuple[int, ProxyError] | None = None
        self._body: list[bytes] = []
        self._body_room = REFUSAL_BYTES_MAX
        self.connection: UpstreamConnection | None = None
        self.refusal: AnswerHead | None = None
        self.status: int | None = None
        self.ended: Ended | None = None
        self.error: UpstreamError | None = None

    # From the upstream.

    def answer_head(self, head: AnswerHead) -> None:
        """Open the tunnel, or keep what the upstream says instead."""
        self.status = head.status
        if head.status != SWITCHED:
            self.refusal = head
            return
        lines = [b"HTTP/1.1 101 %b\r\n" % head.reason]
        lines += [b"%b: %b\r\n" % pair for pair in self._begin(head)]
        self._exchange.tunnel(b"".join(lines) + b"\r\n", self)

    def answer_data(self, data: bytes) -> None:
        """Pass it on, or have it wait behind usage that is not yet durable."""
        if self.refusal is not None:
            self._keep(data)
            return
        for piece in self._meter.feed(data):
            self._pass_down(piece)
        self._say_ours()
        if self._drain.running:
            self._drain.take(len(data))
            self._news.set()
        if self._queue:
            self._flow()
            self._news.set()

    def answer_end(self) -> None:
        """The upstream closed."""
        self._end(Ended.COMPLETE)

    def answer_failed(self, error: UpstreamError) -> None:
        """The upstream broke off, or never answered."""
        self.error = error
        self._end(ended_by(error))

    def upstream_paused(self) -> None:
        """Let the client wait for a slow upstream."""
        self._upstream_slow = True
        self._hear_on()

    def upstream_resumed(self) -> None:
        """Take the client's bytes again."""
        self._upstream_slow = False
        self._hear_on()

    # From the client.

    def body_data(self, data: bytes) -> None:
        """Pass it up, as far as it may go."""
        if self.connection is None or not self.takes:
            return
        allowed, error = self._guard.feed(data)
        closing = self._guard.closing
        awaited = self._meter.running and not self._meter.closed
        if closing is not None and awaited and self._drain.begin():
            # With it, the upstream would drop the answer, and nobody would know what it used. One
            # that has closed itself says nothing more, and waits for its client's.
            allowed = allowed[:closing]
            self._leaving = True
            self._take_leave()
        self.connection.write(allowed, chunked=False)
        if error is not None:
            self._dismiss(POLICY, error)
        else:
            self._count_held()

    def body_end(self) -> None:
        """A tunnel has no end but the connection's."""

    def body_broken(self, error: Exception) -> None:
        """Nor does it break otherwise."""

    def client_paused(self) -> None:
        """Let the upstream wait for a slow client."""
        self._client_slow = True
        self._flow()

    def client_resumed(self) -> None:
        """Go on."""
        self._client_slow = False
        self._room.set()
        self._flow()

    def client_ended(self) -> bool:
        """A client that has closed its side has left."""
        return False

    def client_gone(self) -> None:
        """Close the upstream's side, too, once the answers that run have told their usage."""
        if self.ended is not None:
            return
        if self._meter.running and self._drain.begin():
            self.client_resumed()
        else:
            self._hang_up(Ended.CANCELLED)

    # From the session.

    @property
    def takes(self) -> bool:
        """Whether anything of the client's may go up."""
        return self.connection is not None and self.ended is None and not self._drain.running

    def send(self, data: bytes) -> None:
        """Send up what the guard kept back."""
        if self.connection is not None and self.takes:
            self.connection.write(data, chunked=False)

    def hold(self, *, held: bool) -> None:
        """Let the client wait while what it sent is looked at."""
        self._held = held
        self._hear_on()
        if not held:
            self._count_held()

    async def say(self, message: bytes) -> None:
        """Tell the client something of ours, once a message of the upstream's has ended.

        A client that does not read what it is told is waited for: whoever calls this holds it.
        """
        self._ours.append(message)
        self._say_ours()
        while self.ended is None and (self._client_slow or self._behind > UNSAID_MAX):
            self._room.clear()
            await self._room.wait()

    def stop(self, ended: Ended) -> None:
        """End the session; at a shutdown its client is told that the proxy goes away."""
        if ended is Ended.SHUTDOWN:
            self._dismiss(GOING_AWAY, ProxyError("The proxy is stopping: connect again."))
        self._end(ended)

    async def run(self, keep: Keep[T]) -> None:
        """Relay until both sides have ended and all usage is durable.

        Errors: those of ``keep``; what waits is not given to the client then.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            while self._queue:
                piece = self._queue[0]
                refused = None if piece.told is None else await keep(piece.told)
                self._queue.popleft()
                self._write(piece.data)
                if refused is not None:
                    self._cut_short = True  # after a whole message
                    overloaded = isinstance(refused, OverloadedError)
                    self._dismiss(TRY_AGAIN_LATER if overloaded else POLICY, refused)
            self._room.set()
            if self._drain.running and not self._meter.running:
                self._hang_up(Ended.CANCELLED)
            if self.ended is not None:
                return
            self._flow()

    def finish(self, event: Callable[[ProxyError], bytes]) -> None:
        """End the client's side: say why, where a message of ours may come, as an ``event``."""
        if self._exchange.gone or self._exchange.answered:
            return
        if self._leaving:
            self._take_leave()
        elif self._farewell is not None and (self._cut_short or self._meter.idle):
            code, error = self._farewell
            self._exchange.write_raw(event(error) + write_close(code, error.message))
        self._exchange.end()

    def _keep(self, data: bytes) -> None:
        self._body.append(data)
        self._body_room -= len(data)
        if self._body_room < 0 and self.connection is not None:
            self.connection.abort()
            self.refusal = self.status = None
            too_long = (
                f"The upstream's answer to the handshake has over {REFUSAL_BYTES_MAX:,} bytes."
            )
            self.answer_failed(UpstreamError(too_long))

    def body(self) -> bytes:
        """Return the body of a refusal."""
        return b"".join(self._body)

    def _pass_down(self, piece: SessionPiece[T]) -> None:
        if self._queue or piece.told is not None:
            self._queue.append(piece)
        else:
            self._write(piece.data)

    def _say_ours(self) -> None:
        if self._ours and self._meter.idle:
            self._pass_down(SessionPiece(b"".join(self._ours), None))
            self._ours.clear()
            self._room.set()

    @property
    def _behind(self) -> int:
        """How much waits for the ledger, or for the end of an upstream's message."""
        return len(self._ours) + len(self._queue)

    def _hear_on(self) -> None:
        """Take the client's bytes, unless something waits for the upstream or the guard."""
        if self.status != SWITCHED:
            return
        if self._upstream_slow or self._held:
            self._exchange.pause_tunnel()
        else:
            self._exchange.resume_tunnel()

    def _write(self, data: bytes) -> None:
        if not self._cut_short and not self._left:
            self._exchange.write_raw(data)

    def _count_held(self) -> None:
        """Count what is kept of the client's messages as a request's body is."""
        try:
            self._exchange.hold_just(self._guard.held)
        except OverloadedError as error:
            self._dismiss(TRY_AGAIN_LATER, error)

    def _take_leave(self) -> None:
        """Answer the client's close frame, where nothing stands before it."""
        if self._meter.idle and not self._queue and not self._left:
            self._exchange.write_raw(write_close(NORMAL, ""))
            self._left = True

    def _drained_enough(self) -> None:
        self._hang_up(Ended.DRAIN_LIMIT)

    def _hang_up(self, ended: Ended) -> None:
        """Close the upstream's side, once it has what the client sent."""
        if self.ended is None:
            if self.connection is not None:
                self.connection.close()
            self._end(ended)

    def _dismiss(self, code: int, error: ProxyError) -> None:
        if self.ended is None:
            self._farewell = code, error
            if self.connection is not None:
                self.connection.abort()
            self._end(Ended.SHUTDOWN if code == GOING_AWAY else Ended.CANCELLED)

    def _end(self, ended: Ended) -> None:
        if self.ended is None:
            self.ended = ended
            self._drain.end()
            self._news.set()
            self._room.set()

    def _flow(self) -> None:
        """Read the upstream on, unless something waits for the ledger or the client."""
        if self.connection is None or self.ended is not None:
            return
        if self._queue or self._client_slow:
            self.connection.pause_reading()
        else:
            self.connection.resume_reading()
