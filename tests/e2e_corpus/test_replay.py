"""Every recorded answer with usage crosses the proxy: bytes untouched, tokens in the ledger.

What the ledger must hold is worked out from the record by the provider's rule
(``tests/wire/usage/test_corpus.py``), not by the code under test.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.wire.endpoints import Metering
from tests.e2e_corpus.corpus import BY_NAME, carries_usage, read_records, request_of
from tests.e2e_corpus.replay import Crossing, drawn, replay
from tests.proxy_process import ProxyProcess
from tests.wire.usage.test_corpus import expected

EXCEPTIONS = {
    "2c6579aae2e71a9a": "two answers in one file: an answer ends with its first message_stop",
}
"""Records, by id, whose usage can't be in the ledger as the provider sent it, and why."""

_EVENT = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")


@pytest.fixture(scope="module")
def crossings(
    corpus_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Crossing]]:
    records = [record for record in read_records(corpus_path) if carries_usage(record)]
    proxies: list[ProxyProcess] = []

    def start(upstream: str) -> ProxyProcess:
        folder = tmp_path_factory.mktemp("corpus")
        proxies.append(ProxyProcess(folder, upstream, managed=False, access_log=False))
        return proxies[0].start()

    try:
        yield replay(start, records, random=drawn())
    finally:
        for proxy in proxies:
            proxy.end()


def is_metered(crossing: Crossing) -> bool:
    return BY_NAME[crossing.record["endpoint"]].metering is not Metering.NEVER


def test_every_body_arrives_as_it_was_sent(crossings: list[Crossing]) -> None:
    """Byte for byte; where usage was asked for, all but what the question adds."""
    assert len(crossings) > 6000
    for crossing in crossings:
        sent = crossing.record["response_body"].encode()
        if not crossing.asked:
            assert crossing.body == sent, crossing.record["id"]
        else:
            assert b"".join(wanted(sent)) == crossing.body, crossing.record["id"]


def wanted(stream: bytes) -> Iterator[bytes]:
    """The events of a stream without what ``include_usage`` adds to it, as simply as can be.

    The record's client did not ask, so its stream is what the provider sends unasked: running
    usage there is the provider's own way, and nothing is taken out from there on. A chunk of
    usage alone is taken out even so: an answer to the question looks no different.
    """
    shown = False
    for event in _EVENT.split(stream):
        data = re.search(rb"^data: ?(\{.*\})\s*$", event, re.MULTILINE)
        if data is None or b'"usage"' not in event:
            yield event
            continue
        members = json.loads(data[1])
        choices = members.get("choices") or []
        finished = any(choice.get("finish_reason") for choice in choices)
        shown = shown or bool(choices and members.get("usage") is not None and not finished)
        if shown:
            yield event
            continue
        if members.get("choices") == [] and members.get("usage") is not None:
            continue
        null = "usage" in members and members["usage"] is None
        yield re.sub(rb',\s*"usage"\s*:\s*null', b"", event, count=1) if null else event


def test_every_token_is_in_the_ledger(crossings: list[Crossing]) -> None:
    wrong = []
    for crossing in crossings:
        if crossing.record["id"] in EXCEPTIONS or not is_metered(crossing):
            continue
        if crossing.tokens != expected(crossing.record):
            wrong.append((crossing.record["id"], crossing.record["usage"], crossing.tokens))
    assert wrong == []


def test_the_sum_is_what_the_provider_says_was_billed(crossings: list[Crossing]) -> None:
    for crossing in crossings:
        total = crossing.record["usage"].get("total_tokens")
        if total is not None and is_metered(crossing) and crossing.record["id"] not in EXCEPTIONS:
            assert crossing.tokens.total() == total, crossing.record["id"]


def test_states_say_that_it_was_reported(crossings: list[Crossing]) -> None:
    states = Counter(crossing.row["state"] for crossing in crossings)
    assert states == Counter(exact=len(crossings))


def test_reads_are_never_metered(crossings: list[Crossing]) -> None:
    reads = [crossing for crossing in crossings if not is_metered(crossing)]
    assert reads
    assert all(crossing.metrics == Counter(requests=1) for crossing in reads)


def test_seconds_are_those_reported(crossings: list[Crossing]) -> None:
    timed = [c for c in crossings if c.record["usage"].get("type") == "duration"]
    assert timed
    for crossing in timed:
        assert crossing.metrics["audio_seconds"] == crossing.record["usage"]["seconds"] * 1_000_000


def test_the_usage_as_sent_is_kept(crossings: list[Crossing]) -> None:
    for crossing in crossings:
        raw = crossing.row["raw_usage"]
        if is_metered(crossing) and raw is not None and len(raw) < 4096:
            assert isinstance(json.loads(raw), dict)
        assert raw is not None or not is_metered(crossing)


def test_models_are_those_asked_for_and_reported(crossings: list[Crossing]) -> None:
    for crossing in crossings:
        request = request_of(crossing.record)
        if request.content_type == "application/json":
            asked: Any = json.loads(request.body).get("model")
            if isinstance(asked, str):  # else an Azure path may name it
                assert crossing.row["model_requested"] == asked
