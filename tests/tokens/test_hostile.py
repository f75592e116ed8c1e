"""Whatever a client or an upstream sends: an estimate, soon, and never an exception.

Failure case 19: a tokenizer held the interpreter for a minute, and the service was killed.
"""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.tokens import Estimate, estimate_input, estimate_output
from proxy.wire.answers import AnswerChoice, AnswerReader, AnswerText
from tests.tokens.bounded import chat, check_is_counted_in_bounds

ENDPOINTS = ["chat.completions", "completions", "responses", "embeddings", "messages", "other"]
MODELS = [
    "gpt-4o",
    "gpt-3.5-turbo",
    "gpt-5",
    "gpt-5.4",
    "o4-mini",
    "claude-sonnet-4-5",
    "",
    "x/y:z",
]


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        (" " * 1_000_000, 1_000, 1_000_000),
        ("\n" * 4_000_000, 1_000, 4_000_000),
        ("a" * 1_000_000, 10_000, 1_000_000),
        ("汉" * 3_000_000, 100_000, 6_000_000),
        ("\U0001f600" * 500_000, 100_000, 2_000_000),
    ],
    ids=["spaces", "newlines", "letters", "characters", "emoji"],
)
def test_case_19_long_text_is_counted_in_bounds(text: str, least: int, most: int) -> None:
    check_is_counted_in_bounds(text, least, most)


def test_a_huge_picture_is_read_by_its_head() -> None:
    url = "data:image/png;base64," + "A" * 8_000_000
    body = chat([{"type": "image_url", "image_url": {"url": url}}])
    found = estimate_input("chat.completions", body, "gpt-4o")
    assert found.tokens == 3 + 3 + 1 + 255


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b"\xff\xfe",
        b'{"messages": ' + b"[" * 100_000,
        b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_can_not_be_read_is_counted_by_length(body: bytes) -> None:
    found = estimate_input("chat.completions", body, "gpt-4o")
    assert found == Estimate(-(-len(body) // 4), ("counted_by_length",))
    answer = AnswerText(choices=[AnswerChoice(content="Hello")])
    assert estimate_output("chat.completions", body, answer, "gpt-4o", "openai").tokens == 1


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(depth):
        inner = {"properties": inner}
    return inner


def test_deep_schemas_do_not_raise() -> None:
    deep = nested(100_000)
    named: dict[str, object] = {"name": deep, "schema": {}}
    tools: list[object] = [{"function": {"name": "f", "parameters": deep}}]
    requests: list[dict[str, object]] = [
        {"tools": tools},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": deep}}},
        {"response_format": {"type": "json_schema", "json_schema": named}, "tools": tools},
    ]
    answer = AnswerText(choices=[AnswerChoice(content="12345678", tool_calls=[])])
    for request in requests:
        found = estimate_input("chat.completions", request, "gpt-4o")
        assert found.tokens >= 0
        found = estimate_output("chat.completions", request, answer, "gpt-4o", "openai")
        assert found.tokens >= 2
    assert found.notes == ("counted_by_length",)


def test_a_long_name_of_a_model_costs_no_more_with_each_picture() -> None:
    pictures = [{"type": "image_url"}] * 12_000
    found = estimate_input("chat.completions", chat(pictures), "a" * 500_000)
    assert found.tokens > 12_000 * 255


def test_very_many_messages_are_extrapolated() -> None:
    body = b'{"messages":[' + b",".join([b'{"role":"user"}'] * 100_000) + b"]}"
    found = estimate_input("chat.completions", body, "gpt-4o")
    assert found.tokens == 3 + 4 * 100_000
    assert found.notes == ("many_items_extrapolated",)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "type",
                    "text",
                    "function",
                    "name",
                    "arguments",
                    "tool_calls",
                    "image_url",
                    "audio",
                    "input_audio",
                    "data",
                    "transcript",
                    "url",
                    "parameters",
                    "properties",
                    "anyOf",
                    "items",
                    "$ref",
                    "$defs",
                    "title",
                    "description",
                    "default",
                    "enum",
                    "format",
                    "schema",
                    "json_schema",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=16,
)
REQUESTS = st.dictionaries(
    st.sampled_from(
        [
            "messages",
            "tools",
            "functions",
            "response_format",
            "tool_choice",
            "function_call",
            "input",
            "instructions",
            "text",
            "prompt",
            "suffix",
            "system",
            "stop",
        ]
    ),
    JSON,
    max_size=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    request=REQUESTS, endpoint=st.sampled_from(ENDPOINTS), model=st.sampled_from(MODELS), body=JSON
)
def test_no_request_and_no_answer_raises(
    request: dict[str, Any], endpoint: str, model: str, body: object
) -> None:
    assert estimate_input(endpoint, request, model).tokens >= 0
    reader = AnswerReader()
    reader.json(json.dumps({"choices": [{"message": body}], "output": [body]}).encode())
    found = estimate_output(endpoint, request, reader.answer(), model, "azure")
    assert found.tokens >= 0


@settings(deadline=None)
@given(model=st.sampled_from(MODELS), text=st.text(max_size=40), more=st.text(max_size=40))
def test_more_messages_never_cost_less(model: str, text: str, more: str) -> None:
    one = {"role": "user", "content": text}
    fewer: dict[str, object] = {"messages": [one]}
    longer: dict[str, object] = {"messages": [one, {"role": "user", "content": more}]}
    counts = [
        estimate_input("chat.completions", request, model).tokens for request in (fewer, longer)
    ]
    assert counts[0] <= counts[1]
