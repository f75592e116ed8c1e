"""OpenAI's and Azure's chat answers cross with their usage taken out: what the ledger estimates."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.accuracy import Score, answer_of, by_class, kind_of, records, summary
from tests.e2e_corpus.corpus import is_stream
from tests.e2e_corpus.replay import Crossing, Record, drawn, replay
from tests.proxy_process import ProxyProcess

# Class: exact inputs, 95th percentile, exact outputs, 95th percentile; all in percent.
HELD = {
    "plain": (97.5, 1.0, 96.0, 2.1),
    "tools": (94.0, 1.0, 93.0, 5.0),
    "images": (58.0, 120.0, 90.0, 9.6),
    "json_schema": (98.0, 0.7, 98.0, 0.0),
    "tools + schema": (97.0, 1.5, 94.0, 8.3),
    "all": (93.0, 1.0, 91.0, 5.0),
}


def without_usage(record: Record) -> bytes:
    """The answer as an upstream sends it that reports no usage."""
    body: str = record["response_body"]
    if not is_stream(record):
        return json.dumps(_without(json.loads(body)), ensure_ascii=False).encode()
    frames = []
    for frame in body.replace("\r\n", "\n").split("\n\n"):
        name, colon, data = frame.partition("data:")
        if not data.strip().startswith("{"):
            frames.append(frame)
            continue
        members = json.loads(data)
        if members.get("choices") or members.get("usage") is None:
            frames.append(f"{name}{colon} {json.dumps(_without(members), ensure_ascii=False)}")
    return "\n\n".join(frames).encode()


def _without(members: dict[str, Any]) -> dict[str, Any]:
    members.pop("usage", None)
    return members


def chats(path: Path, provider: str) -> list[Record]:
    return [
        record
        for record in records(path)
        if record["endpoint"] == "chat.completions"
        and record["provider"] == provider
        and record["usage"].get("prompt_tokens") is not None
        and answer_of(record).choices
    ]


@pytest.fixture(scope="module")
def crossings(
    corpus_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Crossing]]:
    file = corpus_path / "dev.jsonl.gz" if corpus_path.is_dir() else corpus_path
    proxies: list[ProxyProcess] = []

    def openai(upstream: str) -> ProxyProcess:
        folder = tmp_path_factory.mktemp("openai")
        proxies.append(ProxyProcess(folder, upstream, managed=False, access_log=False))
        return proxies[-1].start()

    def azure(upstream: str) -> ProxyProcess:
        folder = tmp_path_factory.mktemp("azure")
        table = folder / "upstreams.toml"
        origin = upstream.removesuffix("/v1")
        table.write_text(
            f'[[upstream]]\nname = "azure"\nkind = "azure"\nbase_url = "{origin}"\n'
            'api_version = "2024-10-21"\nmodels = ["*"]\napi_key = "azure-secret"\n'
        )
        proxies.append(ProxyProcess(folder, upstream, upstreams_file=table, access_log=False))
        return proxies[-1].start()

    try:
        yield [
            *replay(openai, chats(file, "openai"), body_of=without_usage, random=drawn()),
            *replay(
                azure, chats(file, "azure"), body_of=without_usage, managed=True, random=drawn()
            ),
        ]
    finally:
        for proxy in proxies:
            proxy.end()


def test_estimates_are_marked_as_such(crossings: list[Crossing]) -> None:
    for crossing in crossings:
        assert crossing.row["state"] == "estimated", crossing.record["id"]
        assert crossing.row["raw_usage"] is None


def test_estimates_hold(crossings: list[Crossing]) -> None:
    classes = by_class(map(score, crossings))
    assert len(classes["all"]) > 1000
    for kind, (inputs, input_p95, outputs, output_p95) in HELD.items():
        counted = summary(each.input_percent for each in classes[kind])
        answered = summary(each.output_percent for each in classes[kind])
        assert counted.exact >= inputs, kind
        assert counted.p95 <= input_p95, kind
        assert answered.exact >= outputs, kind
        assert answered.p95 <= output_p95, kind


def score(crossing: Crossing) -> Score:
    record, usage = crossing.record, crossing.record["usage"]
    hidden = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    made = (usage.get("completion_tokens") or 0) - hidden
    return Score(
        kind=kind_of(record["request_body"]),
        repo=record["repo"],
        identifier=record["id"],
        input_tokens=usage["prompt_tokens"],
        input_error=crossing.tokens["input"] - usage["prompt_tokens"],
        output_tokens=made,
        output_error=crossing.tokens["output"] - made,
    )
