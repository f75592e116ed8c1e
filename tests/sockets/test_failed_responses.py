"""A response that failed and reports no usage is billed the same, however it was asked for."""

import json
from typing import Any

import aiohttp
from aiohttp import web

from tests.proxy_process import ProxyProcess
from tests.sockets.conftest import StartProxy
from tests.sockets.test_handshake import bearer
from tests.sockets.test_turns import ASKED, opened
from tests.sockets.turns_upstream import OUTPUT, a_response, begin_turn, each, end_turn, lane_of
from tests.sockets.upstream import Socket, SocketUpstream

ERROR = {"code": "server_error", "message": "Something went wrong."}
MADE = a_response(status="queued", background=True)
ENDED: dict[str, Any] = {"status": "failed", "error": ERROR, "output": OUTPUT, "usage": None}


async def fail_turn(socket: Socket, turn: Any) -> None:
    await end_turn(socket, turn, await begin_turn(socket, turn), **ENDED)


async def fail(request: web.Request) -> web.Response:
    """Take what is in the background; everything else has failed."""
    asked = json.loads(await request.read() or b"{}")
    if asked.get("background"):
        return web.json_response(MADE)
    if not asked.get("stream"):
        return web.json_response((MADE if request.method == "GET" else a_response()) | ENDED)
    began = a_response()
    events = [
        {"type": "response.created", "response": began, **lane_of({})},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "Hello there."},
        {"type": "response.failed", "response": began | ENDED},
    ]
    body = "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events)
    return web.Response(text=body, content_type="text/event-stream")


async def ask(proxy: ProxyProcess, key: str, **members: Any) -> None:
    body = {"model": ASKED, "input": "Hi", **members}
    url = f"{proxy.base_url}/responses"
    async with aiohttp.ClientSession(headers=bearer(key)) as session:
        async with session.post(url, json=body) as answered:
            assert answered.status == 200
            await answered.read()
        if members.get("background"):
            async with session.get(f"{url}/{MADE['id']}") as answered:
                assert (await answered.json())["status"] == "failed"


async def test_one_that_failed_bills_nothing_by_any_way(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    upstream.script, upstream.plain = each(fail_turn), fail
    proxy = start_proxy(poll_interval_s=3600)
    key = proxy.key()
    for members in ({}, {"stream": True}, {"background": True}):
        await ask(proxy, key, **members)
    async with opened(proxy, key) as socket:
        await socket.send_json({"type": "response.create", "model": ASKED, "input": "Hi"})
        async for message in socket:
            if json.loads(message.data)["type"] == "response.failed":
                break
    made = [row for row in proxy.settled(6) if row["endpoint"] == "responses"]
    assert [row["state"] for row in made] == ["failed"] * 4
    assert [row["notes"].partition("; ")[0] for row in made] == ["failed"] * 4
    assert {row["model"] for row in made} == {MADE["model"]}
    assert proxy.tokens() == {}
    proxy.check_sums()
