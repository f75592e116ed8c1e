"""A socket's bytes, both ways: unchanged, and those that complete an answer not before its usage.

What the upstream sends goes on at once, pushed, unless usage is in it: then everything from there
on waits in a queue, in its order, while the upstream is read no further.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from proxy.errors import OverloadedError, ProxyError, UpstreamError
from proxy.http.exchange import Exchange
from proxy.http.render import error_body
from proxy.http.upstream import UpstreamConnection
from proxy.metering.outcome import Ended
from proxy.metering.relay import DisconnectPolicy
from proxy.metering.session_drain import SessionDrain
from proxy.wire.headers import AnswerHead, Headers
from proxy.wire.session_guard import SessionGuard
from proxy.wire.session_meter import SessionMeter, SessionPiece
from proxy.wire.usage import SessionUsage
from proxy.wire.websocket_frames import TEXT, write_close, write_frame
from proxy.wire.websocket_handshake import SWITCHED

REFUSAL_BYTES_MAX: Final = 1 << 20
"""How long an answer may be that is no 101: it is kept until it is whole."""
NORMAL: Final = 1000
GOING_AWAY: Final = 1001
POLICY: Final = 1008
TRY_AGAIN_LATER: Final = 1013
Append = Callable[[SessionUsage], Awaitable[ProxyError | None]]
"""Makes usage durable; returns why the session may not go on, if it may not."""


class SessionRelay:
    """Relays one socket; :meth:`run` it to its end, then :meth:`finish`.

    ``status`` is the handshake's, None where none came. ``refusal`` is an answer other than 101.
    """

    def __init__(
        self,
        exchange: Exchange,
        meter: SessionMeter,
        guard: SessionGuard | None,
        begin: Callable[[AnswerHead], Headers],
        policy: DisconnectPolicy,
    ) -> None:
        self._exchange = exchange
        self._meter = meter
        self._guard = guard
        self._begin = begin
        self._drain = SessionDrain(policy, exchange.holder, self._drained_enough)
        self._queue: deque[SessionPiece] = deque()
        self._news = asyncio.Event()
        self._client_slow = False
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
            if self._queue or piece.usage is not None:
                self._queue.append(piece)
            else:
                self._write(piece.data)
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
        self._end(Ended.UPSTREAM_BROKE)

    def upstream_paused(self) -> None:
        """Let the client wait for a slow upstream."""
        if self.status == SWITCHED:
            self._exchange.pause_tunnel()

    def upstream_resumed(self) -> None:
        """Take the client's bytes again."""
        if self.status == SWITCHED:
            self._exchange.resume_tunnel()

    # From the client.

    def body_data(self, data: bytes) -> None:
        """Pass it up, as far as it may go."""
        if self.connection is None or self.ended is not None or self._drain.running:
            return
        if self._guard is None:
            self.connection.write(data, chunked=False)
            return
        allowed, error = self._guard.feed(data)
        closing = self._guard.closing
        if closing is not None and self._meter.running and self._drain.begin():
            # With it, the upstream would drop the answer, and nobody would know what it used.
            allowed = data[:closing]
            self._leaving = True
            self._take_leave()
        self.connection.write(allowed, chunked=False)
        if error is not None:
            self._dismiss(POLICY, error)

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

    def stop(self, ended: Ended) -> None:
        """End the session; at a shutdown its client is told that the proxy goes away."""
        if ended is Ended.SHUTDOWN:
            self._dismiss(GOING_AWAY, ProxyError("The proxy is stopping: connect again."))
        self._end(ended)

    async def run(self, append: Append) -> None:
        """Relay until both sides have ended and all usage is durable.

        Errors: those of ``append``; what waits is not given to the client then.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            while self._queue:
                piece = self._queue[0]
                refused = None if piece.usage is None else await append(piece.usage)
                self._queue.popleft()
                self._write(piece.data)
                if refused is not None:
                    self._cut_short = True  # after a whole message
                    overloaded = isinstance(refused, OverloadedError)
                    self._dismiss(TRY_AGAIN_LATER if overloaded else POLICY, refused)
            if self._drain.running and not self._meter.running:
                self._hang_up(Ended.CANCELLED)
            if self.ended is not None:
                return
            self._flow()

    def finish(self) -> None:
        """End the client's side: say why, where a message of ours may come."""
        if self._exchange.gone or self._exchange.answered:
            return
        if self._leaving:
            self._take_leave()
        elif self._farewell is not None and (self._cut_short or self._meter.idle):
            code, error = self._farewell
            self._exchange.write_raw(_error_event(error) + write_close(code, error.message))
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

    def _write(self, data: bytes) -> None:
        if not self._cut_short and not self._left:
            self._exchange.write_raw(data)

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

    def _flow(self) -> None:
        """Read the upstream on, unless something waits for the ledger or the client."""
        if self.connection is None or self.ended is not None:
            return
        if self._queue or self._client_slow:
            self.connection.pause_reading()
        else:
            self.connection.resume_reading()


def _error_event(error: ProxyError) -> bytes:
    """Write an error as the upstream's sockets do: an event of type ``error``."""
    return write_frame(TEXT, b'{"type":"error",' + error_body(error)[1:])
