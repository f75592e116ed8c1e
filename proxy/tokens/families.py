"""Which rules count for which model, as data.

OpenAI documents none of them. They were measured on recorded calls and their real usage; a row
holds what differs from the rules that hold for the GPT-4o family.
"""

import re
from dataclasses import dataclass
from typing import Final

from proxy.tokens.vocabulary import CL100K, O200K


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Models that count alike. All figures are in tokens, added to what text itself takes.

    Input: ``reply_opening`` opens the answer; ``assistant_turn`` goes to each assistant message;
    ``tools`` and ``tools_in_system`` to the whole when there are functions, without and with a
    system message to hold them; ``tool_calls`` to each pair of call and result;
    ``schema_in_system`` to a response format within a system message.

    Output: ``text_end`` and ``call`` close a text and a call, ``thought_text_end`` and
    ``thought_call`` those that follow on reasoning.
    """

    pattern: re.Pattern[str]
    vocabulary: str = O200K
    reasons: bool = False
    always_reasons: bool = False
    named_tool_choice: bool = True
    wraps_parallel_calls: bool = True
    call_preamble: str = " to=functions."
    reply_opening: int = 3
    assistant_turn: int = 0
    tools: int = -1
    tools_in_system: int = -1
    undescribed: int = 0
    tool_calls: int = 0
    responses_tools: int = -3
    responses_format: int = 1
    responses_text_end: int = 4
    responses_thought_text_end: int = 6
    schema_name: bool = True
    schema_in_system: int = 0
    content_only: bool = False
    foreign: bool = False
    scale: float = 1.0
    escapes_results: bool = True
    answer_end: int = 0
    text_end: int = 0
    thought_text_end: int = 0
    text_end_with_tools: int = 0
    parallel_calls: int = 10
    call: int = 4
    forced_call_bare: bool = True
    thought_call: int = 4


def _family(pattern: str, **rules: object) -> Family:
    return Family(pattern=re.compile(pattern), **rules)  # type: ignore[arg-type]


_O_SERIES: Final[dict[str, object]] = {
    "reasons": True,
    "named_tool_choice": False,
    "wraps_parallel_calls": False,
    "reply_opening": 2,
    "assistant_turn": 2,
    "tools": 0,
    "tools_in_system": 3,
    "tool_calls": 6,
    "schema_name": False,
    "responses_tools": 0,
    "responses_format": 0,
    "responses_text_end": 1,
    "responses_thought_text_end": 1,
    "schema_in_system": 3,
    "text_end": 13,
    "thought_text_end": 13,
    "call": 16,
    "thought_call": 16,
    "parallel_calls": 20,
}
_GPT_5_LATER: Final = _O_SERIES | {
    "tools": 81,
    "tools_in_system": 84,
    "undescribed": -1,
    "responses_tools": 3,
    "responses_text_end": 4,
    "responses_thought_text_end": 6,
    "text_end": 3,
    "thought_text_end": 9,
    "call": 10,
}
_GPT_5: Final = _GPT_5_LATER | {"always_reasons": True, "text_end": 9, "call": 16}


def _foreign(pattern: str, tools: int, *, opening: int = 3, scale: float = 1.0) -> Family:
    return _family(
        rf".*{pattern}",
        foreign=True,
        tools=tools,
        tools_in_system=tools,
        reply_opening=opening,
        scale=scale,
    )


FAMILIES: Final = (
    _family(r"gpt-4o(-mini)?-search-preview", content_only=True),
    _family(r"gpt-5(-|$)|gpt-5\.\d+-chat", **_GPT_5),
    _family(r"gpt-5", **_GPT_5_LATER),
    _family(
        r"o4",
        **_O_SERIES
        | {
            "text_end": 18,
            "thought_text_end": 18,
            "text_end_with_tools": 12,
            "responses_text_end": 6,
            "responses_thought_text_end": 6,
        },
    ),
    _family(r"o3|o1(?!-mini|-preview)", **_O_SERIES),
    _family(r"o1", **_O_SERIES | {"text_end": 11, "thought_text_end": 11}),
    _family(r"gpt-3\.5-turbo-0613", vocabulary=CL100K, call_preamble=""),
    _family(r"gpt-4-0613", vocabulary=CL100K, call_preamble="", forced_call_bare=False),
    _family(r"gpt-3\.5", vocabulary=CL100K),
    _family(r"gpt-35|gpt-4(-|$)", vocabulary=CL100K, forced_call_bare=False),
    _family(r"text-embedding|davinci|babbage|curie|ada(-|$)", vocabulary=CL100K),
    _family(r"gpt-4o(?!-mini)", escapes_results=False),
    _foreign(r"gpt-oss", 40, opening=66),
    _family(r"gpt-|chatgpt-"),
    _foreign(r"claude-(3|(sonnet|opus)-4-(0|2025))", 330, scale=1.15),
    _foreign(r"claude", 490, scale=1.15),
    _foreign(r"grok", 170, opening=-4),
    _foreign(r"deepseek", 215, opening=0),
    _foreign(r"llama", 180, opening=31),
    _foreign(r"qwen", 85, opening=6),
    _foreign(r"(mi|mini|magi|code|dev|pix)stral|mixtral", 5, opening=0),
    _foreign(r"gemini|gemma", 0),
    _foreign(r"glm", 85, opening=8),
    _foreign(r"kimi|sonar", 5, opening=0),
    _family(r""),
)
"""In order; the first whose pattern matches the model's start is its family."""


LONGEST_NAME: Final = 100
"""No model's is longer; clients may send any, and each picture is matched against many patterns."""


def bare_model(model: str) -> str:
    """Take a provider's prefix and a fine-tune's wrapping off: ``ft:gpt-4o:acme::1`` is gpt-4o."""
    name = model.rsplit("/", 1)[-1]
    return name.removeprefix("ft:").split(":", 1)[0][:LONGEST_NAME]


def family_of(model: str) -> Family:
    """Give the family of ``model``, as an answer or a request names it."""
    name = bare_model(model)
    return next(family for family in FAMILIES if family.pattern.match(name))
