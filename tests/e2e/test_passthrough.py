"""Passthrough mode: everything under /v1 goes up and comes down as it is, and is recorded."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from proxy.core.subscriptions import key_digest
from proxy.demo.scripted import Responder, steps, whole
from tests.e2e.conftest import StartProxy
from tests.e2e.listeners import Listener, answer_early, read_nothing
from tests.e2e.raw_http import Client, ask, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess, UpstreamProcess

UPLOAD_BYTES = 100 * 1024 * 1024
PIECE = bytes(range(256)) * 1024
JSON = ("Content-Type", "application/json")
EVENTS = ("Content-Type", "text/event-stream")
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def answer_json(status: int, value: object) -> Responder:
    return steps(whole(status, json.dumps(value).encode(), (JSON,)))


@pytest.fixture
def proxy(passthrough: ProxyProcess) -> ProxyProcess:
    return passthrough


TARGETS = [
    "/v1/models",
    "/v1/files?purpose=a%2Fb&x=1&x=2&empty=",
    "/v1/threads/thread_1/runs/run%201/steps",
    "/v1/vector_stores/vs%2F1/search?q=%C3%A9&key=left-alone",
    "/v1/fine_tuning/jobs//double",
    "/v1/some/day/new?a",
    "/v1/a;b=c/@d:e",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_and_path(
    scripted: ScriptedThread, proxy: ProxyProcess, method: str, target: str
) -> None:
    scripted.answers(answer_json(200, {}))
    body = b"" if method in {"GET", "OPTIONS"} else b"\x00\xff not JSON \r\n"
    headers = {"Content-Type": "application/octet-stream"} if body else {}
    sent = request(target, method=method, key="sk-a", headers=headers, body=body)
    direct, crossed = ask(scripted.port, sent), ask(proxy.port, sent)
    assert crossed.status == direct.status == 200
    [first, second] = scripted.received
    assert (second.method, second.target, second.body) == (first.method, first.target, first.body)


def test_headers_go_up_as_they_came_but_for_the_hops(
    scripted: ScriptedThread, proxy: ProxyProcess
) -> None:
    scripted.answers(answer_json(200, {}))
    headers = {
        "X-Odd": "caf\xe9",
        "OpenAI-Organization": "org-mine",
        "OpenAI-Project": "proj-mine",
        "OpenAI-Beta": "assistants=v2",
        "Cookie": "a=b",
        "User-Agent": "test/1",
        "Idempotency-Key": "k",
        "X-Hop": "gone",
        "Connection": "keep-alive, X-Hop",
        "TE": "trailers",
        "Keep-Alive": "timeout=5",
        "Proxy-Authorization": "Basic x",
    }
    ask(proxy.port, request("/v1/chat/completions", key="sk-mine", headers=headers, body=b"{}"))
    [received] = scripted.received
    went = {name.lower() for name, _ in received.headers}
    assert not went & {"x-hop", "te", "keep-alive", "proxy-authorization"}
    assert received.header("authorization") == "Bearer sk-mine"
    assert received.header("host") == f"127.0.0.1:{scripted.port}"
    for name in list(headers)[:7]:
        assert received.header(name) == headers[name]


def test_multipart_in_chunks_is_the_same_above(
    scripted: ScriptedThread, proxy: ProxyProcess
) -> None:
    scripted.answers(answer_json(200, {"id": "file-1"}))
    body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n\x00\x01\r\n--b--\r\n'
    head = request(
        "/v1/files",
        key="sk-a",
        headers={
            "Content-Type": "multipart/form-data; boundary=b",
            "Transfer-Encoding": "chunked",
        },
    ).replace(b"Content-Length: 0\r\n", b"")
    with Client(proxy.port) as client:
        client.send(head)
        for at in range(0, len(body), 7):
            piece = body[at : at + 7]
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
        assert client.answer().status == 200
    [received] = scripted.received
    assert received.body == body
    assert received.header("transfer-encoding") == "chunked"
    assert received.header("content-type") == "multipart/form-data; boundary=b"


def test_100_mb_are_streamed_up(tmp_path: Path) -> None:
    with UpstreamProcess(tmp_path / "upstream", api_key=None) as upstream:
        upstream.start()
        with ProxyProcess(tmp_path / "proxy", upstream.base_url, managed=False) as proxy:
            proxy.start()
            before = proxy.rss_bytes
            seen = []
            with Client(proxy.port) as client:
                headers = {"Content-Length": str(UPLOAD_BYTES), "Content-Type": "audio/wav"}
                client.send(request("/v1/files", key="sk-a", headers=headers))
                for _ in range(UPLOAD_BYTES // len(PIECE)):
                    client.send(PIECE)
                    seen.append(proxy.rss_bytes)
                answer = client.answer()
            digest = hashlib.sha256(PIECE * (UPLOAD_BYTES // len(PIECE))).hexdigest()
            receipt = json.loads(answer.body)
            assert (receipt["bytes"], receipt["sha256"]) == (UPLOAD_BYTES, digest)
            assert max(seen) - before < 16 * 1024 * 1024
            [row] = proxy.settled(1)
            assert (row["endpoint"], row["body_bytes"]) == ("other", UPLOAD_BYTES)


def send_until_it_stalls(client: Client) -> int:
    """Send as much as is taken; return how many bytes that were."""
    client.socket.settimeout(1)
    sent = 0
    with suppress(TimeoutError):
        while sent < UPLOAD_BYTES:
            sent += client.socket.send(PIECE)
    return sent


def test_an_upload_waits_for_an_upstream_that_reads_slowly(start_proxy: StartProxy) -> None:
    """Back-pressure: what the upstream does not take stays with the client, not in the proxy."""
    with Listener(read_nothing) as listener:
        proxy = start_proxy(listener.base_url, managed=False, upstream_timeout_s=2)
        before = proxy.rss_bytes
        with Client(proxy.port) as client:
            headers = {"Content-Length": str(UPLOAD_BYTES), "Content-Type": "audio/wav"}
            client.send(request("/v1/files", key="sk-a", headers=headers))
            # The kernel's buffers on both sides take some megabytes, and ours next to nothing.
            assert send_until_it_stalls(client) < 40 * 1024 * 1024
            assert proxy.rss_bytes - before < 8 * 1024 * 1024
            assert proxy.states() == {"open": 1}
        [row] = proxy.settled(1)
        assert row["state"] == "failed"


@pytest.fixture
def own(scripted: ScriptedThread, tmp_path: Path) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path, scripted.base_url, managed=False) as proxy:
        yield proxy.start()


def chat(key: str, **members: object) -> bytes:
    body = {"model": "gpt-4o", "messages": []} | members
    return request("/v1/chat/completions", key=key, body=json.dumps(body).encode())


def test_a_subscription_is_made_at_the_first_success(
    scripted: ScriptedThread, own: ProxyProcess
) -> None:
    key = "sk-proj-of-the-client"
    refusal = {"error": {"message": "no", "type": "x", "param": None, "code": "invalid_api_key"}}
    scripted.answers(answer_json(401, refusal))
    assert ask(own.port, chat(key)).status == 401
    assert own.rows("SELECT * FROM subscriptions") == []
    [row] = own.settled(1)
    assert (row["state"], row["subscription_id"]) == ("failed", None)
    refused = ask(own.port, request("/usage/current", method="GET", key=key))
    assert (refused.status, b"invalid_api_key" in refused.body) == (401, True)

    scripted.answers(answer_json(200, {"model": "gpt-4o", "choices": [], "usage": USAGE}))
    assert ask(own.port, chat(key)).status == 200
    usage = own.usage(key)
    assert usage["subscription"] == f"key-{key_digest(key.encode()).hex()[:12]}"
    assert usage["completeness"]["exact"] == 1
    quantities = {
        line["type"]: line["quantity"] for line in usage["lines"] if line["metric"] == "tokens"
    }
    assert quantities == {"input": 7, "output": 5}
    assert ask(own.port, chat("sk-another")).status == 200
    assert len(own.rows("SELECT * FROM subscriptions")) == 2
    assert key not in own.log


@pytest.mark.parametrize("header", ["api-key", "x-api-key"])
def test_keys_of_other_providers_headers(
    scripted: ScriptedThread, own: ProxyProcess, header: str
) -> None:
    scripted.answers(answer_json(200, {"model": "gpt-4o", "choices": [], "usage": USAGE}))
    ask(
        own.port,
        request("/v1/chat/completions", headers={header: "azure-key"}, body=b'{"model":"m"}'),
    )
    assert scripted.received[0].header(header) == "azure-key"
    assert own.usage("azure-key")["completeness"]["exact"] == 1


def test_without_a_key_nothing_goes_up(scripted: ScriptedThread, own: ProxyProcess) -> None:
    scripted.answers(answer_json(200, {}))
    answer = ask(own.port, request("/v1/models", method="GET"))
    assert answer.status == 401
    assert scripted.received == []


def test_a_browser_may_ask_what_a_page_may_send(
    scripted: ScriptedThread, own: ProxyProcess
) -> None:
    allowed = ("Access-Control-Allow-Origin", "*")
    scripted.answers(steps(whole(204, b"", (allowed,))))
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    asked = request("/v1/chat/completions", method="OPTIONS", headers=headers)
    for _ in range(2):
        answer = ask(own.port, asked)
        assert (answer.status, answer.header(b"access-control-allow-origin")) == (204, b"*")
    rows = own.settled(2, subscription="no-key")
    assert {(row["endpoint"], row["state"]) for row in rows} == {("other", "exact")}
    # only a preflight, and nobody can ask for that usage without a key
    assert ask(own.port, request("/v1/models", method="OPTIONS")).status == 401
    assert ask(own.port, request("/usage/current", method="GET")).status == 401


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_json_is_metered_by_whatever_name(
    scripted: ScriptedThread, own: ProxyProcess, media_type: str
) -> None:
    event = {"id": "c", "model": "gpt-4o-2024-08-06", "choices": [], "usage": USAGE}
    scripted.answers(
        steps(whole(200, f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode(), (EVENTS,)))
    )
    body = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Hi"}]}'
    headers = {"Content-Type": media_type}
    answer = ask(own.port, request("/v1/chat/completions", key="sk-a", headers=headers, body=body))
    assert answer.body == b"data: [DONE]\n\n"
    [received] = scripted.received
    assert received.header("content-type") == media_type
    assert json.loads(received.body)["stream_options"] == {"include_usage": True}
    (row,) = own.settled(1)
    assert (row["state"], row["model_requested"]) == ("exact", "gpt-4o")
    assert own.tokens() == {"input": 7, "output": 5}


def test_a_compressed_request_is_counted_by_what_it_says(
    scripted: ScriptedThread, own: ProxyProcess
) -> None:
    scripted.answers(answer_json(200, {"model": "gpt-4o", "choices": []}))
    text = "weigh every token " * 500
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}).encode()
    counts = []
    for packed, headers in ((body, {}), (gzip.compress(body), {"Content-Encoding": "gzip"})):
        sent = request("/v1/chat/completions", key="sk-a", headers=headers, body=packed)
        before = own.tokens().get("input", 0)
        assert ask(own.port, sent).status == 200
        assert scripted.received[-1].body == packed
        counts.append(own.tokens()["input"] - before)
    assert counts[0] == counts[1] > 1_500
    assert {row["body_bytes"] for row in own.settled(2)} == {len(body)}


def test_what_cannot_be_metered_is_recorded_as_such(
    scripted: ScriptedThread, own: ProxyProcess
) -> None:
    scripted.answers(answer_json(200, {"id": "x", "usage": USAGE}))
    for target in ("/v1/files", "/v1/some/day/new", "/v1/chat/completions/chatcmpl-1"):
        method = "GET" if "chatcmpl" in target else "POST"
        assert ask(own.port, request(target, method=method, key="sk-a")).status == 200
    rows = own.settled(3)
    assert [row["endpoint"] for row in rows] == ["other", "other", "chat.completions.get"]
    assert {row["state"] for row in rows} == {"exact"}
    assert {row["notes"] for row in rows} == {"unmetered"}
    assert own.tokens() == {}


def test_bodies_that_cannot_be_understood_are_the_upstreams_business(
    scripted: ScriptedThread, own: ProxyProcess
) -> None:
    scripted.answers(answer_json(400, {"error": {"message": "what?"}}))
    bodies = [b"{", b"[]", b"\xff\xfe", b'{"model":1,"model":2}', b"[" * 20_000]
    for body in bodies:
        assert ask(own.port, request("/v1/chat/completions", key="sk-a", body=body)).status == 400
    assert [received.body for received in scripted.received] == bodies


def test_the_answer_may_come_before_the_upload_is_whole(start_proxy: StartProxy) -> None:
    with Listener(answer_early(whole(413, b"too much"))) as early:
        proxy = start_proxy(early.base_url, managed=False)
        with Client(proxy.port) as client:
            headers = {"Content-Length": str(UPLOAD_BYTES), "Content-Type": "audio/wav"}
            client.send(request("/v1/files", key="sk-a", headers=headers) + PIECE)
            answer = client.answer()
        assert (answer.status, answer.body) == (413, b"too much")
