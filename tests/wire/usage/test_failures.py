"""Cases in which other meters went wrong, numbered as those of ``tests/failures``."""

import json

import pytest

from proxy.wire.endpoints import CHAT_COMPLETIONS, RESPONSES, endpoint_for
from proxy.wire.usage import RequestShape, UsageReader
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
