"""The Responses API over a socket in managed mode: each turn is a request of its own."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI

from proxy.ledger.maintenance import maintained
from proxy.ledger.verify import Verified, verify
from tests.proxy_process import UPSTREAM_KEY, ProxyProcess
from tests.sockets.conftest import StartProxy
from tests.sockets.test_handshake import bearer, url
from tests.sockets.test_realtime import client_of, settled
from tests.sockets.turns_upstream import (
    MODEL,
    TURN_TOKENS,
    answer,
    begin_turn,
    each,
    end_turn,
    not_found,
)
from tests.sockets.upstream import Socket, SocketUpstream

ASKED = "gpt-5"


@asynccontextmanager
async def opened(
    proxy: ProxyProcess, key: str, query: str = ""
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url(proxy, f"/responses{query}"), headers=bearer(key)) as socket,
    ):
        yield socket


async def create(socket: aiohttp.ClientWebSocketResponse, **members: Any) -> None:
    await socket.send_json({"type": "response.create", "model": ASKED, "input": "Hi", **members})


async def heard(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """Return the next event that ends a turn."""
    async for message in socket:
        event: dict[str, Any] = json.loads(message.data)
        if event["type"] in {"response.completed", "response.incomplete", "error"}:
            return event
    raise AssertionError(socket.close_code)


def turns(proxy: ProxyProcess) -> list[dict[str, Any]]:
    return [row for row in proxy.requests() if row["endpoint"] == "responses"]


def check(proxy: ProxyProcess, answers: int) -> None:
    """Nothing lost, nothing twice, and all figures follow from the events."""
    counts = {kind: answers * count for kind, count in TURN_TOKENS.items()}
    assert proxy.tokens() == (counts if answers else {})
    proxy.check_sums()
    with maintained(proxy.database, up_to_date=False) as connection:
        assert not list(verify(connection, Verified()))


async def test_a_conversation_of_the_sdk_is_metered_to_the_token(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    upstream.script = each(answer)
    proxy = start_proxy()
    key = proxy.key()
    client: AsyncOpenAI = client_of(proxy, key)
    previous: dict[str, Any] = {}
    async with client.responses.connect() as connection:
        for number in range(1, 4):
            await connection.response.create(model=ASKED, input="Hi", **previous)
            async for event in connection:
                assert event.type != "error"
                if event.type == "response.completed":
                    previous = {"previous_response_id": event.response.id}
                    break
            # Settled before its last event was with the client, the socket still open.
            assert [row["state"] for row in turns(proxy)] == ["exact"] * number
    (handshake,) = [r for r in await settled(proxy, 4) if r["endpoint"] == "responses.socket"]
    assert (handshake["state"], handshake["upstream_status"]) == ("exact", 101)
    for row in turns(proxy):
        assert (row["model_requested"], row["model"]) == (ASKED, MODEL)
        assert "on the socket wb_" in row["notes"]
    check(proxy, 3)
    told = upstream.sockets[0].heard
    assert [turn["store"] for turn in told] == [False] * 3
    assert upstream.asked[0]["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert key not in repr(upstream.asked) + repr(told)
    usage = await asyncio.to_thread(proxy.usage, key)
    assert usage["completeness"]["exact"] == 4
    assert usage["total"]["precise_amount"] != "0.00"


REFUSED: list[tuple[dict[str, Any], str | None]] = [
    ({"store": True}, "store"),
    ({"background": True}, "background"),
    ({"previous_response_id": "resp_of_another"}, "previous_response_id"),
    ({"previous_response_id": ["resp_1"]}, "previous_response_id"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[].id"),
    ({"input": [{"type": "input_file", "file_id": "file-1"}]}, "file_id"),
    ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, "vector_store_ids"),
    ({"model": "gpt-none-of-ours"}, "model"),
    ({"model": None}, "model"),
    ({"models": ["gpt-5", "gpt-none-of-ours"]}, "models"),
    ({"fallbacks": "default"}, "fallbacks"),
    ({"type": "response.steer", "previous_response_id": "resp_1"}, "type"),
    ({"response": {"store": True}}, "response"),
    ({"stream_id": {}}, "stream_id"),
]


@pytest.mark.parametrize(("members", "param"), REFUSED)
async def test_what_is_refused_does_not_end_the_session(
    upstream: SocketUpstream, start_proxy: StartProxy, tmp_path: Any,
    members: dict[str, Any], param: str | None,
) -> None:  # fmt: skip
    upstream.script = each(answer)
    prices = tmp_path / "prices.toml"
    prices.write_text(
        'unpriced = "reject"\n[models."gpt-5"]\nmatch = ["gpt-5-2*"]\ninput = 1\noutput = 1\n'
    )
    proxy = start_proxy(pricing_file=prices)
    async with opened(proxy, proxy.key()) as socket:
        await create(socket, **members)
        event = await heard(socket)
        assert event["type"] == "error"
        assert event["error"]["param"] == param
        assert event["error"]["type"] == "invalid_request_error"
        assert event["status"] in {400, 404}
        if param == "previous_response_id":
            assert event["error"]["code"] == "previous_response_not_found"
        await create(socket)
        assert (await heard(socket))["type"] == "response.completed"
    await settled(proxy, 2)
    assert len(upstream.sockets[0].heard) == 1
    check(proxy, 1)


@pytest.mark.parametrize(
    "message",
    [
        b'{"type":"response.create","model":"gpt-5","model":"o1","input":"Hi"}',
        b'{"type":"response.create","type":"x","model":"gpt-5","input":"Hi"}',
        b'{"type":"response.create","model":"gpt-5","store":false,"st\\u006fre":true}',
        b'{"type":"response.create","model":"gpt-5","input":"\xff"}',
        b'["response.create"]',
        b"{",
        b"[" * 3000,
    ],
)
async def test_what_two_parsers_could_read_differently_is_refused(
    upstream: SocketUpstream, start_proxy: StartProxy, message: bytes
) -> None:
    proxy = start_proxy()
    async with opened(proxy, proxy.key()) as socket:
        await socket.send_bytes(message)
        assert (await heard(socket))["error"]["code"] == "invalid_body"
        assert not upstream.sockets[0].heard


async def test_another_session_does_not_know_what_this_one_made(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    upstream.script = each(answer)
    proxy = start_proxy()
    key = proxy.key()
    async with opened(proxy, key) as one, opened(proxy, key) as other:
        await create(one)
        made = (await heard(one))["response"]["id"]
        await create(other, previous_response_id=made, stream_id="a")
        event = await heard(other)
        assert (event["type"], event["stream_id"]) == ("error", "a")
        assert made in event["error"]["message"]
        await create(one, previous_response_id=made, stream_id="fork")
        assert (await heard(one))["type"] == "response.completed"
    assert len(upstream.sockets[0].heard) == 2
    assert upstream.sockets[1].heard == []


async def test_what_the_upstream_refuses_is_no_usage(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    upstream.script = each(not_found)
    proxy = start_proxy()
    async with opened(proxy, proxy.key()) as socket:
        await create(socket)
        assert (await heard(socket))["error"]["message"] == "Not in memory."
        (row,) = turns(proxy)
        assert (row["state"], row["upstream_status"]) == ("failed", 400)
    check(proxy, 0)


async def test_lanes_end_in_any_order(upstream: SocketUpstream, start_proxy: StartProxy) -> None:
    async def script(socket: Socket) -> None:
        asked = [await socket.hear() for _ in range(3)]
        begun = [await begin_turn(socket, turn) for turn in reversed(asked)]
        for turn, response in zip(asked, reversed(begun), strict=True):
            await end_turn(socket, turn, response)
        await socket.hear()

    upstream.script = script
    proxy = start_proxy()
    async with opened(proxy, proxy.key()) as socket:
        for lane in ("a", "b", None):
            await create(socket, input=lane, **({} if lane is None else {"stream_id": lane}))
        for _ in range(3):
            assert (await heard(socket))["type"] == "response.completed"
    await settled(proxy, 4)
    assert [row["state"] for row in turns(proxy)] == ["exact"] * 3
    check(proxy, 3)


async def test_an_answer_without_usage_is_estimated(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    async def unreported(socket: Socket, turn: Any) -> None:
        await end_turn(socket, turn, await begin_turn(socket, turn), usage=None)

    upstream.script = each(unreported)
    proxy = start_proxy()
    async with opened(proxy, proxy.key()) as socket:
        await create(socket)
        await heard(socket)
    (row,) = turns(proxy)
    assert row["state"] == "estimated"
    assert "input estimated from the body's length" in row["notes"]
    assert set(proxy.tokens()) == {"input", "output"}


async def test_an_answer_that_no_turn_asked_for_is_the_sockets(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    async def twice(socket: Socket, turn: Any) -> None:
        await answer(socket, turn)
        await answer(socket, turn)

    upstream.script = each(twice)
    proxy = start_proxy()
    async with opened(proxy, proxy.key()) as socket:
        await create(socket)
        await heard(socket)
        await heard(socket)
    await settled(proxy, 2)
    assert len(turns(proxy)) == 1
    check(proxy, 2)


async def test_a_fragmented_turn_and_pings_between(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    upstream.script = each(answer)
    proxy = start_proxy()
    async with opened(proxy, proxy.key()) as socket:
        text = json.dumps({"type": "response.create", "model": ASKED, "input": "x" * 200_000})
        writer = socket._writer
        writer.transport.write(_frame(0x1, text[:100].encode(), fin=False))
        await socket.ping(b"between")
        writer.transport.write(_frame(0x0, text[100:].encode(), fin=True))
        assert (await heard(socket))["type"] == "response.completed"
    assert len(upstream.sockets[0].heard[0]["input"]) == 200_000


def _frame(opcode: int, payload: bytes, *, fin: bool) -> bytes:
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    head += bytes([0x80 | size]) if size < 126 else b"\xff" + size.to_bytes(8)
    return head + bytes(4) + payload
