"""Requests sent ahead of their answers: the end of what a client sends drops none of them."""

import asyncio
import tracemalloc

import pytest

from proxy.http import limits
from proxy.http.exchange import Exchange
from tests.http.conftest import Serve

TEXT = [(b"content-type", b"text/plain")]
LARGE = b"x" * (16 << 20)
"""More than the kernel takes for a client that does not read."""


async def slow(exchange: Exchange) -> None:
    """Answer with the path, and only once what was sent with the request has been read, too."""
    body = await exchange.body(1000)
    await asyncio.sleep(0.05)
    exchange.respond(200, TEXT, exchange.head.path.encode() + b" " + body)


def ask(number: int, connection: bytes = b"") -> bytes:
    return b"POST /%d HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n%b\r\nhi" % (number, connection)


CLOSE = b"connection: close\r\n"


async def test_what_was_asked_before_a_request_to_close_is_answered(serve: Serve) -> None:
    wire = await (await serve(slow)).connect()
    await wire.send(ask(0) + ask(1) + ask(2, CLOSE))
    for number in range(2):
        _, headers, body = await wire.answer()
        assert (body, b"connection" in headers) == (b"/%d hi" % number, False)
    _, headers, body = await wire.answer()
    assert (body, headers[b"connection"]) == (b"/2 hi", b"close")
    assert await wire.ended()


async def test_a_later_request_to_close_does_not_cut_an_answer_that_runs(serve: Serve) -> None:
    async def stream(exchange: Exchange) -> None:
        exchange.start(b"HTTP/1.1 200 OK\r\n", status=200, framed=False)
        exchange.write(b"a")
        await asyncio.sleep(0.05)
        exchange.write(exchange.head.path.encode())
        exchange.end()

    wire = await (await serve(stream)).connect()
    await wire.send(b"GET /0 HTTP/1.1\r\nhost: x\r\n\r\n")
    await wire.reader.readuntil(b"\r\n\r\n1\r\na\r\n")
    await wire.send(b"GET /1 HTTP/1.1\r\nhost: x\r\n%b\r\n" % CLOSE)
    assert await wire.reader.readuntil(b"0\r\n\r\n") == b"2\r\n/0\r\n0\r\n\r\n"
    _, headers, body = await wire.answer()
    assert (body, headers[b"connection"]) == (b"a/1", b"close")
    assert await wire.ended()


async def test_what_comes_after_the_last_request_is_for_nobody(serve: Serve) -> None:
    serving = await serve(slow)
    for rest in (b"\r\n", b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"\x00\xff", ask(9)):
        wire = await serving.connect()
        await wire.send(ask(0) + ask(1, CLOSE) + rest)
        assert [(await wire.answer())[2] for _ in range(2)] == [b"/0 hi", b"/1 hi"]
        assert await wire.ended()


@pytest.mark.parametrize("body", [b"", b"h"])
async def test_a_body_that_never_comes_is_not_waited_for(serve: Serve, body: bytes) -> None:
    wire = await (await serve(slow, client_timeout_s=0.2)).connect()
    await wire.send(ask(0) + ask(1)[:-2] + body)
    assert (await wire.answer())[2] == b"/0 hi"
    status, _, _ = await wire.answer()
    assert status == 408
    assert await wire.ended()


async def test_a_client_that_closes_its_side_gets_all_answers(serve: Serve) -> None:
    serving = await serve(slow)
    # More than are read ahead, too: then the end is seen only when some are answered.
    for count in (1, 2, 40):
        wire = await serving.connect()
        await wire.send(b"".join(ask(number) for number in range(count)))
        wire.writer.write_eof()
        for number in range(count):
            _, headers, body = await wire.answer()
            assert body == b"/%d hi" % number
            assert (b"connection" in headers) is (number == count - 1)
        assert await wire.ended()


async def test_a_client_that_closes_its_side_may_read_later(serve: Serve) -> None:
    async def large_first(exchange: Exchange) -> None:
        await exchange.body(1000)
        exchange.respond(200, TEXT, LARGE if exchange.head.path == "/0" else b"small")

    wire = await (await serve(large_first)).connect()
    await wire.send(ask(0) + ask(1))
    await asyncio.sleep(0.1)
    wire.writer.write_eof()
    await asyncio.sleep(0.1)
    assert (await wire.answer())[2] == LARGE
    _, headers, body = await wire.answer()
    assert (body, headers[b"connection"]) == (b"small", b"close")
    assert await wire.ended()


async def test_a_body_that_does_not_come_drops_only_its_own_request(serve: Serve) -> None:
    async def longer(exchange: Exchange) -> None:
        if exchange.head.path == "/0":
            await asyncio.sleep(1.5)  # until the next sweep over what is late
        await slow(exchange)

    wire = await (await serve(longer, client_timeout_s=0.1)).connect()
    await wire.send(ask(0) + b"POST /1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    await asyncio.sleep(0.05)
    await wire.send(b"2\r\n")
    _, headers, body = await wire.answer()
    assert (body, b"connection" in headers) == (b"/0 hi", False)
    status, headers, _ = await wire.answer()
    assert (status, headers[b"connection"]) == (408, b"close")
    assert await wire.ended()


NO_REQUESTS = [b"\x00\xff\r\n\r\n", b"GET /2 HTTP/1.1\r\nno field\r\n\r\n", b"x" * 100_000]


@pytest.mark.parametrize("rest", NO_REQUESTS)
@pytest.mark.parametrize("pause_s", [0.0, 0.02])
async def test_what_is_no_request_drops_none_before_it(
    serve: Serve, rest: bytes, pause_s: float
) -> None:
    wire = await (await serve(slow)).connect()
    await wire.send(ask(0) + ask(1))
    await asyncio.sleep(pause_s)
    await wire.send(rest)
    assert [(await wire.answer())[2] for _ in range(2)] == [b"/0 hi", b"/1 hi"]
    assert await wire.ended()


async def test_a_body_that_is_none_drops_only_its_own_request(serve: Serve) -> None:
    wire = await (await serve(slow)).connect()
    await wire.send(ask(0) + b"POST /1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    await wire.send(b"no size\r\n" + ask(2))
    assert (await wire.answer())[2] == b"/0 hi"
    status, headers, _ = await wire.answer()
    assert (status, headers[b"connection"]) == (400, b"close")
    assert await wire.ended()


@pytest.mark.parametrize("target", [b"/", b"host:443"])
async def test_of_more_than_can_wait_those_that_do_are_answered(
    serve: Serve, target: bytes
) -> None:
    async def count(exchange: Exchange) -> None:
        await asyncio.sleep(0.05 if exchange.head.path == "/first" else 0)
        exchange.respond(200, TEXT, b"")

    wire = await (await serve(count)).connect()
    lines = [b"GET /first", *[b"GET /"] * limits.MAX_WAITING, b"CONNECT " + target, *[b"GET /"] * 9]
    await wire.send(b"".join(b"%b HTTP/1.1\r\n\r\n" % line for line in lines))
    for _ in range(1 + limits.MAX_WAITING):
        assert (await wire.answer())[0] == 200
    assert await wire.ended()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_no_head_is_kept_behind_the_last_request(serve: Serve, version: bytes) -> None:
    """After an answer without a length, and one that begins before its request's end."""
    done = asyncio.Event()

    async def early(exchange: Exchange) -> None:
        exchange.start(b"HTTP/1.1 200 OK\r\n", status=200, framed=False)
        exchange.write(b"early")
        await exchange.body(1000)
        await done.wait()
        exchange.end()

    wire = await (await serve(early)).connect()
    first = b"POST / HTTP/%b\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n" % version
    await wire.send(first)
    await wire.reader.readuntil(b"early")
    await wire.send(b"hiGET / HTTP/1.1\r\nx: ")
    tracemalloc.start()
    try:
        for _ in range(64):
            await wire.send(b"x" * 65_536)
        await asyncio.sleep(0.1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20
    done.set()
    assert await wire.reader.read() in {b"", b"\r\n0\r\n\r\n"}


UPGRADE = b"connection: upgrade\r\nupgrade: websocket\r\n"


async def test_an_upgrade_waits_for_the_answers_before_it(serve: Serve) -> None:
    wire = await (await serve(slow)).connect()
    await wire.send(ask(0) + ask(1) + b"GET /2 HTTP/1.1\r\nhost: x\r\n%b\r\n" % UPGRADE)
    for number in range(2):
        assert (await wire.answer())[2] == b"/%d hi" % number
    _, headers, body = await wire.answer()
    assert (body, headers[b"connection"]) == (b"/2 ", b"close")
    assert await wire.ended()


class Echo:
    """Says what it hears, in a tunnel."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def body_data(self, data: bytes) -> None:
        self._exchange.write_raw(data)
        if data.endswith(b"end"):
            self._exchange.end()

    def body_end(self) -> None: ...

    def body_broken(self, error: Exception) -> None: ...


async def test_a_tunnel_begins_after_the_answers_before_it(serve: Serve) -> None:
    async def switch(exchange: Exchange) -> None:
        if not exchange.head.upgrade:
            await slow(exchange)
            return
        exchange.tunnel(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Echo(exchange))
        while not exchange.answered:
            await asyncio.sleep(0.01)

    wire = await (await serve(switch)).connect()
    await wire.send(ask(0) + b"GET /1 HTTP/1.1\r\nhost: x\r\n%b\r\nearly" % UPGRADE)
    assert (await wire.answer())[2] == b"/0 hi"
    assert (await wire.answer())[0] == 101
    assert await wire.reader.readexactly(5) == b"early"
    await wire.send(b"the end")
    assert await wire.reader.readexactly(7) == b"the end"
    assert await wire.ended()
