"""Batches that report no usage: their output files do, line by line."""

import gzip
import json
from typing import Any

import pytest

from proxy.demo.scripted import whole
from tests.deferred.conftest import StartProxy
from tests.deferred.objects_upstream import MISSING, Objects
from tests.deferred.test_batches_and_runs import batch
from tests.deferred.watching import CLIENT_KEY, call, client, made_by, state, wait_for
from tests.e2e.raw_http import ask, request
from tests.proxy_process import ProxyProcess, until

FILE = "file-out"
MINI, FULL = "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06"
JSONL = (("content-type", "application/jsonl"),)


def line(number: int, model: str, into: int, out: int, **members: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out,
             "prompt_tokens_details": {"cached_tokens": into // 2}}  # fmt: skip
    body = {"id": f"c_{number}", "object": "chat.completion", "model": model, "choices": [],
            "usage": usage} | members  # fmt: skip
    answered = {"status_code": 200, "request_id": f"r_{number}", "body": body}
    return {"id": f"b_{number}", "custom_id": str(number), "response": answered, "error": None}


def written(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def ended(upstream: Objects, name: str, status: str = "completed", **members: Any) -> None:
    upstream.end(name, status, **{"usage": None, "output_file_id": FILE,
                                  "endpoint": "/v1/chat/completions", **members})  # fmt: skip


def totals(proxy: ProxyProcess) -> dict[tuple[str, str, str], int]:
    """What was used by (model, type, context class); all at the batch tier."""
    rows = proxy.rows(
        "SELECT model, type, context_class AS class, service_tier AS tier, sum(quantity) AS n"
        " FROM events JOIN series ON series.id = events.series_id WHERE metric = 'tokens'"
        " GROUP BY 1, 2, 3, 4"
    )
    assert {row["tier"] for row in rows} <= {"batch"}
    return {(row["model"], row["type"], row["class"]): row["n"] for row in rows}


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled"])
def test_the_lines_are_counted_each_at_its_own_model(
    reads_only: ProxyProcess, upstream: Objects, status: str
) -> None:
    name = batch(reads_only)
    lines = [line(1, MINI, 10, 3), line(2, FULL, 20, 4), line(3, MINI, 30, 5)]
    upstream.files[FILE] = whole(200, written(*lines), JSONL)
    ended(upstream, name, status)
    with client(reads_only, CLIENT_KEY) as openai:
        for _ in range(3):
            assert openai.batches.retrieve(name).status == status
        wait_for(reads_only, "exact", endpoint="batches")
    assert totals(reads_only) == {
        (MINI, "input", ""): 20,
        (MINI, "cached_input", ""): 20,
        (MINI, "output", ""): 8,
        (FULL, "input", ""): 10,
        (FULL, "cached_input", ""): 10,
        (FULL, "output", ""): 4,
    }
    row = made_by(reads_only, "batches")
    assert "from 3 lines of the output file" in row["notes"]
    assert (status in row["notes"]) == (status != "completed")
    assert json.loads(row["raw_usage"]) == {"output_file_id": FILE, "lines": 3}
    amounts = [each["amount"] for each in reads_only.usage(CLIENT_KEY)["lines"]
               if each["metric"] == "tokens"]  # fmt: skip
    assert None not in amounts
    reads_only.check_sums()
    reads = [each for each in upstream.asked if each.path == f"/v1/files/{FILE}/content"]
    assert len(reads) == 1
    assert dict(reads[0].headers)["authorization"] == f"Bearer {CLIENT_KEY}"


def test_a_batch_is_asked_about_and_its_file_read(
    passthrough: ProxyProcess, upstream: Objects
) -> None:
    name = batch(passthrough)
    upstream.files[FILE] = whole(200, written(line(1, MINI, 10, 3)), JSONL)
    ended(upstream, name)
    wait_for(passthrough, "exact", endpoint="batches")
    assert totals(passthrough)[MINI, "output", ""] == 3
    assert made_by(passthrough, "batches")["model"] == MINI
    passthrough.check_sums()


def test_each_line_is_a_prompt_of_its_own(reads_only: ProxyProcess, upstream: Objects) -> None:
    name = batch(reads_only)
    lines = [line(number, "gpt-5.4", 200_000, 1) for number in range(3)]
    lines.append(line(9, "gpt-5.4", 300_000, 1))
    upstream.files[FILE] = whole(200, written(*lines), JSONL)
    ended(upstream, name)
    call(reads_only, CLIENT_KEY, f"/v1/batches/{name}")
    wait_for(reads_only, "exact", endpoint="batches")
    found = totals(reads_only)
    assert found["gpt-5.4", "output", ""] == 3
    assert found["gpt-5.4", "output", "above_272000"] == 1


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (MISSING, "the output file was answered with 404"),
        (whole(302, b"", (("location", "http://127.0.0.1:9/"),)), "answered with 302"),
        (whole(200, b'{"error": "no"}', JSONL), "no lines of a batch"),
        (whole(200, b"", JSONL), "no lines of a batch"),
        (whole(200, b"\x00", (*JSONL, ("content-encoding", "gzip"))), "can't be decoded"),
        (whole(200, b"\x00", (*JSONL, ("content-encoding", "zstd"))), "no lines of a batch"),
    ],
    ids=["missing", "elsewhere", "an error", "empty", "cut", "encoded"],
)
def test_a_file_that_can_not_be_read(
    start_proxy: StartProxy, upstream: Objects, answer: bytes, why: str
) -> None:
    proxy = start_proxy(managed=False, poll_interval_s=0.02)
    name = batch(proxy)
    upstream.files[FILE] = answer
    ended(upstream, name)
    wait_for(proxy, "partial", endpoint="batches")
    row = made_by(proxy, "batches")
    assert "not reported" in row["notes"]
    assert why in row["notes"]
    assert proxy.tokens() == {}


@pytest.mark.parametrize("file", ["../secrets", "file\N{SNOWMAN}", "a\r\nb"])
def test_a_file_whose_name_can_not_be_asked_for(
    start_proxy: StartProxy, upstream: Objects, file: str
) -> None:
    proxy = start_proxy(managed=False, poll_interval_s=0.02)
    ended(upstream, batch(proxy), output_file_id=file)
    wait_for(proxy, "partial", endpoint="batches")
    assert "the output file's id can't be asked for" in made_by(proxy, "batches")["notes"]
    assert not [each for each in upstream.asked if each.path.endswith("/content")]


def test_what_passes_is_tried_again(passthrough: ProxyProcess, upstream: Objects) -> None:
    name = batch(passthrough)
    upstream.files[FILE] = whole(503, b"later")
    ended(upstream, name)
    until(lambda: sum("/files/" in each.path for each in upstream.asked) >= 2)
    assert state(passthrough, "batches") == ["deferred"]
    upstream.files[FILE] = whole(200, written(line(1, MINI, 10, 3)), JSONL)
    wait_for(passthrough, "exact", endpoint="batches")


def test_what_is_missing_of_a_file_is_said(reads_only: ProxyProcess, upstream: Objects) -> None:
    name = batch(reads_only)
    lines = written(line(1, MINI, 10, 3), line(2, MINI, 10, 3, usage=None)) + b"broken"
    upstream.files[FILE] = whole(200, gzip.compress(lines), (*JSONL, ("content-encoding", "gzip")))
    ended(upstream, name, request_counts={"total": 5, "completed": 5, "failed": 0})
    call(reads_only, CLIENT_KEY, f"/v1/batches/{name}")
    wait_for(reads_only, "partial", endpoint="batches")
    notes = made_by(reads_only, "batches")["notes"]
    assert "2 answers are not in the output file" in notes
    assert "1 lines of the output file report no usage" in notes
    assert "1 lines of the output file could not be read" in notes
    assert reads_only.tokens() == {"input": 5, "cached_input": 5, "output": 3}
    reads_only.check_sums()


def test_azures_paths(reads_only: ProxyProcess, upstream: Objects) -> None:
    path = "/openai/batches"
    made = ask(
        reads_only.port,
        request(f"{path}?api-version=2024-10-21", key=CLIENT_KEY, body=b'{"input_file_id": "f"}'),
    )
    name = json.loads(made.body)["id"]
    assert state(reads_only, "batches") == ["deferred"]
    upstream.files[FILE] = whole(200, written(line(1, MINI, 10, 3)), JSONL)
    ended(upstream, name, endpoint="/chat/completions")
    call(reads_only, CLIENT_KEY, f"{path}/{name}?api-version=2024-10-21")
    wait_for(reads_only, "exact", endpoint="batches")
    assert upstream.asked[-1].target == f"/openai/files/{FILE}/content?api-version=2024-10-21"


def test_a_large_file_is_read_within_flat_memory(
    reads_only: ProxyProcess, upstream: Objects
) -> None:
    name = batch(reads_only)
    lines = [line(n, MINI, 10, 3, choices=["x" * 20_000]) for n in range(5_000)]
    upstream.files[FILE] = whole(200, written(*lines), JSONL)
    ended(upstream, name)
    before = reads_only.rss_bytes
    call(reads_only, CLIENT_KEY, f"/v1/batches/{name}")
    wait_for(reads_only, "exact", endpoint="batches")
    assert reads_only.tokens()["output"] == 15_000
    assert reads_only.rss_bytes - before < 30 << 20
