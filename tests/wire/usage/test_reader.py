"""The reader's promises beside the recordings: cheap, last one wins, never raises."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.usage import Metric, TokenType, Usage
from proxy.wire.endpoints import CHAT_COMPLETIONS, ENDPOINTS, MESSAGES, RESPONSES, Metering
from proxy.wire.usage import (
    RequestShape,
    SessionReader,
    UsageReader,
    is_injected_usage_chunk,
    reader,
)
from proxy.wire.usage.finding import read_envelope
from proxy.wire.usage.vocabulary import MOST

BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}


def chat_reader(**request: Any) -> UsageReader:
    return UsageReader(CHAT_COMPLETIONS, RequestShape(**request))


def chunk(usage: object = None, **more: object) -> bytes:
    return json.dumps({"id": "c", "model": "m", "choices": [], "usage": usage, **more}).encode()


def tokens(usage: Usage | None) -> dict[str, int]:
    assert usage is not None
    return {q.type: q.quantity for q in usage.quantities if q.metric is Metric.TOKENS}


def test_events_without_usage_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    monkeypatch.setattr(reader, "read_envelope", decoded.append)
    events = chat_reader()
    for _ in range(10):
        events.event(b'{"choices":[{"delta":{"content":"usage \\"usage\\" error"}}]}')
        events.event(b'{"choices":[],"usage":null}')
        events.event(b'{"choices":[],"usage": null,"x":{"usage":null}}')
    assert len(decoded) == reader._INTRODUCTIONS


def test_the_model_is_read_from_the_first_events() -> None:
    events = chat_reader()
    events.event(b'{"model":"","choices":[],"prompt_filter_results":[]}')
    events.event(b'{"model":"gpt-4o-2024-08-06","service_tier":"flex","id":"chatcmpl-1"}')
    assert events.usage() is None
    assert (events.model, events.service_tier) == ("gpt-4o-2024-08-06", "flex")
    assert events.object_id == "chatcmpl-1"


def test_a_second_usage_beside_a_null_is_seen() -> None:
    events = chat_reader()
    for _ in range(reader._INTRODUCTIONS):
        events.event(b"{}")
    events.event(b'{"usage":null,"x_groq":{"usage":{"prompt_tokens":1,"completion_tokens":2}}}')
    assert tokens(events.usage()) == {"input": 1, "output": 2}
    events.event(b'{"x_groq":{"usage":{"prompt_tokens":1,"completion_tokens":4}},"usage":null}')
    assert tokens(events.usage()) == {"input": 1, "output": 4}


def test_the_result_is_kept_until_the_next_event() -> None:
    events = chat_reader()
    events.json(chunk({"prompt_tokens": 1, "completion_tokens": 2}))
    assert events.usage() is events.usage()
    events.json(chunk({"prompt_tokens": 1, "completion_tokens": 3}))
    assert tokens(events.usage()) == {"input": 1, "output": 3}


def test_an_empty_usage_object_is_none() -> None:
    events = chat_reader()
    events.json(chunk({"prompt_tokens": 1, "completion_tokens": 2}))
    events.json(chunk({}))
    assert tokens(events.usage()) == {"input": 1, "output": 2}
    empties: tuple[object, ...] = ({}, {"cost": 1}, {"prompt_tokens": None}, [], "none", 4)
    for empty in empties:
        events = chat_reader()
        events.json(chunk(empty))
        assert events.usage() is None


def test_raw_is_as_sent_and_bounded() -> None:
    events = chat_reader()
    assert events.raw() == b""
    sent = b'{ "prompt_tokens" : 1 ,"completion_tokens":2,"x":1.50}'
    events.json(b'\r\n {"usage": ' + sent + b"}\n")
    assert events.raw() == sent
    events.json(chunk({"prompt_tokens": 1, "x": "y" * 5000}))
    assert len(events.raw()) == 4096


def test_raw_of_merged_usage_is_what_was_merged() -> None:
    events = UsageReader(MESSAGES, RequestShape())
    events.event(b'{"type":"message_start","message":{"usage":{"input_tokens":5}}}')
    events.event(b'{"type":"message_delta","usage":{"input_tokens":null,"output_tokens":7}}')
    assert json.loads(events.raw()) == {"input_tokens": 5, "output_tokens": 7}
    events.event(b'{"type":"message_delta","usage":{"output_tokens":8,"x":"\xff"}}')
    assert json.loads(events.raw()) == {"input_tokens": 5, "output_tokens": 7}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'{"error":{"message":"no"}}', b""),
        (b'{"type":"error","error":{"type":"overloaded_error"}}', b"error"),
        (b'{"message":"no"}', b"error"),
        (b'{"type":"error","code":"x","message":"no"}', b""),
        (b'{"x_groq":{"error":"no"}}', b""),
        (b'{"response":{"status":"failed","error":{"code":"x"}}}', b"response.failed"),
    ],
)
@pytest.mark.parametrize("before", [0, 10])
def test_errors_in_the_middle_of_a_stream_are_flagged(
    data: bytes, name: bytes, before: int
) -> None:
    events = UsageReader(RESPONSES, RequestShape())
    for _ in range(before):
        events.event(b'{"type":"response.output_text.delta","delta":"a"}')
    assert not events.saw_error
    events.event(data, name)
    assert events.saw_error


@pytest.mark.parametrize(
    "data", [b'{"error":null}', b'{"error":{}}', b'{"error":""}', b'{"a":{"error":{"b":1}}}']
)
def test_what_is_no_error_is_not_flagged(data: bytes) -> None:
    events = chat_reader()
    events.event(data)
    assert not events.saw_error


def test_nothing_is_counted_from_the_request_of_a_failed_call() -> None:
    shape = RequestShape(model="tts-1", input_characters=40, audio_us=5, n=3)
    for name in ("audio.speech", "audio.transcriptions", "images.generations", "moderations"):
        failed = UsageReader(BY_NAME[name], shape)
        failed.json(b'{"detail":"no"}')
        assert failed.usage(succeeded=False) is None
        assert failed.usage() is not None


def test_what_a_failed_call_reports_is_counted() -> None:
    failed = chat_reader()
    failed.json(chunk({"prompt_tokens": 3, "completion_tokens": 0}, error={"message": "no"}))
    assert tokens(failed.usage(succeeded=False)) == {"input": 3}


def test_reads_are_never_metered() -> None:
    for endpoint in ENDPOINTS:
        if endpoint.metering is Metering.NEVER:
            read = UsageReader(endpoint, RequestShape())
            read.json(chunk({"prompt_tokens": 3, "completion_tokens": 1}))
            assert read.usage() is None


def test_injected_chunk_has_usage_and_no_choices() -> None:
    usage = {"prompt_tokens": 1}
    assert is_injected_usage_chunk(chunk(usage))
    assert not is_injected_usage_chunk(chunk(None))
    assert not is_injected_usage_chunk(chunk(usage, choices=[{"index": 0}]))
    assert not is_injected_usage_chunk(b'{"usage":{"prompt_tokens":1}}')
    assert not is_injected_usage_chunk(b'{"choices":[],"prompt_filter_results":[]}')
    assert not is_injected_usage_chunk(b'{"choices":7,"usage":{}}')
    assert not is_injected_usage_chunk(b'"usage"')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'[NaN, "usage"]',
        b"\xff\xfe{",
        b'{"usage": {"prompt_tokens": ',
        b'{"usage": {nonsense}}, "usage": {',
        b'{"usage": [1, 2], "x_groq": 3, "choices": {"usage": 1}}',
        b'{"x_groq": {"usage": 1, "error": null}, "choices": [3, "usage"]}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"usage": {"prompt_tokens": 1' + b"0" * 5000 + b"}}",
    ],
)
def test_garbage_is_no_usage(body: bytes) -> None:
    events = chat_reader()
    events.json(body)
    events.event(body)
    events.event(body, b"error")
    assert events.usage() is None


def test_odd_json_is_read_patiently() -> None:
    body = b'\xef\xbb\xbf{"model":"m\xff","usage":{"prompt_tokens":7},"choices":[{"lp":NaN}]}'
    events = chat_reader()
    events.json(body)
    assert tokens(events.usage()) == {"input": 7}
    assert events.model == "m\ufffd"


@pytest.mark.parametrize(
    ("value", "counted", "noted"),
    [
        (7, 7, False),
        (7.0, 7, False),
        (7.5, 7, True),
        ("7", 7, True),
        ("seven", 0, True),
        (True, 0, True),
        (-7, 0, True),
        (1e300, 0, True),
        (MOST + 1, 0, True),
        ([7], 0, True),
        ({"a": 7}, 0, True),
        (None, 0, False),
    ],
)
def test_counts_that_are_not_whole_numbers(value: object, counted: int, noted: bool) -> None:
    events = chat_reader()
    events.json(chunk({"prompt_tokens": value, "completion_tokens": 1}))
    usage = events.usage()
    assert usage is not None
    assert usage.input_tokens == counted
    assert bool(usage.notes) is noted


def test_details_of_the_wrong_type_are_noted() -> None:
    events = chat_reader()
    events.json(chunk({"prompt_tokens": 5, "prompt_tokens_details": [3]}))
    usage = events.usage()
    assert tokens(usage) == {"input": 5}
    assert usage is not None
    assert usage.notes


# Odd values where counts should be, and every name that means anything.
NUMBERS = st.one_of(
    st.integers(-5, 2000),
    st.none(),
    st.booleans(),
    st.floats(),
    st.text(max_size=3),
    st.integers(-(10**30), 10**30),
)
MODALITIES = st.dictionaries(
    st.sampled_from(["text_tokens", "audio_tokens", "image_tokens"]), NUMBERS
)


def names(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from(text.split())


DETAILS = st.dictionaries(
    names(
        "cached_tokens cache_write_tokens reasoning_tokens text_tokens audio_tokens image_tokens "
        "cached_tokens_details ephemeral_1h_input_tokens web_search_requests"
    ),
    st.one_of(NUMBERS, MODALITIES),
)
USAGES = st.dictionaries(
    names(
        "prompt_tokens completion_tokens total_tokens input_tokens output_tokens "
        "cache_read_input_tokens cache_creation_input_tokens cache_creation prompt_audio_seconds "
        "prompt_tokens_details completion_tokens_details input_tokens_details seconds speed "
        "output_token_details server_tool_use iterations num_sources_used"
    ),
    st.one_of(NUMBERS, DETAILS),
)
# Any JSON at all, made of the words that are looked for.
ANSWERS = st.recursive(
    st.one_of(NUMBERS, names("message advisor_message completed web_search_call search high m")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            names(
                "type id model status usage error response message choices x_groq tool_usage tools "
                "output data svg_usage duration size quality iterations action container_id "
                "image_gen web_search num_requests input_tokens output_tokens service_tier session"
            ),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=20,
)
WHOLE_USAGES = st.builds(
    lambda given, made, cached: {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": {"cached_tokens": cached},
    },
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
EVENTS = st.one_of(
    st.binary(max_size=40),
    st.just(b"[DONE]"),
    st.builds(chunk, st.one_of(st.none(), USAGES)),
    st.builds(lambda usage: json.dumps({"x_groq": {"usage": usage}}).encode(), USAGES),
    st.builds(lambda usage: json.dumps({"response": {"usage": usage}}).encode(), USAGES),
    st.builds(lambda usage: json.dumps({"choices": [{"usage": usage}]}).encode(), USAGES),
    st.builds(lambda usage: json.dumps({"message": {"usage": usage}}).encode(), USAGES),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ENDPOINTS), st.lists(EVENTS, max_size=8), st.booleans())
def test_any_stream_gives_disjoint_types_or_nothing(
    endpoint: Any, events: Any, succeeded: bool
) -> None:
    stream = UsageReader(endpoint, RequestShape(model="m"))
    for event in events:
        stream.event(event)
    usage = stream.usage(succeeded=succeeded)
    if usage is None:
        return
    assert all(quantity.quantity > 0 for quantity in usage.quantities)
    kinds = [(q.metric, q.type, q.model) for q in usage.quantities]
    assert len(kinds) == len(set(kinds))
    assert usage.input_tokens + usage.reasoning_tokens <= usage.tokens
    assert {q.type for q in usage.quantities if q.metric is Metric.TOKENS} <= set(TokenType)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.none(), WHOLE_USAGES), max_size=6))
def test_the_last_usage_that_is_not_null_wins(usages: list[dict[str, Any] | None]) -> None:
    stream = chat_reader()
    for usage in usages:
        stream.event(chunk(usage))
    said = [usage for usage in usages if usage is not None]
    if not said:
        assert stream.usage() is None
        return
    alone = chat_reader()
    alone.json(chunk(said[-1]))
    assert stream.usage() == alone.usage()
    assert sum(tokens(stream.usage()).values()) == said[-1]["total_tokens"]


@settings(max_examples=200, deadline=None)
@given(WHOLE_USAGES)
def test_the_sum_is_the_total_and_contradictions_are_noted(said: dict[str, Any]) -> None:
    whole = chat_reader()
    whole.json(chunk(said))
    usage = whole.usage()
    assert usage is not None
    assert usage.tokens == said["total_tokens"]
    contradictory = said["prompt_tokens_details"]["cached_tokens"] > said["prompt_tokens"]
    assert bool(usage.notes) is contradictory


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*ENDPOINTS]), ANSWERS)
def test_any_json_is_taken(endpoint: Any, answer: object) -> None:
    whole = UsageReader(endpoint, RequestShape())
    whole.json(json.dumps(answer).encode())
    whole.usage()
    whole.raw()
    SessionReader(RequestShape()).message(json.dumps(answer).encode())


@pytest.mark.parametrize("odd", [["a"], {"a": 1}, 3, None, ""])
def test_types_that_are_no_words(odd: object) -> None:
    item = {"type": "web_search_call", "action": {"type": odd}, "status": odd}
    answer = {
        "model": odd,
        "service_tier": odd,
        "usage": {"input_tokens": 3, "iterations": [{"type": odd, "input_tokens": 4}, odd]},
        "output": [item, {"type": odd}, {"type": "image_generation_call", "status": odd}, odd],
        "tools": [{"type": odd, "model": odd}, {"type": "image_generation", "model": odd}, odd],
        "tool_usage": odd,
        "svg_usage": odd,
    }
    for endpoint in (RESPONSES, MESSAGES):
        whole = UsageReader(endpoint, RequestShape())
        whole.json(json.dumps(answer).encode())
        usage = whole.usage()
        assert usage is not None
        assert usage.input_tokens == 3


@settings(max_examples=200, deadline=None)
@given(st.binary())
def test_any_bytes_are_taken(body: bytes) -> None:
    read_envelope(body)
    is_injected_usage_chunk(body)
    events = chat_reader()
    events.json(body)
    events.usage()
