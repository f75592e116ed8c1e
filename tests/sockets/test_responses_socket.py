"""The Responses API over a socket in passthrough: many answers, lanes beside each other."""

import json
import zlib

import aiohttp

from tests.sockets.conftest import StartProxy
from tests.sockets.test_handshake import bearer, url
from tests.sockets.test_realtime import settled
from tests.sockets.upstream import Socket, SocketUpstream

MODEL = "gpt-5-2025-08-07"


async def lanes(socket: Socket) -> None:
    """Answer in two lanes, one within the other."""
    asked = [await socket.hear(), await socket.hear()]
    for number, request in enumerate(asked):
        response = {"id": f"resp_{number}", "model": MODEL}
        await socket.say(type="response.created", stream_id=request["stream_id"], response=response)
    for number in (1, 0):
        await socket.say(type="response.output_text.delta", stream_id=number, delta="Hi")
        usage = {
            "input_tokens": 100 + number,
            "input_tokens_details": {"cached_tokens": 40},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 107 + number,
        }
        answered = {
            "id": f"resp_{number}",
            "model": MODEL,
            "status": "completed",
            "service_tier": "default" if number else "flex",
            "usage": usage,
        }
        await socket.say(type="response.completed", stream_id=number, response=answered)
    await socket.hear()


async def test_two_lanes_count_apart(upstream: SocketUpstream, start_proxy: StartProxy) -> None:
    upstream.script = lanes
    proxy = start_proxy(managed=False)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url(proxy, "/responses"), headers=bearer("sk-mine")) as socket,
    ):
        for lane in range(2):
            await socket.send_json({"type": "response.create", "stream_id": lane, "model": MODEL})
        types = [json.loads((await socket.receive()).data)["type"] for _ in range(6)]
        # A key that was never seen before has its subscription while its first socket runs.
        assert proxy.requests()[0]["subscription"] is not None
        assert proxy.states() == {"open": 1}
    assert types.count("response.completed") == 2
    (request,) = await settled(proxy)
    assert (request["state"], request["endpoint"]) == ("exact", "responses.socket")
    assert request["model"] == MODEL
    assert proxy.tokens() == {"input": 121, "cached_input": 80, "output": 14}
    rows = proxy.rows("SELECT DISTINCT service_tier AS tier FROM series WHERE metric = 'tokens'")
    assert {row["tier"] for row in rows} == {"default", "flex"}
    proxy.check_sums()


async def test_large_messages_pass_unchanged_both_ways(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    async def echo(socket: Socket) -> None:
        while True:
            message = await socket.web_socket.receive()
            if message.type is not aiohttp.WSMsgType.BINARY:
                return
            await socket.web_socket.send_bytes(message.data)

    upstream.script = echo
    proxy = start_proxy(managed=False)
    sent = [zlib.compress(b"%d" % n) * (n * 40_000) for n in range(6)]
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            url(proxy, "/responses"), headers=bearer("sk-mine"), max_msg_size=0
        ) as s,
    ):
        for data in sent:
            await s.send_bytes(data)
        got = [(await s.receive()).data for _ in sent]
    assert got == sent
    assert proxy.rss_bytes < 250 << 20
