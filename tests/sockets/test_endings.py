"""Sockets that end otherwise: kills, faults of the ledger, limits, signals, slow readers."""

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from proxy.ledger.maintenance import maintained
from proxy.ledger.verify import Verified, verify
from tests.crash.harness import hold_ledger, spooled
from tests.proxy_process import ProxyProcess, until
from tests.sockets.conftest import StartProxy
from tests.sockets.test_handshake import CREATE, bearer, url
from tests.sockets.test_realtime import settled
from tests.sockets.upstream import TOKENS, Socket, SocketUpstream, answer_each, begin, end


def check(proxy: ProxyProcess, answers: int) -> None:
    """Nothing lost, nothing twice, and all figures follow from the events."""
    assert proxy.tokens() == Counter({kind: answers * count for kind, count in TOKENS.items()})
    proxy.check_sums()
    with maintained(proxy.database, up_to_date=False) as connection:
        assert not list(verify(connection, Verified()))


async def ask(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Ask, and wait for the answer's end."""
    await socket.send_str(CREATE)
    async for message in socket:
        if json.loads(message.data)["type"] == "response.done":
            return
    raise AssertionError(socket.close_code)


@pytest.mark.parametrize("point", ["appending", "appended", "session_measured", "session_settled"])
async def test_killed_in_the_middle(
    upstream: SocketUpstream, start_proxy: StartProxy, tmp_path: Path, point: str
) -> None:
    sign = tmp_path / "sign"
    points = "/".join(["appended", point] if point.startswith("app") else [point])
    program = ("-m", "tests.e2e.crashing_proxy", "kill", points, str(sign))
    proxy = start_proxy(program=program)
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy), headers=bearer(proxy.key()))
        await ask(socket)
        if point.startswith("app"):
            with pytest.raises((AssertionError, aiohttp.ClientError, ValueError)):
                await ask(socket)
        await socket.close()
        await asyncio.to_thread(until, sign.exists)
    proxy.end()
    proxy.start()
    (request,) = await settled(proxy)
    durable = 2 if point == "appended" else 1
    assert request["state"] == ("exact" if point == "session_settled" else "abandoned")
    check(proxy, durable)


async def test_a_ledger_that_does_not_answer(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(settle_timeout=0.5)
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy), headers=bearer(proxy.key()))
        await ask(socket)
        holder = await asyncio.to_thread(hold_ledger, proxy.database, 6)
        began = time.monotonic()
        await ask(socket)
        assert time.monotonic() - began < 4
        assert spooled(proxy) == 1
        await asyncio.to_thread(holder.wait)
        await ask(socket)
        await asyncio.to_thread(until, lambda: not spooled(proxy))
        await socket.close()
    holder.stdout.close()  # type: ignore[union-attr]
    (request,) = await settled(proxy)
    assert request["state"] == "exact"
    check(proxy, 3)


@pytest.mark.parametrize("limit", ["per_period", "per_day", "total"])
async def test_a_session_ends_where_its_budget_does(
    upstream: SocketUpstream, start_proxy: StartProxy, tmp_path: Path, limit: str
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(
        'package_size = 1\n[models."gpt-realtime"]\ncontext_window = 100\nmax_output = 10\n'
        "input = 0.01\noutput = 0.01\ninput_audio = 0.01\noutput_audio = 0.01\ninput_image = 0.01\n"
        f"[plans.tight.limits]\nspend_{limit} = 7.00\n"
    )
    proxy = start_proxy(pricing_file=prices)
    async with aiohttp.ClientSession() as session:
        key = proxy.key(plan="tight")
        socket = await session.ws_connect(url(proxy), headers=bearer(key))
        await ask(socket)  # $3.10, and $1.10 reserved for the next
        await ask(socket)
        event = json.loads((await socket.receive()).data)
        assert (event["type"], event["error"]["code"]) == ("error", "insufficient_quota")
        closing = await socket.receive()
        assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 1008)
        await socket.close()
        (request,) = await settled(proxy)
        assert request["state"] == "exact"
        check(proxy, 2)
        budget = (await asyncio.to_thread(proxy.usage, key))["budget"]
        (spend,) = budget["spend"].values()
        assert (spend["spent"], spend["reserved"]) == ("6.20", "0.00")


@pytest.mark.parametrize("managed", [True, False])
async def test_a_session_ends_with_its_key(
    upstream: SocketUpstream, start_proxy: StartProxy, managed: bool
) -> None:
    proxy = start_proxy(managed=managed)
    key = proxy.key() if managed else "sk-whose-first-session-here-this-one-is"
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy), headers=bearer(key))
        await ask(socket)
        await asyncio.to_thread(proxy.revoke, key)
        await asyncio.sleep(1.5)
        await ask(socket)  # it runs, and is paid for
        event = json.loads((await socket.receive()).data)
        assert (event["type"], event["error"]["code"]) == ("error", "invalid_api_key")
        assert (await socket.receive()).data == 1008
        await socket.close()
    (request,) = await settled(proxy)
    assert request["state"] == "exact"
    check(proxy, 2)


async def test_a_limited_session_does_not_go_on_while_its_usage_is_in_the_spool(
    upstream: SocketUpstream, start_proxy: StartProxy, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(
        '[models."gpt-realtime"]\ninput = 1\noutput = 1\ninput_audio = 1\noutput_audio = 1\n'
        "input_image = 1\n[plans.tight.limits]\nspend_total = 8.00\n"
    )
    proxy = start_proxy(settle_timeout=0.5, pricing_file=prices)
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy), headers=bearer(proxy.key(plan="tight")))
        holder = await asyncio.to_thread(hold_ledger, proxy.database, 3)
        await ask(socket)
        event = json.loads((await socket.receive()).data)
        assert event["error"]["code"] == "proxy_overloaded"
        assert (await socket.receive()).data == 1013
        await socket.close()
        await asyncio.to_thread(holder.wait)
    holder.stdout.close()  # type: ignore[union-attr]
    await settled(proxy)
    await asyncio.to_thread(until, lambda: not spooled(proxy))
    check(proxy, 1)


@pytest.mark.parametrize("dies", [True, False])
async def test_without_ledger_and_spool_the_answer_is_not_given_away(
    upstream: SocketUpstream, start_proxy: StartProxy, dies: bool
) -> None:
    proxy = start_proxy(settle_timeout=0.5)
    spool = proxy.database.with_name(proxy.database.name + ".spool")
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy), headers=bearer(proxy.key()))
        await ask(socket)
        holder = await asyncio.to_thread(hold_ledger, proxy.database, 3)
        spool.write_text("where the spool's folder would be")
        with pytest.raises(AssertionError):
            await ask(socket)
        await socket.close()
        assert "cut off unsettled" in proxy.log
        assert proxy.states() == {"open": 1}
        if dies:
            proxy.kill()
        await asyncio.to_thread(holder.wait)
    holder.stdout.close()  # type: ignore[union-attr]
    if dies:
        spool.unlink()
        proxy.start()
    (request,) = await settled(proxy)
    assert request["state"] == "abandoned"
    check(proxy, 1 if dies else 2)  # who lives on settles what no disk took


async def test_sigterm_ends_sessions_after_the_grace_time(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    async def run_on(socket: Socket) -> None:
        await begin(socket, 1)
        await end(socket, 1)
        await begin(socket, 2)
        await socket.hear()

    upstream.script = run_on
    proxy = start_proxy(shutdown_grace_s=0.3)
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy), headers=bearer(proxy.key()))
        for _ in range(5):
            await socket.receive()
        ending = asyncio.create_task(asyncio.to_thread(proxy.terminate))
        assert json.loads((await socket.receive()).data)["type"] == "error"
        closing = await socket.receive()
        assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        await socket.close()
        assert await ending == 0
    (request,) = proxy.requests()
    assert request["state"] == "partial"
    check(proxy, 1)


async def test_sessions_count_as_open_requests(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(max_open_requests=1)
    key = proxy.key()
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy), headers=bearer(key))
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url(proxy), headers=bearer(key))
        assert refused.value.status == 503
        await socket.close()


async def test_pings_keep_a_session_and_silence_ends_it(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(upstream_timeout_s=1)
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy), headers=bearer(proxy.key()))
        await socket.receive()
        for _ in range(8):
            await socket.ping()
            await asyncio.sleep(0.4)
        await ask(socket)
        began = time.monotonic()
        await socket.receive()
        assert 0.5 < time.monotonic() - began < 5
        await socket.close()
    (request,) = await settled(proxy)
    assert request["state"] == "exact"


async def test_a_client_that_reads_slowly_holds_the_upstream_back(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    sent = 0

    async def flood(socket: Socket) -> None:
        nonlocal sent
        for _ in range(400):
            await socket.web_socket.send_str(json.dumps({"type": "x", "delta": "a" * 250_000}))
            sent += 1
        await begin(socket, 1)
        await end(socket, 1)
        await socket.hear()

    upstream.script = flood
    proxy = start_proxy()
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy), headers=bearer(proxy.key()), max_msg_size=0)
        socket._conn.transport.pause_reading()  # type: ignore[union-attr]
        await asyncio.sleep(1)
        held_back = sent
        await asyncio.sleep(0.5)
        assert held_back == sent < 200
        assert proxy.rss_bytes < 200 << 20
        socket._conn.transport.resume_reading()  # type: ignore[union-attr]
        async for message in socket:
            if json.loads(message.data)["type"] == "response.done":
                break
        await socket.close()
    await settled(proxy)
    check(proxy, 1)


async def test_the_client_hangs_up(upstream: SocketUpstream, start_proxy: StartProxy) -> None:
    upstream.script = answer_each
    proxy = start_proxy()
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url(proxy), headers=bearer(proxy.key()))
        await ask(socket)
        socket._conn.transport.abort()  # type: ignore[union-attr]
    (request,) = await settled(proxy)
    assert request["state"] == "exact"
    check(proxy, 1)
