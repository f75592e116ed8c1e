"""A request's body on its way up: as long as was announced, or the connection is given up."""

import asyncio
from typing import cast

import pytest

from proxy.http.upstream import UpstreamConnection
from proxy.metering.outcome import Ended
from proxy.metering.upload import Upload
from tests.metering.crossing import Crossing, Wire


class Upstream(Wire):
    """An upstream's connection that says what it was told."""

    def write(self, data: bytes, *, chunked: bool = False) -> None:
        self.events.append(b"chunk " + data if chunked else data)

    def finish_request(self, *, chunked: bool) -> None:
        self.events.append(f"finished, {chunked=}")


def uploading(length: int | None, *, chunked: bool = False) -> tuple[Crossing, Upstream, Upload]:
    crossing, upstream = Crossing(), Upstream()
    connection = cast("UpstreamConnection", upstream)
    crossing.relay.connection = connection
    return crossing, upstream, Upload(connection, crossing.relay, None, length, chunked=chunked)


async def test_a_body_of_the_announced_length_goes_up() -> None:
    crossing, upstream, upload = uploading(5)
    upload.body_data(b"abc")
    upload.body_data(b"de")
    upload.body_end()
    assert upstream.events == [b"abc", b"de", "finished, chunked=False"]
    assert crossing.relay.sent
    assert crossing.relay.ended is None


async def test_chunks_say_how_long_they_are() -> None:
    crossing, upstream, upload = uploading(None, chunked=True)
    upload.body_data(b"abc")
    upload.body_end()
    assert upstream.events == [b"chunk abc", "finished, chunked=True"]
    assert crossing.relay.sent


@pytest.mark.parametrize("pieces", [[b"abcdef"], [b"abcde", b"f"], [b"abcd", b"ef", b"g"]])
async def test_no_more_goes_up_than_was_announced(pieces: list[bytes]) -> None:
    crossing, upstream, upload = uploading(5)
    for piece in pieces:
        upload.body_data(piece)
    upload.body_end()
    assert b"".join(e for e in upstream.events if isinstance(e, bytes)) in {b"", b"abcde", b"abcd"}
    assert upstream.events[-1] == "abort"
    assert (crossing.relay.ended, crossing.relay.sent) == (Ended.CANCELLED, False)
    assert crossing.relay.error is not None


@pytest.mark.parametrize("length", [None, 0])
async def test_without_a_length_nothing_may_follow(length: int | None) -> None:
    _, upstream, upload = uploading(length)
    upload.body_data(b"GET / HTTP/1.1\r\n\r\n")
    assert upstream.events == ["abort"]


async def test_less_than_was_announced_is_half_a_request() -> None:
    crossing, upstream, upload = uploading(5)
    upload.body_data(b"abcd")
    upload.body_end()
    assert upstream.events == [b"abcd", "abort"]
    assert crossing.relay.error is not None


async def test_what_comes_after_the_answer_goes_nowhere() -> None:
    crossing, upstream, upload = uploading(1)
    upload.body_data(b"a")
    upload.body_end()
    crossing.head()
    crossing.relay.answer_end()
    before = list(upstream.events)
    upload.body_data(b"GET / HTTP/1.1\r\n\r\n")
    assert upstream.events == before
    await asyncio.sleep(0)
