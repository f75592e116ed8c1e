"""The answer on its way: what goes out when, what is held, and what a broken upstream does."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.metering import relay as relay_module
from proxy.metering.outcome import Ended
from tests.metering.crossing import (
    BODY,
    BROKEN,
    CHUNK,
    CHUNKED_HEAD,
    DONE,
    FINISH,
    HEAD,
    USAGE,
    Crossing,
    chunked,
)


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
    assert crossing.answered() == ["close"]
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
    assert crossing.answered()[1:] == [DONE, "close"]


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
    assert crossing.answered()[1:] == ["close"]


async def test_stopping_before_there_is_a_connection() -> None:
    crossing = Crossing()
    crossing.relay.connection = None
    crossing.relay.client_paused()
    crossing.relay.client_resumed()
    crossing.relay.stop(Ended.UPSTREAM_BROKE)
    assert crossing.measured()
    assert crossing.upstream.events == []


async def test_a_finish_chunk_waits_for_the_usage_chunk() -> None:
    crossing = Crossing(hide=True)
    crossing.head()
    crossing.data(CHUNK, FINISH)
    assert crossing.answered() == [CHUNKED_HEAD + chunked(CHUNK)]
    crossing.data(USAGE)
    assert crossing.answered() == [chunked(FINISH)]
    assert not crossing.measured()
    crossing.data(DONE)
    crossing.relay.answer_end()
    crossing.relay.release()
    assert crossing.answered() == [chunked(DONE), b"0\r\n\r\n", "finished"]


async def test_a_finish_chunk_does_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "NEXT_FRAME_S", 0.6)
    crossing = Crossing(hide=True)
    crossing.head()
    crossing.data(FINISH)
    await asyncio.sleep(0.35)
    crossing.data(USAGE[:9])  # what comes is no frame yet, but something comes
    await asyncio.sleep(0.35)
    assert crossing.answered() == [CHUNKED_HEAD]
    await asyncio.sleep(0.5)
    assert crossing.answered() == [chunked(FINISH)]
    crossing.data(USAGE[9:] + DONE)
    assert crossing.answered() == []
    crossing.relay.answer_end()
    crossing.relay.release()
    assert crossing.answered() == [chunked(DONE), b"0\r\n\r\n", "finished"]


async def test_what_came_in_time_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "NEXT_FRAME_S", 0.02)
    crossing = Crossing(hide=True)
    crossing.head()
    crossing.data(FINISH + b": x\n\n", FINISH, CHUNK)
    assert crossing.answered() == [
        CHUNKED_HEAD + chunked(FINISH + b": x\n\n"),
        chunked(FINISH + CHUNK),
    ]
    await asyncio.sleep(0.04)
    assert crossing.answered() == []


@pytest.mark.parametrize("begun", [True, False])
async def test_a_broken_stream_has_its_finish_chunk(begun: bool) -> None:
    crossing = Crossing(hide=True)
    crossing.head()
    if begun:
        crossing.data(CHUNK)
        assert crossing.answered() == [CHUNKED_HEAD + chunked(CHUNK)]
    crossing.data(FINISH)
    crossing.relay.answer_failed(BROKEN)
    assert crossing.answered() == [(b"" if begun else CHUNKED_HEAD) + chunked(FINISH)]
    crossing.relay.release()
    assert crossing.answered() == ["close"]


async def test_a_client_that_left_is_not_written_to() -> None:
    crossing = Crossing(hide=True)
    crossing.head()
    crossing.data(CHUNK + FINISH)
    crossing.answered()
    crossing.exchange.lose_client()
    crossing.relay.answer_failed(BROKEN)
    assert crossing.answered() == []
