"""Managed mode: whose headers cross, which paths are open, and which bodies are refused."""

import gzip
import json
import zlib
from typing import Any

import pytest

from proxy.demo.scripted import steps, whole
from tests.e2e.conftest import StartProxy
from tests.e2e.raw_http import Answer, Client, ask, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import UPSTREAM_KEY, ProxyProcess

JSON = ("Content-Type", "application/json")
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
COMPLETION = json.dumps({"model": "gpt-4o", "choices": [], "usage": USAGE}).encode()
ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
BODY = json.dumps(ASKED).encode()
CHAT = "/v1/chat/completions"


def error(answer: Answer) -> dict[str, Any]:
    """Return the error, which must have all four members of OpenAI's shape."""
    assert answer.header(b"content-type") == b"application/json"
    detail: dict[str, Any] = json.loads(answer.body)["error"]
    assert detail.keys() == {"message", "type", "param", "code"}
    assert detail["message"].endswith(".")
    return detail


@pytest.fixture(autouse=True)
def _completions(scripted: ScriptedThread) -> None:
    scripted.answers(steps(whole(200, COMPLETION, (JSON,))))


def test_the_clients_account_never_goes_up(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    mine = {
        "api-key": "a",
        "X-API-Key": "b",
        "Cookie": "c=d",
        "OpenAI-Organization": "org-mine",
        "openai-project": "proj-mine",
        "Proxy-Authorization": "Basic x",
        "X-Kept": "yes",
        "OpenAI-Beta": "x=v2",
    }
    target = f"{CHAT}?api-key=1&key=2&api_key=3&ACCESS_TOKEN=4&api-version=2024-10-21"
    assert ask(managed.port, request(target, key=key, headers=mine, body=BODY)).status == 200
    [received] = scripted.received
    assert received.target == f"{CHAT}?api-version=2024-10-21"
    assert [v for n, v in received.headers if n.lower() == "authorization"] == [
        f"Bearer {UPSTREAM_KEY}"
    ]
    everything = repr(received)
    assert key not in everything
    for name in list(mine)[:6]:
        assert received.header(name) is None
    assert (received.header("x-kept"), received.header("openai-beta")) == ("yes", "x=v2")


def test_the_upstreams_account_never_comes_down(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    theirs = (
        JSON,
        ("Set-Cookie", "a=b"),
        ("set-cookie", "c=d"),
        ("OpenAI-Organization", "org-theirs"),
        ("openai-project", "proj-theirs"),
        ("openai-version", "2020-10-01"),
        ("x-ratelimit-remaining-requests", "9"),
    )
    scripted.answers(steps(whole(200, COMPLETION, theirs)))
    answer = ask(managed.port, request(CHAT, key=key, body=BODY))
    names = {name.lower() for name, _ in answer.headers}
    assert not names & {b"set-cookie", b"openai-organization", b"openai-project"}
    assert {b"openai-version", b"x-ratelimit-remaining-requests"} <= names
    assert (answer.header(b"x-weighbridge-request-id") or b"").startswith(b"wb_")
    assert UPSTREAM_KEY.encode() not in repr(answer).encode()


CLOSED = [
    ("GET", "/v1/fine_tuning/jobs"),
    ("POST", "/v1/assistants"),
    ("GET", "/v1/chat/completions"),
    ("GET", "/v1/chat/completions/chatcmpl-1"),
    ("DELETE", "/v1/models/gpt-4o"),
    ("POST", "/v1/files"),
    ("GET", "/v1/organization/usage/completions"),
    ("POST", "/v1//chat/completions"),
    ("POST", "/v1/x/../chat/completions"),
    ("POST", "/v1/chat%2Fcompletions"),
    ("POST", "/v1/CHAT/completions"),
    ("PUT", "/v1/chat/completions"),
    ("GET", "/v1/"),
    ("POST", "/v1/anything/new"),
]


@pytest.mark.parametrize(("method", "target"), CLOSED)
def test_closed_paths_say_why(
    scripted: ScriptedThread, managed: ProxyProcess, key: str, method: str, target: str
) -> None:
    answer = ask(managed.port, request(target, method=method, key=key))
    assert answer.status == 404
    assert error(answer)["code"] == "path_not_open"
    assert "managed mode" in error(answer)["message"]
    assert scripted.received == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("target", ["/v1/models", "/v1/models/gpt-4o"])
def test_models_are_open(
    scripted: ScriptedThread, managed: ProxyProcess, key: str, method: str, target: str
) -> None:
    answer = ask(managed.port, request(target, method=method, key=key))
    if method == "HEAD":
        assert answer.status in {200, 404}
        return
    assert (answer.status, answer.body) == (200, COMPLETION)
    [received] = scripted.received
    assert (received.method, received.target) == (method, target)
    assert received.header("content-length") is None


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic d2I6eA==",
        "wb-x",
        "Bearer w\xe4hr",
        "Bearer a b",
    ],
)
def test_keys_that_open_nothing(
    scripted: ScriptedThread, managed: ProxyProcess, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = ask(managed.port, request(CHAT, headers=headers, body=BODY))
    assert answer.status == 401
    assert error(answer)["code"] == "invalid_api_key"
    assert error(answer)["type"] == "invalid_request_error"
    assert scripted.received == []


DEEP = b"[" * 5000 + b"]" * 5000
REFUSED = {
    "not JSON": b"{",
    "an array": b"[]",
    "a string": b'"x"',
    "two values": BODY + BODY,
    "not UTF-8": b'{"model":"gpt-4o","messages":[],"user":"\xff"}',
    "UTF-16": BODY.decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + BODY,
    "two models": b'{"model":"gpt-4o","messages":[],"model":"o1"}',
    "two models, one escaped": b'{"model":"gpt-4o","messages":[],"m\\u006fdel":"o1"}',
    "stream twice": b'{"model":"gpt-4o","stream":false,"messages":[],"stream":true}',
    "n twice": b'{"model":"gpt-4o","messages":[],"n":1,"n":100}',
    "too deep": b'{"model":"gpt-4o","messages":%b}' % DEEP,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_two_parsers_could_read_differently_is_refused(
    scripted: ScriptedThread, managed: ProxyProcess, key: str, name: str
) -> None:
    answer = ask(managed.port, request(CHAT, key=key, body=REFUSED[name]))
    assert answer.status == 400
    assert error(answer)["type"] == "invalid_request_error"
    assert scripted.received == []


ACCEPTED = {
    "escapes": b'{"model":"gpt-4o","messages":[{"content":"\\u00e9 model \\"model\\""}]}',
    "names in texts": b'{"model":"gpt-4o","messages":[{"model":"x","n":3,"stream":1}],"n":1}',
    "white space": b' \r\n\t{ "model" : "gpt-4o" ,"messages":[ ] }\n ',
    "unknown members twice": b'{"model":"gpt-4o","messages":[],"x":1,"metadata":{"model":"y"}}',
    "odd types": b'{"model":7,"messages":"x","stream":"yes","stream_options":[1]}',
    "utf-8": '{"model":"gpt-4o","messages":[],"user":"日本"}'.encode(),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_everything_else_goes_up_as_it_is(
    scripted: ScriptedThread, managed: ProxyProcess, key: str, name: str
) -> None:
    assert ask(managed.port, request(CHAT, key=key, body=ACCEPTED[name])).status == 200
    assert scripted.received[0].body == ACCEPTED[name]


def test_no_content_type_is_no_way_around(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    body = REFUSED["two models"]
    for kind in ("text/plain", "", "application/octet-stream"):
        sent = request(CHAT, key=key, headers={"Content-Type": kind}, body=body)
        assert ask(managed.port, sent).status == 400
    assert scripted.received == []


LIMIT = 10_000


@pytest.fixture
def small(scripted: ScriptedThread, start_proxy: StartProxy) -> ProxyProcess:
    return start_proxy(scripted.base_url, max_body_bytes=LIMIT)


def test_a_body_over_the_limit_is_refused_before_it_is_sent(
    scripted: ScriptedThread, small: ProxyProcess
) -> None:
    key = small.key()
    large = BODY + b" " * LIMIT
    expect = {"Expect": "100-continue"}
    too_large = request(CHAT, key=key, headers=expect, body=large).removesuffix(large)
    with Client(small.port) as client:
        client.send(too_large)
        answer = client.answer()
        assert (answer.status, answer.informational) == (413, [])
        assert error(answer)["code"] == "request_too_large"
    with Client(small.port) as client:
        client.send(request(CHAT, key="wb-wrong", headers=expect, body=BODY).removesuffix(BODY))
        answer = client.answer()
        assert (answer.status, answer.informational) == (401, [])
    with Client(small.port) as client:
        client.send(request(CHAT, key=key, headers=expect, body=BODY).removesuffix(BODY))
        assert client.head().status == 100
        client.send(BODY)
        assert client.answer().status == 200
        client.send(request(CHAT, key=key, body=BODY))
        assert client.answer().status == 200
    assert len(scripted.received) == 2
    assert small.states() == {"exact": 2}


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused_while_it_is_sent(
    small: ProxyProcess, scripted: ScriptedThread, announced: bool
) -> None:
    body = BODY + b" " * (20 * LIMIT)
    sent = request(CHAT, key=small.key(), body=body)
    if not announced:
        head = sent.removesuffix(body).replace(b"Content-Length: ", b"X-Length: ")
        head = head.removesuffix(b"\r\n") + b"Transfer-Encoding: chunked\r\n\r\n"
        sent = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    answer = ask(small.port, sent)
    assert answer.status == 413
    assert error(answer)["code"] == "request_too_large"
    assert scripted.received == []


def chunked(body: bytes, key: str) -> bytes:
    head = request(CHAT, key=key, headers={"Content-Type": "application/json"})
    head = head.replace(b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n")
    pieces = [body[at : at + 10] for at in range(0, len(body), 10)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def test_a_body_in_chunks_is_read_and_sent(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    assert ask(managed.port, chunked(BODY, key)).status == 200
    assert scripted.received[0].body == BODY
    assert managed.settled(1)[-1]["model_requested"] == "gpt-4o"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_requests_are_read(
    scripted: ScriptedThread, managed: ProxyProcess, coding: str, stream: bool
) -> None:
    key = managed.key(f"compressed-{coding}-{stream}")
    body = json.dumps(ASKED | {"stream": stream, "model": "o1"}).encode()
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    answer = ask(
        managed.port, request(CHAT, key=key, headers={"Content-Encoding": coding}, body=packed)
    )
    assert answer.status == 200
    [received] = scripted.received
    if received.header("content-encoding") == coding:
        assert received.body == packed
    else:
        assert received.header("content-encoding") is None
        assert json.loads(received.body).items() >= json.loads(body).items()
    row = managed.settled(1)[-1]
    assert (row["model_requested"], row["stream"]) == ("o1", stream)


def test_compressed_requests_are_bounded_and_checked(
    scripted: ScriptedThread, small: ProxyProcess
) -> None:
    key = small.key()
    bomb = gzip.compress(BODY + b" " * 50_000_000)[:LIMIT]
    cases = [
        (bomb, "gzip", {400, 413, 415}),
        (gzip.compress(REFUSED["two models"]), "gzip", {400}),
        (b"not gzip at all", "gzip", {400, 415}),
        (BODY, "br", {400, 415}),
        (gzip.compress(gzip.compress(BODY)), "gzip, gzip", {400, 415}),
    ]
    before = small.rss_bytes
    for body, coding, statuses in cases:
        sent = request(CHAT, key=key, headers={"Content-Encoding": coding}, body=body)
        assert ask(small.port, sent).status in statuses, coding
    assert small.rss_bytes - before < 32 * 1024 * 1024
    assert scripted.received == []


def test_nothing_of_a_request_is_kept_or_logged(
    scripted: ScriptedThread, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(scripted.base_url)
    key = proxy.key()
    secret = "the-customers-own-words"
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": secret}]})
    ask(proxy.port, request(f"{CHAT}?note={secret}", key=key, body=body.encode()))
    ask(proxy.port, request(CHAT, key=key, body=b'{"' + secret.encode()))
    proxy.terminate()
    files = [path for path in proxy.database.parent.iterdir() if path.is_file()]
    for path in files:
        data = path.read_bytes()
        assert secret.encode() not in data, path
        assert key.encode() not in data, path
        assert UPSTREAM_KEY.encode() not in data, path
