"""A relay between two recorders, for the tests of what it does when."""

from dataclasses import dataclass, field
from typing import cast

from proxy.errors import UpstreamClosedError
from proxy.http.connection import ServerConnection
from proxy.http.exchange import Exchange
from proxy.http.upstream import UpstreamConnection
from proxy.metering.relay import DisconnectPolicy, Relay
from proxy.wire.answer import AnswerMeter, BodyMeter, StreamMeter
from proxy.wire.answers import AnswerReader
from proxy.wire.endpoints import CHAT_COMPLETIONS
from proxy.wire.headers import AnswerHead, Headers, RequestHead
from proxy.wire.usage import RequestShape, UsageReader

CHUNK = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
FINISH = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
DONE = b"data: [DONE]\n\n"
BODY = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
BROKEN = UpstreamClosedError("The upstream closed the connection.")
DRAIN = DisconnectPolicy(drain=True, drain_timeout_s=60.0, drain_bytes=200)
CANCEL = DisconnectPolicy(drain=False, drain_timeout_s=60.0, drain_bytes=200)


@dataclass
class Wire:
    """What a connection was told, in order."""

    events: list[str | bytes] = field(default_factory=list)

    @property
    def transport(self) -> "Wire":
        return self

    def write(self, data: bytes) -> None:
        self.events.append(data)

    def finished(self, _: Exchange) -> None:
        self.events.append("finished")

    def abort(self) -> None:
        self.events.append("abort")

    def close(self) -> None:
        self.events.append("close")

    def pause_reading(self) -> None:
        self.events.append("pause")

    def resume_reading(self) -> None:
        self.events.append("resume")


class Crossing:
    """A relay between two recorders; ``write`` is what the upstream sends."""

    def __init__(
        self, policy: DisconnectPolicy = DRAIN, *, hide: bool = False, method: str = "POST"
    ) -> None:
        self.client = Wire()
        self.upstream = Wire()
        head = RequestHead(
            method=method, path="/v1/x", query="", headers=[], fields={}, http_minor=1
        )
        self.exchange = Exchange(cast("ServerConnection", self.client), head)
        self.exchange.finish()
        self.usage = UsageReader(CHAT_COMPLETIONS, RequestShape(model="m"))
        self.hide = hide
        self.relay = Relay(self.exchange, policy, self.begin)
        self.exchange.listener = self.relay
        self.relay.connection = cast("UpstreamConnection", self.upstream)

    def begin(self, head: AnswerHead) -> tuple[AnswerMeter, Headers, bool]:
        meter: AnswerMeter
        if head.media_type == b"text/event-stream":
            meter = StreamMeter(CHAT_COMPLETIONS, self.usage, AnswerReader(), hide=self.hide)
        else:
            meter = BodyMeter(self.usage, AnswerReader(), None)
        return meter, [(b"x-own", b"1")], self.hide

    def head(
        self, kind: bytes = b"text/event-stream", length: int | None = None, status: int = 200
    ) -> None:
        fields = {b"content-type": kind}
        if length is not None:
            fields[b"content-length"] = b"%d" % length
        self.relay.answer_head(AnswerHead(status=status, reason=b"OK", headers=[], fields=fields))

    def data(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.relay.answer_data(piece)

    def measured(self) -> bool:
        return self.relay.measured.done()

    def answered(self) -> list[str | bytes]:
        """Return what the client was told since the last time."""
        events = list(self.client.events)
        self.client.events.clear()
        return events


HEAD = b"HTTP/1.1 200 OK\r\nx-own: 1\r\n"
CHUNKED_HEAD = HEAD + b"transfer-encoding: chunked\r\n\r\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
