"""Revoked keys, SIGTERM, and what is locked while a worker lives."""

import json
import signal
import socket
import time

import pytest

from proxy.demo.behaviour import HEADER
from tests.e2e.conftest import StartProxy
from tests.e2e.raw_http import Answer, Client, ask, request
from tests.proxy_process import ProxyProcess, UpstreamProcess, until

CHAT = "/v1/chat/completions"
REVOKED_WITHIN_S = 1.0


def chat(key: str, script: str = "", *, stream: bool = True) -> bytes:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    return request(CHAT, key=key, headers={HEADER: script}, body=json.dumps(body).encode())


def start_stream(proxy: ProxyProcess, key: str, script: str) -> Client:
    """Start a stream, and return once its first event is there."""
    client = Client(proxy.port)
    client.send(chat(key, script))
    while b"data: " not in client.peek():
        assert client.more()
    return client


def rest(client: Client) -> Answer:
    with client:
        return client.answer()


def test_a_revoked_key_stops_within_a_second_and_what_runs_finishes(
    openai_like: UpstreamProcess, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(openai_like.base_url)
    key, other = proxy.key(), proxy.key("other")
    assert ask(proxy.port, chat(key)).status == 200
    running = start_stream(proxy, key, "gap=0.3,pieces=8")
    proxy.revoke(key)
    revoked_at = time.monotonic()
    until(lambda: ask(proxy.port, chat(key)).status == 401)
    assert time.monotonic() - revoked_at < REVOKED_WITHIN_S
    refused = ask(proxy.port, chat(key))
    assert json.loads(refused.body)["error"]["code"] == "invalid_api_key"
    assert ask(proxy.port, chat(other)).status == 200
    answer = rest(running)
    assert answer.whole
    assert b"[DONE]" in answer.body
    assert set(proxy.states()) == {"exact"}
    refused = ask(proxy.port, request("/usage/current", method="GET", key=key))
    assert refused.status == 401


def test_a_new_key_works_at_once(openai_like: UpstreamProcess, start_proxy: StartProxy) -> None:
    proxy = start_proxy(openai_like.base_url)
    for number in range(3):
        key = proxy.key(f"customer-{number}")
        assert ask(proxy.port, chat(key)).status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_streams_finish_within_the_grace_time(
    openai_like: UpstreamProcess, start_proxy: StartProxy, number: signal.Signals
) -> None:
    proxy = start_proxy(openai_like.base_url)
    key = proxy.key()
    idle = Client(proxy.port)
    idle.send(chat(key))
    assert idle.answer().whole
    running = start_stream(proxy, key, "gap=0.1")
    proxy.process.send_signal(number)
    with idle:
        assert idle.ended()
    with pytest.raises(ConnectionRefusedError):
        until(lambda: Client(proxy.port).close(), patience_s=5)
    answer = rest(running)
    assert answer.whole
    assert b"[DONE]" in answer.body
    assert proxy.wait() == 0
    assert proxy.states() == {"exact": 2}


def test_after_the_grace_time_streams_are_partial(
    openai_like: UpstreamProcess, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(openai_like.base_url, shutdown_grace_s=0.3)
    key = proxy.key()
    running = start_stream(proxy, key, "gap=0.1,pieces=1000")
    with Client(proxy.port) as waiting:
        waiting.send(chat(key, "latency=60", stream=False))
        until(lambda: len(openai_like.truth()["answers"]) == 2)
        assert proxy.terminate() == 0
        assert waiting.ended()
    answer = rest(running)
    assert not answer.whole
    assert b"[DONE]" not in answer.body
    assert proxy.states() == {"partial": 2}
    assert all(row["settled_at_us"] for row in proxy.requests())
    tokens = proxy.tokens()
    assert tokens["input"] > 0
    assert tokens["output"] > 0
    proxy.check_sums()


def test_nothing_is_left_locked(openai_like: UpstreamProcess, start_proxy: StartProxy) -> None:
    proxy = start_proxy(openai_like.base_url)
    key = proxy.key()
    assert ask(proxy.port, chat(key)).whole
    folder = proxy.database.parent
    assert list(folder.glob("*.worker-*"))
    assert proxy.terminate() == 0
    assert not list(folder.glob("*.worker-*"))
    assert not list(folder.glob("*-wal"))
    again = ProxyProcess(folder, openai_like.base_url)
    with again:
        again.start()
        assert ask(again.port, chat(key)).whole
        assert again.states() == {"exact": 2}
        assert again.terminate() == 0
    assert "abandoned" not in again.log


def test_a_second_proxy_on_the_same_ledger_abandons_nothing_of_the_first(
    openai_like: UpstreamProcess, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(openai_like.base_url)
    key = proxy.key()
    running = start_stream(proxy, key, "gap=0.2")
    with ProxyProcess(proxy.database.parent, openai_like.base_url) as second:
        second.start()
        assert ask(second.port, chat(key)).whole
        assert rest(running).whole
        assert second.settled(2)
        assert second.states() == {"exact": 2}


def test_a_port_that_is_taken_is_said_in_one_sentence(
    openai_like: UpstreamProcess, start_proxy: StartProxy
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError) as failure:
            start_proxy(openai_like.base_url, port=port)
    assert f"127.0.0.1:{port} can't be listened on" in str(failure.value)
    assert "Traceback" not in str(failure.value)
