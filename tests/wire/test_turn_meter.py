"""Which answer is whose; the recordings of ``test_golden_turns`` show the rest."""

import json
from typing import Any

import pytest

from proxy.core.usage import Usage
from proxy.wire import turn_meter
from proxy.wire.request import RequestFacts
from proxy.wire.turn_meter import TurnEnd, TurnMeter
from proxy.wire.turns import Lane, Turn
from proxy.wire.websocket_frames import TEXT, write_close, write_frame

USED = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


def text(**message: Any) -> bytes:
    return write_frame(TEXT, json.dumps(message).encode())


def running(meter: TurnMeter) -> bool:
    return meter.running


def closed(meter: TurnMeter) -> bool:
    return meter.closed


def ask(meter: TurnMeter, lane: Lane = None) -> Turn:
    turn = Turn(lane=lane, kind=TEXT, facts=RequestFacts(model="gpt-5"), body=b"", body_bytes=9)
    meter.ask(turn)
    return turn


def tell(meter: TurnMeter, kind: str, number: Any = "resp_1", **members: Any) -> TurnEnd | None:
    response = {"id": number, "usage": USED} | members.pop("response", {})
    (piece,) = meter.feed(text(type=kind, response=response, **members))
    return piece.told


def test_a_turn_begins_and_ends() -> None:
    meter = TurnMeter()
    assert not running(meter)
    turn = ask(meter)
    assert tell(meter, "response.created") is None
    assert running(meter)
    end = tell(meter, "response.completed")
    assert end is not None
    assert end.seen is not None
    assert isinstance(end.seen.usage, Usage)
    assert (end.turn, end.seen.status, end.seen.object_id) == (turn, "completed", "resp_1")
    assert not running(meter)
    assert meter.idle
    assert meter.unsure() == ()
    assert tell(meter, "response.completed") is None
    assert tell(meter, "response.created") is None
    assert not running(meter)


def test_its_text_is_kept_where_no_usage_is_reported() -> None:
    meter = TurnMeter()
    ask(meter)
    content = [{"type": "output_text", "text": "Hello."}]
    output = [{"type": "message", "role": "assistant", "content": content}]
    end = tell(meter, "response.incomplete", response={"usage": None, "output": output})
    assert end is not None
    assert end.seen is not None
    assert end.seen.usage is None
    assert end.seen.status == "incomplete"
    assert end.seen.text.choices[0].content == "Hello."


@pytest.mark.parametrize("number", [None, 5, ""])
def test_answers_without_an_id(number: object) -> None:
    meter = TurnMeter()
    first, second = ask(meter), ask(meter)
    for turn in (first, second, None):
        assert tell(meter, "response.created", number) is None
        end = tell(meter, "response.completed", number)
        assert end is not None
        assert end.turn is turn
    assert meter.made == {}


def test_an_error_names_a_lane_and_a_status() -> None:
    meter = TurnMeter()
    ask(meter, "a")
    turn = ask(meter, "b")
    assert meter.feed(text(type="error", stream_id="c", status=400))[0].told is None
    assert meter.feed(text(type="error", stream_id=["b"], status=400))[0].told is None
    found = meter.feed(text(type="error", stream_id="b", status=429))[0].told
    assert found == TurnEnd(turn, None, 429)
    found = meter.feed(text(type="error", status="odd"))[0].told
    assert found is not None
    assert (found.seen, found.status) == (None, None)


@pytest.mark.parametrize(
    "message",
    [
        b'{"type":"error"',
        b'{"type":["error"]}',
        b'{"type":"response.completed","response":5}',
        b'["error"]',
        b"[" * 100_000 + b'"error"',
        b'{"type":"x","error":null}',
    ],
)
def test_nothing_raises(message: bytes) -> None:
    meter = TurnMeter()
    ask(meter)
    sent = write_frame(TEXT, message)
    assert meter.feed(sent) == [(sent, None)]
    assert [each.begun for each in meter.unfinished()] == [False]


def test_what_is_only_nearly_json_is_read() -> None:
    meter = TurnMeter()
    turn = ask(meter)
    body = b'{"type":"response.completed","response":{"id":"r","logprob":NaN,"usage":%b}}'
    (piece,) = meter.feed(write_frame(TEXT, body % json.dumps(USED).encode()))
    assert piece.told is not None
    assert piece.told.turn is turn
    assert piece.told.seen is not None
    assert piece.told.seen.usage is not None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_meter, "REMEMBERED", 2)
    meter = TurnMeter()
    for number in range(3):
        tell(meter, "response.created", f"resp_{number}")
        tell(meter, "response.completed", f"resp_{number}")
    assert list(meter.made) == ["resp_1", "resp_2"]


def test_that_the_upstream_closes_is_seen() -> None:
    meter = TurnMeter()
    assert not closed(meter)
    meter.feed(write_close(1000, ""))
    assert closed(meter)


def test_what_was_not_read_is_said() -> None:
    meter = TurnMeter()
    ask(meter)
    tell(meter, "response.created")
    meter.feed(b"\xc1\x01x")
    assert meter.unsure() == ("messages were too long or compressed, and were not read",)
    assert [each.begun for each in meter.unfinished()] == [True]
