"""A socket's way down: the same bytes, cut before what completes an answer."""

import json
from typing import Any

import pytest

from proxy.wire import session_meter
from proxy.wire.session_meter import SessionMeter, UnreadMeter
from proxy.wire.usage import RequestShape
from proxy.wire.websocket_frames import BINARY, TEXT, write_close, write_frame


def text(**message: Any) -> bytes:
    return write_frame(TEXT, json.dumps(message).encode())


def created(number: int) -> bytes:
    return text(type="response.created", response={"id": f"resp_{number}"})


def done(number: int | None, status: str = "completed", *, used: bool = True) -> bytes:
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    response: dict[str, Any] = {"status": status, "usage": usage if used else None}
    if number is not None:
        response["id"] = f"resp_{number}"
    return text(type="response.done", response=response)


DELTA = text(type="response.output_text.delta", delta="Hi")


def idle(one: SessionMeter | UnreadMeter) -> bool:
    return one.idle


def ended(one: SessionMeter | UnreadMeter) -> bool:
    return one.closed


def meter() -> SessionMeter:
    return SessionMeter(RequestShape(model="gpt-realtime"))


def test_bytes_are_cut_where_usage_is() -> None:
    sent = DELTA + created(1) + done(1) + DELTA + done(2) + done(3) + DELTA[:3]
    one = meter()
    pieces = one.feed(sent)
    assert [piece.data for piece in pieces] == [
        DELTA + created(1),
        done(1),
        DELTA,
        done(2),
        done(3),
        DELTA[:3],
    ]
    found = [piece.told.id if piece.told else None for piece in pieces]
    assert found == [None, "resp_1", None, "resp_2", "resp_3", None]
    assert not idle(one)
    (rest,) = one.feed(DELTA[3:])
    assert rest == (DELTA[3:], None)
    assert idle(one)
    assert one.unsure() == ()


@pytest.mark.parametrize("cut", range(1, len(done(1))))
def test_a_message_is_not_whole_before_its_usage(cut: int) -> None:
    one = meter()
    assert one.feed(done(1)[:cut]) == [(done(1)[:cut], None)]
    (last,) = one.feed(done(1)[cut:])
    assert last.data == done(1)[cut:]
    assert last.told is not None


def test_the_same_answer_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_meter, "REMEMBERED", 2)
    one = meter()
    assert one.feed(done(1))[0].told
    assert not one.feed(done(1))[0].told
    assert one.feed(done(None))[0].told
    assert one.feed(done(None))[0].told  # nothing tells it from another
    assert one.feed(done(2))[0].told
    assert one.feed(done(3))[0].told
    assert one.feed(done(1))[0].told  # too long ago


def test_nothing_comes_of_nothing() -> None:
    assert meter().feed(b"") == []


@pytest.mark.parametrize(
    ("sent", "note"),
    [
        (created(1), "an answer was running when the socket ended"),
        (done(1, used=False), "an answer reported no usage"),
        (done(1, "incomplete", used=False), "an answer reported no usage"),
        (b"\xc1\x01x", "messages were too long or compressed, and were not read"),
        (b"\x83\x00", "the upstream sent what are no WebSocket frames"),
    ],
)
def test_what_is_unsure_is_said(sent: bytes, note: str) -> None:
    one = meter()
    assert [piece.data for piece in one.feed(sent)] == [sent]
    assert one.unsure() == (note,)


@pytest.mark.parametrize(
    "sent",
    [
        created(1) + done(1),
        created(1) + done(1, "cancelled", used=False),
        done(1, "failed", used=False),
        text(type="response.created", response=None),
        write_frame(BINARY, b"\x00" * 200),
    ],
)
def test_what_is_sure(sent: bytes) -> None:
    one = meter()
    one.feed(sent)
    assert one.unsure() == ()


def test_what_runs() -> None:
    one = meter()
    running = []
    for sent in (DELTA, created(1), created(2), done(1), done(2)):
        one.feed(sent)
        running.append(one.running)
    assert running == [False, True, True, True, False]


def test_what_runs_is_bounded() -> None:
    one = meter()
    for number in range(3000):
        one.feed(created(number))
    assert len(one._reader.running) == 1024


def test_that_the_upstream_closed_is_told() -> None:
    one = meter()
    close = write_close(1011, "")
    one.feed(created(1) + close[:1])
    assert not ended(one)
    one.feed(close[1:])
    assert ended(one)
    assert one.running


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_what_is_not_metered_is_not_read(size: int) -> None:
    one = UnreadMeter()
    sent = created(1) + done(1) + write_close(1000, "")
    for at in range(0, len(sent), size):
        piece = sent[at : at + size]
        assert one.feed(piece) == [(piece, None)]
        assert ended(one) == (at + size >= len(sent))
        assert not one.running
    assert idle(one)


def test_what_are_no_frames_goes_on_where_nothing_is_metered() -> None:
    one = UnreadMeter()
    assert one.feed(b"\x83\x00") == [(b"\x83\x00", None)]
    assert not idle(one)
