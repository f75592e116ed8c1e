"""What a realtime client may send in managed mode."""

import json
from typing import Any

import pytest

from proxy.errors import NotFoundError, ProxyError
from proxy.wire.session_guard import SessionGuard
from proxy.wire.websocket_frames import BINARY, TEXT, write_close, write_frame


def admit(model: str) -> None:
    if not model.startswith("gpt-"):
        raise NotFoundError(f"no {model}")


def frame(message: Any, opcode: int = TEXT) -> bytes:
    return write_frame(opcode, json.dumps(message).encode())


SOUND: list[dict[str, Any]] = [
    {"type": "input_audio_buffer.append", "audio": "aGk="},
    {"event_id": "e_1", "type": "input_audio_buffer.append", "audio": "aGk="},
    {"type": "input_audio_buffer.commit"},
    {"type": "response.create"},
    {"type": "response.cancel", "response_id": "resp_1"},
    {"type": "conversation.item.delete", "item_id": "item_1", "event_id": "event_1"},
    {"type": "session.update", "session": {"model": "gpt-realtime", "prompt": None}},
    {"type": "session.update", "session": None},
    {"type": "response.create", "response": {"conversation": "none", "metadata": {"a": "b"}}},
    {
        "type": "session.update",
        "session": {"input_audio_transcription": {"model": "gpt-4o-transcribe", "prompt": "a b"}},
    },
    {
        "type": "conversation.item.create",
        "previous_item_id": "item_0",
        "item": {"type": "function_call_output", "call_id": "call_1", "output": "{}"},
    },
]
REFUSED: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"prompt": {"id": "pmpt_1"}}},
    {"type": "response.create", "response": {"prompt": {"id": "pmpt_1"}}},
    {"type": "session.update", "session": {"model": "o1"}},
    {"type": "response.create", "response": {"model": "o1"}},
    {
        "type": "session.update",
        "session": {"audio": {"input": {"transcription": {"model": "whisper-1"}}}},
    },
    {"type": "session.update", "session": {"tools": [{"vector_store_ids": ["vs_1"]}]}},
    {"type": "conversation.item.create", "item": {"content": [{"file_id": "file-1"}]}},
]


@pytest.mark.parametrize("message", SOUND)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_what_may_go_up(message: dict[str, Any], opcode: int) -> None:
    guard = SessionGuard(admit)
    sent = frame(message, opcode)
    for at in range(len(sent)):
        assert guard.feed(sent[at : at + 1]) == (sent[at : at + 1], None)


def test_where_it_closes() -> None:
    guard = SessionGuard(admit)
    good = frame(SOUND[0])
    assert guard.feed(good) == (good, None)
    assert guard.closing is None
    assert guard.feed(good + write_close(1000, ""))[1] is None
    assert guard.closing == len(good)


@pytest.mark.parametrize("message", REFUSED)
def test_what_may_not(message: dict[str, Any]) -> None:
    good = frame(SOUND[0])
    passed, error = SessionGuard(admit).feed(good + frame(message) + good)
    assert passed == good
    assert isinstance(error, ProxyError)


@pytest.mark.parametrize(
    "sent",
    [
        write_frame(TEXT, b'{"session":{"\\u0070rompt":{"id":"pmpt_1"}}}'),
        write_frame(TEXT, b'{"session":{"prompt":{"id":"pmpt_1"},"prompt":null}}'),
        write_frame(TEXT, b'["session"]'),
        b"\xc1\x01x",
        b"\x83\x00",
    ],
)
def test_what_can_be_read_in_two_ways_or_not_at_all(sent: bytes) -> None:
    passed, error = SessionGuard(admit).feed(sent)
    assert (passed, type(error).__name__) == (b"", "BadRequestError")


def test_what_no_parser_can_read_is_the_upstreams_to_refuse() -> None:
    sent = write_frame(TEXT, b'{"session')
    assert SessionGuard(admit).feed(sent) == (sent, None)
