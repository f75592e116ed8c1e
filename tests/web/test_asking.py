"""Upstreams that refuse to be asked for usage: the client does not notice, once and for all."""

import asyncio
import json
import threading
from collections import Counter

import pytest

from proxy.demo.scripted import (
    LAST_CHUNK,
    Received,
    Reply,
    Responder,
    chunk,
    chunked_head,
    whole,
)
from tests.e2e.conftest import StartProxy
from tests.e2e.raw_http import Client, ask, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import PATIENCE_S, ProxyProcess, until
from tests.web.answers import JSON, as_events, as_json, kept

CHAT = "/v1/chat/completions"
MISTRAL = {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}
AZURE = {"error": {"message": "Unrecognized request argument supplied: stream_options"}}
OTHER = {"error": {"message": "The model is not there."}}
CHUNK = {"model": "m-1", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
USAGE = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
LAST = {"model": "m-1", "choices": [{"index": 0, "delta": {}}], "usage": USAGE}


def body(model: str, **members: object) -> bytes:
    return json.dumps({"model": model, "stream": True, "messages": []} | members).encode()


def refusing(refusal: bytes, answer: bytes) -> Responder:
    async def respond(received: Received, reply: Reply) -> None:
        asks = "stream_options" in received.json()
        await reply.send(refusal if asks else answer)

    return respond


@pytest.fixture
def proxy(passthrough: ProxyProcess) -> ProxyProcess:
    return passthrough


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("mistral", as_json(MISTRAL, 422)),
        ("azure", as_json(AZURE, 400)),
        ("in-chunks", chunked_head(400, (JSON,)) + chunk(b'{"error":"stream_') +
         chunk(b'options"}') + LAST_CHUNK),
        ("closing", whole(400, json.dumps(AZURE).encode(), (JSON, ("Connection", "close")))),
    ],
)  # fmt: skip
def test_the_first_refused_request_succeeds_and_the_next_do_not_ask(
    scripted: ScriptedThread, proxy: ProxyProcess, name: str, refusal: bytes
) -> None:
    answer = as_events(CHUNK, LAST, "[DONE]")
    scripted.answers(refusing(refusal, answer))
    sent = body(name)
    for _ in range(3):
        got = ask(proxy.port, request(CHAT, key="sk-a", body=sent))
        assert (got.status, got.body) == (200, answer.partition(b"\r\n\r\n")[2])
        found = kept(proxy, got)
        assert found.row["state"] == "exact"
        assert found.used == Counter({("tokens", "input"): 7, ("tokens", "output"): 1})
    assert [received.body == sent for received in scripted.received] == [False, True, True, True]


def test_without_usage_it_is_estimated(scripted: ScriptedThread, proxy: ProxyProcess) -> None:
    scripted.answers(refusing(as_json(AZURE, 400), as_events(CHUNK, "[DONE]")))
    found = kept(proxy, ask(proxy.port, request(CHAT, key="sk-a", body=body("silent"))))
    assert found.row["state"] == "estimated"
    assert found.row["model"] == "m-1"


def test_other_errors_pass_and_are_not_asked_again(
    scripted: ScriptedThread, proxy: ProxyProcess
) -> None:
    for status, error in ((400, OTHER), (404, AZURE), (422, OTHER), (500, AZURE)):
        answer = as_json(error, status)
        scripted.answers(refusing(answer, b""))
        got = ask(proxy.port, request(CHAT, key="sk-a", body=body("other")))
        assert (got.status, got.body) == (status, answer.partition(b"\r\n\r\n")[2])
        assert len(scripted.received) == 1
        assert kept(proxy, got).row["state"] == "failed"


def test_a_refusal_that_is_about_something_else_is_the_clients(
    scripted: ScriptedThread, proxy: ProxyProcess
) -> None:
    """It echoes the body, and with it the option: asked without, it refuses again."""
    second = as_json({"error": {"message": "messages: too short"}}, 422)
    scripted.answers(refusing(as_json(MISTRAL, 422), second))
    for _ in range(2):  # nothing was learnt by it
        scripted.received.clear()
        got = ask(proxy.port, request(CHAT, key="sk-a", body=body("echo")))
        assert got.body == second.partition(b"\r\n\r\n")[2]
        assert len(scripted.received) == 2


def test_a_client_that_asks_itself_gets_the_refusal(
    scripted: ScriptedThread, proxy: ProxyProcess
) -> None:
    refusal = as_json(MISTRAL, 422)
    scripted.answers(refusing(refusal, b""))
    asked = body("mistral-own", stream_options={"include_usage": True})
    got = ask(proxy.port, request(CHAT, key="sk-a", body=asked))
    assert (got.status, got.body) == (422, refusal.partition(b"\r\n\r\n")[2])
    assert len(scripted.received) == 1


def test_a_long_answer_is_no_refusal(scripted: ScriptedThread, proxy: ProxyProcess) -> None:
    long = as_json({"error": "stream_options" * 10_000}, 400)
    scripted.answers(refusing(long, b""))
    got = ask(proxy.port, request(CHAT, key="sk-a", body=body("long")))
    assert got.body == long.partition(b"\r\n\r\n")[2]
    assert len(scripted.received) == 1


def test_a_refusal_that_breaks_off(scripted: ScriptedThread, proxy: ProxyProcess) -> None:
    async def respond(_received: Received, reply: Reply) -> None:
        await reply.send(as_json(AZURE, 400)[:-5])
        reply.close()

    scripted.answers(respond)
    with Client(proxy.port) as client:
        client.send(request(CHAT, key="sk-a", body=body("broken")))
        assert not client.answer().whole
    assert len(scripted.received) == 1


def test_a_client_that_leaves_meanwhile(scripted: ScriptedThread, proxy: ProxyProcess) -> None:
    left, refused = threading.Event(), threading.Event()

    async def respond(received: Received, reply: Reply) -> None:
        if "stream_options" in received.json():
            await asyncio.to_thread(left.wait, PATIENCE_S)
            await asyncio.sleep(0.3)  # the proxy has seen it by then
            await reply.send(as_json(AZURE, 400))
            refused.set()
        else:
            await reply.send(as_events(CHUNK, LAST, "[DONE]"))

    scripted.answers(respond)
    before = len(proxy.requests())
    with Client(proxy.port) as client:
        client.send(request(CHAT, key="sk-a", body=body("leaving")))
        until(lambda: scripted.received)
    left.set()
    assert refused.wait(PATIENCE_S)
    rows = proxy.settled(before + 1)
    assert rows[-1]["state"] == "exact"  # it is drained: what the second asking says is billed
    assert len(scripted.received) == 2


def test_include_usage_false_does_not_escape(scripted: ScriptedThread, proxy: ProxyProcess) -> None:
    usage = {"model": "m-1", "choices": [], "usage": USAGE}
    scripted.answers(refusing(as_events(CHUNK, usage, "[DONE]"), as_events(CHUNK, "[DONE]")))
    asked = body("sly", stream_options={"include_usage": False})
    got = ask(proxy.port, request(CHAT, key="sk-a", body=asked))
    assert got.body == as_events(CHUNK, "[DONE]").partition(b"\r\n\r\n")[2]
    assert kept(proxy, got).used.total() == 8


def test_an_upstream_that_is_known_not_to_take_it(
    scripted: ScriptedThread, start_proxy: StartProxy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = tmp_path_factory.mktemp("table") / "upstreams.toml"
    table.write_text(
        f'[[upstream]]\nname = "mistral"\nbase_url = "{scripted.base_url}"\n'
        'models = ["mistral-*"]\nasks_usage = false\n'
    )
    proxy = start_proxy(scripted.base_url, upstreams_file=table)
    scripted.answers(refusing(as_json(MISTRAL, 422), as_events(CHUNK, LAST, "[DONE]")))
    got = ask(proxy.port, request(CHAT, key=proxy.key(), body=body("mistral-large")))
    assert got.status == 200
    assert len(scripted.received) == 1
    assert scripted.received[0].header("authorization") is None
