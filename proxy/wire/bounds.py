"""What a request's body says of the most it can use (:class:`proxy.core.reservations.Bounds`).

Only what decides is looked for, as quoted words: a word that only stands in a prompt makes the
bound wider than need be, never narrower. A body that can't be read is bounded by nothing.
"""

import re
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

import msgspec

from proxy.core.reservations import FREE, Bounds
from proxy.wire.endpoints import Endpoint, Metering, Modality
from proxy.wire.json_scan import may_hide_names
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
_BY_LETTER: Final = {
    word[:1]: b"|".join(sorted(other[1:] for other in _DECISIVE if other[:1] == word[:1]))
    for word in _DECISIVE
}
_ANY_DECISIVE: Final = re.compile(
    b'"(?:%b)"' % b"|".join(b"%b(?:%b)" % of_letter for of_letter in sorted(_BY_LETTER.items()))
)
"""By their first letters: a quote is passed by in a quarter less time than by a flat list."""
_HOSTED: Final = (
    b'"web_search', b'"file_search"', b'"code_interpreter"', b'"code_execution', b'"mcp',
    b'"computer', b'"image_generation"', b'"web_fetch', b'"shell"', b'"tool_search',
    b'"advisor_', b'"openrouter:',
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


_PROMPTS: Final = {"completions": b'"prompt"', "embeddings": b'"input"'}
"""Which endpoints take a list of prompts, and in which member."""
_MOST_ITEMS: Final = 100_000
"""Longer lists are not taken apart: that would take longer, and more memory, than it is worth."""
MOST_PROMPTS: Final = 2_048
"""Of a body that can't be read at all: as many as OpenAI takes."""
_ABSENT: Final = msgspec.Raw(b"")


class _Members(msgspec.Struct, gc=False):
    prompt: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT


class _Tools(msgspec.Struct, gc=False):
    max_tool_calls: Any = None


class _Prompts(NamedTuple):
    """How many prompts there are at most, and whether all of them are text or tokens for sure."""

    number: int = 1
    plain: bool = False


_ONE: Final = _Prompts()
_members = msgspec.json.Decoder(_Members)
_tools = msgspec.json.Decoder(_Tools)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


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
    if seen is not None and may_hide_names(seen):
        seen = None
    prompts = _prompts(body, quoted, facts) if (quoted := _PROMPTS.get(endpoint.name)) else _ONE
    words = _DECISIVE if seen is None else _words(seen)
    media = referenced = not text
    long_cache = False
    calls: int | None = 0
    if words:
        media = media or not words.isdisjoint(_MEDIA)
        referenced = media or not words.isdisjoint(_REFERENCES)
        long_cache = not words.isdisjoint(_LONG_CACHE)
        if text and not quoted and not words.isdisjoint(_TOOLS):
            calls = _tool_calls(seen)
    if length > LOOKED_AT_BYTES and prompts.plain:
        referenced = False  # so many texts: they are no more than their length
    outputs = _outputs(endpoint, facts, prompts.number)
    tier = facts.service_tier
    limit, free = _limit(endpoint, facts), False
    measures = _NO_MEASURES if text else _measures(endpoint, facts, length, shape)
    others = facts.others() if facts.unread else facts.named
    # By place: to name each would take as long as all that was looked at.
    return Bounds(
        length, limit, model, free, referenced, outputs, tier, media, long_cache, calls, *measures,
        prompts.number, others,
    )  # fmt: skip


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


def _prompts(body: bytes | None, quoted: bytes, facts: RequestFacts) -> _Prompts:
    """Look at the prompts of a body of any length; ``quoted`` is the name of their member."""
    if body is None:
        return _Prompts(MOST_PROMPTS)
    at_most = body.count(b",") + 1
    try:
        found = _members.decode(body)
    except _UNREADABLE:
        return _Prompts(max(MOST_PROMPTS, at_most))
    # Twice, maybe: upstreams differ in which of them they take. Managed mode has refused that
    # where names are written with escapes.
    hidden = may_hide_names(body) and not facts.escaped
    if hidden or body.find(quoted) != body.rfind(quoted):
        return _Prompts(at_most)
    raw = bytes(found.prompt if quoted == _PROMPTS["completions"] else found.input)
    return _list_of(raw) if raw[:1] == b"[" else _Prompts(1, plain=raw[:1] == b'"')


def _list_of(raw: bytes) -> _Prompts:
    """Count a list: of texts, or of lists of tokens; one of tokens is a single prompt."""
    plain = b"{" not in raw
    if plain and b'"' not in raw and raw.count(b"[") == 1:
        return _Prompts(1, plain)
    at_most = raw.count(b",") + 1
    if at_most > _MOST_ITEMS:
        return _Prompts(at_most, plain)
    items = [bytes(item) for item in _list.decode(raw)]
    lists = [item for item in items if item[:1] == b"["]
    nested = any(b'"' in item for item in lists)
    plain = all(item[:1] == b'"' or b"{" not in item for item in items)
    return _Prompts(at_most if nested else len(items), plain)


def _outputs(endpoint: Endpoint, facts: RequestFacts, prompts: int) -> int:
    """Return how many answers the limit of output tokens holds for."""
    if endpoint.name == "embeddings":
        return 0
    return max(facts.n or 1, facts.best_of or 1) * prompts


def _limit(endpoint: Endpoint, facts: RequestFacts) -> int | None:
    """Return the limit of output if the endpoint's own is set: others may be ignored.

    0 limits nothing but completions: elsewhere it has no use, and upstreams take it for none.
    """
    own = _LIMITS.get(endpoint.name, _OTHER_LIMITS)
    limit = None if own.isdisjoint(facts.limited_by) else facts.max_output_tokens
    return limit if limit or endpoint.name == "completions" else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _tool_calls(body: bytes | None) -> int | None:
    """Return how often the upstream may run tools; None: it may, as often as it likes."""
    if body is None:
        return None
    if not any(word in body for word in _HOSTED):
        return 0
    try:
        return _count(_tools.decode(body).max_tool_calls)
    except _UNREADABLE:
        return None


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
