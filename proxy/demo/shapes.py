"""Bodies shaped like OpenAI's: completions, streamed and not, usage, models and errors."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from proxy.demo.behaviour import Behaviour
from proxy.demo.truth import Answer

CREATED = 1_790_000_000
_WORDS = (
    "Every",
    " lorry",
    " that",
    " crosses",
    " is",
    " weighed",
    ",",
    " once",
    ".",
    " Next",
    "!",
)
_TOOL_ARGUMENTS = ('{"', "city", '":"', "Bern", '"}')
_MESSAGE_TOKENS = 4
_CHARACTERS_PER_TOKEN = 4
_ERRORS = {
    400: ("invalid_request_error", None, "The request is wrong, as it asked to be told."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached, as was asked for."),
    503: ("service_unavailable_error", "server_is_overloaded", "The engine is overloaded."),
}
_PADDING = {"obfuscation": "kF3"}
_BUILD = {"system_fingerprint": "b10499-6d05498"}
_TIMINGS = {"timings": {"prompt_ms": 9.601, "predicted_ms": 941.5}}


def error_body(status: int, message: str | None = None) -> dict[str, Any]:
    """Return an error as OpenAI writes it."""
    kind, code, text = _ERRORS.get(status, ("server_error", None, "The upstream failed."))
    return {"error": {"message": message or text, "type": kind, "param": None, "code": code}}


def model_body(name: str) -> dict[str, Any]:
    """Return a model as ``GET /models`` lists it."""
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "demo"}


def events(asked: dict[str, Any], how: Behaviour, answer: Answer) -> Iterator[bytes]:
    """Yield each event when it is generated: the truth counts what was, not what will be."""
    wanted = bool((asked.get("stream_options") or {}).get("include_usage")) or how.usage_everywhere
    extra = wanted and how.usage
    null = {"usage": None} if extra else {}
    base = _base(asked, answer, "chat.completion.chunk") | (_BUILD if how.timings else {})
    moved = {"system_fingerprint": base.pop("system_fingerprint")} if how.moves else {}
    for index in range(choice_count(asked)):
        for delta in _deltas(asked, how):
            answer.completion_tokens += _delta_tokens(delta)
            usage = {"usage": usage_body(answer)} if how.usage_everywhere else null
            yield event_bytes(base | usage | {"choices": [_choice(index, delta)], **_PADDING})
        reason = "tool_calls" if _wants_tool(asked) else "stop"
        finish = base | {"choices": [_choice(index, {}, reason)]}
        usage = {"usage": usage_body(answer)} if how.usage_everywhere else null
        last = index == choice_count(asked) - 1 and not extra
        timings = _TIMINGS if how.timings and last else {}
        yield event_bytes(finish | ({} if extra else moved) | usage | _PADDING | timings)
    settle(answer, how)
    if extra:
        answer.usage_reported = True
        timings = _TIMINGS if how.timings else {}
        usage = {"usage": usage_body(answer)}
        yield event_bytes(base | {"choices": []} | moved | usage | _PADDING | timings)
    yield b"data: [DONE]\n\n"


def _deltas(asked: dict[str, Any], how: Behaviour) -> Iterator[dict[str, Any]]:
    if not _wants_tool(asked):
        yield {"role": "assistant", "content": "", "refusal": None}
        yield from ({"content": _WORDS[n % len(_WORDS)]} for n in range(how.pieces))
        return
    call = {"index": 0, "id": "call_demo", "type": "function"}
    function = {"name": _tool_name(asked), "arguments": ""}
    yield {"role": "assistant", "content": None, "tool_calls": [call | {"function": function}]}
    for piece in _TOOL_ARGUMENTS:
        yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def completion(asked: dict[str, Any], how: Behaviour, answer: Answer) -> dict[str, Any]:
    """Return a plain answer."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if _wants_tool(asked):
        function = {"name": _tool_name(asked), "arguments": "".join(_TOOL_ARGUMENTS)}
        message["tool_calls"] = [{"id": "call_demo", "type": "function", "function": function}]
        reason = "tool_calls"
    else:
        message["content"] = "".join(_WORDS[n % len(_WORDS)] for n in range(how.pieces))
        reason = "stop"
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": reason}
        for index in range(choice_count(asked))
    ]
    usage = {"usage": usage_body(answer)} if how.usage else {}
    return _base(asked, answer, "chat.completion") | {"choices": choices} | usage


def usage_body(answer: Answer) -> dict[str, Any]:
    """Return an answer's usage as OpenAI reports it: cached inside prompt, reasoning inside."""
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def generate_whole(asked: dict[str, Any], how: Behaviour, answer: Answer) -> None:
    """Account for a plain answer: it is generated before its first byte is sent."""
    tokens = sum(_delta_tokens(delta) for delta in _deltas(asked, how))
    answer.completion_tokens = choice_count(asked) * tokens
    answer.usage_reported = how.usage
    settle(answer, how)


def settle(answer: Answer, how: Behaviour) -> None:
    """Bring an answer that was generated to its end to the counts that its script names."""
    answer.completion_tokens += how.reasoning
    if how.completion >= 0:
        answer.completion_tokens = how.completion
    answer.reasoning_tokens = how.reasoning


def _delta_tokens(delta: dict[str, Any]) -> int:
    return int(bool(delta.get("content") or delta.get("tool_calls")))


def _base(asked: dict[str, Any], answer: Answer, kind: str) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(asked.get("messages")).encode()).hexdigest()
    return {
        "id": f"chatcmpl-{digest[:24]}",
        "object": kind,
        "created": CREATED,
        "model": answer.model,
        "service_tier": answer.service_tier,
        "system_fingerprint": "fp_demo",
    }


def _choice(index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


def choice_count(asked: dict[str, Any]) -> int:
    """Return how many choices are asked for."""
    return int(asked.get("n") or 1)


def _wants_tool(asked: dict[str, Any]) -> bool:
    messages = asked.get("messages") or [{}]
    return bool(asked.get("tools")) and messages[-1].get("role") != "tool"


def _tool_name(asked: dict[str, Any]) -> str:
    return str(asked["tools"][0]["function"]["name"])


def prompt_tokens(asked: dict[str, Any]) -> int:
    """Return how many tokens the messages count: of the right size, and always the same."""
    messages = asked.get("messages") or []
    text = sum(len(json.dumps(message.get("content"))) for message in messages)
    return len(messages) * _MESSAGE_TOKENS + text // _CHARACTERS_PER_TOKEN


def event_bytes(value: dict[str, Any]) -> bytes:
    """Return a value as a server-sent event."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"
