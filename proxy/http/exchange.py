"""One request and its answer on a client's connection, as a handler sees it."""

import asyncio
import socket
import struct
from collections.abc import Hashable
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

from proxy.errors import OverloadedError
from proxy.http.reasons import REASONS
from proxy.http.refusals import body_too_large, upload_too_large
from proxy.wire.headers import Headers, RequestHead

if TYPE_CHECKING:
    from proxy.http.connection import ServerConnection

SIZE_LINES = tuple([b"%x\r\n" % size for size in range(4096)])
"""What is before a chunk of so many bytes: formatting it takes longer than the rest."""
RESET = struct.pack("ii", 1, 0)
"""The value of SO_LINGER with which a closed connection is reset."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientGoneError(Exception):
    """The client closed its connection before its request had arrived whole."""


class BodySink(Protocol):
    """Where a streamed request body goes."""

    def body_data(self, data: bytes) -> None:
        """Take a piece of the body."""

    def body_end(self) -> None:
        """The body is complete."""

    def body_broken(self, error: Exception) -> None:
        """The body will not be complete."""


class ClientListener(Protocol):
    """Who wants to know how the client fares while it is being answered."""

    def client_paused(self) -> None:
        """The client reads more slowly than it is written to."""

    def client_resumed(self) -> None:
        """The client has caught up."""

    def client_ended(self) -> bool:
        """The client sends no more: it is gone, or has only closed its side. Keep answering?"""

    def client_gone(self) -> None:
        """The client closed its connection."""


class Exchange:
    """A request as it arrives, and the means to answer it once."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_held",
        "_limit",
        "_paused",
        "_pending_head",
        "_piece",
        "_pieces",
        "_received",
        "_sink",
        "_until_close",
        "_upload_limit",
        "_waiter",
        "answered",
        "body_complete",
        "broken",
        "ended",
        "gone",
        "head",
        "holder",
        "keep_alive",
        "listener",
        "started",
        "status",
    )

    def __init__(self, connection: "ServerConnection", head: RequestHead) -> None:
        self._connection = connection
        self._piece = b""
        self._pieces: BytesIO | None = None
        self._received = 0
        self._limit: int | None = None
        self._upload_limit: int | None = None
        self._held = 0
        self._paused = False
        self._sink: BodySink | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._chunked = self._until_close = False
        self._pending_head = b""
        self.head = head
        self.holder: Hashable = None
        """Whose body it is, among those that are held in memory."""
        self.body_complete = False
        self.broken: Exception | None = None
        self.gone = False
        self.ended = False
        self.started = False
        self.answered = False
        self.keep_alive = True
        """Whether more may follow on the connection, once this is answered."""
        self.status = 0
        self.listener: ClientListener | None = None

    @property
    def peer(self) -> str:
        """The client's address."""
        return self._connection.peer

    # The request's body, pushed by the connection.

    def feed(self, data: bytes) -> None:
        """Take a piece of the body from the connection."""
        self._received += len(data)
        if self._sink is not None:
            if self._upload_limit is None or self._received <= self._upload_limit:
                self._sink.body_data(data)
            elif self.broken is None:
                self.fail(upload_too_large(self._upload_limit))
            return
        if self.broken is not None:
            return
        self._keep(data)
        if self._limit is None:
            return
        if self._received > self._limit:
            self.fail(body_too_large(self._limit))
        else:
            try:
                self.hold(len(data))
            except OverloadedError as error:
                self.fail(error)

    def _keep(self, data: bytes) -> None:
        """Keep a piece: what is put together in this way is never in memory twice."""
        if self._pieces is not None:
            self._pieces.write(data)
        elif self._piece:
            self._pieces = BytesIO()
            self._pieces.write(self._piece)
            self._pieces.write(data)
            self._piece = b""
        else:
            self._piece = data

    def _take_kept(self) -> bytes:
        kept = self._piece if self._pieces is None else self._pieces.getvalue()
        self._forget_kept()
        return kept

    def _forget_kept(self) -> None:
        self._piece = b""
        self._pieces = None

    @property
    def unclaimed(self) -> bool:
        """Whether some of the body is here before anybody has asked for it."""
        return self._limit is None and self._sink is None and self._received > 0

    def finish(self) -> None:
        """The body has arrived whole."""
        self.body_complete = True
        if self._sink is not None:
            self._sink.body_end()
        if self._paused:
            # There is nothing left to hold back; unread, a client's leaving would not be seen.
            self._paused = False
            self._connection.resume_reading()
        self._wake()

    def fail(self, error: Exception) -> None:
        """The body will not arrive whole."""
        self.broken = self.broken or error
        self._forget_kept()
        if self._sink is not None:
            self._sink.body_broken(error)
        self._wake()

    def lose_client(self) -> None:
        """The client's connection is gone."""
        self.gone = True
        if not self.body_complete:
            self.fail(ClientGoneError())
        if self.listener is not None:
            self.listener.client_gone()

    def end_client(self) -> bool:
        """The client sends no more; say whether it may still want its answer."""
        self.ended = True
        return self.listener is None or self.listener.client_ended()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _welcome(self) -> None:
        """Tell a client that waits with its body to send it; ask the transport for it."""
        if self.head.expects_continue and not self.body_complete and not self.started:
            self._connection.write(CONTINUE)
        self._connection.resume_reading()

    def hold(self, count: int) -> None:
        """Count so many bytes as held for this request until its end, or raise OverloadedError."""
        self._connection.held.take(self.holder, count)
        self._held += count

    def hold_at_least(self, count: int) -> None:
        """Count a body that was made of the client's, if it is larger (it was compressed)."""
        if count > self._held:
            self.hold(count - self._held)

    def hold_just(self, count: int) -> None:
        """Count so many bytes as held, no more and no less, or raise OverloadedError."""
        if count >= self._held:
            self.hold_at_least(count)
        else:
            self._connection.held.give(self.holder, self._held - count)
            self._held = count

    def let_go(self) -> None:
        """Nothing of this request is held any more."""
        if self._held:
            self._connection.held.give(self.holder, self._held)
            self._held = 0
        self._forget_kept()

    def refuse_larger(self, limit: int) -> None:
        """Raise at once if the body to stream is over ``limit`` bytes, announced or here already.

        Otherwise it fails as soon as it is.
        """
        self._upload_limit = limit
        if (self.head.content_length or 0) > limit or self._received > limit:
            raise upload_too_large(limit)

    async def body(self, limit: int) -> bytes:
        """Return the whole body; it counts as held until the request's end.

        Errors: BodyTooLargeError, OverloadedError, RequestTimedOutError, ClientGoneError.
        """
        announced = self.head.content_length or 0
        if announced > limit or self._received > limit:
            raise body_too_large(limit)
        self._limit = limit
        if announced > self._received:
            self._connection.held.expect(self.holder, announced)
        self.hold(self._received)
        if not self.body_complete and self.broken is None:
            self._welcome()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self.broken is not None:
            raise self.broken
        return self._take_kept()

    def stream_body(self, sink: BodySink) -> None:
        """Push the body to ``sink`` from now on, as it arrives."""
        self._sink = sink
        kept = self._take_kept()
        if kept:
            sink.body_data(kept)
        if self.broken is not None:
            sink.body_broken(self.broken)
        elif self.body_complete:
            sink.body_end()
        else:
            self._welcome()

    def pause_body(self) -> None:
        """Take no more of the body for now."""
        if not self.body_complete:
            self._paused = True
            self._connection.pause_reading()

    def resume_body(self) -> None:
        """Go on taking the body."""
        if not self.body_complete:
            self._paused = False
            self._connection.resume_reading()

    # The answer.

    def start(self, head: bytes, *, status: int, framed: bool) -> None:
        """Begin the answer with ``head``: status line and headers, without the blank line.

        ``framed``: the head says how long the body is (or there is none); otherwise it is sent
        in chunks, or to a client of HTTP/1.0 until the connection closes. The head goes out with
        the first piece, or by :meth:`flush`.
        """
        self.started = True
        self.status = status
        tail = b"\r\n"
        if not framed:
            if self.head.http_minor:
                self._chunked = True
                tail = b"transfer-encoding: chunked\r\n\r\n"
            else:
                self._until_close = True
                self.keep_alive = False
        if not self.keep_alive or not self.body_complete:
            self.keep_alive = False
            head += b"connection: close\r\n"
        elif not self.head.http_minor:
            head += b"connection: keep-alive\r\n"
        self._pending_head = head + tail

    def flush(self) -> None:
        """Send the head if it still waits for a piece of the body to go with it."""
        if self._pending_head:
            self._connection.write(self._take_head())

    def write(self, data: bytes) -> None:
        """Send a piece of the answer's body."""
        if self._chunked:
            size = len(data)
            line = SIZE_LINES[size] if size < len(SIZE_LINES) else b"%x\r\n" % size
            data = b"".join((line, data, b"\r\n"))
        if self._pending_head:
            data = self._take_head() + data
        transport = self._connection.transport
        if transport is not None:
            transport.write(data)

    def end(self) -> None:
        """Complete the answer; the connection turns to its next request."""
        self.answered = True
        last = self._take_head() + (b"0\r\n\r\n" if self._chunked else b"")
        if last:
            self._connection.write(last)
        self._connection.finished(self)

    def _take_head(self) -> bytes:
        head, self._pending_head = self._pending_head, b""
        return head

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer at once with a whole body of ours."""
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, REASONS.get(status, b"Unknown"))]
        lines += [b"%b: %b\r\n" % pair for pair in headers]
        lines.append(b"content-length: %d\r\n" % len(body))
        self.start(b"".join(lines), status=status, framed=True)
        if body and self.head.method != "HEAD":
            self.write(body)
        self.end()

    def cut(self) -> None:
        """Break the connection off: the client must see that its answer is not whole.

        What went out before it may still read; but where the connection's end is the answer's,
        only a reset tells the two apart, which takes away what is under way.
        """
        self.answered = True
        transport = self._connection.transport
        if self._until_close and transport is not None and not transport.is_closing():
            connected = transport.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            transport.abort()
        else:
            self._connection.close()

    def tunnel(self, head: bytes, sink: BodySink) -> None:
        """Answer with a 101's whole ``head``; the client's bytes go to ``sink`` from now on."""
        self.started, self.status = True, 101
        self._connection.write(head)
        self._sink = sink
        ahead = self._take_kept()
        if ahead:
            sink.body_data(ahead)
        self._connection.tunnel(self)

    def stay_http(self) -> None:
        """Be the plain request that any upgrade is, too; what came for a tunnel is nobody's."""
        if self._connection.leave_tunnel(self):
            self._forget_kept()

    def pause_tunnel(self) -> None:
        """Take no more of the client's bytes for now."""
        self._connection.pause_reading()

    def resume_tunnel(self) -> None:
        """Go on taking the client's bytes."""
        self._connection.resume_reading()

    def write_raw(self, data: bytes) -> None:
        """Send bytes outside of HTTP's framing, in a tunnel."""
        self._connection.write(data)
