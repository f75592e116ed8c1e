"""What a client receives through the proxy is what the upstream would have sent to it."""

import gzip
import json
import zlib
from typing import Any

import pytest

from proxy.demo.behaviour import HEADER
from proxy.demo.chat import ChatResponder
from proxy.demo.scripted import (
    LAST_CHUNK,
    Ending,
    Received,
    Reply,
    Responder,
    chunk,
    chunked_head,
    head,
    steps,
    whole,
)
from tests.e2e.raw_http import Answer, ask, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess

KEY = "sk-of-the-client"
MESSAGES = [{"role": "user", "content": "What does a weighbridge do?"}]
ABSENT: Any = object()
EVENT_STREAM = ("Content-Type", "text/event-stream; charset=utf-8")
JSON = ("content-type", "application/json")
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def chat(options: Any = ABSENT, *, stream: bool = True, **members: Any) -> bytes:
    body = {"model": "gpt-4o", "messages": MESSAGES, "stream": stream} | members
    if options is not ABSENT:
        body["stream_options"] = options
    return json.dumps(body).encode()


def post(body: bytes, headers: dict[str, str] | None = None, *, key: str = KEY) -> bytes:
    return request("/v1/chat/completions", key=key, headers=headers, body=body)


def plain(answer: Answer) -> bytes:
    if answer.header(b"content-encoding") == b"gzip":
        return zlib.decompressobj(31).decompress(answer.body)
    return answer.body


def without(answer: Answer, *names: bytes) -> list[tuple[bytes, bytes]]:
    return [pair for pair in answer.end_to_end if pair[0].lower() not in names]


OPTIONS = [
    ABSENT,
    None,
    {},
    {"include_usage": True},
    {"include_usage": False},
    {"include_obfuscation": False},
    {"include_obfuscation": True, "include_usage": True},
    {"continuous_usage_stats": True},
]
SCRIPTS = ["no-usage", "pieces=0", "error-after=2", "usage-everywhere", "cached=3,reasoning=5"]
ASKED = {"include_usage": True}
CHATS = [
    *[(options, encoding, "") for options in OPTIONS for encoding in (None, "gzip")],
    *[(options, "br, gzip;q=0.5", how) for options in (ABSENT, ASKED) for how in SCRIPTS],
]


TOOLS: Any = [{"type": "function", "function": {"name": "weather"}}]


@pytest.mark.parametrize(
    ("how", "members"),
    [
        ("moves", {}),
        ("moves", {"tools": TOOLS}),
        ("moves,pieces=0", {}),
        ("moves,gap=0.02", {}),
        ("moves,usage-everywhere", {"n": 2}),
        ("moves,no-usage", {}),
        ("timings", {}),
        ("timings", {"n": 2, "tools": TOOLS}),
        ("moves,timings", {}),
        ("timings,error-after=6", {}),
    ],
)
@pytest.mark.parametrize("options", [ABSENT, ASKED], ids=["hidden", "asked"])
@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_members_that_are_on_the_last_chunk_whichever_that_is(
    scripted: ScriptedThread,
    managed: ProxyProcess,
    key: str,
    options: Any,
    encoding: str | None,
    how: str,
    members: dict[str, Any],
) -> None:
    scripted.answers(ChatResponder())
    headers = {HEADER: how} | ({"Accept-Encoding": encoding} if encoding else {})
    sent = post(chat(options, **members), headers, key=key)
    direct, crossed = ask(scripted.port, sent), ask(managed.port, sent)
    assert crossed.whole
    assert plain(crossed) == plain(direct)


@pytest.mark.parametrize(("options", "encoding", "how"), CHATS)
def test_a_chat_stream(
    scripted: ScriptedThread,
    managed: ProxyProcess,
    key: str,
    options: Any,
    encoding: str | None,
    how: str,
) -> None:
    scripted.answers(ChatResponder())
    headers = {HEADER: how} | ({"Accept-Encoding": encoding} if encoding else {})
    extras: tuple[dict[str, Any], ...] = (
        {},
        {"tools": [{"type": "function", "function": {"name": "weather"}}], "n": 2},
    )
    for extra in extras:
        sent = post(chat(options, **extra), headers, key=key)
        direct = ask(scripted.port, sent)
        crossed = ask(managed.port, sent)
        assert crossed.whole
        assert plain(crossed) == plain(direct)
        assert crossed.status == direct.status
        if crossed.header(b"content-encoding") == direct.header(b"content-encoding"):
            assert crossed.body == direct.body
        # What names the account stays here, and the request's digest is of what we sent.
        dropped = b"set-cookie", b"openai-organization", b"content-encoding", b"x-request-id"
        assert without(crossed, *dropped) == without(direct, *dropped)


@pytest.mark.parametrize(
    ("encoding", "how"),
    [
        *[(encoding, "") for encoding in (None, "gzip", "deflate", "identity", "br")],
        *[("gzip", f"status={status}") for status in (400, 404, 429, 500, 503)],
        (None, "no-usage"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_plain_answer_or_an_error(
    scripted: ScriptedThread,
    passthrough: ProxyProcess,
    encoding: str | None,
    how: str,
    stream: bool,
) -> None:
    scripted.answers(ChatResponder())
    headers = {HEADER: how} | ({"Accept-Encoding": encoding} if encoding else {})
    sent = post(chat(ASKED, stream=stream), headers)
    direct, crossed = ask(scripted.port, sent), ask(passthrough.port, sent)
    assert (crossed.status, crossed.reason, crossed.body) == (
        direct.status,
        direct.reason,
        direct.body,
    )
    assert crossed.end_to_end == direct.end_to_end
    assert crossed.whole


BODY = json.dumps({"id": "x", "choices": [], "usage": USAGE}).encode()
ODD_HEADERS = (
    ("Content-Type", "application/json"),
    ("X-Twice", "one"),
    ("x-twice", "two"),
    ("x-empty", ""),
    ("X-LaTin", "caf\xe9"),
    ("x-ratelimit-remaining-tokens", "149984"),
    ("Set-Cookie", "a=b; path=/"),
    ("Set-Cookie", "c=d"),
    ("Server", "cloudflare"),
    ("ETag", '"abc"'),
    ("alt-svc", 'h3=":443"; ma=86400'),
    ("Vary", "Accept-Encoding"),
)
STREAMS = {
    "plain": b'data: {"choices":[]}\n\ndata: [DONE]\n\n',
    "crlf": b'data: {"choices":[]}\r\n\r\ndata: [DONE]\r\n\r\n',
    "cr": b'data: {"choices":[]}\r\rdata: [DONE]\r\r',
    "comments": b": PROCESSING\n\n: \n\nretry: 5\nid: 7\nevent: x\ndata: {}\n\ndata: [DONE]\n\n",
    "bom": b'\xef\xbb\xbfdata: {"choices":[]}\n\ndata:[DONE]\n\n',
    "no end": b'data: {"choices":[]}\n\ndata: {"choices":[]}',
    "no last line end": b'data: {"choices":[]}\n\ndata: [DONE]\n',
    "many lines": b'data: {"choices":\ndata: []}\n\ndata: [DONE]\n\n',
    "after the end": b'data: [DONE]\n\ndata: {"more":1}\n\n: bye\n\n',
    "malformed": b"data: {[\n\nnonsense\n\n\n\ndata\n\ndata: \xff\xfe\n\ndata: [DONE]\n\n",
    "nothing": b"",
    "binary": bytes(range(256)) * 20,
    "an error": b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n',
    "usage without choices": b'data: {"usage":{"prompt_tokens":1}}\n\ndata: [DONE]\n\n',
    "nested null": b'data: {"choices":[{"delta":{"usage":null}}],"n":1}\n\ndata: [DONE]\n\n',
    "a brace in a text": b'data: {"a":"}{\\"usage\\":null","choices":[]}\n\ndata: [DONE]\n\n',
    "a large event": b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\ndata: [DONE]\n\n'
    % (b"x" * 300_000),
}


def framed(kind: str, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> Responder:
    """Answer with ``body`` by length, in chunks of odd sizes, or until the connection closes."""
    if kind == "length":
        return steps(whole(status, body, headers))
    if kind == "close":
        return steps(head(status, headers), body, Ending.CLOSE)
    size = max(1, len(body) // 3)
    pieces = [chunk(body[at : at + size]) for at in range(0, len(body), size)]
    return steps(chunked_head(status, headers), *pieces, LAST_CHUNK)


def compare(
    scripted: ScriptedThread, proxy: ProxyProcess, responder: Responder, sent: bytes
) -> Answer:
    scripted.answers(responder)
    direct, crossed = ask(scripted.port, sent), ask(proxy.port, sent)
    assert crossed.body == direct.body
    assert (crossed.status, crossed.reason) == (direct.status, direct.reason)
    assert crossed.end_to_end == direct.end_to_end
    assert crossed.whole == direct.whole
    return crossed


@pytest.mark.parametrize("kind", ["length", "chunked", "close"])
@pytest.mark.parametrize("status", [200, 201, 206, 307, 400, 401, 422, 429, 500, 529])
@pytest.mark.parametrize("target", ["/v1/chat/completions", "/v1/threads?limit=2&a=b%20c"])
def test_odd_headers_and_statuses_in_any_framing(
    scripted: ScriptedThread, passthrough: ProxyProcess, kind: str, status: int, target: str
) -> None:
    responder = framed(kind, status, ODD_HEADERS, BODY)
    sent = request(target, key=KEY, body=chat(stream=False))
    assert compare(scripted, passthrough, responder, sent).body == BODY


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *[(name, "chunked") for name in STREAMS],
        *[(name, kind) for name in ("crlf", "no end", "nothing") for kind in ("length", "close")],
    ],
)
@pytest.mark.parametrize("options", [ABSENT, ASKED], ids=["hidden", "asked"])
def test_odd_streams_of_an_upstream_that_adds_nothing(
    scripted: ScriptedThread, passthrough: ProxyProcess, name: str, kind: str, options: Any
) -> None:
    scripted.answers(framed(kind, 200, (EVENT_STREAM,), STREAMS[name]))
    sent = post(chat(options))
    direct, crossed = ask(scripted.port, sent), ask(passthrough.port, sent)
    assert crossed.body == direct.body == STREAMS[name]
    assert crossed.whole
    # An answer that may be edited has no length that could be told beforehand.
    assert without(crossed, b"content-length") == without(direct, b"content-length")


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize("kind", [EVENT_STREAM, ("Content-Type", "text/plain")], ids=["sse", "no"])
def test_usage_is_hidden_under_any_status_that_has_a_stream(
    scripted: ScriptedThread, passthrough: ProxyProcess, status: int, kind: tuple[str, str]
) -> None:
    """NestJS, say, answers every POST with 201."""

    async def respond(received: Received, reply: Reply) -> None:
        null, last = b"", b""
        if b'"include_usage":true' in received.body:
            null, last = b',"usage":null', b'data: {"choices":[],"usage":%b}\n\n'
            last %= json.dumps(USAGE).encode()
        delta = b'data: {"choices":[{"delta":{"content":"x"}}]%b}\n\n' % null
        await reply.send(chunked_head(status, (kind,)))
        await reply.send(chunk(delta + last + b"data: [DONE]\n\n") + LAST_CHUNK)

    crossed = compare(scripted, passthrough, respond, post(chat()))
    assert b"usage" not in crossed.body
    assert b"include_usage" in scripted.received[-1].body
    assert passthrough.settled(1)[-1]["state"] == "exact"


@pytest.mark.parametrize("options", [ABSENT, ASKED], ids=["hidden", "asked"])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_compressed_though_it_was_not_wanted(
    scripted: ScriptedThread, passthrough: ProxyProcess, options: Any, coding: str
) -> None:
    data = STREAMS["plain"]
    packed = {
        "gzip": gzip.compress(data),
        "deflate": zlib.compress(data),
        "br": b"\x0b\x02\x80opaque",
    }
    headers = (EVENT_STREAM, ("Content-Encoding", coding))
    scripted.answers(framed("chunked", 200, headers, packed[coding]))
    crossed = ask(passthrough.port, post(chat(options)))
    if options is ABSENT and coding != "br":
        assert crossed.body == data
        assert crossed.header(b"content-encoding") is None
    else:
        assert crossed.body == packed[coding]
        assert crossed.header(b"content-encoding") == coding.encode()


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(
    scripted: ScriptedThread, passthrough: ProxyProcess, status: int
) -> None:
    responder = steps(head(status, (("ETag", '"a"'),)))
    sent = request("/v1/files/a", method="DELETE", key=KEY)
    compare(scripted, passthrough, responder, sent)


@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_a_head_request_has_headers_only(
    scripted: ScriptedThread, passthrough: ProxyProcess, kind: str
) -> None:
    length = ("Content-Length", "123") if kind == "length" else ("Transfer-Encoding", "chunked")
    responder = steps(head(200, (JSON, length)), Ending.CLOSE)
    sent = request("/v1/models", method="HEAD", key=KEY)
    crossed = compare(scripted, passthrough, responder, sent)
    assert crossed.body == b""


def test_informational_answers_are_not_the_answer(
    scripted: ScriptedThread, passthrough: ProxyProcess
) -> None:
    early = head(103, (("Link", "</a>; rel=preload"),)) + b"HTTP/1.1 102 Processing\r\n\r\n"
    responder = steps(early, whole(200, BODY, (JSON,)))
    compare(scripted, passthrough, responder, post(chat(stream=False)))
