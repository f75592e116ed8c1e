"""The way up of a socket with turns: order, what is told, what is let go of."""

import asyncio
import json
from typing import Any

import pytest

from proxy.core.usage import RequestState
from proxy.errors import OverloadedError
from proxy.metering.outcome import Ended
from proxy.metering.turn_gate import TurnGate
from proxy.metering.turn_outcome import measure_unfinished
from proxy.wire.turns import Turn
from proxy.wire.websocket_frames import PING, TEXT, FrameReader, write_close, write_frame

KEY = b"\x01\x02\x03\x04"


def create(text: str) -> bytes:
    message = {"type": "response.create", "model": "m", "input": text, "store": False}
    return write_frame(TEXT, json.dumps(message).encode(), KEY)


class Line:
    takes = True

    def __init__(self) -> None:
        self.held: list[bool] = []
        self.said: list[dict[str, Any]] = []

    def hold(self, *, held: bool) -> None:
        self.held.append(held)

    async def say(self, message: bytes) -> None:
        ((_, _, data, _),) = FrameReader().feed(message)
        self.said.append(json.loads(data or b""))


async def test_turns_go_up_in_their_order_and_control_frames_at_once() -> None:
    gate, line, went = TurnGate((), lambda: False), Line(), list[str]()

    async def admit(turn: Turn) -> None:
        await asyncio.sleep(0)
        text = json.loads(turn.body)["input"]
        if text == "no":
            raise OverloadedError("not now")
        went.append(text)

    running = asyncio.ensure_future(gate.run(line, admit))
    await asyncio.sleep(0)
    ping = write_frame(PING, b"p", KEY)
    allowed, error = gate.feed(create("a") + create("no") + ping + create("b"))
    assert error is None
    assert [(m.data, m.kind) for m in FrameReader(frozenset({PING})).feed(allowed)] == [
        (b"p", PING)
    ]
    await asyncio.sleep(0.01)
    assert went == ["a", "b"]
    assert [event["error"]["code"] for event in line.said] == ["proxy_overloaded"]
    assert line.held == [True, False]
    gate.end()
    await running


async def test_who_leaves_wants_no_more_of_what_has_not_gone_up() -> None:
    gate, line, went = TurnGate((), lambda: False), Line(), list[Turn]()

    async def admit(turn: Turn) -> None:
        went.append(turn)

    allowed, _ = gate.feed(create("a") + write_frame(PING, b"", KEY) + write_close(1000, ""))
    assert gate.closing == 6
    assert len(allowed) == 6 + 8
    running = asyncio.ensure_future(gate.run(line, admit))
    await asyncio.sleep(0.01)
    gate.end()
    await running
    assert went == []
    assert gate.left


def test_who_answers_an_upstreams_close_has_not_left_before() -> None:
    gate = TurnGate((), lambda: True)
    gate.feed(write_close(1000, ""))
    assert gate.closing == 0
    assert not gate.left


@pytest.mark.parametrize(
    ("ended", "begun", "state"),
    [
        (Ended.COMPLETE, True, RequestState.PARTIAL),
        (Ended.COMPLETE, False, RequestState.FAILED),
        (Ended.UPSTREAM_BROKE, False, RequestState.FAILED),
        (Ended.CANCELLED, False, RequestState.PARTIAL),
        (Ended.SHUTDOWN, False, RequestState.PARTIAL),
        (Ended.TIMED_OUT, False, RequestState.PARTIAL),
        (Ended.DRAIN_LIMIT, True, RequestState.PARTIAL),
    ],
)
def test_turns_without_an_end(ended: Ended, begun: bool, state: RequestState) -> None:
    found = measure_unfinished(ended, "m", 40, begun=begun, why=["unread"])
    assert found.state is state
    assert found.usage.tokens == (10 if state is RequestState.PARTIAL else 0)
    assert ("unread" in "".join(found.usage.notes)) == (state is RequestState.PARTIAL)
