"""Recordings written by hand from the documented shapes: one for each row and dialect.

Each is ``{name, about, endpoint, request, body | frames, usage, error?}``; ``usage`` is what must
come out, null where nothing is reported. They are cut and fed as they would come.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.core.usage import Metric, Usage
from proxy.wire.endpoints import ENDPOINTS
from proxy.wire.sse import FrameSplitter, payload
from proxy.wire.usage import RequestShape, UsageReader

FOLDER = Path(__file__).parents[2] / "golden"
RECORDINGS = [
    recording
    for file in sorted(FOLDER.glob("*.json"))
    for recording in json.loads(file.read_text("utf-8"))
]
BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}


def read(recording: dict[str, Any]) -> UsageReader:
    reader = UsageReader(BY_NAME[recording["endpoint"]], RequestShape(**recording["request"]))
    if "frames" in recording:
        stream = "".join(frame + "\n\n" for frame in recording["frames"]).encode()
        for frame in FrameSplitter().feed(stream):
            name, data = payload(frame)
            if data:
                reader.event(data, name)
    else:
        body = recording["body"]
        reader.json(body.encode() if isinstance(body, str) else json.dumps(body).encode())
    return reader


def as_written(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    own = [q for q in usage.quantities if q.model is None]
    return {
        "tokens": {q.type: q.quantity for q in own if q.metric is Metric.TOKENS},
        "others": {f"{q.metric} {q.type}": q.quantity for q in own if q.metric != Metric.TOKENS},
        "other_models": {
            f"{q.model} {q.metric} {q.type}": q.quantity for q in usage.quantities if q.model
        },
        "input_tokens": usage.input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "model": usage.model,
        "service_tier": usage.service_tier,
        "notes": list(usage.notes),
    }


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: str(recording["name"]))
def test_usage_of_a_recording(recording: dict[str, Any]) -> None:
    reader = read(recording)
    assert as_written(reader.usage()) == recording["usage"]
    assert reader.saw_error is recording.get("error", False)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: str(recording["name"]))
def test_no_type_is_there_twice(recording: dict[str, Any]) -> None:
    usage = read(recording).usage()
    kinds = [(q.metric, q.type, q.model) for q in usage.quantities] if usage else []
    assert len(kinds) == len(set(kinds))


def test_names_are_unique() -> None:
    names = [recording["name"] for recording in RECORDINGS]
    assert len(names) == len(set(names))
