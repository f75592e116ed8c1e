"""Which answers leave their usage for later, and which show it."""

import json
from typing import Any

import pytest

from proxy.core.usage import TokenType
from proxy.wire.deferred import is_object_id, is_waiting, read_object
from proxy.wire.endpoints import (
    BATCHES,
    CHAT_COMPLETIONS,
    CREATE_AND_RUN,
    RESPONSES,
    RUNS,
    Endpoint,
)

USAGE = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
RUN_USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


@pytest.mark.parametrize(
    ("endpoint", "status", "background", "streamed", "waits"),
    [
        (RESPONSES, "queued", True, False, True),
        (RESPONSES, "in_progress", True, False, True),
        (RESPONSES, "in_progress", True, True, True),
        (RESPONSES, "queued", False, False, True),  # the body could not be read, the answer can
        (RESPONSES, "in_progress", False, True, False),  # a stream that broke off
        (RESPONSES, "unheard_of", True, False, False),
        (RESPONSES, None, True, False, False),
        (RESPONSES, "", True, False, False),
        (RESPONSES, "completed", True, False, False),
        (RESPONSES, "failed", True, False, False),
        (RESPONSES, "incomplete", True, True, False),
        (RESPONSES, "cancelled", True, False, False),
        (BATCHES, "validating", False, False, True),
        (BATCHES, "in_progress", False, False, True),
        (BATCHES, "finalizing", False, False, True),
        (BATCHES, "cancelling", False, False, True),
        (BATCHES, "expired", False, False, False),
        (BATCHES, "completed", False, False, False),
        (RUNS, "queued", False, False, True),
        (RUNS, "requires_action", False, False, True),
        (RUNS, "queued", False, True, False),
        (RUNS, "requires_action", False, True, True),
        (RESPONSES, "requires_action", False, True, False),
        (CREATE_AND_RUN, "queued", False, False, True),
        (CHAT_COMPLETIONS, "queued", True, False, False),
    ],
)
def test_what_waits(
    endpoint: Endpoint, status: str | None, background: bool, streamed: bool, waits: bool
) -> None:
    found = is_waiting(endpoint, status, "x_1", background=background, streamed=streamed)
    assert found is waits


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("resp_0123abc", True),
        ("batch_a.b-c", True),
        ("x" * 200, True),
        ("x" * 201, False),
        ("", False),
        (None, False),
        ("..", False),
        (".a", False),
        ("a/b", False),
        ("a?b", False),
        ("a b", False),
        ("a\r\n", False),
        ("é", False),
    ],
)
def test_ids_that_are_kept(text: str | None, kept: bool) -> None:
    assert is_object_id(text) is kept
    waits = is_waiting(RESPONSES, "queued", text, background=True, streamed=False)
    assert waits is kept


@pytest.mark.parametrize(
    ("endpoint", "members", "final", "tokens", "tier"),
    [
        (RESPONSES, {"status": "queued", "usage": None}, False, None, None),
        (RESPONSES, {"status": "completed", "usage": USAGE}, True, 7, None),
        (RESPONSES, {"status": "completed", "usage": None}, True, None, None),
        (RESPONSES, {"status": "failed", "usage": None, "error": {"code": "x"}}, True, None, None),
        (RESPONSES, {"status": "failed", "usage": USAGE, "error": {"code": "x"}}, True, 7, None),
        (RESPONSES, {"status": "cancelled", "usage": USAGE, "service_tier": "flex"}, True, 7,
         "flex"),
        (BATCHES, {"status": "in_progress", "usage": USAGE}, False, None, None),
        (BATCHES, {"status": "expired", "usage": USAGE}, True, 7, "batch"),
        (BATCHES, {"status": "cancelled", "usage": USAGE}, True, 7, "batch"),
        (BATCHES, {"status": "completed"}, True, None, None),
        (RUNS, {"status": "requires_action", "usage": None}, False, None, None),
        (RUNS, {"status": "expired", "usage": RUN_USAGE}, True, 7, None),
    ],
)  # fmt: skip
def test_an_object_and_its_usage(
    endpoint: Endpoint,
    members: dict[str, Any],
    final: bool,
    tokens: int | None,
    tier: str | None,
) -> None:
    body = json.dumps({"id": "x_1", "model": "gpt-4o", **members}).encode()
    seen = read_object(endpoint, body)
    assert (seen.object_id, seen.model, seen.final) == ("x_1", "gpt-4o", final)
    assert (seen.usage and seen.usage.tokens) == tokens
    if seen.usage is not None:
        assert seen.usage.service_tier == tier
        assert TokenType.OUTPUT in {quantity.type for quantity in seen.usage.quantities}


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b"3", b'{"id": 3, "status": {}}', b"\xff"])
def test_what_is_no_object(body: bytes) -> None:
    seen = read_object(RESPONSES, body)
    assert (seen.object_id, seen.final, seen.usage) == ("", False, None)
