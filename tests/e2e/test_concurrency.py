"""Many streams at a time, and clients that leave: the ledger against the upstream's own truth."""

import asyncio
import json
import random
from collections import Counter
from typing import Any

import pytest

from proxy.demo.behaviour import HEADER
from tests.e2e.conftest import StartProxy
from tests.e2e.raw_http import Client, request
from tests.proxy_process import ProxyProcess, UpstreamProcess, until

STREAMS = 200
LEAVERS = 50
LONGEST_STAY_S = 0.3


async def stream(proxy: ProxyProcess, key: str, name: str, *, leaves_after_s: float | None) -> None:
    """Ask for a stream and read it to its end, or leave: in the middle of it, or before."""
    messages = [{"role": "user", "content": "What does a weighbridge do?"}]
    body = {"model": name, "messages": messages, "stream": True}
    script = {HEADER: "pieces=20,gap=0.02,latency=0.05"}
    data = request("/v1/chat/completions", key=key, headers=script, body=json.dumps(body).encode())
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(data)
        if leaves_after_s is None:
            received = await reader.readuntil(b"0\r\n\r\n")
            assert received.count(b"data: {") == 22
            assert b"data: [DONE]" in received
        else:
            if leaves_after_s > LONGEST_STAY_S / 2:
                await reader.read(1)
            await asyncio.sleep(leaves_after_s)
    finally:
        writer.transport.abort()


async def crowd(proxy: ProxyProcess) -> set[str]:
    """Run all streams at once; return who left early."""
    key = await asyncio.to_thread(proxy.key)
    dice = random.Random(7)
    leavers = set(dice.sample(range(STREAMS), LEAVERS))
    async with asyncio.TaskGroup() as group:
        for number in range(STREAMS):
            leaves = dice.uniform(0, LONGEST_STAY_S) if number in leavers else None
            group.create_task(stream(proxy, key, f"model-{number}", leaves_after_s=leaves))
    return {f"model-{number}" for number in leavers}


def by_model(proxy: ProxyProcess) -> dict[str, dict[str, Any]]:
    """Return each request's state, and its tokens by type."""
    found: dict[str, dict[str, Any]] = {
        row["model_requested"]: {"state": row["state"]} for row in proxy.requests()
    }
    for row in proxy.rows(
        "SELECT requests.model_requested AS model, type, quantity FROM events JOIN series ON"
        " series.id = series_id JOIN requests ON requests.id = request_id WHERE metric = 'tokens'"
    ):
        found[row["model"]][row["type"]] = row["quantity"]
    return found


def truth_of(upstream: UpstreamProcess) -> dict[str, dict[str, Any]]:
    return {answer["model_requested"]: answer for answer in upstream.truth()["answers"]}


async def test_drained_streams_are_billed_as_the_upstream_bills_them(
    openai_like: UpstreamProcess, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(openai_like.base_url)
    leavers = await crowd(proxy)
    until(lambda: not openai_like.outcomes()["running"])
    ledger = by_model(proxy) if proxy.settled(STREAMS - LEAVERS) else {}
    truth = truth_of(openai_like)
    assert {answer["outcome"] for answer in truth.values()} == {"finished"}
    for name, answer in truth.items():
        assert ledger[name] == {
            "state": "exact",
            "input": answer["prompt_tokens"],
            "output": answer["completion_tokens"],
        }
    # Those that left before anything was sent for them are there too, and cost nothing.
    assert {name for name in ledger if name not in truth} <= leavers
    assert all(ledger[name] == {"state": "failed"} for name in ledger if name not in truth)
    assert leavers & truth.keys()
    proxy.check_sums()


async def test_cancelled_streams_are_estimated_from_what_was_delivered(
    openai_like: UpstreamProcess, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(openai_like.base_url, on_disconnect="cancel")
    leavers = await crowd(proxy)
    until(lambda: not openai_like.outcomes()["running"])
    ledger = by_model(proxy) if proxy.settled(STREAMS - LEAVERS) else {}
    truth = truth_of(openai_like)
    states = Counter(ledger[name]["state"] for name in truth)
    for name, answer in truth.items():
        entry = ledger[name]
        if name in leavers and answer["outcome"] == "cut":
            assert entry["state"] == "partial"
            assert entry["input"] > 0
            # One word of the script, in each round of it, is two tokens.
            pieces = answer["completion_tokens"]
            assert entry.get("output", 0) <= pieces + 1 + pieces // 8
        elif name not in leavers:
            assert entry["state"] == "exact"
            assert entry["output"] == answer["completion_tokens"]
    assert states["partial"] > 0
    assert not {name for name in truth if ledger[name]["state"] == "failed"}
    proxy.check_sums()


def leave(proxy: ProxyProcess, upstream: UpstreamProcess, script: str, *, stream: bool) -> None:
    """Ask, and leave as soon as the upstream is at work."""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    data = json.dumps(body).encode()
    with Client(proxy.port) as client:
        client.send(
            request("/v1/chat/completions", key=proxy.key(), headers={HEADER: script}, body=data)
        )
        until(lambda: upstream.outcomes()["running"])


@pytest.mark.parametrize("policy", ["drain", "cancel"])
def test_a_client_that_leaves_a_plain_answer(
    openai_like: UpstreamProcess, start_proxy: StartProxy, policy: str
) -> None:
    proxy = start_proxy(openai_like.base_url, on_disconnect=policy)
    leave(proxy, openai_like, "latency=0.5", stream=False)
    [row] = proxy.settled(1)
    assert row["state"] == ("exact" if policy == "drain" else "partial")
    assert proxy.tokens()["input"] > 0


def test_a_drain_ends_after_its_time(openai_like: UpstreamProcess, start_proxy: StartProxy) -> None:
    proxy = start_proxy(openai_like.base_url, drain_timeout_s=0.2)
    leave(proxy, openai_like, "hang-after=3", stream=True)
    [row] = proxy.settled(1)
    assert row["state"] == "partial"
    until(lambda: openai_like.outcomes()["cut"])


def test_a_drain_ends_after_its_bytes(
    openai_like: UpstreamProcess, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(openai_like.base_url, drain_bytes=2_000)
    leave(proxy, openai_like, "gap=0.005,pieces=10000", stream=True)
    [row] = proxy.settled(1)
    assert row["state"] == "partial"
    until(lambda: openai_like.outcomes()["cut"])
