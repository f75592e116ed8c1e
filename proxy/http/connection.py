"""A client's connection: parses requests, keeps answers in order, bounds everything."""

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from proxy.errors import ClientError
from proxy.http import limits
from proxy.http.exchange import Exchange
from proxy.http.held import HeldBytes
from proxy.http.known import KnownHead
from proxy.http.pace import BodyPace, ReaderPace
from proxy.http.refusals import Deaf, body_too_slow, head_too_large, malformed
from proxy.http.render import render_bytes
from proxy.http.upgrades import parser_past
from proxy.wire.headers import Headers
from proxy.wire.websocket_handshake import is_websocket

if TYPE_CHECKING:
    from proxy.http.server import Server


class ServerConnection(asyncio.Protocol):
    """One client's connection; its requests are answered one after the other."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._limits = server.limits
        self._small_head_bytes = min(limits.SMALL_HEAD_BYTES, server.limits.head_bytes)
        self._loop = server.loop
        self._parser = httptools.HttpRequestParser(self)
        self._current: Exchange | None = None
        self._incoming: Exchange | None = None
        self._upgrading: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._task: asyncio.Task[None] | None = None
        self._reading = True
        self._write_paused = False
        self._tunnelled: Exchange | None = None
        self._lingering = False
        self._head_bytes = 0
        self._bodiless_bytes = 0
        """What came since a body's last piece: the parser keeps a trailer until its end."""
        self._url = b""
        self._headers: Headers = []
        self._pace = BodyPace()
        self._known = KnownHead()
        self._read_by_s = math.inf
        self._reader = ReaderPace(server.limits.stalled_reader_s)
        self.transport: asyncio.Transport | None = None
        """None once the client is gone."""
        self.peer = ""

    @property
    def held(self) -> HeldBytes:
        """Where the bytes of request bodies are counted."""
        return self._server.held

    @property
    def deadline(self) -> float:
        """When this client will be idle, slow or stalled for too long; the loop's seconds."""
        return min(self._read_by_s, self._reader.due_s)

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or refuse at once where the server is full."""
        transport = cast("asyncio.Transport", transport)
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._server.enter(self):
            transport.write(self._server.full_answer)
            transport.close()
            return
        self._server.listen_to(transport)
        transport.set_write_buffer_limits(high=limits.WRITE_HIGH_WATER_BYTES)
        self._read_by_s = self._loop.time() + self._limits.client_timeout_s

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._lingering:
            return
        if self._tunnelled is not None:
            self._tunnelled.feed(data)
            return
        if self._incoming is not None:
            self._expect_more()
            self._bodiless_bytes += len(data)
        else:
            size = len(data)
            if size > self._limits.head_bytes:
                self._received_at_once(data)
                return
            # Only a head's first bytes move the deadline: it must not be fed a byte at a time.
            if not self._head_bytes and self._current is None and not self._waiting:
                self._read_by_s = self._loop.time() + self._limits.client_timeout_s
            self._head_bytes += size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, ClientError) else malformed(error))
        else:
            if self._incoming is None:
                size = self._head_bytes
                if size > self._small_head_bytes and self._is_too_large(size):
                    self._refuse(head_too_large(self._limits.head_bytes))
            else:
                self._await_body(self._incoming)

    def _await_body(self, incoming: Exchange) -> None:
        """Read on, or wait until somebody asks for the body."""
        if self._bodiless_bytes > self._limits.head_bytes:
            self._refuse(head_too_large(self._limits.head_bytes))
        elif incoming.unclaimed:
            # Only now: reading must go on once a body is whole, to see its client leave.
            self.pause_reading()
        elif self._read_by_s == math.inf:
            self._wait_anew()

    def _received_at_once(self, data: bytes) -> None:
        """Parse no more at a time than a head may have: its parts take more memory than itself."""
        for at in range(0, len(data), self._limits.head_bytes):
            if self.transport is not None and not self.transport.is_closing():
                self.data_received(data[at : at + self._limits.head_bytes])

    def eof_received(self) -> bool:
        """Ask whoever serves a client that sends no more: gone, or still waiting for its answer?

        What it sent before is served to the last.
        """
        awaits = self._awaits_answers()
        if not awaits:
            self.close()  # as the transport would, but with an eye on what is unsent
        return awaits

    def _awaits_answers(self) -> bool:
        if self._lingering or self._incoming is not None or self._tunnelled is not None:
            return False
        last = self._waiting[-1] if self._waiting else self._current
        if last is None:
            return False
        last.keep_alive = False
        for exchange in self._waiting:
            exchange.end_client()
        return self._current is None or self._current.end_client()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """The client is gone: whoever serves it decides what becomes of the request."""
        self.transport = None
        self._read_by_s = math.inf
        self._reader.rest()
        self._server.leave(self)
        exchanges = [e for e in (self._current, *self._waiting, self._incoming) if e is not None]
        self._waiting.clear()
        for exchange in dict.fromkeys(exchanges):
            exchange.lose_client()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._write_paused = True
        assert self.transport is not None  # noqa: S101 - it is who says so
        self._reader.watch(self.transport, self._loop.time())
        if self._current is not None and self._current.listener is not None:
            self._current.listener.client_paused()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._write_paused = False
        if self.transport is not None and not self.transport.is_closing():
            self._reader.rest()
        if self._current is None:
            self._turn()
        elif self._current.listener is not None:
            self._current.listener.client_resumed()

    def expire(self) -> None:
        """Act on a client that is idle, slow or stalled."""
        if self._reader.due_s <= self._read_by_s:
            transport = self.transport
            if transport is not None and self._reader.has_stalled(transport, self._loop.time()):
                self.abort()
            return
        self._read_by_s = math.inf
        if self._incoming is not None:
            self._incoming.fail(body_too_slow())
            self._incoming = None
        elif self._lingering:
            self.abort()
        elif self._current is None:
            self.close()

    def _expect_more(self) -> None:
        """Give a body's next piece its time."""
        self._read_by_s = self._pace.due_s(self._loop.time(), self._limits.client_timeout_s)

    # From the parser.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._headers = []
        self._url = b""

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers, which come after a body, are nobody's."""
        if self._incoming is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole: serve it now, or after those before it."""
        if self._head_bytes > self._small_head_bytes:
            size = sum(len(name) + len(value) for name, value in self._headers)
            if self._is_too_large(size):
                raise head_too_large(self._limits.head_bytes)
        head = self._known.head(self._parser, self._url, self._headers)
        exchange = Exchange(self, head)
        if not self._parser.should_keep_alive():
            exchange.keep_alive = False
        if head.upgrade:
            # The parser is about to call it complete, whatever its framing says.
            self._upgrading = exchange
        else:
            self._incoming = exchange
        self._head_bytes = self._bodiless_bytes = 0
        self._pace.restart()
        if self._current is None and not self._write_paused:
            self._serve(exchange)
            return
        if len(self._waiting) >= limits.MAX_WAITING:
            self._incoming = self._upgrading = None
            raise ClientError("More requests came on this connection than can wait. Send fewer.")
        self._waiting.append(exchange)
        if len(self._waiting) >= limits.MAX_PIPELINED:
            self.pause_reading()

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._incoming is not None:
            self._bodiless_bytes = 0
            self._pace.came(len(data))
            self._incoming.feed(data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        exchange, self._incoming = self._incoming, None
        self._read_by_s = math.inf
        if exchange is not None:
            exchange.finish()

    def _is_too_large(self, size: int) -> bool:
        return size > self._limits.head_bytes or len(self._headers) > limits.MAX_HEADERS

    def _upgraded(self, rest: bytes) -> None:
        """Keep what follows a WebSocket's head for its tunnel; otherwise the request goes on."""
        exchange, self._upgrading = self._upgrading, None
        assert exchange is not None  # noqa: S101 - its head was just read
        if is_websocket(exchange.head):
            exchange.keep_alive = False
            exchange.finish()
            self._tunnelled = exchange
            self.pause_reading()
            if rest:
                exchange.feed(rest)
            return
        self._incoming = exchange
        try:
            self._parser = parser_past(exchange.head, self)
        except httptools.HttpParserError as error:
            self._refuse(malformed(error))
        else:
            self.data_received(rest)

    # From exchanges.

    def _serve(self, exchange: Exchange) -> None:
        self._current = exchange
        self._task = self._server.serve(exchange)

    def finished(self, exchange: Exchange) -> None:
        """An answer is complete: turn to the next request, or close."""
        if exchange is not self._current:
            return
        self._current = None
        self._task = None
        if not exchange.body_complete:
            self._linger()
        elif not exchange.keep_alive or self._server.closing:
            self.close()
        elif not self._write_paused:
            self._turn()

    def _turn(self) -> None:
        """Turn to the next request; while the last answer is not read, none is served."""
        if self.transport is None or self.transport.is_closing():
            return
        if self._waiting:
            self._serve(self._waiting.popleft())
            self._wait_anew()
        else:
            self._read_by_s = self._loop.time() + self._limits.keepalive_timeout_s
        if self._tunnelled is None:
            self.resume_reading()

    def tunnel(self, exchange: Exchange) -> None:
        """From now on, bytes are no longer HTTP's."""
        self._tunnelled = exchange
        if self.transport is not None:
            self._server.ignore(self.transport)
        self.resume_reading()

    def leave_tunnel(self, exchange: Exchange) -> bool:
        """Wait for a tunnel no more, if this one's was: unread, no client is seen to leave."""
        if self._tunnelled is not exchange:
            return False
        self._tunnelled = None
        self.resume_reading()
        return True

    def write(self, data: bytes) -> None:
        """Send bytes, unless the client is gone."""
        if self.transport is not None:
            self.transport.write(data)

    def pause_reading(self) -> None:
        """Stop taking bytes from the client."""
        if self._reading and self.transport is not None:
            self._reading = False
            self.transport.pause_reading()
            self._read_by_s = math.inf

    def resume_reading(self) -> None:
        """Take bytes from the client again."""
        if not self._reading and self.transport is not None and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()
            self._wait_anew()

    def _wait_anew(self) -> None:
        """What was waited for was us: from here on it is the client, if more is to come."""
        if self._incoming is not None and self._incoming is self._current:
            self._pace.restart()
            self._expect_more()

    def _linger(self) -> None:
        """Let a client that is still sending read its answer: a reset would take it away."""
        if self.transport is None:
            return
        self._lingering = True
        self._incoming = None
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.resume_reading()
        self._read_by_s = self._loop.time() + limits.LINGER_S

    @property
    def idle(self) -> bool:
        """Whether no request is being read or answered."""
        return self._current is None and self._incoming is None and not self._waiting

    def close(self) -> None:
        """Close once what was written is sent, for as long as the client reads it."""
        if self.transport is not None:
            self.transport.close()
            if self.transport.get_write_buffer_size():
                self._reader.watch(self.transport, self._loop.time())

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()

    def _refuse(self, error: ClientError) -> None:
        """Take no more of what is not HTTP; what was asked before it is served to the last.

        Where only a body is wrong, who serves the request gives the answer.
        """
        incoming = self._incoming or self._upgrading
        self._incoming = self._upgrading = None
        last = self._waiting[-1] if self._waiting else self._current
        if last is None:
            self.write(render_bytes(error))
            self.close()
            return
        self._parser = Deaf(self)
        if incoming is None:
            last.keep_alive = False  # What follows is for nobody (RFC 9112, section 9.6).
            return
        self._lingering = incoming is self._current
        incoming.fail(error)
