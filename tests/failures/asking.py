"""What the cases say: requests, answers of an upstream, and what the ledger made of them."""

import itertools
import json
from decimal import Decimal
from typing import Any

from proxy.demo.scripted import LAST_CHUNK, chunk, chunked_head, whole
from tests.e2e.raw_http import Answer, Client, request
from tests.proxy_process import ProxyProcess

NUMBERS = itertools.count()
JSON = (("Content-Type", "application/json"),)
STREAM = (("Content-Type", "text/event-stream"),)
USAGE = {
    "prompt_tokens": 1_000_000,
    "completion_tokens": 1_000_000,
    "total_tokens": 2_000_000,
    "prompt_tokens_details": {"cached_tokens": 400_000},
}
COST = Decimal("12.00")
"""What :data:`USAGE` costs of gpt-4o: 0.6 at 2.50, 0.4 at 1.25, 1 at 10.00."""


def customer(proxy: ProxyProcess) -> str:
    """Make a key of a customer of its own."""
    return proxy.key(f"case-{next(NUMBERS)}")


def chat(key: str, *, stream: bool = False, model: str = "gpt-4o", **more: Any) -> bytes:
    messages = [{"role": "user", "content": "Weigh this lorry, and that one."}]
    body = {"model": model, "messages": messages, "stream": stream, **more}
    return request("/v1/chat/completions", key=key, body=json.dumps(body).encode())


def ask(proxy: ProxyProcess, data: bytes) -> Answer:
    with Client(proxy.port) as client:
        client.send(data)
        return client.answer()


def completion(
    usage: dict[str, Any] | None = USAGE, *, model: str = "gpt-4o", id_: str = "c"
) -> bytes:
    """A whole answer, as OpenAI writes it."""
    answer = {
        "id": id_,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "done"}}],
        "usage": usage,
    }
    return whole(200, json.dumps(answer).encode(), JSON)


def event(value: dict[str, Any] | str, name: str | None = None) -> bytes:
    """One server-sent event as a chunk."""
    text = value if isinstance(value, str) else json.dumps(value)
    return chunk(((f"event: {name}\n" if name else "") + f"data: {text}\n\n").encode())


def delta(content: str = "some words", model: str = "gpt-4o") -> bytes:
    return event(
        {"id": "c", "model": model, "choices": [{"index": 0, "delta": {"content": content}}]}
    )


def last(usage: dict[str, Any] = USAGE, model: str = "gpt-4o") -> bytes:
    return event({"id": "c", "model": model, "choices": [], "usage": usage})


HEAD = chunked_head(200, STREAM)
DONE = event("[DONE]")
END = LAST_CHUNK


def used(proxy: ProxyProcess, key: str) -> dict[str, Any]:
    """Return its current usage."""
    return proxy.usage(key)


def tokens(usage: dict[str, Any]) -> dict[str, int]:
    """Token quantities by type."""
    found: dict[str, int] = {}
    for line in usage["lines"]:
        if line["metric"] == "tokens":
            found[line["type"]] = found.get(line["type"], 0) + line["quantity"]
    return found


def amount(usage: dict[str, Any]) -> Decimal:
    return Decimal(usage["total"]["precise_amount"])


def counted(usage: dict[str, Any]) -> dict[str, int]:
    """The completeness counts that are not zero."""
    return {state: count for state, count in usage["completeness"].items() if count}


WHOLE_USAGE = {"input": 600_000, "cached_input": 400_000, "output": 1_000_000}
EXACTLY_ONE = {"exact": 1}
FIGURES = (COST, WHOLE_USAGE, EXACTLY_ONE)


def figures(usage: dict[str, Any]) -> tuple[Decimal, dict[str, int], dict[str, int]]:
    """What is compared with :data:`FIGURES`."""
    return amount(usage), tokens(usage), counted(usage)
