"""The scripted server sends exactly what it is told to, and sees what clients do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.demo.scripted import (
    LAST_CHUNK,
    Ending,
    Received,
    Reply,
    ScriptedUpstream,
    chunk,
    chunked_head,
    head,
    steps,
    whole,
)

GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def client(
    upstream: ScriptedUpstream,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def test_bytes_are_sent_as_they_are_and_the_connection_stays() -> None:
    answer = whole(200, b"body", [("X-A", "1")])
    async with (
        ScriptedUpstream(steps(answer[:7], 0.001, answer[7:])) as upstream,
        client(upstream) as (reader, writer),
    ):
        for _ in range(2):
            writer.write(GET)
            assert await reader.readexactly(len(answer)) == answer
        assert [received.connection for received in upstream.received] == [1, 1]
        assert upstream.open_connections == upstream.connections == 1


async def test_bodies_by_length_and_chunked_arrive_whole() -> None:
    posted = b"POST /v1/x?q=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst"
    chunked = (
        b"POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk(b"se")
        + b"4;extension=1\r\ncond\r\n"
        + b"0\r\nTrailer: x\r\n\r\n"
    )
    async with (
        ScriptedUpstream(steps(whole(204, b""))) as upstream,
        client(upstream) as (reader, writer),
    ):
        for byte in posted + chunked:
            writer.write(bytes([byte]))
            await writer.drain()
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
    assert [received.body for received in upstream.received] == [b"first", b"second"]
    assert upstream.received[0].path == "/v1/x"
    assert upstream.received[0].header("HOST") == "x"
    assert upstream.received[0].header("none") is None


async def test_continue_is_answered_before_the_body() -> None:
    async with (
        ScriptedUpstream(steps(whole(200, b""))) as upstream,
        client(upstream) as (reader, writer),
    ):
        writer.write(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        await reader.readuntil(b"\r\n\r\n")
    assert upstream.received[0].body == b"ok"


async def test_close_ends_after_what_was_written() -> None:
    async with (
        ScriptedUpstream(steps(head(200), b"part", Ending.CLOSE)) as upstream,
        client(upstream) as (reader, writer),
    ):
        writer.write(GET)
        assert (await reader.read()).endswith(b"\r\n\r\npart")
    assert upstream.gone == 0


async def test_abort_resets_the_connection() -> None:
    async with (
        ScriptedUpstream(steps(chunked_head(200), 0.01, Ending.ABORT)) as upstream,
        client(upstream) as (reader, writer),
    ):
        writer.write(GET)
        with pytest.raises(ConnectionResetError):
            await reader.read()
    assert upstream.gone == 0


async def test_a_client_that_leaves_is_counted() -> None:
    noticed = asyncio.Event()

    async def respond(_received: Received, reply: Reply) -> None:
        await reply.send(chunked_head(200))
        await reply.wait_gone()
        noticed.set()
        await reply.send(b"into the void")

    async with ScriptedUpstream(respond) as upstream:
        async with client(upstream) as (reader, writer):
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n")
        await noticed.wait()
        assert upstream.gone == 1


async def test_a_hanging_answer_ends_with_the_server() -> None:
    async with (
        ScriptedUpstream(steps(Ending.HANG)) as upstream,
        client(upstream) as (_, writer),
    ):
        writer.write(GET)
        while not upstream.received:
            await asyncio.sleep(0)


async def test_a_reader_that_stops_holds_the_sender_up() -> None:
    sent = 0

    async def flood(_received: Received, reply: Reply) -> None:
        nonlocal sent
        while True:
            await reply.send(b"x" * 65536)
            sent += 1

    async with ScriptedUpstream(flood) as upstream, client(upstream) as (_, writer):
        writer.write(GET)
        before = -1
        while sent != before or not sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 1000


async def test_what_a_responder_raises_comes_out_at_the_end() -> None:
    async def fail(_received: Received, _reply: Reply) -> None:
        raise ValueError("wrong script")

    upstream = ScriptedUpstream(fail)
    await upstream.start()
    async with client(upstream) as (reader, writer):
        writer.write(GET)
        assert await reader.read() == b""
    with pytest.raises(ExceptionGroup, match="responders failed"):
        await upstream.stop()


async def test_not_started_has_no_port() -> None:
    with pytest.raises(RuntimeError):
        _ = ScriptedUpstream(steps()).port


async def test_chunks_can_be_built() -> None:
    assert chunk(b"0123456789abcdef") == b"10\r\n0123456789abcdef\r\n"
    assert LAST_CHUNK == b"0\r\n\r\n"
