"""Audio in a chat: figures of recorded calls, and what can't be told."""

import base64
from typing import Any

import pytest

from proxy.tokens import Estimate, estimate_input, estimate_output
from proxy.wire.answers import AnswerChoice, AnswerText
from proxy.wire.inline_audio import Speech
from tests.wire.audio_files import flac, mp3, wav

HELLO = 3 + 1 + 3
"""Tokens of a message of the user's, and of the answer's beginning."""


def part(content: bytes, form: str = "wav") -> dict[str, Any]:
    data = base64.b64encode(content).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": form}}


def heard(*parts: object, endpoint: str = "chat.completions") -> Estimate:
    messages = [{"role": "user", "content": list(parts)}]
    request: dict[str, object] = {"messages": messages, "input": messages}
    return estimate_input(endpoint, request, "gpt-audio")


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        (wav(4.488), 44),
        (wav(6.96), 69),
        (wav(3.7), 37),
        (wav(1.704), 17),
        (wav(0.74), 7),
        (wav(0.0999), 0),
        (mp3(100), 26),
        (flac(44_100), 10),
    ],
)
def test_what_is_heard_is_ten_tokens_a_second_and_four_of_text(content: bytes, tokens: int) -> None:
    assert heard(part(content)) == Estimate(HELLO + 4 + tokens, (), tokens)
    assert heard(part(content), endpoint="responses").audio_tokens == tokens


def test_each_part_is_counted() -> None:
    found = heard(part(wav(1.09)), {"type": "text", "text": "Hello"}, part(wav(2.09)))
    assert found == Estimate(HELLO + 1 + 4 + 10 + 4 + 20, (), 30)


@pytest.mark.parametrize(
    "audio",
    [
        None,
        "AAAA",
        {},
        {"data": None},
        {"data": "A"},
        {"data": "%"},
        {"data": ""},
        part(bytes(1000))["input_audio"],
        part(flac(1 << 35))["input_audio"],
    ],
)
def test_what_can_not_be_told_is_noted(audio: object) -> None:
    found = heard({"type": "input_audio", "input_audio": audio})
    assert found == Estimate(HELLO, ("input_audio_not_counted",))


def test_an_earlier_answer_is_not_in_the_request() -> None:
    earlier = {"role": "assistant", "audio": {"id": "audio_1"}}
    found = estimate_input("chat.completions", {"messages": [earlier]}, "gpt-audio")
    assert found.notes == ("earlier_audio_not_counted",)


def spoken(speech: Speech, form: object, *more: AnswerChoice) -> Estimate:
    answer = AnswerText(choices=[AnswerChoice(content="Hello", speech=speech), *more])
    request: dict[str, object] = {"audio": {"voice": "ash", "format": form}}
    return estimate_output("chat.completions", request, answer, "gpt-audio", "openai")


@pytest.mark.parametrize(
    ("size", "tokens"),
    [(26_400, 11), (103_200, 43), (252_000, 105), (300_000, 125), (2_399, 0), (2_400, 1)],
)
def test_samples_are_twenty_tokens_a_second(size: int, tokens: int) -> None:
    assert spoken(Speech(size=size), "pcm16") == Estimate(1 + tokens, (), tokens)


@pytest.mark.parametrize("form", ["wav", "mp3", "flac", "opus", None])
def test_a_file_tells_its_length_itself(form: object) -> None:
    speech = Speech(size=10, length_us=2_849_999)
    assert spoken(speech, form) == Estimate(1 + 56, (), 56)


def test_each_choice_is_counted() -> None:
    other = AnswerChoice(content="Hello", speech=Speech(size=4_799))
    assert spoken(Speech(size=4_799), "pcm16", other, AnswerChoice()) == Estimate(2 + 2, (), 2)


@pytest.mark.parametrize(
    ("speech", "form"),
    [
        (Speech(size=9_600), "mp3"),
        (Speech(size=9_600), None),
        (Speech(size=9_600), ["pcm16"]),
        (Speech(), "pcm16"),
    ],
)
def test_speech_of_unknown_length_is_noted(speech: Speech, form: object) -> None:
    assert spoken(speech, form) == Estimate(1, ("output_audio_not_counted",))
