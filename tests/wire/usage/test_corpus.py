"""Recorded answers of real providers: the usage is theirs, to the token, in disjoint types.

What is expected is worked out here from the record's usage and the provider's rule, not by the
code under test: rules are by provider, where the code reads shapes.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.core.usage import ATOMS_PER_SECOND, Metric, Usage
from proxy.wire.endpoints import ENDPOINTS, Endpoint, Metering
from proxy.wire.sse import FrameSplitter, payload
from proxy.wire.usage import RequestShape, UsageReader

BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}
REASONING_BESIDE = {"xai", "openai-compatible"}  # the latter: xAI behind another name
REST_IS_OUTPUT = {"google-openai-compat", "cerebras"}

INNER_CALLS = {
    # Anthropic's compaction and advisor: billed beside the counts at the top, which are of the
    # message iterations alone. Here: what they add, by hand, from ``iterations``.
    "8de86e8afeafeabc": Counter(input=2518, output=22),
    "750cb382815e6a51": Counter(input=2529, output=38),
    "a0db564e40271a34": Counter(input=2564, output=99),
    "a11db8fc3a4ddc38": Counter(input=55196, output=125),
    "8fdb62cc5a6f5d65": Counter(input=100, cache_write=55096, output=131),
    "6ca66e2712a244d5": Counter(input=99195, output=81),
    "a2a78d200731fd60": Counter(input=2728, output=874),
    "7fdc00d12348bed2": Counter(input=60385, output=522),
    "977c98cdd683deef": Counter(input=60385, output=592),
}
CONTRADICTORY = {
    # More cached and written tokens together than the prompt has: cut so that the total holds.
    "7de5df7ea0d8b03b": Counter(cached_input=2161, cache_write=7, output=100),
}


@pytest.fixture(scope="module")
def records(corpus_path: Path) -> list[dict[str, Any]]:
    file = corpus_path / "dev.jsonl.gz" if corpus_path.is_dir() else corpus_path
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def carrying_usage(records: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Endpoint]]:
    for record in records:
        if 200 <= record["status"] < 300 and record["usage"] is not None:
            yield record, BY_NAME[record["endpoint"]]


def read(record: dict[str, Any], endpoint: Endpoint) -> UsageReader:
    request = record["request_body"]
    model = request.get("model") if isinstance(request, dict) else None
    reader = UsageReader(endpoint, RequestShape(model=model or ""))
    body = record["response_body"].encode()
    if not is_stream(record):
        reader.json(body)
        return reader
    splitter = FrameSplitter()
    for frame in [*splitter.feed(body), splitter.flush()]:
        name, data = payload(frame)
        if data:
            reader.event(data, name)
    return reader


def is_stream(record: dict[str, Any]) -> bool:
    return not record["response_body"].lstrip().startswith(("{", "["))


def number(usage: dict[str, Any], *paths: str) -> int:
    """The largest of the counts at these paths (``a/b``): synonyms of one another."""
    found = [0]
    for path in paths:
        value: Any = usage
        for name in path.split("/"):
            value = value.get(name) if isinstance(value, dict) else None
        found.append(value or 0)
    return max(found)


def billed(record: dict[str, Any]) -> tuple[int, int, int, int, int]:
    """(input with what is cached, output, cached, written, audio in) by the provider's rule."""
    usage, provider = record["usage"], record["provider"]
    given = number(usage, "prompt_tokens", "input_tokens")
    made = number(usage, "completion_tokens", "output_tokens")
    cached = number(
        usage,
        "prompt_tokens_details/cached_tokens",
        "input_tokens_details/cached_tokens",
        "prompt_cache_hit_tokens",
        "num_cached_tokens",
        "cached_tokens",
        "cache_read_input_tokens",
        "prompt_tokens_details/cache_read_input_tokens",
    )
    written = number(
        usage,
        "prompt_tokens_details/cache_write_tokens",
        "input_tokens_details/cache_write_tokens",
        "cache_creation_input_tokens",
        "prompt_tokens_details/cache_creation_input_tokens",
    )
    audio = number(usage, "prompt_tokens_details/audio_tokens", "input_token_details/audio_tokens")
    total = usage.get("total_tokens")
    if record["endpoint"] == "messages":
        given += cached + written
    elif provider == "mistral" and total is not None and total != given + made:
        audio = total - given - made  # always: their prompt is the text alone
        given += audio
    elif provider == "voyage":
        given = usage["total_tokens"]
    elif provider in REST_IS_OUTPUT:
        made = total - given
    elif provider in REASONING_BESIDE:
        hidden = number(usage, "completion_tokens_details/reasoning_tokens")
        made += hidden if total == given + made + hidden else 0
    return given, made, min(cached, given), written, audio


def expected(record: dict[str, Any]) -> Counter[str]:
    usage, endpoint = record["usage"], record["endpoint"]
    if record["id"] in CONTRADICTORY:
        return CONTRADICTORY[record["id"]]
    given, made, cached, written, audio = billed(record)
    image = number(
        usage,
        "prompt_tokens_details/image_tokens",
        "input_tokens_details/image_tokens",
        "image_tokens",
    )
    spoken = number(usage, "completion_tokens_details/audio_tokens")
    drawn = number(usage, "output_tokens_details/image_tokens")
    if endpoint.startswith("images") and "output_tokens_details" not in usage:
        drawn = made
    if endpoint == "audio.speech":
        spoken = made
    if endpoint == "audio.transcriptions" and "input_token_details" not in usage and not audio:
        audio = given
    types = Counter(
        input=given - cached - written - audio - image,
        cached_input=cached,
        cache_write=written,
        input_audio=audio,
        input_image=image,
        output=made - spoken - drawn,
        output_audio=spoken,
        output_image=drawn,
    )
    if types["input"] < 0:  # cached tokens are of the image then: there is not enough text
        types["cached_input_image"] = -types["input"]
        types["cached_input"] += types["input"]
        types["input_image"] += types["input"]
        types["input"] = 0
    hour = number(usage, "cache_creation/ephemeral_1h_input_tokens")
    types["cache_write"] -= hour
    types["cache_write_1h"] = hour
    types.update(INNER_CALLS.get(record["id"], Counter()))
    return +types


def tokens(usage: Usage) -> Counter[str]:
    sums: Counter[str] = Counter()
    for quantity in usage.quantities:
        if quantity.metric is Metric.TOKENS:
            sums[quantity.type] += quantity.quantity
    return sums


def test_every_usage_is_found_and_split_to_the_token(records: list[dict[str, Any]]) -> None:
    checked, wrong = 0, []
    for record, endpoint in carrying_usage(records):
        if endpoint.metering is Metering.NEVER:
            continue
        usage = read(record, endpoint).usage()
        checked += 1
        if usage is None or tokens(usage) != expected(record):
            wrong.append((record["id"], record["provider"], record["usage"], usage))
    assert wrong == []
    assert checked > 6000


def test_the_sum_is_what_the_provider_says_was_billed(records: list[dict[str, Any]]) -> None:
    wrong = []
    for record, endpoint in carrying_usage(records):
        total = record["usage"].get("total_tokens")
        if endpoint.metering is Metering.NEVER or total is None:
            continue
        usage = read(record, endpoint).usage()
        if usage is None or usage.tokens != total:
            wrong.append((record["id"], record["usage"], usage))
    assert wrong == []


def test_reads_are_never_metered(records: list[dict[str, Any]]) -> None:
    for record, endpoint in carrying_usage(records):
        if endpoint.metering is Metering.NEVER:
            assert read(record, endpoint).usage() is None


def test_seconds_are_those_of_the_usage(records: list[dict[str, Any]]) -> None:
    for record, endpoint in carrying_usage(records):
        if record["usage"].get("type") == "duration":
            usage = read(record, endpoint).usage()
            assert usage is not None
            (quantity,) = usage.quantities
            assert quantity.metric is Metric.AUDIO_SECONDS
            assert quantity.quantity == record["usage"]["seconds"] * ATOMS_PER_SECOND


def test_notes_say_what_was_unsure_and_nothing_else_is_noted(records: list[dict[str, Any]]) -> None:
    unexpected = []
    for record, endpoint in carrying_usage(records):
        if endpoint.metering is Metering.NEVER:
            continue
        usage, said = read(record, endpoint).usage(), record["usage"]
        given = number(said, "prompt_tokens", "input_tokens")
        made = number(said, "completion_tokens", "output_tokens")
        details = "completion_tokens_details/reasoning_tokens"
        plain = (
            said.get("total_tokens", given + made) == given + made
            and number(said, "prompt_tokens_details/cached_tokens", "num_cached_tokens") <= given
            and number(said, details) <= made
            and not number(said, "prompt_tokens_details/image_tokens", "image_tokens")
            and record["provider"] != "voyage"
            and record["id"] not in INNER_CALLS | CONTRADICTORY
        )
        if usage is None or (plain and usage.notes):
            unexpected.append((record["id"], usage))
    assert unexpected == []


def test_models_are_as_the_answer_names_them(records: list[dict[str, Any]]) -> None:
    for record, endpoint in carrying_usage(records):
        if record["endpoint"] == "chat.completions" and not is_stream(record):
            try:
                model = json.loads(record["response_body"]).get("model")
            except ValueError:
                continue
            usage = read(record, endpoint).usage()
            assert usage is not None
            assert usage.model == (model or None)


def test_answers_without_usage_report_none(records: list[dict[str, Any]]) -> None:
    wrong = []
    for record in records:
        endpoint = BY_NAME.get(record["endpoint"])
        if endpoint is None or record["usage"] is not None or record["status"] >= 300:
            continue
        usage = read(record, endpoint).usage()
        if usage is not None and tokens(usage):
            wrong.append((record["id"], usage))
    assert wrong == []
