"""What a request's body says of the most it can use (:class:`proxy.core.reservations.Bounds`).

Only what decides is looked for, as quoted words: a word that only stands in a prompt makes the
bound wider than need be, never narrower. A body that can't be read is bounded by nothing.
"""

import re
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec

from proxy.core.reservations import FREE, Bounds
from proxy.wire.endpoints import Endpoint, Metering, Modality
from proxy.wire.request import RequestFacts
from proxy.wire.usage import RequestShape

LOOKED_AT_BYTES: Final = 512 << 10
"""A longer body is taken to refer to something: looking would take longer than it is worth."""
LEAST_AUDIO_BYTES_PER_SECOND: Final = 250
"""Of the leanest codecs at their lowest rates (Opus: 6 kbit/s, Codec 2 aside)."""

# Members of enumerations are slow to look up, and this is on every limited request.
_TOKENS: Final = Metering.TOKENS
_FREE: Final = frozenset({Metering.NEVER, Metering.FREE})
_MEDIA: Final = frozenset(
    b"image_url input_image input_audio audio image file input_file image_generation".split()
)
_REFERENCES: Final = frozenset(
    b"file_id previous_response_id conversation item_reference container document source variables"
    b" thread".split()
)
_TOOLS: Final = frozenset(b"tools web_search_options mcp_servers functions".split())
_LONG_CACHE: Final = frozenset(b"cache_control prompt_cache_key prompt_cache_retention".split())
_DECISIVE: Final = _MEDIA | _REFERENCES | _TOOLS | _LONG_CACHE
_ANY_DECISIVE: Final = re.compile(b'"(?:%b)"' % b"|".join(sorted(_DECISIVE)))
_HOSTED: Final = (
    b'"web_search', b'"file_search"', b'"code_interpreter"', b'"code_execution', b'"mcp',
    b'"computer', b'"image_generation"', b'"web_fetch', b'"shell"', b'"tool_search',
)  # fmt: skip
_OTHER_LIMITS: Final = frozenset({"max_output_tokens", "max_completion_tokens"})
_LIMITS: Final = {
    "chat.completions": frozenset({"max_completion_tokens", "max_tokens"}),
    "completions": frozenset({"max_tokens"}),
    "messages": frozenset({"max_tokens"}),
    "responses": frozenset({"max_output_tokens"}),
}
"""By which names an endpoint limits its output."""
_NONE: Final[frozenset[bytes]] = frozenset()
_NO_MEASURES: Final = (0, 0, 0)
_OBJECT: Final = (b"{", b" ", b"\n", b"\r", b"\t")
_ESCAPED: Final = re.compile(rb"\\u00[5-7]")
"""Names can be written with escapes; no letter needs one, so whoever does is taken to hide one."""


class _Members(msgspec.Struct, gc=False):
    prompt: Any = None
    input: Any = None
    best_of: Any = None
    max_tool_calls: Any = None


_members = msgspec.json.Decoder(_Members)


def read_bounds(
    endpoint: Endpoint | None,
    model: str,
    facts: RequestFacts,
    body: bytes | None,
    shape: RequestShape | None = None,
) -> Bounds:
    """Return what bounds a request; ``body`` is what goes up, None if it is streamed.

    A body that is no JSON as it stands (a form, a compressed one) bounds nothing by its length:
    what else is known of it is in ``facts`` and ``shape``.
    """
    text = endpoint is not None and endpoint.metering is _TOKENS
    if endpoint is None or (not text and endpoint.metering in _FREE):
        return FREE
    length = 0 if body is None else len(body)
    seen = None if body is None or length > LOOKED_AT_BYTES or body[:1] not in _OBJECT else body
    if seen is not None and b"\\" in seen and _ESCAPED.search(seen):
        seen = None
    words = _DECISIVE if seen is None else _words(seen)
    media = not text or not words.isdisjoint(_MEDIA)
    tools = text and not words.isdisjoint(_TOOLS)
    hosted = tools and (seen is None or any(word in seen for word in _HOSTED))
    members = _read(seen) if hosted or endpoint.name != "chat.completions" else None
    referenced = media or not words.isdisjoint(_REFERENCES)
    outputs = _outputs(endpoint, facts, members)
    long_cache = not words.isdisjoint(_LONG_CACHE)
    calls = _tool_calls(members) if hosted else 0
    tier = facts.service_tier
    limit, free = _limit(endpoint, facts), False
    measures = _NO_MEASURES if text else _measures(endpoint, facts, length, shape)
    # By place: to name each would take as long as all that was looked at.
    return Bounds(
        length, limit, model, free, referenced, outputs, tier, media, long_cache, calls, *measures
    )


def _measures(
    endpoint: Endpoint, facts: RequestFacts, length: int, shape: RequestShape | None
) -> tuple[int, int, int]:
    """Return the images, the characters and the microseconds of audio that it may be billed by."""
    return (
        _images(endpoint, facts, shape),
        _characters(endpoint, length, shape),
        _audio_us(endpoint, length, shape),
    )


def _words(body: bytes) -> AbstractSet[bytes]:
    """Return the decisive words that stand in a body between quotes: nearly always none."""
    return _DECISIVE.intersection(body.split(b'"')) if _ANY_DECISIVE.search(body) else _NONE


def _read(body: bytes | None) -> _Members | None:
    try:
        return None if body is None else _members.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _outputs(endpoint: Endpoint, facts: RequestFacts, members: _Members | None) -> int:
    """Return how many answers the limit of output tokens holds for."""
    several = facts.n or 1
    name = endpoint.name
    if name == "chat.completions":
        return several
    if name == "embeddings":
        return 0
    if name != "completions" or members is None:
        return several
    best_of = _count(members.best_of) or 1
    prompts = members.prompt
    texts = len(prompts) if isinstance(prompts, list) and _of_prompts(prompts) else 1
    return max(several, best_of) * texts


def _limit(endpoint: Endpoint, facts: RequestFacts) -> int | None:
    """Return the limit of output if the endpoint's own is set: others may be ignored.

    0 limits nothing but completions: elsewhere it has no use, and upstreams take it for none.
    """
    own = _LIMITS.get(endpoint.name, _OTHER_LIMITS)
    limit = None if own.isdisjoint(facts.limited_by) else facts.max_output_tokens
    return limit if limit or endpoint.name == "completions" else None


def _of_prompts(prompts: list[Any]) -> bool:
    """Whether a list is one of prompts, not a prompt of tokens."""
    return not all(isinstance(item, int) for item in prompts)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _tool_calls(members: _Members | None) -> int | None:
    return None if members is None else _count(members.max_tool_calls)


def _images(endpoint: Endpoint, facts: RequestFacts, shape: RequestShape | None) -> int:
    if endpoint.output_modality is not Modality.IMAGE:
        return 0
    return max(facts.n or 1, shape.n if shape is not None else 1)


def _characters(endpoint: Endpoint, length: int, shape: RequestShape | None) -> int:
    if endpoint.metering is not Metering.SPEECH:
        return 0
    return (shape.input_characters if shape is not None else 0) or length


def _audio_us(endpoint: Endpoint, length: int, shape: RequestShape | None) -> int:
    if endpoint.metering is not Metering.AUDIO:
        return 0
    told = (shape.audio_us or 0) if shape is not None else 0
    return max(told, length * 1_000_000 // LEAST_AUDIO_BYTES_PER_SECOND)
