"""Turns of clients that misbehave, and of ours: what nobody may get out of it, or lose by it."""

import asyncio
from pathlib import Path
from typing import Any

from tests.proxy_process import until
from tests.sockets.conftest import StartProxy
from tests.sockets.test_realtime import settled
from tests.sockets.test_turns import check, create, heard, opened
from tests.sockets.test_turns_limited import states
from tests.sockets.turns_upstream import answer, each
from tests.sockets.upstream import Socket, SocketUpstream


async def never(_: Socket, __: Any) -> None:
    """Begin no answer."""


async def test_a_revoked_key_gets_no_more_turns(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    upstream.script = each(answer)
    proxy = start_proxy()
    key, other = proxy.key(), proxy.key("other")
    async with opened(proxy, key) as socket:
        await create(socket)
        assert (await heard(socket))["type"] == "response.completed"
        await asyncio.to_thread(proxy.revoke, key)
        async with opened(proxy, other) as another:  # the ledger learns of it by somebody else
            await create(another)
            assert (await heard(another))["type"] == "response.completed"
        await asyncio.sleep(1.5)
        for _ in range(2):
            await create(socket)
            event = await heard(socket)
            assert (event["error"]["code"], event["status"]) == ("invalid_api_key", 401)
    assert len(upstream.sockets[0].heard) == 1


async def test_who_does_not_read_what_is_declined_is_read_no_further(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    upstream.script = each(answer)
    proxy = start_proxy()
    async with opened(proxy, proxy.key()) as socket:
        await create(socket)
        await heard(socket)
        before = proxy.rss_bytes
        transport = socket._writer.transport
        transport.pause_reading()
        transport.write(b"\x81\x80\0\0\0\0" * 2_000_000)
        await asyncio.sleep(5)
        assert proxy.rss_bytes - before < 30 << 20
        assert transport.get_write_buffer_size() > 0
        transport.abort()
    await settled(proxy, 2)


async def test_messages_count_as_bodies_that_are_held(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    upstream.script = each(answer)
    proxy = start_proxy(max_held_bytes=4 << 20)
    key = proxy.key()
    async with opened(proxy, key) as socket:
        begun = b"\x81\xff" + (15 << 20).to_bytes(8) + bytes(4)
        socket._writer.transport.write(begun + bytes(3 << 20))
        assert (await heard(socket))["error"]["code"] == "proxy_overloaded"
        assert (await socket.receive()).data == 1013
    async with opened(proxy, key) as socket:
        for _ in range(4):
            await create(socket, input="x" * (1 << 20))
            assert (await heard(socket))["type"] == "response.completed"
    await settled(proxy, 6)
    check(proxy, 4)


async def test_who_closes_before_an_answer_begins_pays_as_who_resets(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    upstream.script = each(never)
    proxy = start_proxy(on_disconnect="cancel")
    async with opened(proxy, proxy.key()) as socket:
        await create(socket)
        await asyncio.to_thread(until, lambda: upstream.sockets and upstream.sockets[0].heard)
        await socket.close()
    await settled(proxy, 2)
    await states(proxy, "partial")
    assert set(proxy.tokens()) == {"input"}


async def test_a_turn_that_we_fail_on_does_not_stay_open(
    upstream: SocketUpstream, start_proxy: StartProxy, tmp_path: Path
) -> None:
    upstream.script = each(answer)
    sign = tmp_path / "sign"
    program = ("-m", "tests.e2e.crashing_proxy", "fail", "turn_measured", str(sign))
    proxy = start_proxy(program=program)
    async with opened(proxy, proxy.key()) as socket:
        await create(socket)
        await asyncio.to_thread(until, sign.exists)
        await socket.close()
    await settled(proxy, 2)
    await states(proxy, "abandoned")
    proxy.check_sums()
