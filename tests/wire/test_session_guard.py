"""What a realtime client may send in managed mode, and that passthrough lets all of it up."""

import json
from typing import Any

import pytest

from proxy.errors import NotFoundError, ProxyError
from proxy.wire.session_guard import SessionGuard, Unguarded
from proxy.wire.websocket_frames import (
    BINARY,
    MESSAGE_BYTES_MAX,
    PING,
    TEXT,
    write_close,
    write_frame,
)


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


PLAIN = (
    frame(REFUSED[0])
    + b"\x01\x02{}"  # begins a message
    + write_frame(PING, b"hi", b"mask")
    + b"\x80\x80mask"  # and ends it
    + write_frame(BINARY, bytes(300), b"mask")
    + b"\xc1\x01x"  # compressed
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_passthrough_lets_all_up_and_sees_the_end(size: int) -> None:
    guard = Unguarded()
    close = write_frame(0x8, b"\x03\xe8bye", b"mask")
    sent = PLAIN + close
    for at in range(0, len(sent), size):
        piece = sent[at : at + size]
        assert guard.feed(piece) == (piece, None)
        ended = at + len(piece) == len(sent)
        assert guard.closing == (max(len(PLAIN) - at, 0) if ended else None)
    assert guard.feed(b"more") == (b"more", None)
    assert guard.closing is None  # it is not among these
    assert guard.held == 0


@pytest.mark.parametrize("sent", [b"\x83\x00", b"\xff" * 100])
def test_passthrough_lets_up_what_are_no_frames(sent: bytes) -> None:
    guard = Unguarded()
    assert guard.feed(sent) == (sent, None)
    assert guard.feed(write_close(1000, "")) == (write_close(1000, ""), None)
    assert guard.closing is None


def test_passthrough_keeps_nothing_of_a_long_message() -> None:
    guard = Unguarded()
    sent = b"\x81\x7f" + (MESSAGE_BYTES_MAX + 1).to_bytes(8)
    assert guard.feed(sent) == (sent, None)
    piece = bytes(1 << 20)
    for _ in range(MESSAGE_BYTES_MAX >> 20):
        assert guard.feed(piece) == (piece, None)
    close = write_close(1000, "")
    assert guard.feed(b"x" + close) == (b"x" + close, None)
    assert guard.closing == 1
    assert guard.held == 0
