"""Cases in which other meters went wrong, numbered as those of ``tests/failures``."""

import json
from typing import Any

import pytest

from proxy.wire.endpoints import CHAT_COMPLETIONS, MESSAGES, RESPONSES, endpoint_for
from proxy.wire.usage import RequestShape, UsageReader, notes
from tests.wire.usage import failures
from tests.wire.usage.failures import read, tokens


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
    failures.cached_tokens_are_counted_once()


def test_failure_12_cached_tokens_are_not_taken_from_an_exclusive_input() -> None:
    failures.cached_tokens_are_not_taken_from_an_exclusive_input()


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        # Their total says that they are in the input, or that they are beside it.
        (
            {"total_tokens": 1200, "cache_read_input_tokens": 100},
            {"input": 900, "cached_input": 100, "output": 200},
        ),
        (
            {"total_tokens": 1300, "cache_read_input_tokens": 100},
            {"input": 1000, "cached_input": 100, "output": 200},
        ),
        (
            {"total_tokens": 1200, "cache_creation": {"ephemeral_1h_input_tokens": 300}},
            {"input": 700, "cache_write_1h": 300, "output": 200},
        ),
        (
            {"cache_creation": {"ephemeral_1h_input_tokens": 300}},
            {"input": 1000, "cache_write_1h": 300, "output": 200},
        ),
    ],
)
def test_cached_tokens_are_beside_the_input_only_if_its_total_is_not_full(
    members: dict[str, Any], expected: dict[str, int]
) -> None:
    split = read(CHAT_COMPLETIONS, {"input_tokens": 1000, "output_tokens": 200, **members})
    assert tokens(split) == expected
    assert split is not None
    assert split.notes == ()


def test_more_cached_tokens_than_input_are_beside_it_whatever_the_total() -> None:
    usage = {"input_tokens": 100, "output_tokens": 500, "total_tokens": 600}
    split = read(MESSAGES, {**usage, "cache_read_input_tokens": 400})
    assert tokens(split) == {"input": 100, "cached_input": 400, "output": 500}
    assert split is not None
    assert split.notes == (notes.CACHED_NOT_IN_TOTAL,)


def test_cached_tokens_are_beside_an_input_of_none() -> None:
    usage = {"input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 100}
    assert tokens(read(MESSAGES, usage)) == {"cached_input": 100}


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
    failures.a_responses_socket_logs_its_tokens()


def test_failure_37994_explicit_zeros_are_usage() -> None:
    failures.explicit_zeros_are_usage()


def test_failure_14816_the_total_is_not_ignored() -> None:
    failures.the_total_is_not_ignored()


def test_failure_25_usage_does_not_need_done() -> None:
    stream = UsageReader(RESPONSES, RequestShape())
    stream.event(b'{"type":"response.completed","response":{"usage":{"input_tokens":1}}}')
    assert tokens(stream.usage()) == {"input": 1}
