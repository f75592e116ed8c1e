"""What more than one test shows of the cases in which other meters went wrong."""

import json
from typing import Any

from proxy.core.usage import Metric, Usage
from proxy.wire.endpoints import CHAT_COMPLETIONS, MESSAGES, Endpoint
from proxy.wire.usage import RequestShape, SessionReader, UsageReader


def read(endpoint: Endpoint, usage: object, **more: object) -> Usage | None:
    whole = UsageReader(endpoint, RequestShape(model="m"))
    whole.json(json.dumps({"model": "m", "usage": usage, **more}).encode())
    return whole.usage()


def tokens(usage: Usage | None) -> dict[str, int]:
    assert usage is not None
    return {q.type: q.quantity for q in usage.quantities if q.metric is Metric.TOKENS}


def cached_tokens_are_counted_once() -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 200,
        "total_tokens": 1200,
        "prompt_tokens_details": {"cached_tokens": 400},
        "cache_read_input_tokens": 400,
    }
    split = read(CHAT_COMPLETIONS, usage)
    assert tokens(split) == {"input": 600, "cached_input": 400, "output": 200}


def cached_tokens_are_not_taken_from_an_exclusive_input() -> None:
    usage = {"input_tokens": 12, "cache_read_input_tokens": 16_650, "output_tokens": 30}
    for endpoint in (MESSAGES, CHAT_COMPLETIONS):
        split = read(endpoint, usage)
        assert tokens(split) == {"input": 12, "cached_input": 16_650, "output": 30}


def a_responses_socket_logs_its_tokens() -> None:
    response: dict[str, Any] = {"id": "r", "usage": {"input_tokens": 12, "output_tokens": 30}}
    message = {"type": "response.completed", "response": response}
    found = SessionReader(RequestShape()).message(json.dumps(message).encode())
    assert found is not None
    assert found.usage.tokens == 42


def explicit_zeros_are_usage() -> None:
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert tokens(read(CHAT_COMPLETIONS, zeros)) == {}


def the_total_is_not_ignored() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40}
    split = read(CHAT_COMPLETIONS, usage)
    assert split is not None
    assert (split.tokens, len(split.notes)) == (40, 1)
