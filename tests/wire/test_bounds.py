"""What a body says of the most that it can use."""

import json
from typing import Any

import pytest

from proxy.core.reservations import FREE, Bounds
from proxy.wire.bounds import LOOKED_AT_BYTES, MOST_PROMPTS, read_bounds
from proxy.wire.endpoints import CHAT_COMPLETIONS, COMPLETIONS, RESPONSES, endpoint_for
from proxy.wire.request import NO_FACTS, RequestFacts, read_facts
from proxy.wire.usage import RequestShape

TEXT = [{"role": "user", "content": 'weigh a "tools" of "file_id" and "image_url"'}]


def bounds(endpoint: Any = CHAT_COMPLETIONS, **members: Any) -> Bounds:
    body = json.dumps({"model": "m", **members}).encode()
    return read_bounds(endpoint, "m", read_facts(body, strict=True), body)


def test_plain_text_is_bounded_by_its_length() -> None:
    body = json.dumps({"model": "m", "messages": TEXT, "max_tokens": 7, "n": 2}).encode()
    facts = read_facts(body, strict=True)
    assert read_bounds(CHAT_COMPLETIONS, "m", facts, body) == Bounds(
        model="m", body_bytes=len(body), outputs=2, output_limit=7
    )


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_image", "file_id": "file-1"},
    ],
)
def test_media_are_not(part: dict[str, Any]) -> None:
    found = bounds(messages=[{"role": "user", "content": [part]}])
    assert found.referenced
    assert found.media


@pytest.mark.parametrize(
    "member",
    [
        "audio", "image", "file", "image_url", "input_image", "input_audio", "input_file",
        "image_generation",
    ],
)  # fmt: skip
def test_every_word_for_media_counts(member: str) -> None:
    assert bounds(**{member: "id"}).media


@pytest.mark.parametrize("member", ["cache_control", "prompt_cache_key", "prompt_cache_retention"])
def test_every_word_for_a_long_cache_counts(member: str) -> None:
    assert bounds(**{member: "id"}).long_cache


@pytest.mark.parametrize(
    "member",
    [
        "file_id", "previous_response_id", "conversation", "item_reference", "container",
        "document", "source", "variables", "thread",
    ],
)  # fmt: skip
def test_references_are_not(member: str) -> None:
    found = bounds(RESPONSES, input="x", **{member: "id"})
    assert found.referenced
    assert not found.media


def test_escaped_names_hide_nothing() -> None:
    body = rb'{"model": "m", "previous_\u0072esponse_id": "resp_1"}'
    found = read_bounds(RESPONSES, "m", NO_FACTS, body)
    assert found.referenced
    assert found.tool_calls is None
    plain = rb'{"model": "m", "input": "caf\u00e9 \n \"x\""}'
    assert not read_bounds(RESPONSES, "m", NO_FACTS, plain).referenced


@pytest.mark.parametrize(
    ("members", "calls"),
    [
        ({"tools": [{"type": "function", "name": "f"}]}, 0),
        ({"tools": [{"type": "web_search_preview"}]}, None),
        ({"tools": [{"type": "mcp"}], "max_tool_calls": 3}, 3),
        ({"tools": [{"type": "mcp"}], "max_tool_calls": True}, None),
        ({"web_search_options": {}}, None),
        ({"tools": [{"type": "image_generation"}]}, None),
    ],
)
def test_tools_that_the_upstream_runs(members: dict[str, Any], calls: int | None) -> None:
    assert bounds(RESPONSES, input="x", **members).tool_calls == calls


def test_caching_for_long() -> None:
    assert bounds(messages=TEXT, prompt_cache_retention="24h").long_cache
    assert not bounds(messages=TEXT).long_cache


@pytest.mark.parametrize(
    ("members", "outputs"),
    [
        ({"prompt": "x"}, 1),
        ({"prompt": ["x", "y"]}, 2),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1], [2], [3]], "n": 2}, 6),
        ({"prompt": ["x", "y"], "n": 2, "best_of": 5}, 10),
    ],
)
def test_every_prompt_has_its_outputs(members: dict[str, Any], outputs: int) -> None:
    assert bounds(COMPLETIONS, **members).outputs == outputs


@pytest.mark.parametrize(
    ("endpoint", "members", "limit"),
    [
        (COMPLETIONS, {"max_completion_tokens": 1, "max_tokens": 4000}, 4000),
        (COMPLETIONS, {"max_completion_tokens": 1}, None),
        (COMPLETIONS, {"max_completion_tokens": 4000, "max_tokens": 1}, 4000),
        (COMPLETIONS, {"max_tokens": 0}, 0),
        (CHAT_COMPLETIONS, {"max_completion_tokens": 9, "max_tokens": 4}, 9),
        (CHAT_COMPLETIONS, {"max_completion_tokens": "9", "max_tokens": 4}, None),
        (CHAT_COMPLETIONS, {"max_tokens": 0}, None),
        (CHAT_COMPLETIONS, {"max_output_tokens": 4}, None),
        (RESPONSES, {"max_tokens": 4}, None),
        (RESPONSES, {"max_output_tokens": 4}, 4),
    ],
)
def test_no_limit_is_taken_that_an_upstream_may_ignore(
    endpoint: Any, members: dict[str, Any], limit: int | None
) -> None:
    assert bounds(endpoint, **members).output_limit == limit


EMBEDDINGS = endpoint_for("POST", "/v1/embeddings")
LONG = "x" * LOOKED_AT_BYTES


@pytest.mark.parametrize(
    ("prompts", "number", "plain"),
    [
        ("x", 1, True),
        (["x"], 1, True),
        (["x, y", '{"a", "b"}', "z"], 3, True),
        ([1, 2, 3], 1, True),
        ([[1, 2], [3]], 2, True),
        (["x"] * 100_001, 100_001, True),
        ([["x", "y"], ["z"]], 3, True),
        ([{"image": "https://example.com/x.png"}, "y"], 2, False),
        ([[{"image": "x"}]], 1, False),
        ({"image": "x"}, 1, False),
        (None, 1, False),
    ],
)
def test_every_prompt_has_a_window(prompts: Any, number: int, *, plain: bool) -> None:
    for endpoint, member in ((EMBEDDINGS, "input"), (COMPLETIONS, "prompt")):
        found = bounds(endpoint, **{member: prompts})
        assert found.prompts == number
        assert found.outputs == (number if endpoint is COMPLETIONS else 0)
        found = bounds(endpoint, **{member: prompts, "user": LONG})
        assert (found.prompts, found.referenced, found.tool_calls) == (number, not plain, 0)


def test_prompts_that_hide_are_counted() -> None:
    limited = {"max_tokens": 5, "best_of": 3}
    found = bounds(COMPLETIONS, prompt=["a", "b"], user=LONG, **limited)
    assert (found.outputs, found.output_limit) == (6, 5)
    body = rb'{"prompt": ["\u0061", "b"], "max_tokens": 5}'
    strict = read_bounds(COMPLETIONS, "m", read_facts(body, strict=True), body)
    assert (strict.outputs, strict.prompts, strict.referenced) == (2, 2, True)
    for hidden in (
        rb'{"pr\u006fmpt": ["a", "b"], "max_tokens": 5}',
        b'{"prompt": ["a", "b"], "prompt": "x"}',
        rb'{"prompt": ["a", "b"], "pr\u006fmpt": "x"}',
    ):
        found = read_bounds(COMPLETIONS, "m", read_facts(hidden, strict=False), hidden)
        assert found.prompts >= 2
        assert found.outputs >= 2
    for unread in (b"\x1f\x8b", b'{"prompt": nan', None):
        found = read_bounds(COMPLETIONS, "m", NO_FACTS, unread)
        assert found.referenced or found.body_bytes
        assert found.prompts == found.outputs == MOST_PROMPTS


def test_what_can_not_be_read_is_bounded_by_nothing() -> None:
    for body in (b"\x1f\x8bcompressed", b"", b"{" + b" " * LOOKED_AT_BYTES + b"}", None):
        found = read_bounds(CHAT_COMPLETIONS, "m", NO_FACTS, body)
        assert found.referenced
        assert found.media
        assert found.long_cache
        assert found.tool_calls is None
    broken = b'{"tools": "web_search'
    assert read_bounds(RESPONSES, "m", NO_FACTS, broken).outputs == 1


def test_free_endpoints() -> None:
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/moderations")):
        assert read_bounds(endpoint_for(method, path), "", NO_FACTS, b"") == FREE
    assert read_bounds(None, "m", NO_FACTS, b"{}") == FREE


def test_what_is_not_measured_in_tokens_alone() -> None:
    def of(path: str, facts: RequestFacts, shape: RequestShape | None) -> Bounds:
        return read_bounds(
            endpoint_for("POST", path), "m", facts, b"--form, 1000 bytes" * 50, shape
        )

    drawn = of("/v1/images/generations", RequestFacts(n=3), RequestShape(n=2))
    assert (drawn.images, drawn.referenced, drawn.media) == (3, True, True)
    assert of("/v1/images/generations", NO_FACTS, None).images == 1
    spoken = of("/v1/audio/speech", NO_FACTS, RequestShape(input_characters=12))
    assert spoken.characters == 12
    assert of("/v1/audio/speech", NO_FACTS, None).characters == 900
    heard = of("/v1/audio/transcriptions", NO_FACTS, RequestShape(audio_us=9_000_000))
    assert heard.audio_us == 9_000_000
    assert of("/v1/audio/transcriptions", NO_FACTS, None).audio_us == 3_600_000
    assert of("/v1/embeddings", NO_FACTS, None).outputs == 0
