"""Cases in which other meters went wrong, numbered as those of ``tests/failures``."""

import json
from typing import Any

import pytest

from proxy.core.usage import Metric, Usage
from proxy.wire.endpoints import CHAT_COMPLETIONS, MESSAGES, RESPONSES, Endpoint, endpoint_for
from proxy.wire.usage import RequestShape, SessionReader, UsageReader


def read(endpoint: Endpoint, usage: object, **more: object) -> Usage | None:
    whole = UsageReader(endpoint, RequestShape(model="m"))
    whole.json(json.dumps({"model": "m", "usage": usage, **more}).encode())
    return whole.usage()


def tokens(usage: Usage | None) -> dict[str, int]:
    assert usage is not None
    return {q.type: q.quantity for q in usage.quantities if q.metric is Metric.TOKENS}


def test_failure_06_usage_is_known_before_the_upstream_closes() -> None:
    stream = UsageReader(CHAT_COMPLETIONS, RequestShape())
    stream.event(b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}')
    assert tokens(stream.usage()) == {"input": 9, "output": 3}


def test_failure_08_deltas_are_never_counted_as_tokens() -> None:
    stream = UsageReader(CHAT_COMPLETIONS, RequestShape())
    for made in range(1, 807):
        usage = {"prompt_tokens": 9, "completion_tokens": made, "total_tokens": 9 + made}
        stream.event(json.dumps({"choices": [{"index": 0}], "usage": usage}).encode())
    assert tokens(stream.usage()) == {"input": 9, "output": 806}


def test_failure_11_cached_tokens_are_counted_once() -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 200,
        "total_tokens": 1200,
        "prompt_tokens_details": {"cached_tokens": 400},
        "cache_read_input_tokens": 400,
    }
    split = read(CHAT_COMPLETIONS, usage)
    assert tokens(split) == {"input": 600, "cached_input": 400, "output": 200}


def test_failure_12_cached_tokens_are_not_taken_from_an_exclusive_input() -> None:
    usage = {"input_tokens": 12, "cache_read_input_tokens": 16_650, "output_tokens": 30}
    for endpoint in (MESSAGES, CHAT_COMPLETIONS):
        split = read(endpoint, usage)
        assert tokens(split) == {"input": 12, "cached_input": 16_650, "output": 30}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/batches/batch_1"), ("GET", "/v1/responses/resp_1?stream=true")],
)
def test_failure_20_a_poll_bills_nothing(method: str, path: str) -> None:
    endpoint = endpoint_for(method, path)
    assert endpoint is not None
    usage = {"input_tokens": 12, "output_tokens": 30, "total_tokens": 42}
    assert read(endpoint, usage, status="completed") is None


def test_failure_38674_a_responses_socket_logs_its_tokens() -> None:
    response: dict[str, Any] = {"id": "r", "usage": {"input_tokens": 12, "output_tokens": 30}}
    message = {"type": "response.completed", "response": response}
    found = SessionReader(RequestShape()).message(json.dumps(message).encode())
    assert found is not None
    assert found.usage.tokens == 42


def test_failure_37994_explicit_zeros_are_usage() -> None:
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert tokens(read(CHAT_COMPLETIONS, zeros)) == {}


def test_failure_14816_the_total_is_not_ignored() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40}
    split = read(CHAT_COMPLETIONS, usage)
    assert split is not None
    assert (split.tokens, len(split.notes)) == (40, 1)


def test_failure_25_usage_does_not_need_done() -> None:
    stream = UsageReader(RESPONSES, RequestShape())
    stream.event(b'{"type":"response.completed","response":{"usage":{"input_tokens":1}}}')
    assert tokens(stream.usage()) == {"input": 1}
