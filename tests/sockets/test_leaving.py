"""A client, or an upstream, that leaves within an answer."""

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest

from proxy.wire.websocket_frames import CLOSE, TEXT, write_frame
from tests.sockets.conftest import StartProxy
from tests.sockets.test_endings import check
from tests.sockets.test_handshake import CREATE, bearer, url
from tests.sockets.test_realtime import settled
from tests.sockets.upstream import Socket, SocketUpstream, begin, end


@pytest.mark.parametrize("how", ["close frame", "reset"])
@pytest.mark.parametrize("on_disconnect", ["drain", "cancel"])
@pytest.mark.parametrize("managed", [True, False])
async def test_a_client_that_leaves_within_an_answer_pays_for_it(
    upstream: SocketUpstream, start_proxy: StartProxy, how: str, on_disconnect: str, managed: bool
) -> None:
    async def slowly(socket: Socket) -> None:
        await begin(socket, 1)
        leaving = asyncio.create_task(socket.hear())
        await asyncio.wait([leaving], timeout=1)
        if not leaving.done():
            await end(socket, 1)
        await leaving

    upstream.script = slowly
    proxy = start_proxy(on_disconnect=on_disconnect, managed=managed)
    key = proxy.key() if managed else "sk-of-the-client"
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy), headers=bearer(key))
        for _ in range(2):
            await socket.receive()
        if how == "reset":
            socket._conn.transport.abort()  # type: ignore[union-attr]
        else:
            began = time.monotonic()
            await socket.close()
            assert time.monotonic() - began < 0.8
    (request,) = await settled(proxy)
    drained = on_disconnect == "drain"
    assert request["state"] == ("exact" if drained else "partial")
    check(proxy, 1 if drained else 0)


@pytest.mark.parametrize("managed", [True, False])
async def test_a_drain_is_bounded(
    upstream: SocketUpstream, start_proxy: StartProxy, managed: bool
) -> None:
    async def never_ending(socket: Socket) -> None:
        await begin(socket, 1)
        await socket.hear()

    upstream.script = never_ending
    proxy = start_proxy(drain_timeout_s=0.3, managed=managed)
    key = proxy.key() if managed else "sk-of-the-client"
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy), headers=bearer(key))
        for _ in range(2):
            await socket.receive()
        await socket.close()
    (request,) = await settled(proxy)
    assert request["state"] == "partial"
    assert proxy.tokens() == {}


@pytest.mark.parametrize("managed", [True, False])
async def test_an_upstream_that_closes_within_an_answer_is_answered(
    upstream: SocketUpstream, start_proxy: StartProxy, managed: bool
) -> None:
    answered: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def break_off(socket: Socket) -> None:
        await begin(socket, 1)
        began = time.monotonic()
        await socket.web_socket.close(code=1011)
        answered.set_result(time.monotonic() - began)

    upstream.script = break_off
    proxy = start_proxy(managed=managed)
    key = proxy.key() if managed else "sk-of-the-client"
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy), headers=bearer(key))
        for _ in range(2):
            await socket.receive()
        closing = await socket.receive()
        assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 1011)
        await socket.close()
        assert await answered < 2  # it does not wait for the client's close frame in vain
    (request,) = await settled(proxy)
    assert request["state"] == "partial"
    assert proxy.tokens() == {}


async def test_a_close_frame_in_pieces_waits_for_the_answer_in_passthrough(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    heard: list[Any] = []

    async def slowly(socket: Socket) -> None:
        await begin(socket, 1)
        heard.append(await socket.hear())
        leaving = asyncio.create_task(socket.hear())
        await asyncio.wait([leaving], timeout=1)
        assert not leaving.done()
        await end(socket, 1)
        await leaving

    upstream.script = slowly
    proxy = start_proxy(managed=False)
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy), headers=bearer("sk-of-the-client"))
        for _ in range(2):
            await socket.receive()
        transport = socket._conn.transport  # type: ignore[union-attr]
        said = write_frame(TEXT, CREATE.encode(), b"mask")
        said += write_frame(CLOSE, (1000).to_bytes(2), b"mask")
        for at in range(len(said)):
            transport.write(said[at : at + 1])  # type: ignore[union-attr]
            await asyncio.sleep(0.001)
        closing = await socket.receive()
        assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 1000)
    (request,) = await settled(proxy)
    assert request["state"] == "exact"
    assert heard == [json.loads(CREATE)]
    check(proxy, 1)
