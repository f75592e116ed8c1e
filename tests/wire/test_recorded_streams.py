"""Recorded streams of real providers cross the meter: whole, and without what was asked for."""

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from proxy.wire.endpoints import ENDPOINTS
from proxy.wire.sse import FrameSplitter, payload
from tests.wire.streams import cross, cut

BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}
INJECTED = {"chat.completions", "completions"}


@pytest.fixture(scope="module")
def streams(corpus_path: Path) -> list[tuple[str, bytes]]:
    """Return (endpoint's name, raw stream) of every recording of one."""
    path = corpus_path / "dev.jsonl.gz" if corpus_path.is_dir() else corpus_path
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    found = [
        (record["endpoint"], record["response_body"].encode())
        for record in records
        if record["stream"] and record["status"] == 200 and record["endpoint"] in BY_NAME
    ]
    assert found
    return found


def events(body: bytes) -> list[tuple[bytes, bytes]]:
    splitter = FrameSplitter()
    return [payload(frame) for frame in [*splitter.feed(body), splitter.flush()]]


def parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data


def runs(chunk: Any) -> bool:
    """Whether a chunk has usage beside choices that go on."""
    choices = chunk.get("choices") or ()
    goes_on = choices and not any(choice.get("finish_reason") for choice in choices)
    return bool(goes_on and chunk["usage"] is not None)


def test_every_recorded_stream_passes_unchanged(streams: list[tuple[str, bytes]]) -> None:
    places = Random(5)
    for endpoint, body in streams:
        pieces = cut(body, [places.randrange(1 << 30) for _ in range(5)])
        assert cross(pieces, endpoint=BY_NAME[endpoint]).whole == body


def test_what_the_option_adds_is_all_that_is_taken_out(streams: list[tuple[str, bytes]]) -> None:
    places = Random(7)
    taken_out = 0
    for endpoint, body in streams:
        if endpoint not in INJECTED:
            continue
        pieces = cut(body, [places.randrange(1 << 30) for _ in range(5)])
        hidden = cross(pieces, endpoint=BY_NAME[endpoint], hide=True).whole
        if b'"usage"' not in body:
            assert hidden == body
            continue
        expected: list[tuple[bytes, Any]] = []
        shown = False
        for name, data in events(body):
            chunk = parsed(data)
            if isinstance(chunk, dict) and "usage" in chunk and not shown:
                shown = runs(chunk)
                if chunk["usage"] is None:
                    del chunk["usage"]
                    taken_out += 1
                elif chunk.get("choices") == []:
                    taken_out += 1
                    if "timings" in chunk:  # llama.cpp's last chunk has them, whichever that is
                        expected[-1][1]["timings"] = chunk["timings"]
                    continue
            if data:
                expected.append((name, chunk))
        found = [(name, parsed(data)) for name, data in events(hidden) if data]
        assert found == expected
    assert taken_out > 0
