"""The answer on its way from the upstream to the client, pushed piece by piece."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from proxy.errors import ProxyError, UpstreamError
from proxy.http.exchange import Exchange
from proxy.http.upstream import UpstreamConnection
from proxy.metering.drains import Drains
from proxy.metering.outcome import Ended, ended_by
from proxy.wire.answer import AnswerMeter
from proxy.wire.headers import AnswerHead, Headers

NEXT_FRAME_S: Final = 1.0
"""How long what waits for the next frame is kept. That follows at once wherever it matters: the
servers that need it (vLLM and llama.cpp: :mod:`proxy.wire.injected`) write the two together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DisconnectPolicy:
    """What becomes of an answer whose client went away.

    It is read on to its end, within these bounds, and billed by what the upstream reports; else
    it is cancelled, and what was delivered is estimated. ``drains`` counts answers that are read
    on, by subscription; beyond its bound an answer is cancelled.
    """

    drain: bool
    drain_timeout_s: float
    drain_bytes: int
    drains: Drains | None = None


Begin = Callable[[AnswerHead], tuple[AnswerMeter, Headers, bool]]
"""Called with the answer's head: returns the meter, the headers to send down, and whether the
body will be edited."""


class Relay:
    """Relays one answer; ``measured`` is done when nothing more can change its usage."""

    __slots__ = (
        "_begin",
        "_closed",
        "_drained_bytes",
        "_exchange",
        "_framed",
        "_head",
        "_last",
        "_loop",
        "_patience",
        "_policy",
        "_released",
        "_remaining",
        "_timer",
        "again",
        "connection",
        "ended",
        "error",
        "measured",
        "meter",
        "sent",
        "status",
    )

    def __init__(self, exchange: Exchange, policy: DisconnectPolicy, begin: Begin) -> None:
        self._exchange = exchange
        self._policy = policy
        self._begin = begin
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._head = b""
        self._framed = False
        self._remaining: int | None = None
        self._last = b""
        self._released = False
        self._drained_bytes = 0
        self.connection: UpstreamConnection | None = None
        self.sent = False
        self.again = False
        self.meter: AnswerMeter | None = None
        self.status: int | None = None
        self.ended: Ended | None = None
        self.error: ProxyError | None = None
        self.measured: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] | None = None

    # From the upstream.

    def answer_head(self, head: AnswerHead) -> None:
        """Keep the head back until there is a body to go with it: one write for both."""
        self.status = head.status
        self.meter, headers, edited = self._begin(head)
        lines = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)]
        lines += [b"%b: %b\r\n" % pair for pair in headers]
        self._head = b"".join(lines)
        length = None if edited else head.fields.get(b"content-length")
        bodiless = not head.has_body or self._exchange.head.method == "HEAD"
        self._framed = bodiless or length is not None
        self._remaining = int(length) if length is not None and not bodiless else None
        if not self._framed:
            self._start()
            self._loop.call_soon(self._exchange.flush)

    def answer_data(self, data: bytes) -> None:
        """Let the meter read a piece, and the client have what may go on."""
        meter, exchange = self.meter, self._exchange
        assert meter is not None  # noqa: S101 - data never comes before the head
        out = meter.feed(data)
        if self._remaining is not None:
            self._remaining -= len(data)
            if self._remaining <= 0 and not self._released:
                self._last = out
                return
        if exchange.gone:
            self._drained_bytes += len(data)
            if self._drained_bytes > self._policy.drain_bytes:
                self.stop(Ended.DRAIN_LIMIT)
        elif out:
            if self._head:
                self._start()
            exchange.write(out)
        if meter.waits or self._patience is not None:
            self._wait(again=meter.waits)
        if meter.completed:
            if self._released:
                self._release_held()
            else:
                self._measure()

    def answer_end(self) -> None:
        """The answer is whole."""
        if self.meter is not None:
            self.meter.finish()
        self._end(Ended.COMPLETE)

    def answer_failed(self, error: UpstreamError) -> None:
        """The answer broke off, or never came."""
        self.error = error
        if self.meter is not None:
            self.meter.finish()
        self._end(ended_by(error))

    def upstream_paused(self) -> None:
        """Take the request's body more slowly."""
        self._exchange.pause_body()

    def upstream_resumed(self) -> None:
        """Take more of the request's body."""
        self._exchange.resume_body()

    # From the client.

    def client_paused(self) -> None:
        """Let the upstream wait for a slow client."""
        if self.connection is not None:
            self.connection.pause_reading()

    def client_resumed(self) -> None:
        """Go on."""
        if self.connection is not None:
            self.connection.resume_reading()

    def client_ended(self) -> bool:
        """Take it as gone, but go on writing while we drain: it may only have closed its side.

        Nothing tells the two apart before the first write that is refused.
        """
        return self._drain()

    def client_gone(self) -> None:
        """Read on to the end for what it costs, or cancel, as the setting says."""
        if self.ended is not None:
            return
        if self._drain():
            self.client_resumed()
        else:
            self.stop(Ended.CANCELLED)

    def _drain(self) -> bool:
        """Begin to drain, if the setting and the subscription's other drains allow it."""
        policy = self._policy
        if not policy.drain:
            return False
        if self._timer is None and self.ended is None:
            if policy.drains is not None and not policy.drains.enter(self._exchange.holder):
                return False
            self._timer = self._loop.call_later(
                policy.drain_timeout_s, self.stop, Ended.DRAIN_LIMIT
            )
        return True

    # From the call.

    def stop(self, ended: Ended) -> None:
        """Take no more from the upstream: what has come is what there is."""
        if self.ended is None:
            if self.connection is not None:
                self.connection.abort()
            self._end(ended)

    def release(self) -> None:
        """The settlement is durable: the client may have the rest."""
        self._released = True
        if self._exchange.gone:
            return
        if self.ended is Ended.COMPLETE or (self.meter is not None and self.meter.completed):
            self._release_held()
        if self.ended is not None:
            self._close()

    def refused_asking(self) -> None:
        """The upstream refused what we had added: nothing of that answer is the client's."""
        self.connection = None
        self.again = True
        self._measure()

    def begin_again(self) -> None:
        """Wait for another answer; what has ended stays ended."""
        self.again = self.sent = False
        if self.ended is None:
            self.measured = self._loop.create_future()

    async def closed(self) -> None:
        """Wait until nothing more comes, after the completing event has."""
        if self.ended is None:
            self._closed = self._loop.create_future()
            await self._closed

    def _start(self) -> None:
        if self._head and not self._exchange.gone and not self._exchange.answered:
            head, self._head = self._head, b""
            self._exchange.start(head, status=self.status or 0, framed=self._framed)

    def _wait(self, *, again: bool) -> None:
        """Have what waits for the next frame go on without it, in a while."""
        if self._patience is not None:
            self._patience.cancel()
        self._patience = self._loop.call_later(NEXT_FRAME_S, self._go_on) if again else None

    def _go_on(self) -> None:
        """Let the client have what waits for a frame that is late, or will not come."""
        self._wait(again=False)
        out = b"" if self.meter is None else self.meter.take_waiting()
        if out and not (self._exchange.gone or self._exchange.answered):
            self._start()
            self._exchange.write(out)

    def _release_held(self) -> None:
        assert self.meter is not None  # noqa: S101 - only an answer has something held
        self._start()
        out = self._last + self.meter.take_held()
        self._last = b""
        if out:
            self._exchange.write(out)

    def _measure(self) -> None:
        if not self.measured.done():
            self.measured.set_result(None)

    def _end(self, ended: Ended) -> None:
        if self.ended is not None:
            return
        self.ended = ended
        self.connection = None
        self._go_on()
        if self._timer is not None:
            self._timer.cancel()
            if self._policy.drains is not None:
                self._policy.drains.leave(self._exchange.holder)
        self._measure()
        if self._released and not self._exchange.gone:
            if ended is Ended.COMPLETE:
                self._release_held()
            self._close()
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def _close(self) -> None:
        """End the client's answer: well, or cut, so that a broken one can't pass for whole."""
        if self.ended is Ended.COMPLETE or self._completed_for_client():
            self._exchange.end()
        elif self._exchange.started:
            self._exchange.cut()

    def _completed_for_client(self) -> bool:
        return self.meter is not None and self.meter.completed and not self._framed
