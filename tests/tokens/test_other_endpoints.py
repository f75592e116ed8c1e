"""Responses, completions, embeddings, and Anthropic's messages."""

from typing import Any

import pytest

from proxy.tokens import estimate_input, estimate_output
from proxy.tokens.formats import render_format
from proxy.tokens.vocabulary import O200K, vocabulary
from proxy.wire.answers import AnswerChoice, AnswerText

TOOL = {"type": "function", "name": "now", "description": "Hello", "parameters": {}}
PICTURE = {"type": "input_image", "image_url": "https://example.com/128x128"}
PICTURE_BLOCK = {
    "type": "image",
    "source": {"type": "url", "url": "https://example.com/280x280"},
}
PICTURE_RESULT = {"type": "tool_result", "content": [PICTURE_BLOCK]}
FORMAT = {"type": "json_schema", "name": "Book", "schema": {}, "strict": True}


def responses(model: str, **request: Any) -> int:
    return estimate_input("responses", request, model).tokens


SHOWN_TEXT = """\
# Tools

## functions

namespace functions {

// Hello
type now = () => any;

} // namespace functions"""
SHOWN = len(vocabulary(O200K).encode_ordinary(SHOWN_TEXT))
SHOWN_FORMAT = len(vocabulary(O200K).encode_ordinary("# Response Formats\n\n## Book\n\n{}"))
HELLO = {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}


@pytest.mark.parametrize(
    ("model", "request_", "tokens"),
    [
        ("gpt-4o", {"input": "Hello"}, 8),
        ("gpt-4o", {"input": [HELLO], "instructions": "Hello"}, 13),
        ("gpt-5", {"input": [{"type": "reasoning", "summary": []}, HELLO]}, 7),
        ("gpt-5-nano", {"input": [HELLO, {"role": "user", "content": [PICTURE]}]}, 7 + 4 + 24),
        ("gpt-4o", {"input": "Hello", "tools": [TOOL]}, 8 + SHOWN - 3),
        ("gpt-4o", {"input": "Hello", "instructions": "Hello", "tools": [TOOL]}, 13 + SHOWN - 3),
        ("gpt-5", {"input": "Hello", "tools": [TOOL]}, 7 + SHOWN + 3),
        (
            "gpt-4o",
            {"input": "Hello", "tools": [TOOL], "tool_choice": "required"},
            8 + SHOWN - 3 + 7 + 1,
        ),
        (
            "gpt-4o",
            {"input": "Hello", "tools": [TOOL], "tool_choice": {"type": "function", "name": "now"}},
            8 + SHOWN - 3 + 7 + 1,
        ),
        (
            "gpt-4o",
            {"input": "Hello", "tools": [TOOL], "tool_choice": {"type": "allowed_tools"}},
            8 + SHOWN - 3,
        ),
        ("gpt-4o", {"input": "Hello", "text": {"format": FORMAT}}, 8 + SHOWN_FORMAT + 1),
        ("gpt-5", {"input": "Hello", "text": {"format": FORMAT}}, 7 + SHOWN_FORMAT),
    ],
)
def test_responses_input(model: str, request_: dict[str, Any], tokens: int) -> None:
    assert responses(model, **request_) == tokens


# ' to=functions.now' is 4 tokens, '{}' is 1
MADE = 3 + 1 + 4 + 1
GIVEN_BACK = 3 + 1 + 1 + 2 + 1
ITEM = {"type": "function_call", "call_id": "1", "name": "now", "arguments": "{}"}
WHOLE = ITEM | {"id": "fc_1", "status": "completed"}
RESULT = {"type": "function_call_output", "call_id": "1", "output": "Hello"}


@pytest.mark.parametrize(
    ("items", "tokens"),
    [
        ([WHOLE, RESULT], MADE + GIVEN_BACK + 1),
        ([ITEM, RESULT], MADE + GIVEN_BACK - 2),
        ([ITEM | {"id": "fc_1"}, RESULT], MADE + GIVEN_BACK - 2),
        ([ITEM | {"status": "completed"}, RESULT], MADE + GIVEN_BACK - 2),
        ([WHOLE, RESULT, WHOLE, RESULT], 2 * (MADE + GIVEN_BACK + 1)),
        ([WHOLE, WHOLE, RESULT, RESULT], 2 * (MADE + GIVEN_BACK - 2)),
    ],
)
def test_responses_history_depends_on_how_calls_are_sent_back(
    items: list[dict[str, Any]], tokens: int
) -> None:
    assert responses("gpt-4o", input=items) == 3 + tokens


def test_responses_history_of_models_that_reason_depends_on_strictness() -> None:
    items, loose = [ITEM, RESULT], [TOOL | {"strict": False}]
    strict = responses("gpt-5", input=items, tools=[TOOL])
    assert responses("gpt-5", input=items, tools=loose) == strict - 3


def test_a_strict_format_does_not_show_what_is_enforced() -> None:
    dated = {"type": "string", "format": "date"}
    shown = render_format(
        {"name": "n", "strict": True, "schema": {"properties": {"format": dated}}}
    )
    assert shown.endswith('{"properties":{"format":{"type":"string"}}}')


def test_responses_say_what_they_do_not_hold() -> None:
    request: dict[str, object] = {
        "input": [
            {"type": "item_reference", "id": "1"},
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "image_url": "https://example.com/"},
                    {"type": "input_file", "file_id": "1"},
                ],
            },
        ],
        "previous_response_id": "resp_1",
        "tools": [{"type": "web_search"}],
    }
    assert estimate_input("responses", request, "gpt-4o").notes == (
        "file_not_counted",
        "hosted_tools_not_counted",
        "image_size_unknown",
        "items_not_counted",
        "stored_context_not_counted",
    )


def test_foreign_models_on_responses() -> None:
    assert responses("grok-4", input="Hello", tools=[TOOL]) > 170


TEXT = AnswerChoice(content="Hello", finish_reason="completed")
CALL = AnswerChoice(tool_calls=[("now", "{}")], finish_reason="completed")


@pytest.mark.parametrize(
    ("model", "choice", "request_", "reasoning_seen", "tokens"),
    [
        ("gpt-4o", TEXT, {}, False, 2),
        ("gpt-4o", TEXT, {"tools": [TOOL]}, False, 3),
        ("gpt-4o", AnswerChoice(content="Hello", finish_reason="incomplete"), {}, False, 1),
        ("gpt-4o", CALL, {"tools": [TOOL]}, False, 4 + 1 + 5),
        ("gpt-5.4", TEXT, {}, False, 5),
        ("gpt-5.4", TEXT, {"text": {"format": FORMAT}}, False, 5 + 3),
        ("gpt-5", TEXT, {}, True, 7),
        ("gpt-5.4", CALL, {"tools": [TOOL], "tool_choice": "none"}, False, 1 + 1 + 11),
        ("gpt-5", CALL, {"tools": [TOOL]}, True, 1 + 1 + 13),
        ("o3-mini", TEXT, {}, True, 2),
    ],
)
def test_responses_output(
    model: str,
    choice: AnswerChoice,
    request_: dict[str, Any],
    reasoning_seen: bool,
    tokens: int,
) -> None:
    answer = AnswerText(choices=[choice], reasoning_seen=reasoning_seen)
    assert estimate_output("responses", request_, answer, model, "openai").tokens == tokens


@pytest.mark.parametrize(
    ("endpoint", "request_", "tokens"),
    [
        ("completions", {"prompt": "Hello world"}, 2),
        ("completions", {"prompt": ["Hello", " world"], "suffix": "!"}, 3),
        ("completions", {"prompt": [1, 2, 3]}, 3),
        ("completions", {"prompt": [[1, 2], [3]]}, 3),
        ("completions", {}, 0),
        ("embeddings", {"input": "Hello"}, 1),
        ("embeddings", {"input": ["Hello", "Hello world"]}, 3),
        ("embeddings", {"input": [[1, 2, 3], {}]}, 3),
    ],
)
def test_prompts_and_inputs(endpoint: str, request_: dict[str, Any], tokens: int) -> None:
    assert estimate_input(endpoint, request_, "text-embedding-3-small").tokens == tokens


def test_completions_output_is_its_text() -> None:
    answer = AnswerText(
        choices=[AnswerChoice(content="Hello"), AnswerChoice(content="Hello world")]
    )
    found = estimate_output("completions", {}, answer, "gpt-3.5-turbo-instruct", "openai")
    assert found.tokens == 3


def test_anthropic_messages_are_approximated() -> None:
    request: dict[str, object] = {
        "system": [{"type": "text", "text": "Hello"}],
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": [{"type": "tool_use", "name": "now", "input": {}}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "content": [{"type": "text", "text": "Hello"}]},
                    {"type": "tool_result", "content": "Hello"},
                    {"type": "text", "text": "Hello"},
                    {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/9x9"}},
                ],
            },
        ],
        "tools": [{"name": "now", "input_schema": {}}],
    }
    found = estimate_input("messages", request, "claude-sonnet-4-5")
    assert found.tokens > 490
    assert "foreign_vocabulary" in found.notes


def test_anthropic_messages_need_no_system_text() -> None:
    request: dict[str, object] = {"messages": [{"role": "user", "content": "Hello"}]}
    assert estimate_input("messages", request, "claude-sonnet-4-5").tokens == 9


@pytest.mark.parametrize("block", [PICTURE_BLOCK, PICTURE_RESULT])
def test_a_picture_costs_no_more_where_text_does(block: dict[str, object]) -> None:
    request: dict[str, object] = {"messages": [{"role": "user", "content": [block]}]}
    alone: dict[str, object] = {"messages": [{"role": "user", "content": []}]}
    with_it, without = (
        estimate_input("messages", each, "claude-sonnet-4-5").tokens for each in (request, alone)
    )
    assert with_it - without == 10 * 10


def test_a_picture_costs_the_same_in_responses() -> None:
    url = "https://example.com/280x280"
    part = {"type": "input_image", "image_url": url}
    request: dict[str, object] = {"input": [{"role": "user", "content": [part]}]}
    alone: dict[str, object] = {"input": [{"role": "user", "content": []}]}
    with_it, without = (
        estimate_input("responses", each, "claude-sonnet-4-5").tokens for each in (request, alone)
    )
    assert with_it - without == 10 * 10


def test_other_endpoints_are_counted_by_length() -> None:
    found = estimate_input("moderations", b"12345678", "omni")
    assert (found.tokens, found.notes) == (2, ("counted_by_length",))
    assert estimate_input("moderations", {"a": 1}, "omni").tokens == 2
