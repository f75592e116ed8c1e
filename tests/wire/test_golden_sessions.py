"""Recordings of sockets, written by hand from the documented messages.

Each is ``{name, about, request, messages, usages, unsure}``: ``usages`` by the answers' ids is what
must come out, ``unsure`` why there may be more.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.wire.session_meter import SessionMeter
from proxy.wire.usage import RequestShape
from proxy.wire.websocket_frames import TEXT, write_frame
from tests.wire.usage.test_golden import as_written

FILE = Path(__file__).parents[1] / "golden" / "sockets" / "sessions.json"
RECORDINGS = json.loads(FILE.read_text("utf-8"))


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: str(recording["name"]))
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_usage_of_a_recording(recording: dict[str, Any], size: int) -> None:
    meter = SessionMeter(RequestShape(**recording["request"]))
    frames = [write_frame(TEXT, json.dumps(message).encode()) for message in recording["messages"]]
    stream = b"".join(frames)
    pieces = [
        piece for at in range(0, len(stream), size) for piece in meter.feed(stream[at : at + size])
    ]
    assert b"".join(piece.data for piece in pieces) == stream
    found = {piece.told.id: as_written(piece.told.usage) for piece in pieces if piece.told}
    assert found == recording["usages"]
    assert list(meter.unsure()) == recording["unsure"]
