"""Connections to the upstream: HTTP/1.1, kept alive, pushed.

One request at a time on a connection. A request is never sent twice: where a kept connection
turns out dead after the first byte went out, the upstream may have worked on it, and whoever
asked is told so.
"""

import asyncio
import math
from typing import Protocol, cast

import httptools

from proxy.errors import (
    UpstreamClosedError,
    UpstreamError,
    UpstreamTimedOutError,
)
from proxy.http.connecting import UpstreamLimits
from proxy.http.moderation import Moderation
from proxy.wire.headers import AnswerHead, Headers

MAX_HEAD_BYTES = 256 * 1024
JOINED_BYTES = 64 * 1024
_LARGE_HEAD = f"The upstream's answer has headers of more than {MAX_HEAD_BYTES:,} bytes."
WRITE_HIGH_WATER_BYTES = 256 * 1024


class AnswerSink(Protocol):
    """Where an answer is pushed to: ``head``, then data, then one of ``end`` and ``failed``."""

    def answer_head(self, head: AnswerHead) -> None:
        """Take the status line and headers."""

    def answer_data(self, data: bytes) -> None:
        """Take a piece of the body, transfer-decoded."""

    def answer_end(self) -> None:
        """The answer is whole."""

    def answer_failed(self, error: UpstreamError) -> None:
        """The answer will not come, or not whole."""

    def upstream_paused(self) -> None:
        """The upstream takes the request's body more slowly than it comes."""

    def upstream_resumed(self) -> None:
        """The upstream takes more of the request's body."""


class Pool(Protocol):
    """Where connections are kept between two requests, and what holds for all of them."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop they run on."""

    @property
    def limits(self) -> UpstreamLimits:
        """How long one may be silent."""

    @property
    def moderation(self) -> Moderation:
        """What counts the pieces of answers."""

    def made(self, connection: "UpstreamConnection") -> None:
        """A connection is open."""

    def put(self, connection: "UpstreamConnection") -> None:
        """It may be used for the next request."""

    def lost(self, connection: "UpstreamConnection") -> None:
        """It is closed."""


class UpstreamConnection(asyncio.Protocol):
    """One connection; between two requests it waits in the pool."""

    __slots__ = (
        "_answering", "_awaited", "_bodiless", "_head_bytes", "_headers", "_informational", "_loop",
        "_moderation", "_parser", "_paused", "_pool", "_request_sent", "_silence_timeout_s",
        "_sink", "_status", "_transport", "_tunnelled", "_until_close", "deadline",
    )  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._loop = pool.loop
        self._moderation = pool.moderation
        self._silence_timeout_s = pool.limits.silence_timeout_s
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._sink: AnswerSink | None = None
        self._answering = False
        self._awaited: int | None = None
        self._paused = False
        self._bodiless = False
        self._until_close = False
        self._informational = False
        self._request_sent = True
        self._status = b""
        self._head_bytes = 0
        self._tunnelled = False
        self._headers: Headers = []
        self.deadline = math.inf

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        self._transport = transport
        self._pool.made(self)

    def data_received(self, data: bytes) -> None:
        """Take what came, or keep it for the end of the round."""
        if not (self._answering and self._moderation.keep(self._take, data)):
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Parse what came and push it on."""
        if self._sink is None:
            self.close()
            return
        if not self._answering:
            self._head_bytes += len(data)
        if not self._paused:
            self.deadline = self._loop.time() + self._silence_timeout_s
        if self._tunnelled:
            self._sink.answer_data(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if rest and self._sink is not None:
                self._sink.answer_data(rest)
        except httptools.HttpParserError as error:
            if self._sink is not None:
                invalid = f"The upstream's answer is not valid HTTP: {error}."
                self._fail(UpstreamClosedError(invalid))
            self.close()
        if self._head_bytes > MAX_HEAD_BYTES and not self._answering:
            self._fail(UpstreamClosedError(_LARGE_HEAD))
            self.close()

    def eof_received(self) -> bool:
        """Close our side, too."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The upstream closed: that ends an answer without a length, and breaks any other."""
        self._moderation.take_kept()
        self._transport = self._awaited = None
        self._pool.lost(self)
        sink = self._sink
        if sink is None:
            return
        if (self._until_close or self._tunnelled) and exc is None:
            self._sink = None
            sink.answer_end()
        else:
            self._fail(
                UpstreamClosedError(
                    "The upstream closed the connection before its answer was complete; it may "
                    "have processed the request."
                )
            )

    def pause_writing(self) -> None:
        """The upstream takes the body too slowly."""
        if self._sink is not None:
            self._sink.upstream_paused()

    def resume_writing(self) -> None:
        """The upstream takes more."""
        if self._sink is not None:
            self._sink.upstream_resumed()

    def expire(self) -> None:
        """Give up on a silent upstream, or on an idle connection."""
        self.deadline = math.inf
        if self._sink is not None:
            seconds = self._silence_timeout_s
            self._fail(
                UpstreamTimedOutError(
                    f"The upstream was silent for {seconds:g} seconds. Try again, or have the "
                    "operator raise PROXY_UPSTREAM_TIMEOUT_S."
                )
            )
        self.abort()

    # From the parser.

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._headers = []
        self._status = b""
        self._head_bytes = 0

    def on_status(self, reason: bytes) -> None:
        """Take a piece of the reason phrase."""
        self._status += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers, which come after a body, only count."""
        if not self._answering:
            self._headers.append((name, value))
            return
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError(_LARGE_HEAD)

    def on_headers_complete(self) -> None:
        """Push the head on; informational answers are not the answer."""
        status = self._parser.get_status_code()
        self._informational = status < 200 and status != 101
        if self._informational or self._sink is None:
            return
        fields = {name.lower(): value for name, value in self._headers}
        head = AnswerHead(status=status, reason=self._status, headers=self._headers, fields=fields)
        self._until_close = (
            head.has_body
            and b"content-length" not in fields
            and b"chunked" not in fields.get(b"transfer-encoding", b"").lower()
        )
        self._tunnelled = status == 101
        self._answering = True
        if self._awaited is not None:
            self._moderation.ignore(self._awaited)
            self._awaited = None
        self._headers = []
        self._sink.answer_head(head)
        if self._bodiless:
            self._finish(reusable=False)

    def on_body(self, data: bytes) -> None:
        """Push a piece of the body on."""
        if self._sink is not None:
            self._sink.answer_data(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if not self._informational and not self._tunnelled and self._sink is not None:
            self._finish(reusable=self._parser.should_keep_alive() and self._request_sent)

    def _finish(self, *, reusable: bool) -> None:
        sink, self._sink = self._sink, None
        if self._paused:
            self.resume_reading()
        if reusable:
            self._pool.put(self)
        else:
            self.close()
        if sink is not None:
            sink.answer_end()

    def _fail(self, error: UpstreamError) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.answer_failed(error)

    # For who sends.

    @property
    def usable(self) -> bool:
        """Whether a request may be sent on it."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, head: bytes, body: bytes | None, sink: AnswerSink, *, bodiless: bool) -> None:
        """Send a request: its head (with the blank line), and its body if it is at hand.

        ``body`` None: it comes by :meth:`write` and :meth:`finish_request`. ``bodiless``: the
        answer has no body whatever its headers say (HEAD).
        """
        self._sink = sink
        self._answering = False
        self._bodiless = bodiless
        self._until_close = False
        self._request_sent = body is not None
        self.deadline = self._loop.time() + self._silence_timeout_s
        if self._transport is not None:
            # One piece takes the transport's short way; joining a large body costs more than that.
            if body and len(body) > JOINED_BYTES:
                self._transport.writelines((head, body))
            else:
                self._transport.write(head + body if body else head)
            self._awaited = self._moderation.await_answer(self._transport)
        else:
            self._loop.call_soon(self.connection_lost, None)

    def hand_over(self, sink: AnswerSink) -> None:
        """Push the rest of the answer to another."""
        self._sink = sink

    def write(self, data: bytes, *, chunked: bool) -> None:
        """Send a piece of the request's body, or bytes in a tunnel."""
        if self._transport is not None:
            self.deadline = self._loop.time() + self._silence_timeout_s
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)

    def finish_request(self, *, chunked: bool) -> None:
        """The request's body is complete."""
        self._request_sent = True
        if chunked and self._transport is not None:
            self._transport.write(b"0\r\n\r\n")

    def pause_reading(self) -> None:
        """Take no more of the answer for now."""
        if not self._paused and self._transport is not None:
            self._paused = True
            self.deadline = math.inf
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on taking the answer."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self.deadline = self._loop.time() + self._silence_timeout_s
            self._transport.resume_reading()

    def close(self) -> None:
        """Close; nobody is told any more."""
        self._sink = None
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; nobody is told any more."""
        self._sink = None
        if self._transport is not None:
            self._transport.abort()
