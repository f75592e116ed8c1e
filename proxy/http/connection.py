"""A client's connection: parses requests, keeps answers in order, bounds everything."""

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import httptools

from proxy.errors import ClientError, RequestTimedOutError
from proxy.http.exchange import Exchange
from proxy.http.render import render_bytes
from proxy.wire.headers import Headers, RequestHead

if TYPE_CHECKING:
    from proxy.http.server import Server

WRITE_HIGH_WATER_BYTES = 256 * 1024
LINGER_S = 5.0
MAX_PIPELINED = 16
"""How many requests a client may send ahead of its answers before it is read no further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What one connection may take; seconds and bytes."""

    head_bytes: int = 64 * 1024
    client_timeout_s: float = 60.0
    keepalive_timeout_s: float = 75.0
    stalled_reader_s: float = 600.0


class HeadTooLargeError(ClientError):
    """The request's line and headers are over the limit."""

    status = 431
    code = "headers_too_large"


class ServerConnection(asyncio.Protocol):
    """One client's connection; its requests are answered one after the other."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._limits = server.limits
        self._loop = server.loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._current: Exchange | None = None
        self._incoming: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._task: asyncio.Task[None] | None = None
        self._reading = True
        self._write_paused = False
        self._tunnelled: Exchange | None = None
        self._lingering = False
        self._head_bytes = 0
        self._url = b""
        self._headers: Headers = []
        self._last_headers: Headers = []
        self._last_fields: dict[bytes, bytes] = {}
        self._last_memo: dict[object, Any] = {}
        self._length_at = -1
        self.keep_alive = True
        self.peer = ""
        self.deadline = math.inf

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or refuse at once where the server is full."""
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._server.enter(self):
            transport.write(self._server.full_answer)
            transport.close()
            return
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        self.deadline = self._loop.time() + self._limits.client_timeout_s

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._lingering:
            return
        if self._tunnelled is not None:
            self._tunnelled.feed(data)
            return
        if self._incoming is None:
            self._head_bytes += len(data)
            if self._current is None and not self._waiting:
                self.deadline = self._loop.time() + self._limits.client_timeout_s
        else:
            self.deadline = self._loop.time() + self._limits.client_timeout_s
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, ClientError) else _malformed(error))
        else:
            if self._incoming is None and self._head_bytes > self._limits.head_bytes:
                self._refuse(_head_too_large(self._limits.head_bytes))

    def eof_received(self) -> bool:
        """A client that will send no more may still want its answer: keep the other direction."""
        if self._lingering or self._incoming is not None or self.idle:
            return False
        self.keep_alive = False
        return self._tunnelled is None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """The client is gone: whoever serves it decides what becomes of the request."""
        self._transport = None
        self.deadline = math.inf
        self._server.leave(self)
        exchanges = [e for e in (self._current, *self._waiting, self._incoming) if e is not None]
        self._waiting.clear()
        for exchange in dict.fromkeys(exchanges):
            exchange.lose_client()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._write_paused = True
        self.deadline = self._loop.time() + self._limits.stalled_reader_s
        if self._current is not None and self._current.listener is not None:
            self._current.listener.client_paused()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._write_paused = False
        self.deadline = math.inf
        if self._current is not None and self._current.listener is not None:
            self._current.listener.client_resumed()

    def expire(self) -> None:
        """Act on a client that is idle, slow or stalled."""
        self.deadline = math.inf
        if self._incoming is not None:
            late = RequestTimedOutError(
                "The request body did not arrive in time. Send it again, faster."
            )
            self._incoming.fail(late)
            self._incoming = None
            self.keep_alive = False
        elif self._write_paused or self._lingering:
            self.abort()
        elif self._current is None:
            self.close()

    # From the parser.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._headers = []
        self._url = b""

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole: serve it now, or after those before it."""
        exchange = Exchange(self, self._read_head())
        self._incoming = exchange
        self._head_bytes = 0
        if self._current is None:
            self._serve(exchange)
        else:
            self._waiting.append(exchange)
            if len(self._waiting) >= MAX_PIPELINED:
                self.pause_reading()

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._incoming is not None:
            self._incoming.feed(data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        exchange, self._incoming = self._incoming, None
        self.deadline = math.inf
        if exchange is not None:
            exchange.finish()

    def _read_head(self) -> RequestHead:
        parser = self._parser
        if self._head_bytes > self._limits.head_bytes:
            size = sum(len(name) + len(value) for name, value in self._headers)
            if size > self._limits.head_bytes:
                raise _head_too_large(self._limits.head_bytes)
        fields, memo = self._known_headers()
        path, _, query = self._url.partition(b"?")
        if not path.startswith(b"/"):
            path = httptools.parse_url(self._url).path or b"/"
        length = None if self._length_at < 0 else self._headers[self._length_at][1]
        if not parser.should_keep_alive():
            self.keep_alive = False
        return RequestHead(
            method=parser.get_method().decode("ascii"),
            path=path.decode("latin-1"),
            query=query.decode("latin-1"),
            headers=self._headers,
            fields=fields,
            http_minor=0 if parser.get_http_version() == "1.0" else 1,
            content_length=None if length is None else int(length),
            length_unknown=b"transfer-encoding" in fields,
            upgrade=parser.should_upgrade(),
            memo=memo,
        )

    def _known_headers(self) -> tuple[dict[bytes, bytes], dict[object, Any]]:
        """Return the fields and the memo: those of the last request if its headers were the same."""
        headers, at = self._headers, self._length_at
        last = self._last_headers
        if len(headers) == len(last) and at < len(last):
            same = headers == last if at < 0 else (
                headers[at][0] == last[at][0]
                and headers[:at] == last[:at]
                and headers[at + 1 :] == last[at + 1 :]
            )
            if same:
                return self._last_fields, self._last_memo
        self._last_headers = headers
        self._last_fields = {name.lower(): value for name, value in headers}
        self._last_memo = {}
        self._length_at = next(
            (n for n, (name, _) in enumerate(headers) if name.lower() == b"content-length"), -1
        )
        return self._last_fields, self._last_memo

    def _upgraded(self, rest: bytes) -> None:
        """After the head of an upgrade all bytes belong to the tunnel, or to nobody."""
        exchange = self._current
        self.keep_alive = False
        if exchange is None or self._waiting:
            self.close()
            return
        self._tunnelled = exchange
        self._incoming = None
        exchange.body_complete = True
        self.pause_reading()
        if rest:
            exchange.feed(rest)

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
        elif not self.keep_alive or self._server.closing:
            self.close()
        elif self._waiting:
            self.resume_reading()
            self._serve(self._waiting.popleft())
        else:
            self.deadline = self._loop.time() + self._limits.keepalive_timeout_s
            self.resume_reading()

    def tunnel(self, exchange: Exchange) -> None:
        """From now on, bytes are no longer HTTP's."""
        self._tunnelled = exchange
        self.resume_reading()

    def write(self, data: bytes) -> None:
        """Send bytes, unless the client is gone."""
        if self._transport is not None:
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Stop taking bytes from the client."""
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()
            self.deadline = math.inf

    def resume_reading(self) -> None:
        """Take bytes from the client again."""
        if not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()
            if self._incoming is not None:
                self.deadline = self._loop.time() + self._limits.client_timeout_s

    def _linger(self) -> None:
        """Let a client that is still sending read its answer: a reset would take it away."""
        if self._transport is None:
            return
        self._lingering = True
        self._incoming = None
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.resume_reading()
        self.deadline = self._loop.time() + LINGER_S

    @property
    def idle(self) -> bool:
        """Whether no request is being read or answered."""
        return self._current is None and self._incoming is None and not self._waiting

    def close(self) -> None:
        """Close once what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _refuse(self, error: ClientError) -> None:
        """Answer what is not HTTP, and close; one that is being served just loses its client."""
        if self._current is None and not self._waiting:
            self.write(render_bytes(error))
        self.close()


def _malformed(error: Exception) -> ClientError:
    return ClientError(f"The request is not valid HTTP/1.1: {error}. Check the client.")


def _head_too_large(limit: int) -> HeadTooLargeError:
    return HeadTooLargeError(
        f"The request's headers are larger than {limit:,} bytes. Send fewer or shorter ones."
    )
