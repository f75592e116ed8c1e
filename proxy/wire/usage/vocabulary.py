"""What the members of usage objects mean: every provider's names, as data.

A name maps to a member of :class:`Counts`, or to the names inside it. Where a provider gives one
count under several names (Venice: ``cache_read_input_tokens`` and
``prompt_tokens_details.cached_tokens``), they are the same tokens and the larger is taken: the
others are left at 0, never a second share.

Sources: the SDKs of OpenAI, Anthropic, Groq and Mistral; the providers' documentation; recorded
answers. Cost members (OpenRouter, xAI, Perplexity) are no quantities: they stay in the raw usage.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from proxy.wire.usage import notes


class Counts(msgspec.Struct, gc=False):
    """The counts of one usage object, as providers report them: these overlap.

    All but ``given``, ``made`` and ``total`` are parts of the first two. Zero is also what was not
    said.
    """

    given: int = 0
    made: int = 0
    total: int = 0
    cached: int = 0
    cached_audio: int = 0
    cached_image: int = 0
    written: int = 0
    written_5m: int = 0
    written_1h: int = 0
    written_12h: int = 0
    given_text: int = 0
    given_audio: int = 0
    given_image: int = 0
    made_text: int = 0
    made_audio: int = 0
    made_image: int = 0
    reasoning: int = 0


Names: TypeAlias = Mapping[str, "str | Names"]

MOST: Final = 10**12
"""No answer uses more of anything: a larger number is a mistake, not a count."""

_INPUT_DETAILS: Final[Names] = {
    "cached_tokens": "cached",
    "cache_read_input_tokens": "cached",  # Perplexity's agent
    "cache_write_tokens": "written",
    "cache_creation_input_tokens": "written",
    "created_cache_tokens": "written",  # vLLM
    "cache_write_tokens_details": {"ttl_12h_tokens": "written_12h"},  # the rest is the usual kind
    "cached_tokens_details": {  # what is in neither is text
        "audio_tokens": "cached_audio",
        "image_tokens": "cached_image",
        "cached_image_tokens": "cached_image",  # the image tool of the Responses API
    },
    "multimodal_tokens": {"audio": "given_audio", "image": "given_image"},  # vLLM
    "text_tokens": "given_text",
    "audio_tokens": "given_audio",
    "image_tokens": "given_image",
}

_OUTPUT_DETAILS: Final[Names] = {
    "reasoning_tokens": "reasoning",
    "thinking_tokens": "reasoning",  # Anthropic
    "text_tokens": "made_text",
    "audio_tokens": "made_audio",
    "image_tokens": "made_image",
}

USAGE: Final[Names] = {
    "prompt_tokens": "given",
    "completion_tokens": "made",
    "total_tokens": "total",
    "prompt_tokens_details": _INPUT_DETAILS,
    "completion_tokens_details": _OUTPUT_DETAILS,
    "input_tokens": "given",
    "output_tokens": "made",
    "input_tokens_details": _INPUT_DETAILS,
    "output_tokens_details": _OUTPUT_DETAILS,
    "input_token_details": _INPUT_DETAILS,  # audio and realtime
    "output_token_details": _OUTPUT_DETAILS,
    "prompt_token_details": _INPUT_DETAILS,  # Mistral
    "num_cached_tokens": "cached",  # Mistral
    "prompt_cache_hit_tokens": "cached",  # DeepSeek
    "cached_tokens": "cached",  # Moonshot; the image tool of the Responses API
    "cached_tokens_details": _INPUT_DETAILS["cached_tokens_details"],
    "cache_read_input_tokens": "cached",  # Anthropic, Databricks, Venice
    "cache_creation_input_tokens": "written",  # Anthropic
    "cache_creation": {
        "ephemeral_5m_input_tokens": "written_5m",
        "ephemeral_1h_input_tokens": "written_1h",
    },
    "reasoning_tokens": "reasoning",  # Databricks, Modal, Perplexity, Groq
    "image_tokens": "given_image",  # Cerebras
    "audio_prompt_tokens": "given_audio",  # xAI
}


NUMBERS: Final = frozenset(
    name for name, meaning in USAGE.items() if meaning in ("given", "made", "total")
)
"""The members of which one must be there for anything to be counted; explicit zeros are usage."""


def counts_of(usage: Mapping[str, object], flaws: dict[str, None]) -> Counts:
    """Return the counts that a usage object gives.

    What is no whole number of tokens (negative, fractional, a word) is left out or mended, and
    named in ``flaws``, the ordered set of notes.
    """
    counts = Counts()
    _collect(usage, USAGE, counts, flaws)
    return counts


def _collect(
    members: Mapping[str, object], names: Names, counts: Counts, flaws: dict[str, None]
) -> None:
    for name, value in members.items():
        if not value:  # 0, null, {}: nothing to add
            continue
        meaning = names.get(name)
        if meaning is None:
            continue
        if isinstance(meaning, str):
            number = value if type(value) is int and 0 < value <= MOST else whole(value, flaws)
            if number is not None and number > getattr(counts, meaning):
                setattr(counts, meaning, number)
        elif isinstance(value, dict):
            _collect(value, meaning, counts, flaws)
        else:
            flaws[notes.MALFORMED] = None


def whole(value: object, flaws: dict[str, None]) -> int | None:
    """Read a count that is not a plain one: 12.0 and "12" are 12, -3 is 0, the rest is nothing."""
    if isinstance(value, str) and value.isdecimal() and len(value) <= len(str(MOST)):
        value = int(value)
        flaws[notes.MALFORMED] = None
    if isinstance(value, bool) or not isinstance(value, int | float):
        flaws[notes.MALFORMED] = None
        return None
    if value < 0:
        flaws[notes.NEGATIVE] = None
        return 0
    if not value <= MOST:  # NaN too
        flaws[notes.MALFORMED] = None
        return None
    if value != int(value):
        flaws[notes.MALFORMED] = None
    return int(value)
