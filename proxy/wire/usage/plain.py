"""The usage that most answers report: OpenAI's, without anything that needs a thought.

A short way, taken only where it leads to what the general one finds: no other members, and counts
that agree with each other.
"""

import msgspec

from proxy.core.usage import Metric, Quantity, TokenType, Usage

_TOKENS = Metric.TOKENS
_INPUT = TokenType.INPUT
_CACHED = TokenType.CACHED_INPUT
_OUTPUT = TokenType.OUTPUT


class _InputDetails(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    cached_tokens: int = 0
    audio_tokens: int = 0


class _OutputDetails(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


_NO_INPUT_DETAILS = _InputDetails()
_NO_OUTPUT_DETAILS = _OutputDetails()


class _PlainUsage(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _InputDetails = _NO_INPUT_DETAILS
    completion_tokens_details: _OutputDetails = _NO_OUTPUT_DETAILS


_DECODER = msgspec.json.Decoder(_PlainUsage)


def plain_usage(raw: bytes, model: str | None, service_tier: str | None) -> Usage | None:
    """Return the usage, or None where the general way must be gone."""
    try:
        usage = _DECODER.decode(raw)
    except (msgspec.MsgspecError, OverflowError, RecursionError, UnicodeDecodeError):
        return None
    given, made = usage.prompt_tokens, usage.completion_tokens
    cached = usage.prompt_tokens_details.cached_tokens
    reasoning = usage.completion_tokens_details.reasoning_tokens
    if (
        given + made != usage.total_tokens
        or not 0 <= cached <= given
        or not 0 <= reasoning <= made
        or usage.prompt_tokens_details.audio_tokens
        or usage.completion_tokens_details.audio_tokens
    ):
        return None
    parts = ((_INPUT, given - cached), (_CACHED, cached), (_OUTPUT, made))
    return Usage(
        quantities=tuple(
            [Quantity(metric=_TOKENS, type=kind, quantity=n) for kind, n in parts if n]
        ),
        input_tokens=given,
        reasoning_tokens=reasoning,
        model=model,
        service_tier=service_tier,
    )
