"""The answer on its way: what goes out when, what is held, and what a broken side does."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import pytest

from proxy.errors import UpstreamClosedError
from proxy.http.connection import ServerConnection
from proxy.http.exchange import Exchange
from proxy.http.upstream import UpstreamConnection
from proxy.metering.outcome import Ended
from proxy.metering.relay import DisconnectPolicy, Relay
from proxy.wire.answer import AnswerMeter, BodyMeter, StreamMeter
from proxy.wire.answers import AnswerReader
from proxy.wire.endpoints import CHAT_COMPLETIONS
from proxy.wire.headers import AnswerHead, Headers, RequestHead
from proxy.wire.usage import RequestShape, UsageReader

CHUNK = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
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
    keep_alive: bool = True

    def write(self, data: bytes) -> None:
        self.events.append(data)

    def finished(self, _: Exchange) -> None:
        self.events.append("finished")

    def abort(self) -> None:
        self.events.append("abort")

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


@pytest.fixture
async def _settled() -> AsyncIterator[None]:
    """Let what was called soon be called."""
    yield
    await asyncio.sleep(0)


pytestmark = pytest.mark.usefixtures("_settled")


async def test_a_stream_passes_and_its_completing_event_waits() -> None:
    crossing = Crossing()
    crossing.head()
    assert crossing.answered() == []
    crossing.data(CHUNK)
    assert crossing.answered() == [CHUNKED_HEAD + chunked(CHUNK)]
    crossing.data(CHUNK[:9], CHUNK[9:] + CHUNK[:9])
    assert crossing.answered() == [chunked(CHUNK)]
    crossing.data(CHUNK[9:] + USAGE + DONE[:5])
    assert crossing.answered() == [chunked(CHUNK + USAGE)]
    assert not crossing.measured()
    crossing.data(DONE[5:] + b": af")
    assert crossing.measured()
    crossing.data(b"ter\n\n")
    crossing.relay.answer_end()
    assert crossing.answered() == []
    crossing.relay.release()
    assert crossing.answered() == [chunked(DONE + b": after\n\n"), b"0\r\n\r\n", "finished"]
    await crossing.relay.closed()
    assert crossing.upstream.events == []


async def test_what_follows_a_released_event_goes_on_at_once() -> None:
    crossing = Crossing()
    crossing.head()
    crossing.data(CHUNK + DONE)
    crossing.relay.release()
    assert crossing.answered() == [CHUNKED_HEAD + chunked(CHUNK), chunked(DONE)]
    waiting = asyncio.get_running_loop().create_task(crossing.relay.closed())
    await asyncio.sleep(0)
    crossing.data(b": bye\n\n")
    assert crossing.answered() == [chunked(b": bye\n\n")]
    assert not waiting.done()
    crossing.relay.answer_end()
    assert crossing.answered() == [b"0\r\n\r\n", "finished"]
    await waiting


async def test_a_head_does_not_wait_for_a_body_that_is_late() -> None:
    crossing = Crossing()
    crossing.head()
    await asyncio.sleep(0)
    assert crossing.answered() == [CHUNKED_HEAD]
    crossing.data(CHUNK)
    assert crossing.answered() == [chunked(CHUNK)]


async def test_a_whole_body_waits_with_its_head() -> None:
    crossing = Crossing()
    crossing.head(b"application/json", length=len(BODY))
    await asyncio.sleep(0)
    crossing.data(BODY)
    crossing.relay.answer_end()
    assert crossing.answered() == []
    assert crossing.measured()
    crossing.relay.release()
    assert crossing.answered() == [HEAD + b"\r\n" + BODY, "finished"]


@pytest.mark.parametrize("at", [1, len(BODY) - 1])
async def test_of_a_body_in_pieces_the_last_one_waits(at: int) -> None:
    crossing = Crossing()
    crossing.head(b"application/json", length=len(BODY))
    crossing.data(BODY[:at])
    assert crossing.answered() == [HEAD + b"\r\n" + BODY[:at]]
    crossing.data(BODY[at:])
    crossing.relay.answer_end()
    assert crossing.answered() == []
    crossing.relay.release()
    assert crossing.answered() == [BODY[at:], "finished"]


async def test_of_a_body_without_a_length_the_end_waits() -> None:
    crossing = Crossing()
    crossing.head(b"application/json")
    crossing.data(BODY)
    assert crossing.answered() == [CHUNKED_HEAD + chunked(BODY)]
    assert not crossing.measured()
    crossing.relay.answer_end()
    assert crossing.measured()
    assert crossing.answered() == []
    crossing.relay.release()
    assert crossing.answered() == [b"0\r\n\r\n", "finished"]


@pytest.mark.parametrize("cut", [len(CHUNK), len(CHUNK) + 5, len(CHUNK + DONE), len(CHUNK) + 1])
async def test_a_stream_with_a_length_is_held_to_its_end(cut: int) -> None:
    body = CHUNK + DONE + b": after\n\n"
    crossing = Crossing()
    crossing.head(length=len(body))
    crossing.data(body[:cut])
    assert crossing.answered() == [HEAD + b"\r\n" + CHUNK]
    if crossing.measured():
        crossing.relay.release()
    crossing.data(body[cut:])
    crossing.relay.answer_end()
    crossing.relay.release()
    wire = crossing.answered()
    assert b"".join(event for event in wire if isinstance(event, bytes)) == body[len(CHUNK) :]
    assert wire[-1] == "finished"


async def test_an_edited_answer_has_no_length() -> None:
    crossing = Crossing(hide=True)
    crossing.head(length=1000)
    crossing.data(CHUNK + USAGE + DONE)
    crossing.relay.answer_end()
    crossing.relay.release()
    assert crossing.answered() == [
        CHUNKED_HEAD + chunked(CHUNK),
        chunked(DONE),
        b"0\r\n\r\n",
        "finished",
    ]


@pytest.mark.parametrize(
    ("method", "status", "length"),
    [
        ("HEAD", 200, 10),
        ("HEAD", 200, None),
        ("POST", 204, None),
        ("GET", 304, 10),
        ("POST", 200, 0),
    ],
)
async def test_an_answer_without_a_body(method: str, status: int, length: int | None) -> None:
    crossing = Crossing(method=method)
    crossing.head(b"application/json", length=length, status=status)
    await asyncio.sleep(0)
    assert crossing.answered() == []
    crossing.relay.answer_end()
    assert crossing.answered() == []
    crossing.relay.release()
    head = HEAD.replace(b"200", b"%d" % status) + b"\r\n"
    assert crossing.answered() == [head, "finished"]


async def test_an_upstream_that_never_answers() -> None:
    crossing = Crossing()
    crossing.relay.answer_failed(BROKEN)
    assert crossing.measured()
    assert (crossing.relay.status, crossing.relay.error) == (None, BROKEN)
    assert crossing.relay.ended is Ended.UPSTREAM_BROKE
    crossing.relay.release()
    await crossing.relay.closed()
    assert crossing.answered() == []


async def test_an_upstream_that_breaks_after_a_head_that_waits() -> None:
    crossing = Crossing()
    crossing.head(b"application/json", length=len(BODY))
    crossing.relay.answer_failed(BROKEN)
    crossing.relay.release()
    assert crossing.answered() == []
    assert not crossing.exchange.started


@pytest.mark.parametrize("length", [None, 1000])
async def test_an_answer_that_breaks_off_is_cut_for_the_client_too(length: int | None) -> None:
    crossing = Crossing()
    crossing.head(length=length)
    crossing.data(CHUNK + CHUNK[:10])
    crossing.answered()
    crossing.relay.answer_failed(BROKEN)
    assert crossing.answered() == []
    crossing.relay.release()
    assert crossing.answered() == ["abort"]
    await asyncio.sleep(0)
    assert crossing.answered() == []


@pytest.mark.parametrize("released", [True, False])
async def test_an_upstream_that_breaks_after_the_completing_event(released: bool) -> None:
    crossing = Crossing()
    crossing.head()
    crossing.data(CHUNK + DONE)
    if released:
        crossing.relay.release()
        assert crossing.answered()[1:] == [chunked(DONE)]
    crossing.relay.answer_failed(BROKEN)
    if not released:
        crossing.relay.release()
        assert crossing.answered()[1:] == [chunked(DONE), b"0\r\n\r\n", "finished"]
    else:
        assert crossing.answered() == [b"0\r\n\r\n", "finished"]


async def test_a_length_that_is_not_reached_is_cut_even_after_the_completing_event() -> None:
    crossing = Crossing()
    crossing.head(length=1000)
    crossing.data(CHUNK + DONE)
    crossing.relay.answer_failed(BROKEN)
    crossing.relay.release()
    assert crossing.answered()[1:] == [DONE, "abort"]


async def test_usage_is_read_of_an_answer_that_breaks_off() -> None:
    crossing = Crossing()
    crossing.head()
    crossing.data(CHUNK + USAGE[:-2])
    crossing.relay.answer_failed(BROKEN)
    assert crossing.usage.usage() is not None


async def test_a_stopped_answer_is_cut() -> None:
    crossing = Crossing()
    crossing.head()
    crossing.data(CHUNK)
    crossing.relay.stop(Ended.SHUTDOWN)
    crossing.relay.stop(Ended.CANCELLED)
    assert crossing.relay.ended is Ended.SHUTDOWN
    assert crossing.upstream.events == ["abort"]
    crossing.relay.release()
    assert crossing.answered()[1:] == ["abort"]


async def test_stopping_before_there_is_a_connection() -> None:
    crossing = Crossing()
    crossing.relay.connection = None
    crossing.relay.client_paused()
    crossing.relay.client_resumed()
    crossing.relay.stop(Ended.UPSTREAM_BROKE)
    assert crossing.measured()
    assert crossing.upstream.events == []


def lose(crossing: Crossing) -> None:
    crossing.answered()
    crossing.exchange.lose_client()


async def test_a_client_that_left_is_drained_for() -> None:
    crossing = Crossing()
    crossing.head()
    crossing.data(CHUNK)
    lose(crossing)
    crossing.data(CHUNK + USAGE + DONE)
    assert crossing.measured()
    assert crossing.usage.usage() is not None
    crossing.relay.release()
    crossing.relay.answer_end()
    await crossing.relay.closed()
    assert crossing.relay.ended is Ended.COMPLETE
    assert crossing.answered() == []
    assert crossing.upstream.events == ["resume"]


async def test_a_body_is_drained_for_a_client_that_left() -> None:
    crossing = Crossing()
    crossing.head(b"application/json", length=len(BODY))
    lose(crossing)
    crossing.data(BODY[:20], BODY[20:])
    crossing.relay.answer_end()
    crossing.relay.release()
    assert crossing.usage.usage() is not None
    assert crossing.answered() == []


async def test_draining_has_its_limits() -> None:
    crossing = Crossing()
    crossing.head()
    crossing.data(CHUNK * 100)
    lose(crossing)
    crossing.data(b": " + b"x" * 150 + b"\n\n")
    assert not crossing.measured()
    crossing.data(b": " + b"x" * 150 + b"\n\n")
    assert crossing.relay.ended is Ended.DRAIN_LIMIT
    assert crossing.upstream.events == ["resume", "abort"]
    assert crossing.measured()

    late = Crossing(DisconnectPolicy(drain=True, drain_timeout_s=0.0, drain_bytes=1000))
    late.head()
    lose(late)
    await late.relay.measured
    assert late.relay.ended is Ended.DRAIN_LIMIT
    assert late.upstream.events == ["resume", "abort"]


async def test_the_drain_timer_ends_with_the_answer() -> None:
    crossing = Crossing(DisconnectPolicy(drain=True, drain_timeout_s=0.0, drain_bytes=1000))
    crossing.head()
    lose(crossing)
    crossing.relay.answer_end()
    await asyncio.sleep(0.01)
    assert crossing.relay.ended is Ended.COMPLETE
    assert crossing.upstream.events == ["resume"]


@pytest.mark.parametrize("step", ["before the head", "after the head", "in the body"])
async def test_a_client_that_left_is_cancelled_for(step: str) -> None:
    crossing = Crossing(CANCEL)
    if step != "before the head":
        crossing.head()
        await asyncio.sleep(0)
    if step == "in the body":
        crossing.data(CHUNK)
    lose(crossing)
    assert crossing.relay.ended is Ended.CANCELLED
    assert crossing.measured()
    assert crossing.upstream.events == ["abort"]
    crossing.relay.release()
    await asyncio.sleep(0)
    assert crossing.answered() == []


@pytest.mark.parametrize("policy", [DRAIN, CANCEL])
async def test_a_client_that_leaves_before_the_head_is_sent_nothing(
    policy: DisconnectPolicy,
) -> None:
    crossing = Crossing(policy)
    lose(crossing)
    crossing.head()
    crossing.data(CHUNK + DONE)
    crossing.relay.answer_end()
    crossing.relay.release()
    await asyncio.sleep(0)
    assert crossing.answered() == []


@pytest.mark.parametrize("policy", [DRAIN, CANCEL])
async def test_a_client_that_leaves_while_it_settles(policy: DisconnectPolicy) -> None:
    crossing = Crossing(policy)
    crossing.head()
    crossing.data(CHUNK + DONE)
    assert crossing.measured()
    lose(crossing)
    crossing.relay.release()
    assert crossing.answered() == []
    crossing.relay.answer_end()
    await crossing.relay.closed()


async def test_a_client_that_leaves_after_it_had_all_changes_nothing() -> None:
    crossing = Crossing(CANCEL)
    crossing.head()
    crossing.data(CHUNK + DONE)
    crossing.relay.answer_end()
    lose(crossing)
    assert crossing.relay.ended is Ended.COMPLETE
    assert crossing.upstream.events == []


async def test_a_slow_client_slows_the_upstream_down() -> None:
    crossing = Crossing()
    crossing.head()
    crossing.relay.client_paused()
    crossing.relay.client_resumed()
    assert crossing.upstream.events == ["pause", "resume"]
    crossing.relay.client_paused()
    lose(crossing)
    assert crossing.upstream.events == ["pause", "resume", "pause", "resume"]


async def test_a_slow_upstream_slows_the_client_down() -> None:
    crossing = Crossing()
    crossing.exchange.body_complete = False
    crossing.relay.upstream_paused()
    crossing.relay.upstream_resumed()
    assert crossing.answered() == ["pause", "resume"]


@pytest.mark.parametrize("ending", ["whole", "broken", "stopped"])
async def test_a_connection_that_is_no_longer_ours_is_left_alone(ending: str) -> None:
    crossing = Crossing()
    crossing.head()
    crossing.data(CHUNK + DONE)
    if ending == "whole":
        crossing.relay.answer_end()
    elif ending == "broken":
        crossing.relay.answer_failed(BROKEN)
    else:
        crossing.relay.stop(Ended.SHUTDOWN)
    crossing.upstream.events.clear()
    crossing.relay.client_paused()
    crossing.relay.client_resumed()
    crossing.relay.stop(Ended.CANCELLED)
    crossing.exchange.lose_client()
    crossing.relay.answer_end()
    crossing.relay.release()
    assert crossing.upstream.events == []


async def test_an_error_of_the_upstream_passes() -> None:
    crossing = Crossing()
    crossing.head(b"application/json", length=2, status=429)
    crossing.data(b"{}")
    crossing.relay.answer_end()
    crossing.relay.release()
    assert crossing.answered() == [HEAD.replace(b"200", b"429") + b"\r\n{}", "finished"]


async def test_an_answer_that_ends_before_it_began_is_measured_all_the_same() -> None:
    crossing = Crossing()
    crossing.relay.answer_end()
    assert crossing.measured()
