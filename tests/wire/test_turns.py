"""What a client may send on a Responses socket in managed mode."""

import json
from typing import Any

import pytest

from proxy.wire.session_guard import SessionGuard
from proxy.wire.turns import Control, Declined, Turn, TurnReader, Unread
from proxy.wire.websocket_frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    write_close,
    write_frame,
)

KEY = b"\x01\x9f\x33\x70"
SOUND: dict[str, Any] = {"type": "response.create", "model": "gpt-5", "input": "Hi", "store": False}


def frame(message: Any, opcode: int = TEXT) -> bytes:
    return write_frame(opcode, json.dumps(message).encode(), KEY)


def read(*messages: bytes, made: tuple[str, ...] = ("resp_1",)) -> list[Any]:
    reader = TurnReader(made)
    return [said for message in messages for said in heard(reader, message)]


def heard(reader: TurnReader, data: bytes) -> list[Any]:
    return [reader.read(said) if isinstance(said, Unread) else said for said in reader.feed(data)]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize(
    "members",
    [
        {},
        {"stream_id": "a"},
        {"stream_id": "file_like_an_id"},
        {"stream_id": 7},
        {"previous_response_id": "resp_1"},
        {"previous_response_id": None},
        {"metadata": {"file_id": "mine"}},
        {"background": False},
        {"input": [{"type": "function_call_output", "call_id": "call_1", "output": "{}"}]},
    ],
)
def test_a_turn(opcode: int, members: dict[str, Any]) -> None:
    message = SOUND | members
    sent = frame(message, opcode)
    reader = TurnReader({"resp_1"})
    said = [each for at in range(len(sent)) for each in heard(reader, sent[at : at + 1])]
    (turn,) = said
    assert isinstance(turn, Turn)
    assert (turn.body, turn.kind) == (json.dumps(message).encode(), opcode)
    assert (turn.lane, turn.facts.model) == (members.get("stream_id"), "gpt-5")
    assert turn.body_bytes == len(turn.body)


def test_control_frames_pass_where_they_are() -> None:
    text = json.dumps(SOUND).encode()
    begun = write_frame(TEXT, text[:9], KEY)
    first = bytes([begun[0] & 0x7F]) + begun[1:]
    ended = write_frame(0x0, text[9:], KEY)
    said = read(
        first,
        write_frame(PING, b"a", KEY),
        write_frame(PONG, b"", KEY),
        ended,
        write_close(1000, ""),
    )
    assert said[:2] == [Control(PING, b"a"), Control(PONG, b"")]
    assert isinstance(said[2], Turn)
    assert said[3] == Control(CLOSE, (1000).to_bytes(2))


def test_what_is_declined_leaves_its_neighbours() -> None:
    said = read(frame(SOUND) + frame(SOUND | {"store": True, "stream_id": "a"}) + frame(SOUND))
    assert [type(each) for each in said] == [Turn, Declined, Turn]
    assert said[1].lane == "a"


@pytest.mark.parametrize(
    ("members", "code", "param"),
    [
        ({"type": "response.cancel"}, "invalid_body", "type"),
        ({"type": None}, "invalid_body", "type"),
        ({"response": {}}, "invalid_body", "response"),
        ({"background": True}, "invalid_body", "background"),
        ({"model": ""}, "invalid_body", "model"),
        ({"model": 5}, "invalid_body", "model"),
        ({"stream_id": ["a"]}, "invalid_body", "stream_id"),
        ({"stream_id": 1.5}, "invalid_body", "stream_id"),
        ({"store": True}, "invalid_body", "store"),
        ({"previous_response_id": "resp_2"}, "previous_response_not_found", "previous_response_id"),
        ({"previous_response_id": {"a": 1}}, "previous_response_not_found", "previous_response_id"),
        ({"nested": {"previous_response_id": "resp_1"}}, "invalid_body", "previous_response_id"),
        ({"prompt_cache_options": {"comparison_response_id": "resp_1"}}, "invalid_body",
         "comparison_response_id"),
        ({"conversation": "conv_1"}, "invalid_body", "conversation"),
    ],
)  # fmt: skip
def test_what_is_declined(members: dict[str, Any], code: str, param: str) -> None:
    (declined,) = read(frame(SOUND | members))
    assert isinstance(declined, Declined)
    error = declined.error
    assert (error.code, getattr(error, "param", None)) == (code, param)


@pytest.mark.parametrize(
    "sent",
    [
        b"\xc1\x02{}",
        write_frame(TEXT, b'{"type":"response.create","type":"x","model":"m"}'),
        write_frame(TEXT, b'{"type":"response.create","model":"m","metadata":{"a":1,"a":2}}'),
        write_frame(TEXT, b"nothing"),
        write_frame(TEXT, b"[]"),
    ],
)
def test_what_can_be_read_in_two_ways_or_not_at_all(sent: bytes) -> None:
    (declined,) = read(sent)
    assert isinstance(declined, Declined)
    assert declined.error.code == "invalid_body"


def test_what_are_no_frames() -> None:
    reader = TurnReader(())
    assert len(reader.feed(frame(SOUND) + b"\x83\x00")) == 1
    assert reader.lost


@pytest.mark.parametrize("reader", [TurnReader(()), SessionGuard(lambda _: None)])
def test_what_is_kept_of_a_message_is_told(reader: TurnReader | SessionGuard) -> None:
    sent = frame(SOUND)
    reader.feed(sent[:20])
    assert reader.held == 20 - 6
    reader.feed(sent[20:])
    assert reader.held == 0
