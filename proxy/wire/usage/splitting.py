"""From overlapping counts to disjoint token types: what is a part of what.

The rule everywhere: cached, written, audio and image tokens are parts of the input; audio, image
and reasoning tokens are parts of the output. Two exceptions: Anthropic's cached and written tokens
are *beside* its input; and a total is believed: one that input and output make has the cached
tokens in the input, of one above it the part that explains it is found (rule R).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from proxy.core.usage import TokenType
from proxy.wire.endpoints import Modality
from proxy.wire.usage import notes
from proxy.wire.usage.vocabulary import NUMBERS, Counts, counts_of

Parts: TypeAlias = list[tuple[TokenType, int]]
Flaws: TypeAlias = dict[str, None]

# Looked up once: an enum's member costs more to reach than all the arithmetic here.
_INPUT: Final = TokenType.INPUT
_CACHED: Final = TokenType.CACHED_INPUT
_OUTPUT: Final = TokenType.OUTPUT
_TEXT: Final = Modality.TEXT
_AUDIO: Final = Modality.AUDIO

_BESIDE_INPUT: Final = frozenset(
    {"cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"}
)
"""Without ``prompt_tokens`` and with one of these at the top: as Anthropic's, without a total."""

_EXPLANATIONS: Final = (
    # (the counts that the total adds, the side that they belong to, the note)
    (("reasoning",), "made", notes.REASONING_ADDED),  # xAI's chat
    (("given_audio",), "given", notes.AUDIO_ADDED),  # Mistral's Voxtral
    (("cached", "written"), "given", notes.CACHED_ADDED),
)
"""What a total above input + output may have added: the first row that is equal explains it."""

_AUDIO_LENGTH: Final = "prompt_audio_seconds"
"""Mistral's; where it stands, what the total adds is audio, even if no member counts it."""


class TokenSplit(NamedTuple):
    """Disjoint tokens; types with none are left out.

    ``input_tokens`` is all input, cached too; ``reasoning_tokens`` a part of the output.
    """

    parts: Parts
    input_tokens: int
    reasoning_tokens: int


def split_tokens(
    usage: Mapping[str, object],
    flaws: Flaws,
    given_as: Modality = _TEXT,
    made_as: Modality = _TEXT,
) -> TokenSplit | None:
    """Split a usage object; None if it counts no tokens. Notes are added to ``flaws``.

    The sum of the parts is the total that the usage object gives, unless that is below its own
    input. ``given_as`` and ``made_as`` are what input and output are where no detail says it.
    """
    counts = counts_of(usage, flaws)
    if not (counts.given or counts.made or counts.total) and not any(
        usage.get(name) is not None for name in NUMBERS.intersection(usage)
    ):
        return None
    if "prompt_tokens" not in usage and not _BESIDE_INPUT.isdisjoint(usage):
        counts.written = counts.written or counts.written_5m + counts.written_1h
        _add_beside(counts, flaws)
    if counts.given + counts.made != counts.total:
        _reconcile(usage, counts, flaws)
    if given_as is _AUDIO and not (counts.given_audio or counts.given_text):
        counts.given_audio = counts.given
    if made_as is not _TEXT and not (counts.made_text or counts.made_audio or counts.made_image):
        setattr(counts, "made_audio" if made_as is _AUDIO else "made_image", counts.made)
    parts: Parts = []
    _split_input(counts, parts, flaws)
    _split_output(counts, parts, flaws)
    return TokenSplit(parts, counts.given, counts.reasoning)


def _add_beside(counts: Counts, flaws: Flaws) -> None:
    """Add to the input what may be beside it: not what the total says is in it already."""
    beside = counts.cached + counts.written
    if counts.total and counts.total == counts.given + counts.made:
        if beside <= counts.given:
            return
        counts.total += beside  # it can't be in it: the total is of the other two alone
        flaws[notes.CACHED_NOT_IN_TOTAL] = None
    counts.given += beside


def _reconcile(usage: Mapping[str, object], counts: Counts, flaws: Flaws) -> None:
    """Make input + output the total: what the provider says was billed (rule R)."""
    surplus = counts.total - counts.given - counts.made
    if not counts.total:
        if counts.cached > counts.given:  # without a total: beside it (xAI)
            counts.given += counts.cached
            flaws[notes.CACHED_ADDED] = None
        return
    if surplus > 0:
        for added, side, note in _EXPLANATIONS:
            if surplus == sum(getattr(counts, name) for name in added):
                setattr(counts, side, getattr(counts, side) + surplus)
                flaws[note] = None
                return
    _attribute(usage, counts, surplus, flaws)


def _attribute(usage: Mapping[str, object], counts: Counts, surplus: int, flaws: Flaws) -> None:
    """Give a difference that no count explains to the side that it must belong to."""
    if surplus > 0 and _AUDIO_LENGTH in usage:
        counts.given += surplus
        counts.given_audio += surplus
        flaws[notes.AUDIO_ADDED] = None
    elif counts.given == 0 and usage.get("prompt_tokens", usage.get("input_tokens")) is None:
        # An embedding of Voyage's: the total is all there is.
        counts.given = max(surplus, 0)
        counts.made = counts.total - counts.given
        if counts.made:
            flaws[notes.INPUT_FROM_TOTAL] = None
    elif counts.made + surplus >= 0:
        counts.made += surplus
        flaws[notes.OUTPUT_FROM_TOTAL] = None
    else:
        flaws[notes.TOTAL_BELOW_INPUT] = None


def _split_input(counts: Counts, parts: Parts, flaws: Flaws) -> None:
    text, cached = counts.given, counts.cached
    if counts.given_audio or counts.given_image or counts.written:
        _split_mixed_input(counts, parts, flaws)
        return
    if cached > text:
        flaws[notes.CACHED_OVER_INPUT] = None
        cached = text
    if text > cached:
        parts.append((_INPUT, text - cached))
    if cached:
        parts.append((_CACHED, cached))


def _split_mixed_input(counts: Counts, parts: Parts, flaws: Flaws) -> None:
    """Split input that is more than text and cached text."""
    whole = counts.given
    cached = _at_most(whole, counts.cached, notes.CACHED_OVER_INPUT, flaws)
    written = _at_most(whole - cached, counts.written, notes.WRITTEN_OVER_INPUT, flaws)
    audio = _at_most(whole, counts.given_audio, notes.DETAIL_OVER_INPUT, flaws)
    image = _at_most(whole - audio, counts.given_image, notes.DETAIL_OVER_INPUT, flaws)
    room = (whole - audio - image, image, audio)
    from_cache = _cached_kinds(counts, cached, room, flaws)
    fresh = (room[0] - from_cache[0], room[1] - from_cache[1], room[2] - from_cache[2])
    into_cache = _fill(written, fresh)
    if into_cache[1] or into_cache[2]:
        flaws[notes.CACHED_MODALITY] = None
    hour = min(counts.written_1h, written)
    half_day = min(counts.written_12h, written - hour)
    parts += [
        (kind, quantity)
        for kind, quantity in (
            (TokenType.INPUT, fresh[0] - into_cache[0]),
            (TokenType.CACHED_INPUT, from_cache[0]),
            (TokenType.CACHE_WRITE, written - hour - half_day),
            (TokenType.CACHE_WRITE_1H, hour),
            (TokenType.CACHE_WRITE_12H, half_day),
            (TokenType.INPUT_AUDIO, fresh[2] - into_cache[2]),
            (TokenType.CACHED_INPUT_AUDIO, from_cache[2]),
            (TokenType.INPUT_IMAGE, fresh[1] - into_cache[1]),
            (TokenType.CACHED_INPUT_IMAGE, from_cache[1]),
        )
        if quantity
    ]


def _cached_kinds(
    counts: Counts, cached: int, room: tuple[int, int, int], flaws: Flaws
) -> tuple[int, int, int]:
    """Tell what the cached tokens are (text, image, audio), within what the input is."""
    audio = min(counts.cached_audio, room[2], cached)
    image = min(counts.cached_image, room[1], cached - audio)
    rest = _fill(cached - audio - image, (room[0], room[1] - image, room[2] - audio))
    if rest[1] or rest[2]:
        flaws[notes.CACHED_MODALITY] = None
    return rest[0], image + rest[1], audio + rest[2]


def _fill(quantity: int, room: tuple[int, int, int]) -> tuple[int, int, int]:
    """Put a quantity into three rooms, one after the other; they hold it together."""
    first = min(quantity, room[0])
    second = min(quantity - first, room[1])
    return first, second, quantity - first - second


def _split_output(counts: Counts, parts: Parts, flaws: Flaws) -> None:
    whole = counts.made
    if counts.reasoning > whole:
        flaws[notes.REASONING_OVER_OUTPUT] = None
        counts.reasoning = whole
    if not (counts.made_audio or counts.made_image):
        if whole:
            parts.append((_OUTPUT, whole))
        return
    audio = _at_most(whole, counts.made_audio, notes.DETAIL_OVER_OUTPUT, flaws)
    image = _at_most(whole - audio, counts.made_image, notes.DETAIL_OVER_OUTPUT, flaws)
    parts += [
        (kind, quantity)
        for kind, quantity in (
            (TokenType.OUTPUT, whole - audio - image),
            (TokenType.OUTPUT_AUDIO, audio),
            (TokenType.OUTPUT_IMAGE, image),
        )
        if quantity
    ]


def _at_most(bound: int, part: int, note: str, flaws: Flaws) -> int:
    """Return a part, cut to what its whole leaves for it; a cut is a contradiction."""
    if part > bound:
        flaws[note] = None
        return bound
    return part
