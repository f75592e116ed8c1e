"""Realtime sessions of the official SDK, metered to the token, in both modes."""

import asyncio
from typing import Any

import openai
import pytest
from openai.types.realtime import RealtimeServerEvent

from tests.proxy_process import UPSTREAM_KEY, ProxyProcess
from tests.sockets.conftest import StartProxy
from tests.sockets.upstream import TOKENS, Socket, SocketUpstream, begin, end

MODEL = "gpt-realtime"


def client_of(proxy: ProxyProcess, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=proxy.base_url, api_key=key, websocket_base_url=f"ws://127.0.0.1:{proxy.port}/v1"
    )


async def converse(client: openai.AsyncOpenAI, turns: int = 1) -> list[str]:
    """Ask for answers, one after the other; return the types of what came."""
    came: list[str] = []
    async with client.realtime.connect(model=MODEL) as connection:
        for _ in range(turns):
            await connection.response.create()
            async for event in connection:
                came.append(event.type)
                if event.type == "response.done":
                    break
    return came


async def settled(proxy: ProxyProcess, count: int = 1) -> list[dict[str, Any]]:
    return await asyncio.to_thread(proxy.settled, count)


def model_tokens(proxy: ProxyProcess, model: str) -> dict[str, int]:
    rows = proxy.rows(
        "SELECT type, sum(quantity) AS quantity FROM events JOIN series ON"
        " series.id = events.series_id WHERE metric = 'tokens' AND model = ? GROUP BY type",
        model,
    )
    return {row["type"]: row["quantity"] for row in rows}


@pytest.mark.parametrize("managed", [True, False])
async def test_a_session_of_the_sdk_is_metered_to_the_token(
    upstream: SocketUpstream, start_proxy: StartProxy, managed: bool
) -> None:
    proxy = start_proxy(managed=managed)
    key = proxy.key() if managed else "sk-of-the-client"
    came = await converse(client_of(proxy, key), turns=3)
    assert came[0] == "session.created"
    assert came.count("response.done") == 3
    (request,) = await settled(proxy)
    assert (request["state"], request["endpoint"]) == ("exact", "realtime")
    assert (request["model"], request["upstream_status"]) == (MODEL, 101)
    assert proxy.tokens() == {kind: 3 * count for kind, count in TOKENS.items()}
    proxy.check_sums()
    asked = upstream.asked[0]
    assert asked["authorization"] == f"Bearer {UPSTREAM_KEY if managed else key}"
    assert "sec-websocket-extensions" not in asked
    usage = await asyncio.to_thread(proxy.usage, key)
    assert usage["completeness"]["exact"] == 1
    assert usage["completeness"]["open"] == 0
    if managed:
        assert usage["total"]["amount"] != "0.00"


async def test_its_events_are_there_while_it_runs(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    proxy = start_proxy()
    async with client_of(proxy, proxy.key()).realtime.connect(model=MODEL) as connection:
        for turn in range(1, 4):
            await connection.response.create()
            async for event in connection:
                if event.type == "response.done":
                    break
            assert proxy.states() == {"open": 1}
            assert proxy.tokens() == {kind: turn * count for kind, count in TOKENS.items()}
    await settled(proxy)
    proxy.check_sums()


async def test_a_transcription_is_billed_as_its_own_model(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    async def script(socket: Socket) -> None:
        transcription = {"model": "gpt-4o-transcribe"}
        session = {"model": MODEL, "audio": {"input": {"transcription": transcription}}}
        await socket.say(type="session.updated", event_id="e", session=session)
        used = {
            "type": "tokens",
            "total_tokens": 26,
            "input_tokens": 17,
            "input_token_details": {"text_tokens": 0, "audio_tokens": 17},
            "output_tokens": 9,
        }
        for _ in range(2):  # the same again counts once
            await socket.say(
                type="conversation.item.input_audio_transcription.completed",
                event_id="e",
                item_id="item_1",
                content_index=0,
                transcript="Hi",
                usage=used,
            )
        await begin(socket, 1)
        await end(socket, 1, "cancelled")
        await end(socket, 1, "cancelled")

    upstream.script = script
    proxy = start_proxy()
    async with client_of(proxy, proxy.key()).realtime.connect(model=MODEL) as connection:
        events: list[RealtimeServerEvent] = [event async for event in connection]
    assert len(events) == 7
    (request,) = await settled(proxy)
    assert request["state"] == "exact"
    assert model_tokens(proxy, "gpt-4o-transcribe") == {"input_audio": 17, "output": 9}
    assert model_tokens(proxy, MODEL) == TOKENS
    proxy.check_sums()


async def test_an_answer_cut_off_makes_it_partial(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    async def script(socket: Socket) -> None:
        await begin(socket, 1)
        await end(socket, 1)
        await begin(socket, 2)

    upstream.script = script
    proxy = start_proxy()
    async with client_of(proxy, proxy.key()).realtime.connect(model=MODEL) as connection:
        assert len([event async for event in connection]) == 5
    (request,) = await settled(proxy)
    assert (request["state"], request["notes"]) == (
        "partial",
        "an answer was running when the socket ended",
    )
    assert proxy.tokens() == TOKENS
    proxy.check_sums()
