"""Streams that are not called so: read like any other, and what we added is taken out."""

import json

import pytest

from proxy.demo.scripted import LAST_CHUNK, chunk, chunked_head, steps, whole
from tests.e2e.raw_http import Answer, ask, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess
from tests.web.answers import kept

CHAT = "/v1/chat/completions"
DELTA = b'data: {"id":"c","model":"m-1","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
USAGE = (
    b'data: {"id":"c","model":"m-1","choices":[],"usage":{"prompt_tokens":7,'
    b'"completion_tokens":1,"total_tokens":8}}\n\n'
)
DONE = b"data: [DONE]\n\n"
WHOLE = (
    b'{"model":"m-1","choices":[{"message":{"content":"Hi"}}],'
    b'"usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8}}'
)
TYPES = ["text/plain; charset=utf-8", None, "application/octet-stream"]


def typed(media_type: str | None) -> tuple[tuple[str, str], ...]:
    return () if media_type is None else (("Content-Type", media_type),)


def chat(proxy: ProxyProcess, key: str, **members: object) -> Answer:
    body = {"model": "m-1", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    return ask(proxy.port, request(CHAT, key=key, body=json.dumps(body | members).encode()))


@pytest.mark.parametrize("media_type", TYPES)
@pytest.mark.parametrize("before", [b"", b": hello\n\n", b"\xef\xbb\xbf\n", b"event: x\n"])
def test_events_of_any_type_are_a_stream(
    scripted: ScriptedThread, managed: ProxyProcess, key: str, media_type: str | None, before: bytes
) -> None:
    scripted.answers(
        steps(
            chunked_head(200, typed(media_type)),
            chunk((before + DELTA)[:3]),
            0.02,
            chunk((before + DELTA)[3:]),
            chunk(USAGE + DONE),
            LAST_CHUNK,
        )
    )
    answer = chat(managed, key)
    assert answer.whole
    assert answer.body == before + DELTA + DONE
    assert answer.header(b"content-type") == (media_type.encode() if media_type else None)
    seen = kept(managed, answer)
    assert seen.row["state"] == "exact"
    assert seen.used == {("tokens", "input"): 7, ("tokens", "output"): 1}


def test_what_the_client_asked_for_it_gets(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    events = DELTA + USAGE + DONE
    scripted.answers(steps(whole(200, events, typed("text/plain"))))
    answer = chat(managed, key, stream_options={"include_usage": True})
    assert (answer.body, answer.whole) == (events, True)
    assert answer.header(b"content-length") == b"%d" % len(events)
    assert kept(managed, answer).used["tokens", "output"] == 1


@pytest.mark.parametrize("media_type", TYPES[:2])
@pytest.mark.parametrize("body", [WHOLE, b"\r\n " + WHOLE])
def test_a_whole_answer_of_any_type_is_none(
    scripted: ScriptedThread, managed: ProxyProcess, key: str, media_type: str | None, body: bytes
) -> None:
    scripted.answers(steps(whole(200, body, typed(media_type))))
    answer = chat(managed, key)
    assert (answer.body, answer.whole) == (body, True)
    seen = kept(managed, answer)
    assert seen.row["state"] == "exact"
    assert seen.used == {("tokens", "input"): 7, ("tokens", "output"): 1}


@pytest.mark.parametrize("body", [b"", b"d", b"dat", b"\n", b"data: [DONE]"])
def test_an_answer_that_ends_in_its_beginning(
    scripted: ScriptedThread, managed: ProxyProcess, key: str, body: bytes
) -> None:
    scripted.answers(steps(whole(200, body)))
    answer = chat(managed, key)
    assert (answer.body, answer.whole) == (body, True)
