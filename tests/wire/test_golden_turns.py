"""Recordings of sockets with turns, written by hand from the documented messages.

Each is ``{name, about, steps, up, declined, ends, unfinished}``: a step is what the client
``asks`` or the upstream ``tells``; ``up`` are the messages that may go up (null: as many as are
sent), ``declined`` the codes of the others, ``ends`` the turns that end, by their number, with
what they used, ``unfinished`` those that do not, and whether they began.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.wire.turn_meter import TurnEnd, TurnMeter
from proxy.wire.turns import Turn, TurnReader, Unread
from proxy.wire.websocket_frames import TEXT, write_frame
from tests.wire.usage.test_golden import as_written

FILE = Path(__file__).parents[1] / "golden" / "sockets" / "turns.json"
RECORDINGS = json.loads(FILE.read_text("utf-8"))


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


class Replay:
    """Both directions of one socket."""

    def __init__(self, size: int) -> None:
        self.meter = TurnMeter()
        self.reader = TurnReader(self.meter.made)
        self.size = size
        self.turns: list[Turn] = []
        self.declined: list[str | None] = []
        self.ends: list[dict[str, Any]] = []

    def asks(self, message: dict[str, Any]) -> None:
        frame = write_frame(TEXT, json.dumps(message).encode(), b"\x01\x02\x03\x04")
        for piece in cut(frame, self.size):
            for unread in self.reader.feed(piece):
                assert isinstance(unread, Unread)
                said = self.reader.read(unread)
                if isinstance(said, Turn):
                    self.turns.append(said)
                    self.meter.ask(said)
                else:
                    self.declined.append(said.error.code)

    def tells(self, message: dict[str, Any]) -> None:
        frame = write_frame(TEXT, json.dumps(message).encode())
        pieces = [piece for part in cut(frame, self.size) for piece in self.meter.feed(part)]
        assert b"".join(piece.data for piece in pieces) == frame
        self.ends += [self.as_written(piece.told) for piece in pieces if piece.told]

    def as_written(self, end: TurnEnd) -> dict[str, Any]:
        seen = end.seen
        return {
            "turn": None if end.turn is None else self.turns.index(end.turn),
            "status": end.status if seen is None else seen.status,
            "usage": None if seen is None or seen.usage is None else as_written(seen.usage),
        }


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: str(recording["name"]))
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_turns_of_a_recording(recording: dict[str, Any], size: int) -> None:
    replay = Replay(size)
    for step in recording["steps"]:
        if "asks" in step:
            replay.asks(step["asks"])
        else:
            replay.tells(step["tells"])
    if recording["up"] is not None:
        assert [json.loads(turn.body) for turn in replay.turns] == recording["up"]
    assert replay.declined == recording["declined"]
    assert replay.ends == recording["ends"]
    left = [[replay.turns.index(each.turn), each.begun] for each in replay.meter.unfinished()]
    assert left == recording["unfinished"]
    assert not replay.meter.running
