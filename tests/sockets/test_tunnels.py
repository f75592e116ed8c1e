"""WebSockets that are not known: relayed in passthrough, and recorded as not metered."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from tests.proxy_process import ProxyProcess
from tests.sockets.conftest import StartProxy
from tests.sockets.test_handshake import bearer, refusal, url
from tests.sockets.test_realtime import settled
from tests.sockets.upstream import Socket, SocketUpstream, begin, end

PATH = "/audio/stream?voice=a&model=voice-1"
KEY = "sk-of-the-client"
SHAKE = (
    b"GET /v1/audio/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-of-the-client\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def echo(socket: Socket) -> None:
    """Say back what comes, and answer as if it used something."""
    await begin(socket, 1)
    await end(socket, 1)
    while (message := await socket.web_socket.receive()).type in {WSMsgType.TEXT, WSMsgType.BINARY}:
        if message.type is WSMsgType.TEXT:
            await socket.web_socket.send_str(message.data)
        else:
            await socket.web_socket.send_bytes(message.data)


async def check(proxy: ProxyProcess, status: int = 101) -> None:
    """It is recorded, as a request without usage."""
    (request,) = await settled(proxy)
    assert (request["state"], request["endpoint"]) == ("exact", "other")
    assert (request["notes"], request["upstream_status"]) == ("unmetered", status)
    assert proxy.tokens() == {}
    proxy.check_sums()


@pytest.mark.parametrize("compress", [0, 15])
async def test_passthrough_relays_it(
    upstream: SocketUpstream, start_proxy: StartProxy, compress: int
) -> None:
    upstream.script = echo
    proxy = start_proxy(managed=False)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            url(proxy, PATH), headers=bearer(KEY), protocols=("realtime",), compress=compress
        ) as socket,
    ):
        assert (socket.protocol, bool(socket.compress)) == ("realtime", bool(compress))
        for _ in range(3):
            assert json.loads((await socket.receive()).data)["event_id"] == "e"
        for text in ("a", "b" * 100_000):
            await socket.send_str(text)
            assert (await socket.receive()).data == text
        await socket.send_bytes(bytes(range(256)))
        assert (await socket.receive()).data == bytes(range(256))
        assert proxy.states() == {"open": 1}
        await socket.close(code=4000)
    assert upstream.sockets[0].web_socket.close_code == 4000
    assert upstream.sockets[0].query == PATH.partition("?")[2]
    assert upstream.asked[0]["authorization"] == f"Bearer {KEY}"
    await check(proxy)


@pytest.mark.parametrize("path", ["/audio/stream", "/realtime/translations?model=gpt-realtime"])
async def test_managed_mode_keeps_it_closed(
    upstream: SocketUpstream, start_proxy: StartProxy, path: str
) -> None:
    proxy = start_proxy()
    status, body = await refusal(proxy, path, bearer(proxy.key()))
    assert (status, body["error"]["code"]) == (404, "path_not_open")
    assert not upstream.asked


@pytest.mark.parametrize("status", [200, 403, 426])
async def test_another_answer_than_101_is_passed_on(
    upstream: SocketUpstream, start_proxy: StartProxy, status: int
) -> None:
    said = {"detail": "not here"}
    upstream.refuse = web.json_response(said, status=status)
    proxy = start_proxy(managed=False)
    assert await refusal(proxy, PATH, bearer(KEY)) == (status, said)
    assert upstream.asked[0]["upgrade"] == "websocket"
    if status == 200:
        await check(proxy, status)
        return
    (request,) = await settled(proxy)
    assert (request["state"], request["upstream_status"]) == ("failed", status)


@contextlib.asynccontextmanager
async def raw_upstream() -> AsyncIterator[str]:
    """An upstream that switches protocols, and then sends back every byte."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Well\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def test_every_byte_passes_as_it_is(start_proxy: StartProxy) -> None:
    sent = random.Random(7).randbytes(3 << 20)
    async with asyncio.timeout(30), raw_upstream() as base_url:
        proxy = start_proxy(managed=False, upstream_base_url=base_url)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(SHAKE)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 Well\r\n")
        receiving = asyncio.create_task(reader.readexactly(len(sent)))
        for at in range(0, len(sent), 40_001):
            writer.write(sent[at : at + 40_001])
            await writer.drain()
        assert await receiving == sent
        writer.close()
        await check(proxy)


async def test_silence_ends_it(upstream: SocketUpstream, start_proxy: StartProxy) -> None:
    upstream.script = echo
    proxy = start_proxy(managed=False, upstream_timeout_s=1)
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy, PATH), headers=bearer(KEY))
        began = time.monotonic()
        while (await socket.receive()).type is WSMsgType.TEXT:
            pass
        assert 0.5 < time.monotonic() - began < 5
    await check(proxy)


async def test_a_client_that_vanishes_takes_its_upstream_along(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    left = asyncio.Event()

    async def wait(socket: Socket) -> None:
        await begin(socket, 1)  # it is not read, and not awaited
        try:
            await socket.web_socket.receive()
        finally:  # it is cancelled when its connection is lost
            left.set()

    upstream.script = wait
    proxy = start_proxy(managed=False)
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy, PATH), headers=bearer(KEY))
        await socket.receive()
        socket._conn.transport.abort()  # type: ignore[union-attr]
        await asyncio.wait_for(left.wait(), 2)
    await check(proxy)


async def test_a_shutdown_closes_it_in_its_own_words(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    upstream.script = echo
    proxy = start_proxy(managed=False, shutdown_grace_s=0.3)
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy, PATH), headers=bearer(KEY))
        for _ in range(3):
            await socket.receive()
        ending = asyncio.create_task(asyncio.to_thread(proxy.terminate))
        closing = await socket.receive()  # and no event before it: nobody knows what it speaks
        assert (closing.type, closing.data) == (WSMsgType.CLOSE, 1001)
        await socket.close()
        assert await ending == 0
    await check(proxy)


async def test_it_counts_as_an_open_request(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(managed=False, max_open_requests=1)
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy, PATH), headers=bearer(KEY))
        assert (await refusal(proxy, PATH, bearer(KEY)))[0] == 503
        await socket.close()
