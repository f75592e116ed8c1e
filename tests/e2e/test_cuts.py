"""A stream may be cut anywhere: every byte offset, over real sockets."""

import asyncio
import gzip
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from proxy.demo.scripted import (
    LAST_CHUNK,
    Received,
    Reply,
    Responder,
    chunk,
    chunked_head,
)
from tests.e2e.raw_http import Client, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess

USAGE = (
    b'"usage":{"prompt_tokens":10,"completion_tokens":3,'
    b'"prompt_tokens_details":{"cached_tokens":4}}'
)
CLIENTS = 8
CUT = "x-cut"


def stream(end: bytes, *, usage: bool) -> bytes:
    """Write a stream as OpenAI does, with what ``include_usage`` adds or without it."""
    null = b',"usage":null' if usage else b""
    frames = [
        b'data: {"id":"c","model":"gpt-4o","choices":[{"delta":{"content":"\xc3\xa9"}}]%b}' % null,
        b": comment",
        b'data: {"id":"c","choices":[{"delta":{},"finish_reason":"stop"}]%b}' % null,
    ]
    if usage:
        frames.append(b'data: {"id":"c","model":"gpt-4o","choices":[],%b}' % USAGE)
    frames.append(b"data: [DONE]")
    return b"".join(frame + end for frame in frames)


def in_two_pieces(data: bytes, *headers: tuple[str, str]) -> Responder:
    """Send ``data`` in two pieces, cut where the request says, in two reads of the proxy's."""

    async def respond(received: Received, reply: Reply) -> None:
        at = int(received.header(CUT) or 0)
        event_stream = ("Content-Type", "text/event-stream")
        await reply.send(chunked_head(200, (event_stream, *headers)))
        if at:
            await reply.send(chunk(data[:at]))
            await asyncio.sleep(0.002)
        await reply.send(chunk(data[at:]))
        await reply.send(LAST_CHUNK)

    return respond


def cut_everywhere(
    proxy: ProxyProcess, key: str, size: int, expected: bytes, *, asks: bool
) -> None:
    body = {"model": "gpt-4o", "messages": [], "stream": True}
    if asks:
        body["stream_options"] = {"include_usage": True}

    def some(first: int) -> None:
        with Client(proxy.port) as client:
            for at in range(first, size, CLIENTS):
                headers = {CUT: str(at), "Accept-Encoding": "gzip"}
                client.send(
                    request(
                        "/v1/chat/completions",
                        key=key,
                        headers=headers,
                        body=json.dumps(body).encode(),
                    )
                )
                answer = client.answer()
                assert answer.body == expected, at
                assert answer.whole

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(some, range(CLIENTS)))


def check(proxy: ProxyProcess, key: str, count: int) -> None:
    used = proxy.usage(key)
    assert used["completeness"]["exact"] == count
    quantities = Counter(
        {line["type"]: line["quantity"] for line in used["lines"] if line["metric"] == "tokens"}
    )
    assert quantities == Counter(input=6 * count, cached_input=4 * count, output=3 * count)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"], ids=["lf", "crlf", "cr"])
def test_what_we_asked_for_is_taken_out(
    scripted: ScriptedThread, managed: ProxyProcess, end: bytes
) -> None:
    key = managed.key(f"hidden-{end!r}")
    data = stream(end, usage=True)
    scripted.answers(in_two_pieces(data))
    cut_everywhere(managed, key, len(data), stream(end, usage=False), asks=False)
    check(managed, key, len(data))


def test_what_the_client_asked_for_passes(scripted: ScriptedThread, managed: ProxyProcess) -> None:
    key = managed.key("asked")
    data = stream(b"\r\n\r\n", usage=True)
    scripted.answers(in_two_pieces(data))
    cut_everywhere(managed, key, len(data), data, asks=True)
    check(managed, key, len(data))


def test_compressed_streams_pass_as_they_are(
    scripted: ScriptedThread, managed: ProxyProcess
) -> None:
    key = managed.key("compressed")
    data = gzip.compress(stream(b"\n\n", usage=True), mtime=0)
    scripted.answers(in_two_pieces(data, ("Content-Encoding", "gzip")))
    cut_everywhere(managed, key, len(data), data, asks=True)
    check(managed, key, len(data))


def test_compressed_though_it_was_not_wanted(
    scripted: ScriptedThread, managed: ProxyProcess
) -> None:
    key = managed.key("unwanted")
    data = gzip.compress(stream(b"\n\n", usage=True), mtime=0)
    scripted.answers(in_two_pieces(data, ("Content-Encoding", "gzip")))
    cut_everywhere(managed, key, len(data), stream(b"\n\n", usage=False), asks=False)
    check(managed, key, len(data))
