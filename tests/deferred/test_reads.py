"""A client's own read that shows the end settles the request that made the object, once."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.deferred.objects_upstream import TOKENS, USAGE, Objects
from tests.deferred.watching import (
    CLIENT_KEY,
    RESPONSES,
    call,
    client,
    made_by,
    post,
    state,
)
from tests.e2e.raw_http import Answer
from tests.proxy_process import ProxyProcess


def test_the_sdk_polls_a_background_response_to_its_end(
    quiet: ProxyProcess, upstream: Objects
) -> None:
    key = quiet.key()
    with client(quiet, key) as openai:
        made = openai.responses.create(model="gpt-4o", input="Hi", background=True)
        assert made.status == "queued"
        assert state(quiet) == ["deferred"]
        assert quiet.usage(key)["completeness"]["deferred"] == 1
        assert quiet.tokens() == {}
        for _ in range(2):
            assert openai.responses.retrieve(made.id).status == "queued"
        assert state(quiet) == ["deferred"]
        upstream.end(made.id)
        for _ in range(3):
            ended = openai.responses.retrieve(made.id)
            assert ended.output_text == "Hello."
            assert state(quiet) == ["exact"]
            assert quiet.tokens() == TOKENS
    usage = quiet.usage(key)
    assert usage["completeness"]["deferred"] == 0
    assert {line["model"] for line in usage["lines"] if line["metric"] == "tokens"} == {
        "gpt-4o-2024-08-06"
    }
    quiet.check_sums()


def test_usage_is_of_the_time_of_the_request(quiet: ProxyProcess, upstream: Objects) -> None:
    key = quiet.key()
    made = json.loads(post(quiet, key).body)["id"]
    time.sleep(0.05)
    upstream.end(made)
    call(quiet, key, f"{RESPONSES}/{made}")
    row = made_by(quiet)
    events = quiet.rows("SELECT * FROM events WHERE request_id = ?", row["id"])
    assert len(events) == 4
    assert {each["occurred_at_us"] for each in events} == {row["opened_at_us"]}
    assert row["settled_at_us"] - row["opened_at_us"] > 50_000
    assert json.loads(row["raw_usage"]) == USAGE


@pytest.mark.parametrize("after", ["", "&starting_after=1"])
def test_the_stream_of_a_response_settles_it_before_its_end_is_told(
    quiet: ProxyProcess, upstream: Objects, after: str
) -> None:
    key = quiet.key()
    made = json.loads(post(quiet, key).body)["id"]
    answer = call(quiet, key, f"{RESPONSES}/{made}?stream=true{after}")
    assert b"response.completed" not in answer.body
    assert state(quiet) == ["deferred"]
    upstream.end(made)
    answer = call(quiet, key, f"{RESPONSES}/{made}?stream=true{after}")
    assert b"event: response.completed" in answer.body
    assert quiet.tokens() == TOKENS
    assert state(quiet) == ["exact"]


def test_cancelling_settles_what_it_ends(quiet: ProxyProcess, upstream: Objects) -> None:
    key = quiet.key()
    with client(quiet, key) as openai:
        made = openai.responses.create(model="gpt-4o", input="Hi", background=True)
        assert openai.responses.cancel(made.id).status == "cancelled"
    row = made_by(quiet)
    assert (row["state"], "cancelled" in row["notes"]) == ("partial", True)
    assert quiet.tokens()["input"] == -(-row["body_bytes"] // 4)


def test_cancelling_with_usage_is_exact(quiet: ProxyProcess, upstream: Objects) -> None:
    key = quiet.key()
    made = json.loads(post(quiet, key).body)["id"]
    upstream.end(made, "cancelled")
    call(quiet, key, f"{RESPONSES}/{made}/cancel", "POST")
    assert (state(quiet), quiet.tokens()) == (["exact"], TOKENS)
    assert made_by(quiet)["notes"] == "cancelled"


@pytest.mark.parametrize(
    ("status", "usage", "ends", "tokens"),
    [
        ("failed", None, "failed", {}),
        ("failed", USAGE, "exact", TOKENS),
        ("incomplete", USAGE, "exact", TOKENS),
        ("completed", None, "estimated", None),
    ],
)
def test_ends(
    quiet: ProxyProcess,
    upstream: Objects,
    status: str,
    usage: object,
    ends: str,
    tokens: dict[str, int] | None,
) -> None:
    key = quiet.key()
    made = json.loads(post(quiet, key).body)["id"]
    upstream.end(made, status, usage=usage, error={"code": "x"} if status == "failed" else None)
    assert call(quiet, key, f"{RESPONSES}/{made}").status == 200
    assert state(quiet) == [ends]
    if tokens is None:
        assert quiet.tokens()["input"] > 0
    else:
        assert quiet.tokens() == tokens


def test_many_reads_at_once_bill_once(quiet: ProxyProcess, upstream: Objects) -> None:
    key = quiet.key()
    made = json.loads(post(quiet, key).body)["id"]
    upstream.end(made)
    with ThreadPoolExecutor(16) as threads:
        answers: list[Answer] = list(
            threads.map(lambda _: call(quiet, key, f"{RESPONSES}/{made}"), range(32))
        )
    assert all(answer.whole and answer.status == 200 for answer in answers)
    assert quiet.tokens() == TOKENS
    assert state(quiet) == ["exact"]
    quiet.check_sums()


def test_somebody_elses_read_settles_it_for_who_made_it(
    reads_only: ProxyProcess, upstream: Objects
) -> None:
    made = json.loads(post(reads_only, CLIENT_KEY).body)["id"]
    other = "sk-another-client-with-a-long-secret"
    upstream.end(made)
    assert call(reads_only, other, f"{RESPONSES}/{made}").status == 200
    assert reads_only.usage(CLIENT_KEY)["completeness"]["exact"] == 1
    assert reads_only.usage(other)["lines"] == []
    assert reads_only.tokens() == TOKENS


def test_reading_what_we_do_not_know_is_not_metered(
    reads_only: ProxyProcess, upstream: Objects
) -> None:
    post(reads_only, CLIENT_KEY)
    upstream.objects["resp_foreign"] = upstream.objects["resp_1"] | {"id": "resp_foreign"}
    upstream.end("resp_foreign")
    assert call(reads_only, CLIENT_KEY, f"{RESPONSES}/resp_foreign").status == 200
    assert reads_only.tokens() == {}


def test_an_answer_that_shows_another_object_settles_nothing(
    reads_only: ProxyProcess, upstream: Objects
) -> None:
    made = json.loads(post(reads_only, CLIENT_KEY).body)["id"]
    upstream.end(made, id="resp_other")
    call(reads_only, CLIENT_KEY, f"{RESPONSES}/{made}")
    assert state(reads_only) == ["deferred"]


def test_a_retry_that_is_answered_with_the_same_object_is_billed_once(
    quiet: ProxyProcess, upstream: Objects
) -> None:
    key = quiet.key()
    upstream.made_id = "resp_same"
    post(quiet, key)
    post(quiet, key)
    assert state(quiet) == ["deferred", "exact"]
    upstream.end("resp_same")
    post(quiet, key)
    call(quiet, key, f"{RESPONSES}/resp_same")
    assert state(quiet) == ["exact", "exact", "exact"]
    assert quiet.tokens() == TOKENS


def test_without_background_nothing_is_deferred(quiet: ProxyProcess, upstream: Objects) -> None:
    upstream.first_status = "completed"
    key = quiet.key()
    made = json.loads(post(quiet, key, background=False).body)["id"]
    assert state(quiet) == ["estimated"]
    assert quiet.rows("SELECT * FROM deferred") == []
    assert call(quiet, key, f"{RESPONSES}/{made}").status == 404


async def test_the_asynchronous_sdk_too(quiet: ProxyProcess, upstream: Objects) -> None:
    async with AsyncOpenAI(base_url=quiet.base_url, api_key=quiet.key()) as openai:
        made = await openai.responses.create(model="gpt-4o", input="Hi", background=True)
        upstream.end(made.id)
        reads = [openai.responses.retrieve(made.id) for _ in range(5)]
        assert {each.status for each in await asyncio.gather(*reads)} == {"completed"}
    assert quiet.tokens() == TOKENS


def test_the_object_is_shown_with_its_request(quiet: ProxyProcess, upstream: Objects) -> None:
    key = quiet.key()
    with client(quiet, key) as openai:
        assert isinstance(openai, OpenAI)
        made = openai.responses.create(model="gpt-4o", input="Hi", background=True)
    (row,) = quiet.rows("SELECT * FROM deferred")
    assert (row["object_id"], row["upstream"]) == (made.id, "default")
