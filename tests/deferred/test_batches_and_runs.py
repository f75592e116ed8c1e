"""Batches and runs of threads (passthrough), and their ends."""

import json
from typing import Any

import pytest

from tests.deferred.objects_upstream import RUN_USAGE, USAGE, Objects
from tests.deferred.watching import CLIENT_KEY, call, client, made_by, post, state, wait_for
from tests.proxy_process import ProxyProcess

BATCH_TOKENS = {"input": 30, "cached_input": 20, "output": 9}


def batch(proxy: ProxyProcess) -> str:
    with client(proxy, CLIENT_KEY) as openai:
        made = openai.batches.create(
            completion_window="24h", endpoint="/v1/responses", input_file_id="file-1"
        )
    assert state(proxy, "batches") == ["deferred"]
    return made.id


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled", "failed"])
def test_a_batch_is_counted_at_its_end_at_its_tier(
    reads_only: ProxyProcess, upstream: Objects, status: str
) -> None:
    name = batch(reads_only)
    upstream.objects[name]["usage"] = USAGE  # so far
    with client(reads_only, CLIENT_KEY) as openai:
        assert openai.batches.retrieve(name).status == "validating"
        assert state(reads_only, "batches") == ["deferred"]
        upstream.end(name, status, model="gpt-4o-2024-08-06")
        for _ in range(3):
            openai.batches.retrieve(name)
    assert state(reads_only, "batches") == ["exact"]
    assert reads_only.tokens() == BATCH_TOKENS
    lines = [line for line in reads_only.usage(CLIENT_KEY)["lines"] if line["metric"] == "tokens"]
    assert {(line["model"], line["service_tier"]) for line in lines} == {
        ("gpt-4o-2024-08-06", "batch")
    }
    reads_only.check_sums()


def test_a_batch_is_no_long_prompt(reads_only: ProxyProcess, upstream: Objects) -> None:
    name = batch(reads_only)
    used = {"input_tokens": 900_000, "output_tokens": 9, "total_tokens": 900_009}
    upstream.end(name, usage=used, model="gpt-5.4")
    call(reads_only, CLIENT_KEY, f"/v1/batches/{name}")
    assert state(reads_only, "batches") == ["exact"]
    assert reads_only.tokens() == {"input": 900_000, "output": 9}
    rows = reads_only.rows("SELECT DISTINCT context_class AS class FROM series")
    assert {row["class"] for row in rows} == {""}


def test_a_batch_that_names_no_model_is_counted_and_not_free(
    reads_only: ProxyProcess, upstream: Objects
) -> None:
    name = batch(reads_only)
    upstream.end(name)
    call(reads_only, CLIENT_KEY, f"/v1/batches/{name}")
    usage = reads_only.usage(CLIENT_KEY)
    assert usage["completeness"]["unpriced"] > 0
    lines = [line for line in usage["lines"] if line["metric"] == "tokens"]
    assert {line["amount"] for line in lines} == {None}
    assert reads_only.tokens() == BATCH_TOKENS


@pytest.mark.parametrize(
    ("status", "ends"), [("failed", "failed"), ("expired", "partial"), ("completed", "partial")]
)
def test_a_batch_without_usage(
    reads_only: ProxyProcess, upstream: Objects, status: str, ends: str
) -> None:
    name = batch(reads_only)
    upstream.end(name, status, usage=None)
    call(reads_only, CLIENT_KEY, f"/v1/batches/{name}")
    row = made_by(reads_only, "batches")
    assert row["state"] == ends
    assert ("not reported" in (row["notes"] or "")) == (ends == "partial")
    assert reads_only.tokens() == {}


def test_a_batch_is_asked_about(passthrough: ProxyProcess, upstream: Objects) -> None:
    name = batch(passthrough)
    upstream.end(name, "expired", model="gpt-4o")
    wait_for(passthrough, "exact", endpoint="batches")
    assert [received.path for received in upstream.asked] == [f"/v1/batches/{name}"]


def test_cancelling_a_batch_does_not_end_it_yet(
    reads_only: ProxyProcess, upstream: Objects
) -> None:
    name = batch(reads_only)
    upstream.objects[name]["status"] = "cancelling"
    call(reads_only, CLIENT_KEY, f"/v1/batches/{name}/cancel", "POST")
    assert state(reads_only, "batches") == ["deferred"]


def run(proxy: ProxyProcess, **members: Any) -> str:
    answer = post(proxy, CLIENT_KEY, "/v1/threads/thread_1/runs", assistant_id="a", **members)
    assert state(proxy, "threads.runs") == ["deferred"]
    return str(json.loads(answer.body)["id"])


def test_a_run_is_settled_by_its_read(reads_only: ProxyProcess, upstream: Objects) -> None:
    name = run(reads_only)
    target = f"/v1/threads/thread_1/runs/{name}"
    upstream.objects[name]["status"] = "requires_action"
    call(reads_only, CLIENT_KEY, target)
    assert state(reads_only, "threads.runs") == ["deferred"]
    upstream.end(name, usage=RUN_USAGE)
    call(reads_only, CLIENT_KEY, target)
    assert state(reads_only, "threads.runs") == ["exact"]
    assert reads_only.tokens() == {"input": 30, "output": 9}


def test_a_run_is_asked_about(passthrough: ProxyProcess, upstream: Objects) -> None:
    name = run(passthrough)
    upstream.end(name, usage=RUN_USAGE)
    wait_for(passthrough, "exact", endpoint="threads.runs")
    assert {received.path for received in upstream.asked} == {f"/v1/threads/thread_1/runs/{name}"}
