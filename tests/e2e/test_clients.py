"""Clients that are slow, leave, close half of it, or send several requests at once."""

import json
import socket
import threading
from typing import Any

import pytest

from proxy.demo.scripted import (
    LAST_CHUNK,
    Received,
    Reply,
    chunk,
    chunked_head,
    steps,
    whole,
)
from tests.e2e.conftest import StartProxy
from tests.e2e.listeners import Listener
from tests.e2e.raw_http import Client, ask, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess, until

CHAT = "/v1/chat/completions"
JSON = ("Content-Type", "application/json")
EVENT_STREAM = ("Content-Type", "text/event-stream")
USAGE = b'"usage":{"prompt_tokens":7,"completion_tokens":5}'
BODY = b'{"id":"x","model":"gpt-4o","choices":[],%b}' % USAGE
DELTA = b'data: {"model":"gpt-4o","choices":[{"delta":{"content":"Every lorry"}}]}\n\n'
END = b'data: {"model":"gpt-4o","choices":[],%b}\n\ndata: [DONE]\n\n' % USAGE


def chat(key: str, *, stream: bool, **members: Any) -> bytes:
    body = {"model": "gpt-4o", "messages": [], "stream": stream} | members
    if stream:
        body["stream_options"] = {"include_usage": True}
    return request(CHAT, key=key, body=json.dumps(body).encode())


class Endless:
    """A stream that goes on as fast as it is taken; it counts what it could send."""

    def __init__(self, most_bytes: int) -> None:
        self.sent_bytes = 0
        self.finished = threading.Event()
        self._most_bytes = most_bytes
        self._event = DELTA[:-4] + b',"pad":"' + b"x" * 65_536 + b'"}\n\n'

    async def __call__(self, _received: Received, reply: Reply) -> None:
        await reply.send(chunked_head(200, (EVENT_STREAM,)))
        while self.sent_bytes < self._most_bytes:
            await reply.send(chunk(self._event))
            self.sent_bytes += len(self._event)
        await reply.send(chunk(END) + LAST_CHUNK)
        self.finished.set()


def quiet(read: Any) -> Any:
    """Wait until a figure has stopped moving; return it."""
    last = [read()]

    def same() -> bool:
        threading.Event().wait(0.3)
        before, last[0] = last[0], read()
        return bool(before == last[0])

    until(same)
    return last[0]


def test_a_slow_reader_slows_the_upstream_and_fills_no_memory(
    scripted: ScriptedThread, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(scripted.base_url)
    endless = Endless(most_bytes=64 * 1024 * 1024)
    scripted.answers(endless)
    before = proxy.rss_bytes
    with Client(proxy.port, receive_buffer=64 * 1024) as client:
        client.send(chat(proxy.key(), stream=True))
        paused_at = quiet(lambda: endless.sent_bytes)
        # The kernel's buffers take some megabytes on each side; the proxy's own are small.
        assert paused_at < 32 * 1024 * 1024
        assert proxy.rss_bytes - before < 8 * 1024 * 1024
        assert not endless.finished.is_set()
        answer = client.answer()
    assert answer.whole
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert proxy.rss_bytes - before < 16 * 1024 * 1024
    assert proxy.settled(1)[0]["state"] == "exact"


def test_a_slow_reader_that_leaves_is_drained(
    scripted: ScriptedThread, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(scripted.base_url)
    endless = Endless(most_bytes=48 * 1024 * 1024)
    scripted.answers(endless)
    with Client(proxy.port, receive_buffer=64 * 1024) as client:
        client.send(chat(proxy.key(), stream=True))
        quiet(lambda: endless.sent_bytes)
    assert proxy.settled(1)[0]["state"] == "exact"
    assert endless.finished.is_set()


def test_a_client_that_closes_its_side_gets_its_answer(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    scripted.answers(steps(0.1, whole(200, BODY, (JSON,))))
    with Client(managed.port) as client:
        client.send(chat(key, stream=False))
        client.half_close()
        assert client.answer().body == BODY
        assert client.ended()
    scripted.answers(
        steps(chunked_head(200, (EVENT_STREAM,)), chunk(DELTA), 0.1, chunk(END), LAST_CHUNK)
    )
    with Client(managed.port) as client:
        client.send(chat(key, stream=True))
        client.half_close()
        assert client.answer().body == DELTA + END
        assert client.ended()


def test_a_client_that_closes_its_side_gets_all_its_answers(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    scripted.answers(steps(0.1, whole(200, BODY, (JSON,))))
    with Client(managed.port) as client:
        client.send(chat(key, stream=False) * 3)
        client.half_close()
        answers = [client.answer() for _ in range(3)]
        assert [answer.body for answer in answers] == [BODY] * 3
        assert [answer.header(b"connection") for answer in answers] == [None, None, b"close"]
        assert client.ended()


def test_half_a_request_reaches_nobody(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    scripted.answers(steps(whole(200, BODY, (JSON,))))
    before = len(managed.requests())
    sent = chat(key, stream=False)
    for size in (1, 30, len(sent) - 1):
        with Client(managed.port) as client:
            client.send(sent[:size])
            client.half_close()
            assert client.ended()
    assert scripted.received == []
    assert len(managed.requests()) == before


def test_requests_follow_each_other_on_one_connection(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    stream = chunked_head(200, (EVENT_STREAM,)), chunk(DELTA), chunk(END), LAST_CHUNK
    with Client(managed.port) as client:
        for number in range(12):
            if number % 3 == 0:
                scripted.answers(steps(*stream))
                client.send(chat(key, stream=True))
                assert client.answer().body == DELTA + END
            elif number % 3 == 1:
                scripted.answers(steps(whole(200, BODY, (JSON,))))
                client.send(chat(key, stream=False))
                assert client.answer().body == BODY
            else:
                client.send(request("/v1/assistants", key=key, body=b"{}"))
                assert client.answer().status == 404


def test_requests_sent_ahead_are_answered_in_order(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    async def echo(received: Received, reply: Reply) -> None:
        name = received.json()["user"].encode()
        await reply.send(whole(200, BODY.replace(b'"x"', b'"%b"' % name), (JSON,)))

    scripted.answers(echo)
    with Client(managed.port) as client:
        client.send(b"".join(chat(key, stream=False, user=f"u{n}") for n in range(30)))
        for number in range(30):
            assert json.loads(client.answer().body)["id"] == f"u{number}"


def test_a_request_byte_by_byte(scripted: ScriptedThread, managed: ProxyProcess, key: str) -> None:
    scripted.answers(steps(whole(200, BODY, (JSON,))))
    sent = chat(key, stream=False)
    with Client(managed.port) as client:
        for byte in sent:
            client.send(bytes([byte]))
        assert client.answer().body == BODY
    assert scripted.received[0].body == sent.partition(b"\r\n\r\n")[2]


def test_a_client_of_http_1_0(scripted: ScriptedThread, managed: ProxyProcess, key: str) -> None:
    stream = chunked_head(200, (EVENT_STREAM,)), chunk(DELTA), chunk(END), LAST_CHUNK
    scripted.answers(steps(*stream))
    answer = ask(managed.port, chat(key, stream=True).replace(b" HTTP/1.1", b" HTTP/1.0", 1))
    assert answer.header(b"transfer-encoding") is None
    assert answer.body == DELTA + END


def test_connection_close_is_obeyed(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    scripted.answers(steps(whole(200, BODY, (JSON,))))
    with Client(managed.port) as client:
        body = chat(key, stream=False).partition(b"\r\n\r\n")[2]
        client.send(request(CHAT, key=key, headers={"Connection": "close"}, body=body))
        answer = client.answer()
        assert answer.body == BODY
        assert answer.header(b"connection") == b"close"
        assert client.ended()


MALFORMED = {
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length that is none": b"Content-Length: 5x\r\n\r\nhello",
    "a negative length": b"Content-Length: -5\r\n\r\nhello",
    "a bad chunk": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a space in a name": b"X Y: z\r\n\r\n",
    "no name": b": z\r\n\r\n",
    "a large head": b"X-Large: " + b"x" * 100_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_requests_that_are_no_http_never_reach_the_upstream(
    scripted: ScriptedThread, managed: ProxyProcess, passthrough: ProxyProcess, key: str, name: str
) -> None:
    scripted.answers(steps(whole(200, BODY, (JSON,))))
    start = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n".encode()
    for proxy in (managed, passthrough):
        with Client(proxy.port) as client:
            client.send(start + MALFORMED[name])
            answer = client.answer()
            assert answer.status in {400, 413, 431}
            assert json.loads(answer.body)["error"]["message"]
    if "chunk" not in name:
        assert scripted.received == []


def test_a_silent_client_is_let_go(scripted: ScriptedThread, start_proxy: StartProxy) -> None:
    proxy = start_proxy(scripted.base_url, client_timeout_s=0.5, keepalive_timeout_s=0.5)
    key = proxy.key()
    scripted.answers(steps(whole(200, BODY, (JSON,))))
    with Client(proxy.port) as client:
        client.send(chat(key, stream=False)[:-1])
        answer = client.answer()
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (408, "request_timeout")
    with Client(proxy.port) as client:
        client.send(chat(key, stream=False))
        assert client.answer().body == BODY
        assert client.ended()


def test_a_client_that_leaves_while_it_uploads(start_proxy: StartProxy) -> None:
    begun, ended = threading.Event(), threading.Event()

    def read_to_the_end(connection: socket.socket) -> None:
        while connection.recv(1000):
            begun.set()
        ended.set()

    with Listener(read_to_the_end) as upstream:
        proxy = start_proxy(upstream.base_url, managed=False)
        with Client(proxy.port) as client:
            headers = {"Content-Type": "audio/wav", "Content-Length": "1000"}
            client.send(request("/v1/files", key="sk-a", headers=headers) + b"x" * 500)
            assert begun.wait(30)
        assert ended.wait(30)
        assert proxy.settled(1)[0]["state"] == "failed"
