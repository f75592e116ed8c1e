"""Answers shaped like OpenAI's chat completions, byte for byte the same for the same request.

Usage is reported as OpenAI does it: always in a plain answer; in a stream only if
``stream_options.include_usage`` asks for it, as a last chunk without choices, with
``usage: null`` in all chunks before it.
"""

import asyncio
import hashlib
import json
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from proxy.demo.behaviour import HEADER, Behaviour, behaviour
from proxy.demo.scripted import LAST_CHUNK, Received, Reply, chunk, chunked_head, whole
from proxy.demo.shapes import (
    completion,
    error_body,
    event_bytes,
    events,
    generate_whole,
    model_body,
    prompt_tokens,
)
from proxy.demo.truth import Answer, Truth

_GZIP_WINDOW_BITS = 31
OK = 200
TOO_MANY_REQUESTS = 429
_EVENT_STREAM = ("Content-Type", "text/event-stream; charset=utf-8")
_UNKNOWN_OPTION = "Unrecognized request argument supplied: stream_options"


class ChatResponder:
    """Answers chat completions and the list of models, and keeps the truth about them."""

    def __init__(self, api_key: str | None = None) -> None:
        self.truth = Truth()
        self._api_key = api_key

    async def __call__(self, received: Received, reply: Reply) -> None:
        """Answer one request."""
        if received.path in {"/truth", "/v1/truth"}:
            await reply.send(_json(200, self.truth.as_json(), received))
        elif not self._may_enter(received):
            await reply.send(_json(401, error_body(401), received))
        elif received.path == "/v1/models":
            models = [model_body(name) for name in ("gpt-4o", "gpt-4o-mini", "o1")]
            await reply.send(_json(200, {"object": "list", "data": models}, received))
        elif (received.method, received.path) == ("POST", "/v1/chat/completions"):
            await self._complete(received, reply)
        elif received.method == "POST":
            await reply.send(_json(200, _receipt(received), received))
        else:
            await reply.send(_json(404, error_body(404), received))

    def _may_enter(self, received: Received) -> bool:
        given = (received.header("authorization") or "").removeprefix("Bearer ")
        return bool(given) if self._api_key is None else given == self._api_key

    async def _complete(self, received: Received, reply: Reply) -> None:
        try:
            asked = received.json()
            how = behaviour(received.header(HEADER), asked["model"])
        except (ValueError, KeyError, TypeError) as error:
            await reply.send(_json(400, error_body(400, str(error)), received))
            return
        answer = self._enter(received, asked, how)
        try:
            await asyncio.sleep(how.latency)
            await self._send(received, reply, asked, how, answer)
        except ConnectionError:
            answer.outcome = "cut"
            raise

    async def _send(
        self,
        received: Received,
        reply: Reply,
        asked: dict[str, Any],
        how: Behaviour,
        answer: Answer,
    ) -> None:
        if answer.outcome == "error":
            message = _UNKNOWN_OPTION if _refuses(how, asked) else None
            await reply.send(_json(answer.status, error_body(answer.status, message), received))
        elif answer.stream:
            await _send_stream(received, reply, asked, how, answer)
        else:
            generate_whole(asked, how, answer)
            answer.outcome = "finished"
            await reply.send(_json(200, completion(asked, how, answer), received, how))

    def _enter(self, received: Received, asked: dict[str, Any], how: Behaviour) -> Answer:
        status = how.status
        if _refuses(how, asked):
            status = 400
        answer = Answer(
            number=len(self.truth.answers) + 1,
            path=received.path,
            model_requested=asked["model"],
            model=how.model or asked["model"],
            stream=bool(asked.get("stream")),
            status=status,
            tag=received.header("x-demo-tag"),
            service_tier=how.tier,
            prompt_tokens=prompt_tokens(asked) if how.prompt < 0 else how.prompt,
            cached_tokens=how.cached,
            outcome="running" if status == OK else "error",
        )
        self.truth.answers.append(answer)
        return answer


def _refuses(how: Behaviour, asked: dict[str, Any]) -> bool:
    return not how.options and "stream_options" in asked


async def _send_stream(
    received: Received, reply: Reply, asked: dict[str, Any], how: Behaviour, answer: Answer
) -> None:
    encode, flush, headers = _coding(received, how)
    await reply.send(chunked_head(200, (*_headers(received), *headers, _EVENT_STREAM)))
    async for event in _paced(events(asked, how, answer), how, reply):
        if encoded := encode(event):
            await reply.send(chunk(encoded))
    if how.error_after >= 0:
        await reply.send(chunk(encode(event_bytes(error_body(503)))))
    answer.outcome = "finished"
    if tail := flush():
        await reply.send(chunk(tail))
    await reply.send(LAST_CHUNK)


async def _paced(events: Iterator[bytes], how: Behaviour, reply: Reply) -> AsyncIterator[bytes]:
    for number, event in enumerate(events):
        if number == how.die_after:
            reply.abort()
            raise ConnectionAbortedError("as was asked for")
        if number == how.hang_after:
            await reply.wait_gone()
            raise ConnectionResetError("the client gave up")
        if number == how.error_after:
            return
        if number and how.gap:
            await asyncio.sleep(how.gap)
        yield event


def _receipt(received: Received) -> dict[str, Any]:
    digest = hashlib.sha256(received.body).hexdigest()
    return {"object": "receipt", "bytes": len(received.body), "sha256": digest}


def _json(
    status: int, value: dict[str, Any], received: Received, how: Behaviour | None = None
) -> bytes:
    encode, flush, headers = _coding(received, how or Behaviour())
    body = encode(json.dumps(value, indent=2).encode() + b"\n") + flush()
    retry = (("Retry-After-Ms", "20"),) if status == TOO_MANY_REQUESTS else ()
    kind = ("Content-Type", "application/json")
    return whole(status, body, (*_headers(received), *headers, *retry, kind))


def _headers(received: Received) -> tuple[tuple[str, str], ...]:
    digest = hashlib.sha256(received.body).hexdigest()
    return (
        ("x-request-id", f"req_{digest[:32]}"),
        ("openai-version", "2020-10-01"),
        ("openai-organization", "demo-organization"),
        ("openai-processing-ms", "12"),
        ("set-cookie", "__cf_bm=demo; path=/; HttpOnly"),
    )


def _coding(
    received: Received, how: Behaviour
) -> tuple[Callable[[bytes], bytes], Callable[[], bytes], tuple[tuple[str, str], ...]]:
    asked = (received.header("accept-encoding") or "").lower()
    accepted = {name.partition(";")[0].strip() for name in asked.split(",")}
    if not how.compress or "gzip" not in accepted:
        return (lambda data: data), (lambda: b""), ()
    gzip = zlib.compressobj(wbits=_GZIP_WINDOW_BITS)

    def encode(data: bytes) -> bytes:
        # Each event must come out by itself, as a server that streams sends it.
        return gzip.compress(data) + gzip.flush(zlib.Z_SYNC_FLUSH)

    return encode, gzip.flush, (("Content-Encoding", "gzip"),)
