"""What is sent and what is answered: sizes as in real traffic."""

import json
from collections.abc import Mapping

INPUT_TOKENS = 27
CACHED_TOKENS = 11
OUTPUT_TOKENS = 96
_REQUEST_BYTES = 1600
_ANSWER_BYTES = 900
_WORDS = "The weighbridge weighs every lorry that crosses and bills by the load. "


def _answer(content: str) -> bytes:
    message: dict[str, object] = {
        "role": "assistant",
        "content": content,
        "refusal": None,
        "annotations": [],
    }
    return json.dumps(
        {
            "id": "chatcmpl-CbenchBenchBenchBenchBenchBen",
            "object": "chat.completion",
            "created": 1763700000,
            "model": "gpt-4o-2024-08-06",
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
            ],
            "usage": {
                "prompt_tokens": INPUT_TOKENS,
                "completion_tokens": OUTPUT_TOKENS,
                "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
                "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
            "service_tier": "default",
            "system_fingerprint": "fp_bench",
        },
        separators=(",", ":"),
    ).encode()


def _filled(size_bytes: int) -> str:
    return (_WORDS * (size_bytes // len(_WORDS) + 1))[:size_bytes]


ANSWER = _answer(_filled(_ANSWER_BYTES - len(_answer(""))))
"""A chat completion of 0.9 kB."""


def request_body(
    *, size_bytes: int = _REQUEST_BYTES, members: Mapping[str, object] | None = None
) -> bytes:
    """Return a chat completion request of about ``size_bytes``."""
    messages = [
        {"role": "system", "content": "You are a weighbridge."},
        {"role": "user", "content": _filled(max(size_bytes - 150, 0))},
    ]
    return json.dumps({"model": "gpt-4o", "messages": messages, **(members or {})}).encode()


def stream_body(*, chunks: int, gap_ms: int, usage: bool) -> bytes:
    """Return a request for a stream of so many chunks, so many milliseconds apart.

    The bench's upstream reads them from ``max_tokens`` and ``seed``; ``usage``: ask for it.
    """
    members: dict[str, object] = {"max_tokens": chunks, "seed": gap_ms, "stream": True}
    if usage:
        members["stream_options"] = {"include_usage": True}
    return request_body(members=members)
