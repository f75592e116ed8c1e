"""What a handshake sends up and brings down, and what is refused before and after it."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.proxy_process import UPSTREAM_KEY, ProxyProcess
from tests.sockets.conftest import StartProxy
from tests.sockets.test_realtime import settled
from tests.sockets.upstream import SocketUpstream

CREATE = json.dumps({"type": "response.create"})


def url(proxy: ProxyProcess, path: str = "/realtime?model=gpt-realtime") -> str:
    return f"ws://127.0.0.1:{proxy.port}/v1{path}"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def refusal(proxy: ProxyProcess, path: str, headers: dict[str, str]) -> tuple[int, Any]:
    """Ask for an upgrade that is not granted; return status and body."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{proxy.base_url}{path}", headers=upgrade | headers) as answer,
    ):
        return answer.status, await answer.json(content_type=None)


@pytest.mark.parametrize("managed", [True, False])
async def test_a_browser_sends_its_key_as_a_subprotocol(
    upstream: SocketUpstream, start_proxy: StartProxy, managed: bool
) -> None:
    proxy = start_proxy(managed=managed)
    key = proxy.key() if managed else "sk-of-a-browser"
    secrets = (f"openai-insecure-api-key.{key}", "openai-organization.org-1")
    offered = ("realtime", secrets[0], secrets[1], "openai-beta.realtime-v1")
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url(proxy), protocols=offered, compress=15) as socket,
    ):
        assert socket.protocol == "realtime"
        assert not socket.compress
        await socket.send_str(CREATE)
        types = [json.loads((await socket.receive()).data)["type"] for _ in range(4)]
    assert types[-1] == "response.done"
    asked = upstream.asked[0]
    protocols = asked["sec-websocket-protocol"]
    if managed:
        assert protocols == "realtime, openai-beta.realtime-v1"
        assert asked["authorization"] == f"Bearer {UPSTREAM_KEY}"
    else:
        assert protocols.replace(" ", "") == ",".join(offered)
        assert "authorization" not in asked
    (request,) = await settled(proxy)
    assert request["state"] == "exact"


@pytest.mark.parametrize("managed", [True, False])
@pytest.mark.parametrize("shown", ["api-key={}", "Authorization=Bearer+{}"])
async def test_a_key_may_be_in_a_sockets_query(
    upstream: SocketUpstream, start_proxy: StartProxy, shown: str, *, managed: bool
) -> None:
    """As openai-node's OpenAIRealtimeWebSocket.azure() sends it."""
    proxy = start_proxy(managed=managed)
    key = proxy.key() if managed else "sk-in-a-query"
    path = f"/realtime?model=gpt-realtime&{shown.format(key)}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url(proxy, path)) as socket,
    ):
        await socket.send_str(CREATE)
        types = [json.loads((await socket.receive()).data)["type"] for _ in range(4)]
    assert types[-1] == "response.done"
    assert (key in upstream.sockets[0].query) is not managed
    if managed:
        assert upstream.asked[0]["authorization"] == f"Bearer {UPSTREAM_KEY}"
        assert upstream.sockets[0].query == "model=gpt-realtime"
    (request,) = await settled(proxy)
    assert request["state"] == "exact"
    assert key not in proxy.log


@pytest.mark.parametrize(
    "query", ["api-key=", "Authorization=Basic+{}", "key={}", "api-key=x&api-key={}"]
)
async def test_other_parameters_are_no_keys(
    upstream: SocketUpstream, start_proxy: StartProxy, query: str
) -> None:
    proxy = start_proxy()
    path = f"/realtime?model=gpt-realtime&{query.format(proxy.key())}"
    assert (await refusal(proxy, path, {}))[0] == 401
    assert upstream.asked == []


async def test_what_is_no_socket_has_its_key_in_a_header(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    proxy = start_proxy()
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{proxy.base_url}/models?api-key={proxy.key()}") as answer,
    ):
        assert answer.status == 401
    assert upstream.asked == []


async def test_no_secret_of_the_client_goes_up(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    proxy = start_proxy()
    key = proxy.key()
    sent = bearer(key) | {
        "api-key": key,
        "x-api-key": key,
        "OpenAI-Organization": "org-1",
        "Cookie": key,
    }
    address = url(proxy, f"/realtime?model=gpt-realtime&api-key={key}&key={key}")
    async with aiohttp.ClientSession() as session, session.ws_connect(address, headers=sent):
        pass
    assert key not in repr(upstream.asked) + upstream.sockets[0].query
    assert "openai-organization" not in upstream.asked[0]
    assert upstream.sockets[0].query == "model=gpt-realtime"


@pytest.mark.parametrize("managed", [True, False])
async def test_another_answer_than_101_is_passed_on(
    upstream: SocketUpstream, start_proxy: StartProxy, managed: bool
) -> None:
    error = {"error": {"message": "no", "type": "x", "param": None, "code": "y"}}
    upstream.refuse = web.json_response(error, status=403)
    proxy = start_proxy(managed=managed)
    key = proxy.key()
    assert await refusal(proxy, "/realtime?model=gpt-realtime", bearer(key)) == (403, error)
    (request,) = await settled(proxy)
    assert (request["state"], request["upstream_status"]) == ("failed", 403)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/realtime", 400, "invalid_body"),
        ("/realtime?model=a&model=b", 400, "invalid_body"),
        ("/realtime?call_id=rtc_1", 400, "invalid_body"),
        ("/responses?model=a&model=b", 400, "invalid_body"),
        ("/responses?conversation_id=conv_1", 400, "invalid_body"),
        ("/threads", 404, "path_not_open"),
    ],
)
async def test_managed_mode_refuses(
    upstream: SocketUpstream, start_proxy: StartProxy, path: str, status: int, code: str
) -> None:
    proxy = start_proxy()
    found, body = await refusal(proxy, path, bearer(proxy.key()))
    assert (found, body["error"]["code"]) == (status, code)
    assert not upstream.asked
    if status == 404:
        assert "GET /v1/responses (WebSocket)" in body["error"]["message"]
    assert (await refusal(proxy, "/realtime?model=x", {}))[0] == 401
    assert (await refusal(proxy, "/realtime?model=x", bearer("sk-none")))[0] == 401


async def test_an_upstream_that_is_not_there(start_proxy: StartProxy) -> None:
    proxy = start_proxy(upstream_base_url="http://127.0.0.1:9/v1")
    status, body = await refusal(proxy, "/realtime?model=gpt-realtime", bearer(proxy.key()))
    assert (status, body["error"]["code"]) == (502, "upstream_unreachable")
    (request,) = await settled(proxy)
    assert request["state"] == "failed"


async def test_a_plain_get_is_no_socket(upstream: SocketUpstream, start_proxy: StartProxy) -> None:
    proxy = start_proxy()
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{proxy.base_url}/realtime?model=gpt-realtime", headers=bearer(proxy.key())
        ) as answer,
    ):
        assert answer.status == 404
    assert not upstream.asked


@pytest.mark.parametrize(
    "message",
    [
        {"type": "session.update", "session": {"prompt": {"id": "pmpt_1"}}},
        {"type": "response.create", "response": {"prompt": {"id": "pmpt_1"}}},
        {"type": "session.update", "session": {"model": "gpt-none-of-ours"}},
        {"type": "session.update", "session": {"tools": [{"vector_store_ids": ["vs_1"]}]}},
    ],
)
async def test_managed_mode_guards_the_clients_messages(
    upstream: SocketUpstream, start_proxy: StartProxy, tmp_path: Any, message: Any
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('unpriced = "reject"\n[models."gpt-realtime"]\ninput = 1\noutput = 1\n')
    proxy = start_proxy(pricing_file=prices)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url(proxy), headers=bearer(proxy.key())) as socket,
    ):
        await socket.receive()
        await socket.send_str(json.dumps({"type": "session.update", "session": {"voice": "a"}}))
        await socket.send_str(json.dumps(message))
        event = json.loads((await socket.receive()).data)
        assert event["type"] == "error"
        assert event["error"]["message"]
        closing = await socket.receive()
        assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 1008)
    (request,) = await settled(proxy)
    assert request["state"] == "exact"
    await asyncio.sleep(0.1)
    assert [said["session"] for said in upstream.sockets[0].heard] == [{"voice": "a"}]
