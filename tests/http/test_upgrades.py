"""Upgrades that nobody wants are requests like any other (RFC 9110, section 7.8)."""

import asyncio

import pytest

from proxy.http.exchange import Exchange
from tests.http.conftest import Serve
from tests.http.test_pipelining import TEXT, UPGRADE, ask

H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAA\r\n"
HEAD = b"POST /%d HTTP/1.1\r\nhost: x\r\n" + H2C


async def told(exchange: Exchange) -> None:
    """Answer with the path and the body."""
    body = await exchange.body(1000)
    exchange.respond(200, TEXT, exchange.head.path.encode() + b" " + body)


UNWANTED = {
    "with a length": ask(0, H2C),
    "in chunks": HEAD % 0 + b"transfer-encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n",
    "for a WebSocket, but no GET": ask(0, UPGRADE),
}


@pytest.mark.parametrize("name", UNWANTED)
async def test_a_body_is_framed_as_ever_and_what_follows_is_a_request(
    serve: Serve, name: str
) -> None:
    serving = await serve(told)
    sent = UNWANTED[name] + ask(1) + UNWANTED[name] + ask(2)
    for size in (len(sent), 1, 7, 60):
        wire = await serving.connect()
        for at in range(0, len(sent), size):
            await wire.send(sent[at : at + size])
            await asyncio.sleep(0)
        for answered in (b"/0 hi", b"/1 hi", b"/0 hi", b"/2 hi"):
            status, headers, body = await wire.answer()
            assert (status, body, b"connection" in headers) == (200, answered, False)


async def test_one_without_a_body_is_followed_by_requests(serve: Serve) -> None:
    wire = await (await serve(told)).connect()
    await wire.send((b"GET /0 HTTP/1.1\r\nhost: x\r\n%b\r\n" % H2C) * 100 + ask(1))
    for _ in range(100):
        assert (await wire.answer())[2] == b"/0 "
    assert (await wire.answer())[2] == b"/1 hi"


@pytest.mark.parametrize(
    "framing",
    [
        b"transfer-encoding: gzip\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
async def test_a_body_without_a_clear_end_is_refused(serve: Serve, framing: bytes) -> None:
    wire = await (await serve(told)).connect()
    await wire.send(HEAD % 0 + framing + ask(1))
    status, headers, _ = await wire.answer()
    assert (status, headers[b"connection"]) == (400, b"close")
    assert await wire.ended()


async def test_a_body_that_does_not_come_is_not_waited_for(serve: Serve) -> None:
    wire = await (await serve(told, client_timeout_s=0.2)).connect()
    await wire.send(HEAD % 0 + b"content-length: 2\r\n\r\nh")
    assert (await wire.answer())[0] == 408


class Leaving:
    """Waits for a client to leave."""

    def __init__(self) -> None:
        self.began, self.left = asyncio.Event(), asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        exchange.listener = self
        if exchange.head.method == "GET":
            exchange.stay_http()
        await exchange.body(1000)
        self.began.set()
        await self.left.wait()

    def client_paused(self) -> None: ...

    def client_resumed(self) -> None: ...

    def client_ended(self) -> bool:
        return False

    def client_gone(self) -> None:
        self.left.set()


@pytest.mark.parametrize(
    "sent", [ask(0, H2C), b"GET /0 HTTP/1.1\r\nhost: x\r\n%b\r\nahead" % UPGRADE]
)
async def test_a_client_that_leaves_is_seen(serve: Serve, sent: bytes) -> None:
    leaving = Leaving()
    wire = await (await serve(leaving)).connect()
    await wire.send(sent)
    await asyncio.wait_for(leaving.began.wait(), 5)
    wire.writer.close()
    await asyncio.wait_for(leaving.left.wait(), 5)
