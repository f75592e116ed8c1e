"""What a model answered, collected from streams and bodies of every endpoint."""

import base64
import json
import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import answers
from proxy.wire.answers import TRUNCATED, AnswerChoice, AnswerReader, AnswerText
from proxy.wire.inline_audio import Speech
from tests.wire.audio_files import wav


def streamed(*events: dict[str, Any]) -> AnswerText:
    reader = AnswerReader()
    for event in events:
        reader.event(json.dumps(event).encode())
    reader.event(b"[DONE]")
    return reader.answer()


def whole(body: dict[str, Any]) -> AnswerText:
    reader = AnswerReader()
    reader.json(json.dumps(body).encode())
    return reader.answer()


def chunk(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"created": 7, "choices": [choice]}


def test_chat_chunks() -> None:
    calls = [{"index": 0, "function": {"name": "now", "arguments": '{"a"'}}]
    more = [{"index": 0, "function": {"arguments": ":1}"}}, {"index": 1, "function": None}]
    answer = streamed(
        chunk(role="assistant", content="Hel"),
        chunk(content="lo", refusal="no"),
        chunk(index=1, content="Bye"),
        chunk(tool_calls=calls),
        chunk(tool_calls=more),
        chunk(finish="tool_calls"),
        {"choices": [], "usage": {}},
    )
    first = AnswerChoice(
        content="Hello",
        refusal="no",
        tool_calls=[("now", '{"a":1}')],
        finish_reason="tool_calls",
    )
    assert answer.choices == [first, AnswerChoice(content="Bye")]
    assert answer.created_s == 7


def test_a_whole_chat_answer() -> None:
    message = {
        "content": [{"type": "text", "text": "Hel"}, {"text": "lo"}, {"refusal": "!"}, 1],
        "reasoning_content": "Hm",
        "audio": {"transcript": "Hi"},
        "tool_calls": [{"custom": {"name": "run", "input": "x"}}, {"function": {"name": "now"}}],
    }
    answer = whole({"created": 7.5, "choices": [{"message": message, "finish_reason": "stop"}]})
    assert answer.choices == [
        AnswerChoice(
            content="Hello!Hi",
            reasoning="Hm",
            tool_calls=[("run", "x"), ("now", "")],
            finish_reason="stop",
            speech=Speech(),
        )
    ]
    assert answer.reasoning_seen
    assert answer.created_s == 7


AUDIO = base64.b64encode(wav(1)).decode()


@pytest.mark.parametrize(
    ("audios", "speech"),
    [
        (({"id": "1", "transcript": "Hi"}, {"data": "AAAA"}, {"data": "AA=="}), Speech(size=4)),
        (({"data": "AAA"}, {"data": "AAAAA"}, {"expires_at": 9}), Speech(size=6)),
        (({"data": AUDIO},), Speech(size=len(wav(1)))),
        (({"transcript": "Hi"}, {"data": 7}), Speech()),
        (({"id": "", "data": "", "transcript": ""}, {}, None), None),
    ],
)
def test_a_streamed_answer_that_is_spoken(audios: tuple[object, ...], speech: Speech) -> None:
    (choice,) = streamed(*(chunk(audio=audio) for audio in audios)).choices
    assert choice.speech == speech


@pytest.mark.parametrize(
    ("data", "speech"),
    [
        (AUDIO, Speech(size=len(wav(1)), length_us=1_000_000)),
        ("AAAA", Speech(size=3)),
        (None, Speech()),
    ],
)
def test_a_whole_answer_that_is_spoken(data: object, speech: Speech) -> None:
    message = {"content": None, "audio": {"transcript": "Hi", "data": data}}
    (choice,) = whole({"choices": [{"message": message}]}).choices
    assert (choice.content, choice.speech) == ("Hi", speech)


def test_audio_is_measured_and_not_kept() -> None:
    reader = AnswerReader(text_max=5)
    piece = json.dumps(chunk(audio={"data": "A" * 40_000})).encode()
    tracemalloc.start()
    for _ in range(100):
        reader.event(piece)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 40_000
    assert reader.answer() == AnswerText(
        choices=[AnswerChoice(speech=Speech(size=3_000_000))], created_s=7
    )


def test_the_older_call() -> None:
    answer = streamed(
        chunk(function_call={"name": "now", "arguments": "{"}),
        chunk(function_call={"arguments": "}"}),
    )
    assert answer.choices[0].calls == [("now", "{}")]
    assert AnswerChoice().calls == []


def test_completions_text() -> None:
    assert streamed({"choices": [{"text": "a"}]}, {"choices": [{"text": "b"}]}).choices == [
        AnswerChoice(content="ab")
    ]


def test_arguments_may_be_an_object() -> None:
    message = {"tool_calls": [{"function": {"name": "now", "arguments": {"a": 1}}}]}
    assert whole({"choices": [{"message": message}]}).choices[0].calls == [("now", '{"a":1}')]


MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}
CALL = {"type": "function_call", "name": "now", "arguments": "{}"}
REASONING = {"type": "reasoning", "summary": [{"text": "Hm"}]}
RESPONSE = {"created_at": 7, "status": "completed", "output": [REASONING, MESSAGE, CALL]}
READ = AnswerText(
    choices=[
        AnswerChoice(
            content="Hello",
            reasoning="Hm",
            tool_calls=[("now", "{}")],
            finish_reason="completed",
        )
    ],
    reasoning_seen=True,
    created_s=7,
)


def test_a_whole_response() -> None:
    assert whole(RESPONSE) == READ


def test_the_last_event_of_a_response_holds_it_all() -> None:
    assert (
        streamed(
            {"type": "response.created", "response": RESPONSE | {"output": []}},
            {"type": "response.output_text.delta", "output_index": 1, "delta": "Hel"},
            {"type": "response.output_text.delta", "output_index": 1, "delta": "lo"},
            {"type": "response.completed", "response": RESPONSE},
        )
        == READ
    )


def test_an_interrupted_response_is_what_its_deltas_say() -> None:
    answer = streamed(
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "Hm"},
        {"type": "response.output_item.added", "output_index": 1, "item": {"type": "message"}},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "Hel"},
        {"type": "response.refusal.delta", "output_index": 1, "delta": "no"},
        {
            "type": "response.output_item.added",
            "output_index": 2,
            "item": {"type": "function_call", "name": "now"},
        },
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{"},
        {"type": "response.custom_tool_call_input.delta", "output_index": 3, "delta": "x"},
        {"type": "response.in_progress"},
    )
    assert answer.choices == [
        AnswerChoice(
            content="Hel", refusal="no", reasoning="Hm", tool_calls=[("now", "{"), ("", "x")]
        )
    ]


def test_a_done_item_takes_the_place_of_its_deltas() -> None:
    answer = streamed(
        {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{"},
        {"type": "response.output_item.done", "output_index": 0, "item": CALL},
    )
    assert answer.choices[0].calls == [("now", "{}")]


def test_anthropic_messages() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "name": "now", "input": {"a": 1}},
    ]
    expected = AnswerChoice(
        content="Hello", reasoning="Hm", tool_calls=[("now", '{"a":1}')], finish_reason="end_turn"
    )
    assert whole({"type": "message", "content": blocks, "stop_reason": "end_turn"}).choices == [
        expected
    ]
    starts = [
        {"type": "thinking"},
        {"type": "text", "text": ""},
        {"type": "tool_use", "name": "now", "input": {}},
    ]
    deltas = [{"thinking": "Hm"}, {"text": "Hello"}, {"partial_json": '{"a":1}'}]
    events: list[dict[str, Any]] = []
    for index, (start, delta) in enumerate(zip(starts, deltas, strict=True)):
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
    events.append({"type": "message_delta", "delta": None})
    events.append({"type": "message_stop"})
    assert streamed(*events).choices == [expected]


def test_text_is_bounded() -> None:
    reader = AnswerReader(text_max=5)
    for _ in range(4):
        reader.event(json.dumps(chunk(content="abc")).encode())
    answer = reader.answer()
    assert answer.choices[0].content == "abcab"
    assert answer.notes == (TRUNCATED,)


def test_parts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "PARTS_MAX", 2)
    calls = [{"index": n, "function": {"name": "now"}} for n in range(3)]
    answer = streamed(*(chunk(index=n, content="x", tool_calls=calls) for n in range(4)))
    assert [len(choice.calls) for choice in answer.choices] == [2, 2]
    assert answer.notes == (TRUNCATED,)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[1]",
        b"\xff",
        b'{"choices": 1}',
        b'{"choices": [{"delta": []}]}',
        b"[" * 100_000,
        b'{"choices": [{"index": "x", "text": 1, "finish_reason": 2}], "created": "y"}',
        b'{"type": 1, "output": null, "content": null}',
        b'{"type": "content_block_delta", "delta": "x"}',
        b'{"type": "content_block_start"}',
        b'{"type": "response.output_item.added"}',
        b'{"type": "response.unheard_of"}',
        b'{"type": "ping"}',
    ],
)
def test_other_shapes_say_nothing(body: bytes) -> None:
    for read in (AnswerReader.event, AnswerReader.json):
        reader = AnswerReader()
        read(reader, body)
        texts = [choice.content + choice.reasoning for choice in reader.answer().choices]
        assert not any(texts)


def test_arguments_nested_to_the_limit_do_not_raise() -> None:
    limit = sys.getrecursionlimit()
    for depth in range(limit // 2, limit):
        arguments = "[" * depth + "]" * depth
        AnswerReader().json(f'{{"output":[{{"name":"f","arguments":{arguments}}}]}}'.encode())


def test_a_plain_chunk_that_is_no_utf_8_says_nothing() -> None:
    reader = AnswerReader()
    reader.event(b'{"created":7,"choices":[]}')
    reader.event(b'{"choices":[{"index":0,"delta":{"content":"\xff"},"finish_reason":null}]}')
    assert reader.answer().choices in ([], [AnswerChoice()])


@given(pieces=st.lists(st.text(max_size=5), max_size=10))
def test_a_stream_says_what_its_chunks_say(pieces: list[str]) -> None:
    events = [chunk(content=piece) for piece in pieces]
    assert "".join(choice.content for choice in streamed(*events).choices) == "".join(pieces)


@given(events=st.lists(st.binary(max_size=40), max_size=6))
def test_no_bytes_raise(events: list[bytes]) -> None:
    reader = AnswerReader()
    for event in events:
        reader.event(event)
        reader.json(event)
    reader.answer()
