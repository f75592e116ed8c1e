"""A client that leaves, at every stage, whatever its upstream does: nothing of it is left."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from proxy.demo.scripted import (
    LAST_CHUNK,
    Ending,
    Received,
    Reply,
    Responder,
    chunk,
    chunked_head,
    steps,
    whole,
)
from tests.e2e.raw_http import request
from tests.http.conftest import Wire
from tests.overload.serving import OK, Proxy, serving

EVENT_STREAM = (("Content-Type", "text/event-stream"),)
FRAME = chunk(
    b'data: {"id":"c","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
)
USAGE = chunk(
    b'data: {"id":"c","model":"gpt-4o","choices":[],"usage":{"prompt_tokens":9,'
    b'"completion_tokens":3,"total_tokens":12}}\n\n'
)
DONE = chunk(b"data: [DONE]\n\n")
HEAD = chunked_head(200, EVENT_STREAM)
SLOWLY = 0.03


def hanging_up(*parts: bytes | float) -> Responder:
    """Send that, and reset the connection, if it is still there."""
    begin = steps(*parts)

    async def respond(received: Received, reply: Reply) -> None:
        await begin(received, reply)
        with suppress(OSError):
            reply.abort()

    return respond


UPSTREAMS: dict[str, Responder] = {
    "answers": steps(SLOWLY, OK),
    "streams": steps(SLOWLY, HEAD, FRAME, SLOWLY, FRAME, SLOWLY, USAGE, DONE, SLOWLY, LAST_CHUNK),
    "streams for ever": steps(HEAD, *cast("list[bytes | float]", [FRAME, 0.02] * 100_000)),
    "hangs": steps(Ending.HANG),
    "hangs after its head": steps(HEAD, Ending.HANG),
    "hangs in mid-stream": steps(HEAD, FRAME, Ending.HANG),
    "hangs after its end": steps(HEAD, FRAME, USAGE, DONE, Ending.HANG),
    "hangs up": hanging_up(SLOWLY),
    "hangs up in mid-stream": hanging_up(HEAD, FRAME, SLOWLY),
    "hangs up in mid-body": hanging_up(OK[:-20], SLOWLY),
    "hangs in mid-body": steps(OK[:-20], Ending.HANG),
    "closes in mid-stream": steps(HEAD, FRAME, SLOWLY, Ending.CLOSE),
    "fails": steps(SLOWLY, whole(500, b'{"error":{"message":"no"}}')),
    "talks nonsense": steps(SLOWLY, b"nonsense\r\n\r\n"),
    "answers twice": steps(OK, OK),
}


def completion(key: str, *, stream: bool = True) -> bytes:
    messages = [{"role": "user", "content": "x" * 2000}]
    body = json.dumps({"model": "gpt-4o", "messages": messages, "stream": stream}).encode()
    return request("/v1/chat/completions", key=key, body=body)


async def leave(wire: Wire, *, reset: bool) -> None:
    if reset:
        wire.writer.transport.abort()
    else:
        wire.writer.close()
    await asyncio.sleep(0)


async def before_anything(wire: Wire, data: bytes) -> None:
    del wire, data


async def in_the_head(wire: Wire, data: bytes) -> None:
    await wire.send(data[:40])
    await asyncio.sleep(0.01)


async def in_the_body(wire: Wire, data: bytes) -> None:
    await wire.send(data[:-100])
    await asyncio.sleep(0.01)


async def at_once(wire: Wire, data: bytes) -> None:
    await wire.send(data)


async def while_it_is_opened(wire: Wire, data: bytes) -> None:
    await wire.send(data)
    await asyncio.sleep(0.002)


async def while_the_upstream_works(wire: Wire, data: bytes) -> None:
    await wire.send(data)
    await asyncio.sleep(0.02)


async def in_the_answer(wire: Wire, data: bytes) -> None:
    await wire.send(data)
    await asyncio.wait_for(wire.reader.read(10), 0.1)


async def at_its_end(wire: Wire, data: bytes) -> None:
    await wire.send(data)
    await asyncio.wait_for(wire.reader.readuntil(b"[DONE]"), 0.15)


async def with_another_request_waiting(wire: Wire, data: bytes) -> None:
    await wire.send(data * 3)
    await asyncio.sleep(0.02)


STAGES = [
    before_anything,
    in_the_head,
    in_the_body,
    at_once,
    while_it_is_opened,
    while_the_upstream_works,
    in_the_answer,
    at_its_end,
    with_another_request_waiting,
]


async def visit(proxy: Proxy, key: str, *, reset: bool, stream: bool) -> None:
    for stage in STAGES:
        wire = await proxy.connect()
        with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            await stage(wire, completion(key, stream=stream))
        await leave(wire, reset=reset)


@pytest.mark.parametrize("policy", ["drain", "cancel"])
@pytest.mark.parametrize("name", UPSTREAMS)
async def test_nothing_is_left(tmp_path: Path, name: str, policy: str) -> None:
    settings: dict[str, Any] = {
        "on_disconnect": policy,
        "drain_timeout_s": 0.3,
        "upstream_timeout_s": 0.5,
    }
    async with serving(tmp_path, **settings) as proxy:
        key = await proxy.key()
        assert (await proxy.ask(completion(key)))[0] == 200
        await proxy.at_rest()
        proxy.answers(UPSTREAMS[name])
        for reset in (False, True):
            for stream in (False, True):
                await visit(proxy, key, reset=reset, stream=stream)
        assert await proxy.leftovers() == {}
        proxy.answers(steps(OK))
        assert (await proxy.ask(completion(key)))[0] == 200
        assert await proxy.leftovers() == {}


@pytest.mark.parametrize("name", UPSTREAMS)
async def test_nothing_is_left_of_a_stop_in_the_middle(tmp_path: Path, name: str) -> None:
    async with serving(tmp_path, shutdown_grace_s=0) as proxy:
        key = await proxy.key()
        assert (await proxy.ask(completion(key)))[0] == 200
        await proxy.at_rest()
        proxy.answers(UPSTREAMS[name])
        await visit(proxy, key, reset=False, stream=True)
        wires = [await proxy.connect() for _ in range(5)]
        for wire in wires:
            await wire.send(completion(key))
        await asyncio.sleep(0.01)
        await proxy.application.stop()
        assert await proxy.leftovers() == {}
