"""A chat's tokens, rule by rule, with figures that can be checked by hand.

Every word used here is one token of both vocabularies; so are the roles.
"""

from typing import Any

import pytest

from proxy.tokens import estimate_input, estimate_output
from proxy.tokens.vocabulary import O200K, vocabulary
from proxy.wire.answers import AnswerChoice, AnswerText

HELLO = {"role": "user", "content": "Hello"}
RULES = {"role": "system", "content": "Hello"}
WEATHER = {"name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}}
TOOL = {"type": "function", "function": WEATHER}
DESCRIBED = {"type": "function", "function": WEATHER | {"description": "Hello"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "Book", "schema": {}, "strict": True}}
CALL = {"id": "1", "function": {"name": "weather", "arguments": '{"city": "Hello"}'}}
OTHER = CALL | {"id": "2"}
IN_APRIL_2025_S = 1_743_500_000


def counted(model: str, *messages: dict[str, Any], **request: Any) -> int:
    body = {"messages": list(messages), **request}
    return estimate_input("chat.completions", body, model).tokens


@pytest.mark.parametrize(
    ("model", "messages", "tokens"),
    [
        ("gpt-4o", [], 3),
        ("gpt-4o", [HELLO], 3 + 1 + 1 + 3),
        ("gpt-3.5-turbo", [HELLO], 3 + 1 + 1 + 3),
        ("openai/gpt-4o", [HELLO], 8),
        ("ft:gpt-4o:acme::1", [HELLO], 8),
        ("gpt-5", [HELLO], 7),
        ("o3-mini", [HELLO], 7),
        ("gpt-4o-search-preview", [HELLO], 1),
        ("gpt-4o", [RULES, HELLO], 13),
        ("gpt-4o", [HELLO | {"name": "Hello"}], 8 + 2),
        ("gpt-4o", [HELLO | {"name": "user"}], 8 + 1),
        ("gpt-4o", [{"role": "assistant", "content": None, "refusal": "Hello"}], 8),
        ("gpt-4o", [{"role": "user", "content": [{"type": "text", "text": "Hello"}, "!"]}], 9),
        ("gpt-4o", [{"role": "assistant", "content": [{"refusal": "Hello"}]}], 8),
        ("gpt-5", [{"role": "assistant", "content": "Hello"}, HELLO], 7 + 5 + 2),
    ],
)
def test_messages(model: str, messages: list[dict[str, Any]], tokens: int) -> None:
    assert counted(model, *messages) == tokens


SHOWN_TEXT = """\
# Tools

## functions

namespace functions {

type weather = (_: { city?: string }) => any;

} // namespace functions"""
SHOWN = len(vocabulary(O200K).encode_ordinary(SHOWN_TEXT))


def test_the_shown_text_takes_26_tokens() -> None:
    assert SHOWN == 26


@pytest.mark.parametrize(
    ("model", "messages", "request_", "tokens"),
    [
        ("gpt-4o", [HELLO], {"tools": [TOOL]}, 8 + 4 + SHOWN - 1),
        ("gpt-4o", [HELLO], {"functions": [WEATHER]}, 8 + 4 + SHOWN - 1),
        ("gpt-4o", [RULES, HELLO], {"tools": [TOOL]}, 13 + 1 + SHOWN - 1),
        ("gpt-4o", [HELLO], {"tools": [TOOL], "tool_choice": "none"}, 8 + 4 + SHOWN),
        (
            "gpt-4o",
            [HELLO],
            {"tools": [TOOL], "tool_choice": {"function": {"name": "weather"}}},
            8 + 4 + SHOWN - 1 + 7 + 1,
        ),
        (
            "gpt-4o",
            [HELLO],
            {"functions": [WEATHER], "function_call": {"name": "weather"}},
            8 + 4 + SHOWN - 1 + 7 + 1,
        ),
        ("gpt-5", [HELLO], {"tools": [TOOL]}, 7 + 4 + SHOWN + 81 - 1),
        ("gpt-5", [HELLO], {"tools": [DESCRIBED]}, 7 + 4 + SHOWN + 2 + 81),
        (
            "gpt-5",
            [RULES, HELLO],
            {"tools": [DESCRIBED], "tool_choice": {"function": {"name": "weather"}}},
            12 + 1 + SHOWN + 2 + 84,
        ),
        ("o3-mini", [HELLO], {"tools": [TOOL]}, 7 + 4 + SHOWN),
    ],
)
def test_functions(
    model: str, messages: list[dict[str, Any]], request_: dict[str, Any], tokens: int
) -> None:
    assert counted(model, *messages, **request_) == tokens


def test_functions_of_other_makers_models_are_json() -> None:
    without = counted("deepseek-chat", HELLO)
    shown = '{"type": "function", "function": {"name": "weather", "parameters": …}}'
    assert counted("deepseek-chat", HELLO, tools=[TOOL]) > without + 215 + len(shown) // 6
    noted = estimate_input("chat.completions", {"messages": [HELLO]}, "deepseek-chat")
    assert "foreign_vocabulary" in noted.notes


FORMAT = 8


@pytest.mark.parametrize(
    ("model", "messages", "tokens"),
    [
        ("gpt-4o", [HELLO], 8 + 4 + FORMAT + 2 + 1),
        ("gpt-4o", [RULES, HELLO], 13 + 1 + FORMAT + 2 + 1),
        ("gpt-4o", [HELLO, {"role": "assistant", "content": "{}"}], 8 + 5 + 3 + 4 + FORMAT + 3),
        ("gpt-5", [HELLO], 7 + 4 + FORMAT),
        ("gpt-5", [RULES, HELLO], 12 + 1 + FORMAT + 3),
    ],
)
def test_response_formats(model: str, messages: list[dict[str, Any]], tokens: int) -> None:
    assert counted(model, *messages, response_format=SCHEMA) == tokens


# ' to=functions.weather' is 4 tokens, '{"city":"Hello"}' is 5
CALLED = 3 + 1 + 4 + 5
RESULT = {"role": "tool", "tool_call_id": "1", "content": "Hello"}


@pytest.mark.parametrize(
    ("model", "messages", "tokens"),
    [
        ("gpt-4o", [HELLO, {"role": "assistant", "tool_calls": [CALL]}], 8 + CALLED),
        ("gpt-4o", [HELLO, {"role": "assistant", "function_call": CALL["function"]}], 8 + CALLED),
        (
            "gpt-4o",
            [HELLO, {"role": "assistant", "tool_calls": [CALL], "name": "Hello"}],
            8 + CALLED + 1,
        ),
        (
            "gpt-4o",
            [HELLO, {"role": "assistant", "content": "Hello", "tool_calls": [CALL]}],
            8 + 5 + CALLED,
        ),
        (
            "gpt-4o",
            [HELLO, {"role": "assistant", "tool_calls": [CALL]}, RESULT],
            8 + CALLED + 3 + 1 + 1 + 2 + 1,
        ),
        ("gpt-4o", [HELLO, RESULT | {"name": "weather"}], 8 + 3 + 1 + 1 + 2 + 1),
        (
            "gpt-4o",
            [HELLO, {"role": "function", "name": "weather", "content": "Hello"}],
            8 + 3 + 1 + 1 + 2 + 1,
        ),
        ("gpt-5", [HELLO, {"role": "assistant", "tool_calls": [CALL]}], 7 + CALLED + 6),
        ("gpt-5", [HELLO, {"role": "assistant", "tool_calls": [CALL, OTHER]}], 7 + 2 * CALLED + 6),
    ],
)
def test_tool_history(model: str, messages: list[dict[str, Any]], tokens: int) -> None:
    assert counted(model, *messages) == tokens


def test_a_function_without_description_counts_alike_once_one_was_called() -> None:
    called = {"role": "assistant", "tool_calls": [CALL]}
    plain = counted("gpt-5", HELLO, called, RESULT, tools=[TOOL])
    described = counted("gpt-5", HELLO, called, RESULT, tools=[DESCRIBED])
    assert described - plain == 2


def test_parallel_results_are_one_json_list() -> None:
    calls = {"role": "assistant", "tool_calls": [CALL, OTHER]}
    alone = counted("gpt-4o-mini", HELLO, calls)
    second = RESULT | {"tool_call_id": "2", "content": '{"a":1}'}
    # The list holds a text and an object: 9 tokens.
    assert counted("gpt-4o-mini", HELLO, calls, RESULT, second) == alone + 10 + 9
    accented = second | {"content": "é"}
    escaped = counted("gpt-4o-mini", HELLO, calls, RESULT, accented)
    assert escaped > counted("gpt-4o", HELLO, calls, RESULT, accented)


def test_arguments_that_are_no_json_are_counted_as_they_are() -> None:
    call = {"id": "1", "function": {"name": "weather", "arguments": "Hello"}}
    assert counted("gpt-4o", {"role": "assistant", "tool_calls": [call]}) == 3 + 3 + 1 + 4 + 1
    call = {"id": "1", "custom": {"name": "weather", "input": "Hello"}}
    assert counted("gpt-4o", {"role": "assistant", "tool_calls": [call]}) == 3 + 3 + 1 + 4 + 1
    call = {"id": "1", "function": {"name": "weather", "arguments": {"city": "Hello"}}}
    assert counted("gpt-4o", {"role": "assistant", "tool_calls": [call]}) == 3 + CALLED


def test_pictures_are_counted_and_files_are_noted() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "https://example.com/", "detail": "low"}},
        {"type": "image_url", "image_url": "https://example.com/800x400"},
        {"type": "file", "file": {"file_id": "1"}},
    ]
    body: dict[str, object] = {"messages": [{"role": "user", "content": parts}]}
    found = estimate_input("chat.completions", body, "gpt-4o")
    assert found.tokens == 3 + 3 + 1 + 85 + 425
    assert found.notes == ("file_not_counted", "image_size_unknown")


def answered(model: str, choice: AnswerChoice, provider: str = "openai", **request: Any) -> int:
    answer = AnswerText(choices=[choice])
    return estimate_output("chat.completions", request, answer, model, provider).tokens


TEXT = AnswerChoice(content="Hello", finish_reason="stop")
CALLS = AnswerChoice(tool_calls=[("weather", '{"city":"Hello"}')], finish_reason="tool_calls")
TWO = AnswerChoice(tool_calls=[("weather", "{}"), ("weather", "{}")])
FORCED = {"tool_choice": {"function": {"name": "weather"}}}


@pytest.mark.parametrize(
    ("model", "choice", "provider", "request_", "tokens"),
    [
        ("gpt-4o", TEXT, "openai", {}, 1),
        ("gpt-4o", TEXT, "azure", {}, 2),
        ("gpt-4o", TEXT, "openai", {"tools": [TOOL]}, 2),
        ("gpt-4o", TEXT, "azure", {"tools": [TOOL]}, 3),
        ("gpt-4o", TEXT, "openai", {"tools": [TOOL], "tool_choice": "none"}, 1),
        ("gpt-4o", TEXT, "openai", {"response_format": SCHEMA}, 1),
        ("gpt-4o", TEXT, "openai", {"tools": [TOOL], "response_format": SCHEMA}, 1 + 1 + 3),
        ("gpt-4o", AnswerChoice(refusal="Hello"), "openai", {}, 2),
        ("gpt-4o", AnswerChoice(content="Hello", finish_reason="length"), "azure", {}, 1),
        ("gpt-5", TEXT, "openai", {}, 1 + 9),
        ("gpt-5.4", TEXT, "openai", {}, 1 + 3),
        ("gpt-5.4", TEXT, "openai", {"response_format": SCHEMA}, 1 + 3 + 3),
        ("gpt-5.4", TEXT, "openai", {"response_format": {"type": "json_object"}}, 1 + 3 + 3),
        ("o3-mini", TEXT, "openai", {}, 1 + 13),
        ("o4-mini", TEXT, "openai", {}, 1 + 18),
        ("o4-mini", TEXT, "openai", {"tools": [TOOL]}, 1 + 12),
        ("gpt-4o", CALLS, "openai", {"tools": [TOOL]}, 4 + 5 + 4),
        ("gpt-4o", CALLS, "azure", {"tools": [TOOL]}, 4 + 5 + 4 + 1),
        ("gpt-4o", CALLS, "openai", {"tools": [TOOL], **FORCED}, 5),
        ("gpt-4-turbo", CALLS, "openai", {"tools": [TOOL], **FORCED}, 4 + 5 + 4),
        ("gpt-4-0613", CALLS, "openai", {"tools": [TOOL]}, 1 + 5 + 4),
        ("gpt-5", CALLS, "openai", {"tools": [TOOL]}, 1 + 5 + 16),
        ("gpt-5.4", CALLS, "openai", {"tools": [TOOL]}, 1 + 5 + 10),
        ("gpt-4o", AnswerChoice(function_call=("weather", "{}")), "openai", {}, 4 + 1 + 4),
        ("gpt-4o", AnswerChoice(content="Hello", tool_calls=[("weather", "{}")]), "", {}, 2 + 9),
    ],
)
def test_answers(
    model: str, choice: AnswerChoice, provider: str, request_: dict[str, Any], tokens: int
) -> None:
    assert answered(model, choice, provider, **request_) == tokens


def test_several_calls_are_one_call_of_a_wrapper() -> None:
    wrapper = answered("gpt-4o", TWO) - 10
    assert answered("gpt-5.4", TWO) == wrapper + 20
    spaced = AnswerChoice(tool_calls=[("weather", "{ }"), ("weather", "{}")])
    assert answered("gpt-4o", spaced) == wrapper + 10


def test_openai_counted_the_end_of_a_message_in_the_spring_of_2025() -> None:
    def spring(choice: AnswerChoice, provider: str = "openai", **request: Any) -> int:
        answer = AnswerText(choices=[choice], created_s=IN_APRIL_2025_S)
        return estimate_output("chat.completions", request, answer, "gpt-4o", provider).tokens

    assert spring(TEXT) == 2
    assert spring(TEXT, stop=["\n"]) == 1
    assert spring(AnswerChoice(content="Hello", finish_reason="length")) == 1
    assert spring(CALLS) == 13 + 1
    assert spring(TEXT, provider="azure") == 2


def test_visible_reasoning_is_counted_and_hidden_reasoning_noted() -> None:
    seen = AnswerText(
        choices=[AnswerChoice(content="Hello", reasoning="Hello world")], reasoning_seen=True
    )
    found = estimate_output("chat.completions", {}, seen, "gpt-4o", "openai")
    assert (found.tokens, found.notes) == (3, ())
    hidden = AnswerText(choices=[TEXT], notes=("answer_text_truncated",))
    found = estimate_output("chat.completions", {}, hidden, "gpt-5", "openai")
    assert found.notes == ("answer_text_truncated", "hidden_reasoning")


def test_an_answer_of_nothing_costs_nothing() -> None:
    assert estimate_output("chat.completions", {}, AnswerText(), "gpt-4o", "openai").tokens == 0
