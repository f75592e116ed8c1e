"""Upstreams that can't be reached, are silent, lie, or break off: what could be relayed was."""

import json
import socket
import time
from typing import Any

import pytest

from proxy.demo.scripted import (
    LAST_CHUNK,
    Ending,
    Received,
    Reply,
    chunk,
    chunked_head,
    head,
    steps,
    whole,
)
from tests.e2e.conftest import StartProxy
from tests.e2e.raw_http import Answer, Client, ask, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess, until

CHAT = "/v1/chat/completions"
JSON = ("Content-Type", "application/json")
EVENT_STREAM = ("Content-Type", "text/event-stream")
USAGE = b'"usage":{"prompt_tokens":7,"completion_tokens":5}'
DELTA = b'data: {"model":"gpt-4o","choices":[{"delta":{"content":"Every lorry that crosses"}}]}\n\n'
FINAL = b'data: {"model":"gpt-4o","choices":[],%b}\n\n' % USAGE
DONE = b"data: [DONE]\n\n"
BODY = b'{"id":"x","model":"gpt-4o","choices":[],%b}' % USAGE


def chat(key: str, *, stream: bool = True, usage: bool = False) -> bytes:
    body: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
    body["stream"] = stream
    if usage:
        body["stream_options"] = {"include_usage": True}
    return request(CHAT, key=key, body=json.dumps(body).encode())


class Asking:
    """One customer's requests through the proxy."""

    def __init__(self, proxy: ProxyProcess, customer: str) -> None:
        self.proxy = proxy
        self.customer = customer
        self.key = proxy.key(customer)

    def stream(self) -> Answer:
        return ask(self.proxy.port, chat(self.key))

    def whole(self) -> Answer:
        return ask(self.proxy.port, chat(self.key, stream=False))

    def settled(self) -> dict[str, Any]:
        """Return the last request, and what it is billed, by type."""
        row = self.proxy.settled(1, subscription=self.customer)[-1]
        events = self.proxy.rows(
            "SELECT type, quantity FROM events JOIN series ON series.id = series_id"
            " WHERE metric = 'tokens' AND request_id = ?",
            row["id"],
        )
        return row | {event["type"]: event["quantity"] for event in events}


@pytest.fixture
def asking(managed: ProxyProcess, request: pytest.FixtureRequest) -> Asking:
    return Asking(managed, request.node.name)


def code(answer: Answer) -> str:
    return str(json.loads(answer.body)["error"]["code"])


def test_unreachable(start_proxy: StartProxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    proxy = start_proxy(f"http://127.0.0.1:{port}/v1")
    asking = Asking(proxy, "acme")
    answer = asking.stream()
    assert (answer.status, code(answer)) == (502, "upstream_unreachable")
    assert answer.header(b"x-weighbridge-request-id")
    row = asking.settled()
    assert (row["state"], row["upstream_status"]) == ("failed", None)
    assert "input" not in row


def test_a_name_that_is_none(start_proxy: StartProxy) -> None:
    proxy = start_proxy("http://no-such-host.invalid/v1", upstream_connect_timeout_s=5)
    answer = Asking(proxy, "acme").whole()
    assert answer.status in {502, 504}


@pytest.mark.parametrize("stream", [True, False])
def test_silent_before_the_answer(
    scripted: ScriptedThread, start_proxy: StartProxy, stream: bool
) -> None:
    proxy = start_proxy(scripted.base_url, upstream_timeout_s=0.5)
    scripted.answers(steps(Ending.HANG))
    asking = Asking(proxy, "acme")
    answer = asking.stream() if stream else asking.whole()
    assert (answer.status, code(answer)) == (504, "upstream_timeout")
    row = asking.settled()
    # It has the request, and may well be working on it: what we gave up is not free.
    assert (row["state"], row["upstream_status"]) == ("partial", None)
    assert row["input"] > 0
    assert "output" not in row


def test_silent_in_the_middle(scripted: ScriptedThread, start_proxy: StartProxy) -> None:
    proxy = start_proxy(scripted.base_url, upstream_timeout_s=0.5)
    scripted.answers(steps(chunked_head(200, (EVENT_STREAM,)), chunk(DELTA), Ending.HANG))
    asking = Asking(proxy, "acme")
    answer = asking.stream()
    assert (answer.body, answer.whole) == (DELTA, False)
    row = asking.settled()
    assert row["state"] == "partial"
    assert row["input"] > 0
    assert row["output"] > 0


@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.ABORT])
@pytest.mark.parametrize("half_a_head", [b"", b"HTTP/1.1 200 OK\r\nContent-"])
def test_closed_before_the_answer(
    scripted: ScriptedThread, asking: Asking, ending: Ending, half_a_head: bytes
) -> None:
    begun: tuple[bytes | float, ...] = (half_a_head, 0.05) if half_a_head else ()
    scripted.answers(steps(*begun, ending))
    answer = asking.stream()
    assert (answer.status, code(answer)) == (502, "upstream_closed")
    assert "may have processed" in json.loads(answer.body)["error"]["message"]
    assert asking.settled()["state"] == "failed"
    assert len(scripted.received) == 1


@pytest.mark.parametrize(
    "garbage",
    [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100],
    ids=["ssh", "no status", "zeros"],
)
def test_no_http_at_all(scripted: ScriptedThread, asking: Asking, garbage: bytes) -> None:
    scripted.answers(steps(garbage, Ending.CLOSE))
    answer = asking.whole()
    assert (answer.status, code(answer)) == (502, "upstream_closed")


FLOOD = [b"x-%d: %b\r\n" % (n, b"v" * 4000) for n in range(100)]


def test_a_head_without_end(scripted: ScriptedThread, asking: Asking) -> None:
    scripted.answers(steps(b"HTTP/1.1 200 OK\r\n", *FLOOD, Ending.HANG))
    answer = asking.whole()
    assert (answer.status, code(answer)) == (502, "upstream_closed")
    assert "headers of more than" in json.loads(answer.body)["error"]["message"]


def test_trailers_without_end(scripted: ScriptedThread, asking: Asking) -> None:
    begun = chunked_head(200, [EVENT_STREAM]) + chunk(DELTA) + chunk(FINAL) + b"0\r\n"
    scripted.answers(steps(begun, *FLOOD, Ending.HANG))
    answer = asking.stream()
    assert DELTA in answer.body
    assert asking.settled()["output"] == 5


@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.ABORT])
@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_closed_in_the_middle_of_a_body(
    scripted: ScriptedThread, asking: Asking, ending: Ending, kind: str
) -> None:
    if kind == "length":
        start = head(200, (JSON, ("Content-Length", str(len(BODY))))) + BODY[:40]
    else:
        start = chunked_head(200, (JSON,)) + chunk(BODY[:40])
    scripted.answers(steps(start, 0.05, ending))
    answer = asking.whole()
    assert (answer.status, answer.whole) == (200, False)
    if ending is Ending.CLOSE:
        assert answer.body == BODY[:40]
    row = asking.settled()
    assert row["state"] == "partial"
    assert row["input"] > 0


@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.ABORT])
@pytest.mark.parametrize("kind", ["chunked", "half a frame"])
def test_closed_in_the_middle_of_a_stream(
    scripted: ScriptedThread, asking: Asking, ending: Ending, kind: str
) -> None:
    sent = DELTA + (DELTA[:30] if kind == "half a frame" else b"")
    scripted.answers(steps(chunked_head(200, (EVENT_STREAM,)), chunk(sent), 0.05, ending))
    answer = asking.stream()
    assert not answer.whole
    assert answer.body.startswith(DELTA)
    row = asking.settled()
    assert row["state"] == "partial"
    assert row["input"] > 0
    assert row["output"] > 0


def test_closed_after_usage_but_before_the_end(scripted: ScriptedThread, asking: Asking) -> None:
    pieces = chunk(DELTA), chunk(FINAL), 0.05, Ending.CLOSE
    scripted.answers(steps(chunked_head(200, (EVENT_STREAM,)), *pieces))
    answer = asking.stream()
    assert (answer.body, answer.whole) == (DELTA, False)
    row = asking.settled()
    assert (row["state"], row["input"], row["output"]) == ("partial", 7, 5)


def test_closed_after_the_completing_event(scripted: ScriptedThread, asking: Asking) -> None:
    pieces = chunk(DELTA), chunk(FINAL), chunk(DONE), 0.05, Ending.CLOSE
    scripted.answers(steps(chunked_head(200, (EVENT_STREAM,)), *pieces))
    assert asking.stream().body == DELTA + DONE
    row = asking.settled()
    assert (row["state"], row["input"], row["output"]) == ("exact", 7, 5)


def test_an_error_in_the_middle_of_a_stream(scripted: ScriptedThread, asking: Asking) -> None:
    failure = b'data: {"error":{"message":"overloaded","type":"server_error","code":null}}\n\n'
    pieces = chunk(DELTA), chunk(failure), chunk(DONE), LAST_CHUNK
    scripted.answers(steps(chunked_head(200, (EVENT_STREAM,)), *pieces))
    answer = asking.stream()
    assert (answer.body, answer.whole) == (DELTA + failure + DONE, True)
    row = asking.settled()
    assert row["state"] == "partial"
    assert row["output"] > 0


@pytest.mark.parametrize(
    "data",
    [
        b"data: {not JSON\n\n",
        b"\xff\xfe\x00\x01\n\n",
        b'data: {"usage":"none","choices":7}\n\n',
        b'data: {"usage":{"prompt_tokens":-5,"completion_tokens":1e99}}\n\n',
        b"data\n\n:\n\nevent\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
    ids=["no JSON", "binary", "odd types", "odd numbers", "no values", "deep"],
)
def test_malformed_events_pass_and_the_request_is_settled(
    scripted: ScriptedThread, asking: Asking, data: bytes
) -> None:
    pieces = chunk(DELTA), chunk(data), chunk(DONE), LAST_CHUNK
    scripted.answers(steps(chunked_head(200, (EVENT_STREAM,)), *pieces))
    answer = asking.stream()
    assert (answer.body, answer.whole) == (DELTA + data + DONE, True)
    assert asking.settled()["state"] in {"estimated", "exact", "partial"}
    scripted.answers(steps(whole(200, BODY, (JSON,))))
    assert asking.whole().body == BODY


def test_a_kept_connection_that_died_is_not_used_twice(
    scripted: ScriptedThread, asking: Asking
) -> None:
    """What the upstream closes between two requests is noticed; nothing is sent twice."""

    async def close_after(_received: Received, reply: Reply) -> None:
        await reply.send(whole(200, BODY, (JSON,)))
        reply.close()

    scripted.answers(close_after)
    for _ in range(20):
        assert asking.whole().status == 200
        until(lambda: True)
        time.sleep(0.005)
    assert len(scripted.received) == 20
    assert asking.proxy.settled(20, subscription=asking.customer)[-1]["state"] == "exact"


def test_bytes_after_an_answer_are_nobodys(scripted: ScriptedThread, asking: Asking) -> None:
    scripted.answers(steps(whole(200, BODY, (JSON,)) + whole(200, b"smuggled", (JSON,))))
    for _ in range(3):
        answer = asking.whole()
        assert answer.body == BODY or answer.status == 502
        assert b"smuggled" not in answer.body


def test_an_answer_longer_than_it_says(scripted: ScriptedThread, asking: Asking) -> None:
    short = head(200, (JSON, ("Content-Length", "10"))) + BODY
    scripted.answers(steps(short, Ending.CLOSE))
    answer = asking.whole()
    assert answer.body == BODY[:10] or answer.status == 502
    scripted.answers(steps(whole(200, BODY, (JSON,))))
    assert asking.whole().body == BODY


def test_upstream_connections_are_kept(scripted: ScriptedThread, asking: Asking) -> None:
    scripted.answers(steps(whole(200, BODY, (JSON,))))
    with Client(asking.proxy.port) as client:
        for _ in range(10):
            client.send(chat(asking.key, stream=False))
            assert client.answer().body == BODY
    assert len({received.connection for received in scripted.received}) == 1
