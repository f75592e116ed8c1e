"""How one call's answer is read: the meter that fits it, and what was seen in the end."""

from typing import TYPE_CHECKING

from proxy.core.allowances import Allowance
from proxy.http.render import REQUEST_ID_HEADER
from proxy.metering.outcome import Ended, Outcome, succeeded
from proxy.metering.relay import Relay
from proxy.wire.answer import AnswerMeter, BodyMeter, PassMeter, StreamMeter
from proxy.wire.answers import AnswerReader, AnswerText
from proxy.wire.decoding import decoder_for, is_encoded
from proxy.wire.deferred import FAILED
from proxy.wire.headers import AnswerHead, Headers, downward
from proxy.wire.limit_headers import with_limits
from proxy.wire.untyped import UntypedMeter
from proxy.wire.usage import UsageReader

if TYPE_CHECKING:
    from proxy.metering.call import Call

BINARY = (b"audio/", b"image/", b"video/", b"application/octet-stream")
"""Answers of these types say nothing of their usage, and may be large."""


class Reading:
    """How one call's answer is read."""

    def __init__(
        self, call: "Call", usage: UsageReader | None, allowance: Allowance | None
    ) -> None:
        self._call = call
        self._usage = usage
        self._allowance = allowance
        self._answers: AnswerReader | None = None
        self._meter: AnswerMeter | None = None

    def begin(self, head: AnswerHead) -> tuple[AnswerMeter, Headers, bool]:
        """Choose the meter by what the answer is, and the headers to send down."""
        call = self._call
        meter: AnswerMeter
        if call.welcome is not None and 200 <= head.status < 300:
            call.welcome()
        encoding = head.fields.get(b"content-encoding", b"")
        media_type = head.media_type
        streamed = media_type == b"text/event-stream"
        decoder = decoder_for(encoding) if encoding else None
        readable = decoder is not None or not is_encoded(encoding)
        untyped = not streamed and call.facts.stream and _may_stream(head, media_type)
        binary = media_type != b"application/json" and media_type.startswith(BINARY)
        hide = call.asked and (streamed or untyped) and head.status // 100 == 2
        if call.endpoint is None or self._usage is None or not call.metered or not readable:
            meter, hide = PassMeter(), False
        elif streamed or untyped:
            reader = self._text_reader()
            meter = StreamMeter(call.endpoint, self._usage, reader, hide=hide, decoder=decoder)
            if untyped:
                other = PassMeter() if binary else BodyMeter(self._usage, reader, None)
                meter = UntypedMeter(stream=meter, other=other)
        elif binary:
            meter = PassMeter()
        else:
            meter = BodyMeter(self._usage, self._text_reader(), decoder)
        if call.deferral is not None:
            meter = call.deferral.attend(call, head, meter, self._usage)
        self._meter = meter
        headers = downward(head, managed=call.managed, edited=hide)
        if head.status != 200:
            headers = call.upstream.localized(head.status, headers)
        if self._allowance is not None:
            headers = with_limits(headers, self._allowance)
        headers.append((REQUEST_ID_HEADER, call.request_id.encode()))
        return meter, headers, hide

    def outcome(self, relay: Relay) -> Outcome:
        """Say what was seen."""
        meter = self._meter
        call, usage = self._call, self._usage
        outcome = Outcome(
            status=relay.status,
            completed=relay.ended is Ended.COMPLETE or (meter is not None and meter.completed),
            ended=relay.ended,
            metered=call.metered,
            sent=relay.sent,
        )
        if usage is not None:
            if call.shape is not None:
                usage.describe(call.shape)
            outcome.estimable = call.estimable
            outcome.reported = usage.usage(succeeded=succeeded(outcome))
            outcome.raw = usage.raw()
            outcome.saw_error = usage.saw_error
            if call.deferral is not None:
                outcome.failed = usage.status == FAILED
            outcome.model = usage.model
            outcome.service_tier = usage.service_tier
        return outcome

    def text(self) -> AnswerText:
        """Return what the answer said, as far as it came."""
        return self._text_reader().answer()

    def _text_reader(self) -> AnswerReader:
        if self._answers is None:
            self._answers = AnswerReader()
        return self._answers


def _may_stream(head: AnswerHead, media_type: bytes) -> bool:
    """Tell whether an answer may be the stream that was asked for, though not called one.

    What is compressed is not looked into for it.
    """
    encoding = head.fields.get(b"content-encoding", b"")
    return (
        head.status // 100 == 2 and media_type != b"application/json" and not is_encoded(encoding)
    )
