"""What a request's body says of the most it can use (:class:`proxy.core.reservations.Bounds`).

Only what decides is looked for, as quoted words: a word that only stands in a prompt makes the
bound wider than need be, never narrower. A body that can't be read is bounded by nothing.
"""

import re
from typing import Any, Final

import msgspec

from proxy.core.reservations import FREE, Bounds
from proxy.wire.endpoints import Endpoint, Metering, Modality
from proxy.wire.request import RequestFacts

LOOKED_AT_BYTES: Final = 512 << 10
"""A longer body is taken to refer to something: looking would take longer than it is worth."""
LEAST_AUDIO_BYTES_PER_SECOND: Final = 250
"""Of the leanest codecs at their lowest rates (Opus: 6 kbit/s, Codec 2 aside)."""

_FREE: Final = frozenset({Metering.NEVER, Metering.FREE})
_MEDIA: Final = (
    b'"image_url"', b'"input_image"', b'"input_audio"', b'"audio"', b'"image"', b'"file"',
    b'"input_file"', b'"image_generation"',
)  # fmt: skip
_REFERENCES: Final = (
    b'"file_id"', b'"previous_response_id"', b'"conversation"', b'"item_reference"', b'"container"',
    b'"document"', b'"source"', b'"variables"', b'"thread"',
)  # fmt: skip
_HOSTED: Final = (
    b'"web_search', b'"file_search"', b'"code_interpreter"', b'"code_execution', b'"mcp"',
    b'"computer', b'"image_generation"', b'"web_fetch', b'"shell"', b'"tool_search',
)  # fmt: skip
_LONG_CACHE: Final = (b'"prompt_cache', b'"cache_control"')
_ESCAPED: Final = re.compile(rb"\\u00[5-7]")
"""Names can be written with escapes; no letter needs one, so whoever does is taken to hide one."""


class _Members(msgspec.Struct, gc=False):
    prompt: Any = None
    input: Any = None
    best_of: Any = None
    max_tool_calls: Any = None


_members = msgspec.json.Decoder(_Members)


def read_bounds(endpoint: Endpoint | None, facts: RequestFacts, body: bytes | None) -> Bounds:
    """Return what bounds a request; ``body`` is its JSON as written, None if it is streamed.

    A body that is no JSON (a form with a file) has facts, and bounds nothing but its own kind.
    """
    if endpoint is None or endpoint.metering in _FREE:
        return FREE
    text = endpoint.metering is Metering.TOKENS
    length = 0 if body is None else len(body)
    looked_at = body if body is not None and length <= LOOKED_AT_BYTES else None
    media = not text or looked_at is None or _has(looked_at, _MEDIA)
    hidden = looked_at is None or (b"\\u" in looked_at and _ESCAPED.search(looked_at) is not None)
    hosted = text and (looked_at is None or _has(looked_at, _HOSTED))
    members = _read(looked_at) if hosted or not endpoint.name.startswith("chat.") else None
    calls = None if members is None else _count(members.max_tool_calls)
    return Bounds(
        model=facts.model,
        body_bytes=length,
        referenced=media or hidden or looked_at is None or _has(looked_at, _REFERENCES),
        outputs=_outputs(endpoint, facts, members),
        output_limit=facts.max_output_tokens,
        service_tier=facts.service_tier,
        media=media or hidden,
        long_cache=looked_at is None or hidden or _has(looked_at, _LONG_CACHE),
        tool_calls=calls if hosted or hidden else 0,
        images=(facts.n or 1) if endpoint.output_modality is Modality.IMAGE else 0,
        characters=length if endpoint.metering is Metering.SPEECH else 0,
        audio_us=_audio_us(endpoint, length),
    )


def _has(body: bytes, words: tuple[bytes, ...]) -> bool:
    for word in words:  # noqa: SIM110 - twice as fast as any(), and it is on every limited request
        if word in body:
            return True
    return False


def _read(body: bytes | None) -> _Members | None:
    try:
        return None if body is None else _members.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _outputs(endpoint: Endpoint, facts: RequestFacts, members: _Members | None) -> int:
    """Return how many answers the limit of output tokens holds for."""
    if endpoint.name == "embeddings":
        return 0
    several = facts.n or 1
    if endpoint.name != "completions" or members is None:
        return several
    best_of = _count(members.best_of) or 1
    prompts = members.prompt
    texts = len(prompts) if isinstance(prompts, list) and _of_prompts(prompts) else 1
    return max(several, best_of) * texts


def _of_prompts(prompts: list[Any]) -> bool:
    """Whether a list is one of prompts, not a prompt of tokens."""
    return not all(isinstance(item, int) for item in prompts)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _audio_us(endpoint: Endpoint, length: int) -> int:
    if endpoint.metering is not Metering.AUDIO:
        return 0
    return length * 1_000_000 // LEAST_AUDIO_BYTES_PER_SECOND
