"""Killed at random moments under many sessions: what clients had whole is there, once."""

import asyncio
import json
import random
from collections import Counter
from contextlib import suppress

import aiohttp

from proxy.ledger.maintenance import maintained
from proxy.ledger.verify import Verified, verify
from tests.proxy_process import ProxyProcess
from tests.sockets.conftest import StartProxy
from tests.sockets.test_handshake import CREATE, bearer, url
from tests.sockets.test_realtime import settled
from tests.sockets.upstream import TOKENS, SocketUpstream

SESSIONS, KILLS = 8, 5


async def ask_on(proxy: ProxyProcess, key: str, name: str, whole: Counter[str]) -> None:
    """Ask again and again, on a socket after another; count the answers that came whole."""
    async with aiohttp.ClientSession() as session:
        while True:
            with suppress(aiohttp.ClientError):
                address = url(proxy, f"/realtime?model={name}")
                async with session.ws_connect(address, headers=bearer(key)) as socket:
                    await socket.send_str(CREATE)
                    async for message in socket:
                        if json.loads(message.data)["type"] == "response.done":
                            whole[name] += 1
                            await socket.send_str(CREATE)
            await asyncio.sleep(0.02)


async def test_killed_at_random_moments(upstream: SocketUpstream, start_proxy: StartProxy) -> None:
    dice = random.Random(5)
    proxy = start_proxy()
    key = proxy.key()
    whole: Counter[str] = Counter()
    names = [f"model-{number}" for number in range(SESSIONS)]
    clients = [asyncio.create_task(ask_on(proxy, key, name, whole)) for name in names]
    for _ in range(KILLS):
        before = whole.total()
        while whole.total() < before + 30:
            await asyncio.sleep(0.01)
        await asyncio.sleep(dice.uniform(0, 0.1))
        proxy.kill()
        await asyncio.to_thread(proxy.start)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    await settled(proxy)
    sent = Counter(
        socket.query.partition("=")[2]
        for socket in upstream.sockets
        for message in socket.heard
        if message["type"] == "response.create"
    )
    rows = proxy.rows(
        "SELECT model, sum(quantity) AS quantity FROM events JOIN series ON"
        " series.id = events.series_id WHERE type = 'output_audio' GROUP BY model"
    )
    kept = {row["model"]: row["quantity"] / TOKENS["output_audio"] for row in rows}
    for name in names:
        assert whole[name] <= kept[name] <= sent[name], name
    assert proxy.states()["abandoned"] > 0
    proxy.check_sums()
    with maintained(proxy.database, up_to_date=False) as connection:
        assert not list(verify(connection, Verified()))
