"""Anthropic's server-side fallback: another model answers when the one that was asked declines.

The iteration that completed the answer is then a ``fallback_message``; a ``message`` is a model
that declined, or an earlier turn of the serving model's tools (the SDK's types). The counts at the
top are the serving model's, though a stream's beginning names the model that was asked.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from proxy.core.usage import Quantity
from proxy.wire.usage.splitting import TokenSplit, split_tokens
from proxy.wire.usage.tools import objects, tokens_of

_SERVED: Final = "fallback_message"
_TRIED: Final = "message"


class Served(NamedTuple):
    """What the ``model`` that answered used, and what ``others`` did before they declined."""

    model: str | None
    split: TokenSplit
    others: list[Quantity]


def served_by_fallback(usage: Mapping[str, object], flaws: dict[str, None]) -> Served | None:
    """Split a usage by the models that its iterations name; None if no fallback answered.

    A model that declined before it wrote anything is not billed (Anthropic's release notes).
    """
    iterations = objects(usage.get("iterations"))
    serving = [each for each in iterations if str(each.get("type")) == _SERVED]
    if not serving:
        return None
    named = serving[-1].get("model")
    model = named if isinstance(named, str) else None
    own = TokenSplit([], 0, 0)
    others: list[Quantity] = []
    for each in iterations:
        if str(each.get("type")) not in {_SERVED, _TRIED}:
            continue
        by = each.get("model")
        if not isinstance(by, str) or by == model:
            own = _added(own, split_tokens(each, flaws))
        elif each.get("output_tokens"):
            others += tokens_of(each, by, flaws)
    return Served(model, own, others)


def _added(first: TokenSplit, second: TokenSplit | None) -> TokenSplit:
    if second is None:
        return first
    return TokenSplit(
        first.parts + second.parts,
        first.input_tokens + second.input_tokens,
        first.reasoning_tokens + second.reasoning_tokens,
    )
