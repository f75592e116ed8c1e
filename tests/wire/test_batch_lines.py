"""Output files of batches: what their lines come to, however they are cut."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.wire import batch_lines
from proxy.wire.batch_lines import BatchLines, BatchReader, OutputFile, output_file
from proxy.wire.endpoints import CHAT_COMPLETIONS, RESPONSES, endpoint_for
from tests.wire.usage.test_golden import as_written

FILE = Path(__file__).parents[1] / "golden" / "files" / "batch_outputs.json"
RECORDINGS = json.loads(FILE.read_text("utf-8"))
EMBEDDINGS = endpoint_for("POST", "/v1/embeddings")


def long_prompts(_: str, tokens: int) -> str:
    return "long" if tokens > 1000 else ""


def answered(body: dict[str, Any], status: Any = 200) -> dict[str, Any]:
    return {"custom_id": "1", "response": {"status_code": status, "body": body}, "error": None}


def used(into: int = 3, model: str | None = "gpt-4o") -> dict[str, Any]:
    usage = {"prompt_tokens": into, "completion_tokens": 2, "total_tokens": into + 2}
    return {"model": model, "usage": usage}


def read(*lines: dict[str, Any] | bytes) -> BatchLines:
    found = BatchLines(CHAT_COMPLETIONS, long_prompts)
    for each in lines:
        found.feed((each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n")
    found.finish()
    return found


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: str(recording["name"]))
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_usage_of_a_recording(recording: dict[str, Any], size: int) -> None:
    batch = json.dumps(recording["batch"]).encode()
    file = output_file(batch)
    assert file is not None
    found = BatchLines(file.endpoint, long_prompts)
    text = "\n".join(json.dumps(each) for each in recording["lines"]).encode()
    for at in range(0, len(text), size):
        found.feed(text[at : at + size])
    found.finish()
    parts = [[each.context_class, as_written(each.usage)] for each in found.parts()]
    assert parts == recording["parts"]
    assert [found.lines, found.unreported, found.unread] == recording["counts"]


def test_lines_that_are_none() -> None:
    found = read(b"", b" \r", b"broken", b"[]", b'{"response": 5}', b'{"error": "no"}', b"\xff")
    assert (found.lines, found.unread) == (0, 5)
    assert found.parts() == ()


def test_lines_that_were_not_done() -> None:
    found = read(
        {"custom_id": "1", "response": None, "error": {"code": "batch_expired"}},
        answered({"error": {"message": "no"}}, 400),
        answered({"model": "gpt-4o"}),
        answered(used(), None),
    )
    assert (found.lines, found.unreported, found.unread) == (4, 1, 0)
    (part,) = found.parts()
    assert part.usage.tokens == 5


def test_a_long_line_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_lines, "LINE_BYTES_MAX", 200)
    sound = json.dumps(answered(used())).encode()
    long = json.dumps(answered(used() | {"choices": "x" * 500})).encode()
    text = sound + b"\n" + long + b"\n" + sound
    for size in (1, 50, 1000):
        found = BatchLines(CHAT_COMPLETIONS, long_prompts)
        for at in range(0, len(text), size):
            found.feed(text[at : at + size])
            assert sum(map(len, found._rest)) <= 200
        found.finish()
        assert (found.lines, found.unread) == (2, 1)


def test_models_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_lines, "PARTS_MAX", 2)
    found = read(*(answered(used(model=f"m-{number % 3}")) for number in range(6)))
    assert [part.usage.model for part in found.parts()] == ["m-0", "m-1"]
    assert (found.lines, found.unread) == (6, 2)


def test_zeros_are_usage_and_no_part() -> None:
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    found = read(answered({"model": None, "usage": usage}))
    assert (found.lines, found.unreported, found.parts()) == (1, 0, ())


@pytest.mark.parametrize(
    ("batch", "file"),
    [
        ({"output_file_id": "file-1"}, OutputFile(file_id="file-1", endpoint=CHAT_COMPLETIONS)),
        (
            {
                "output_file_id": "f",
                "endpoint": "/v1/responses",
                "request_counts": {"completed": 4},
            },
            OutputFile(file_id="f", endpoint=RESPONSES, completed=4),
        ),
        (
            {"output_file_id": "f", "endpoint": "/embeddings", "request_counts": {}},
            OutputFile(file_id="f", endpoint=EMBEDDINGS or CHAT_COMPLETIONS),
        ),
        (
            {"output_file_id": "f", "endpoint": "/v1/batches"},
            OutputFile(file_id="f", endpoint=CHAT_COMPLETIONS),
        ),
        ({"output_file_id": None}, None),
        ({"output_file_id": 5}, None),
        ({}, None),
        ([], None),
    ],
)  # fmt: skip
def test_what_a_batch_names(batch: Any, file: OutputFile | None) -> None:
    reader = BatchReader()
    assert reader.output is None
    reader.json(json.dumps(batch).encode())
    assert reader.output == file
