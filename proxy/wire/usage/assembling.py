"""One answer's usage, put together from what was found in it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from proxy.core.usage import Metric, Quantity, Usage
from proxy.wire.endpoints import Endpoint, Metering
from proxy.wire.usage import measures, notes, tools
from proxy.wire.usage.fallback import served_by_fallback
from proxy.wire.usage.finding import Envelope, is_given, value_of
from proxy.wire.usage.shape import RequestShape
from proxy.wire.usage.splitting import TokenSplit, split_tokens

_BY_CHARACTERS: Final = ("tts-1",)
"""Speech models that are billed by the characters of the request."""

_FAST: Final = "fast"

_TOKENS: Final = Metric.TOKENS
_IN_TOKENS: Final = Metering.TOKENS


@dataclass(slots=True)
class Answer:
    """What an answer said: its usage's ``members`` (none: ``{}``), and its own ``envelope``.

    ``cut``: only its end could be read.
    """

    members: Mapping[str, object]
    envelope: Envelope | None
    model: str | None
    service_tier: str | None
    succeeded: bool
    cut: bool = False


def assemble(endpoint: Endpoint, request: RequestShape, answer: Answer) -> Usage | None:
    """Put an answer's usage together; None if it reports none and nothing can be measured."""
    flaws: dict[str, None] = {}
    if answer.cut:
        flaws[notes.END_READ if answer.members else notes.NOT_READ] = None
    served = served_by_fallback(answer.members, flaws) if "iterations" in answer.members else None
    if served is None:
        given_as, made_as = endpoint.input_modality, endpoint.output_modality
        split = split_tokens(answer.members, flaws, given_as, made_as)
    else:
        split = served.split
        answer = replace(answer, model=served.model or answer.model)
    quantities = [
        Quantity(metric=_TOKENS, type=kind, quantity=number)
        for kind, number in (split.parts if split else ())
    ]
    quantities += _beside_tokens(request, answer, flaws)
    if served and served.others:
        quantities += served.others
        flaws[notes.OTHER_MODELS] = None
    if endpoint.metering is not _IN_TOKENS:
        quantities += _measured(endpoint, request, answer, split, flaws)
    if split is None and not quantities:
        free = endpoint.metering is Metering.FREE and answer.succeeded
        return Usage(quantities=(), model=answer.model) if free else None
    return Usage(
        quantities=_summed(quantities) if "iterations" in answer.members else tuple(quantities),
        input_tokens=split.input_tokens if split else 0,
        reasoning_tokens=split.reasoning_tokens if split else 0,
        model=answer.model,
        service_tier=answer.service_tier or _tier_of(answer.members),
        notes=tuple(flaws),
    )


def _summed(quantities: list[Quantity]) -> tuple[Quantity, ...]:
    """Add up quantities of the same kind: a compaction is of the answer's own model."""
    sums: dict[tuple[Metric, str, str | None], int] = {}
    for each in quantities:
        kind = each.metric, each.type, each.model
        sums[kind] = sums.get(kind, 0) + each.quantity
    return tuple(
        Quantity(metric=metric, type=kind, quantity=number, model=model)
        for (metric, kind, model), number in sums.items()
    )


def _tier_of(members: Mapping[str, object]) -> str | None:
    """Return the tier that the usage itself names (Anthropic, Mistral)."""
    if members.get("speed") == _FAST:  # Anthropic's fast mode costs a multiple
        return _FAST
    tier = members.get("service_tier")
    return tier if isinstance(tier, str) and tier else None


def _beside_tokens(request: RequestShape, answer: Answer, flaws: dict[str, None]) -> list[Quantity]:
    """Return tool calls, and what other models did inside the answer."""
    quantities: list[Quantity] = []
    calls = tools.reported_calls(answer.members, flaws)
    envelope = answer.envelope
    if envelope is not None:
        if is_given(envelope.output):
            calls = tools.response_calls(envelope, calls, flaws)
            quantities += tools.response_models(envelope, flaws)
        if is_given(envelope.svg_usage):
            quantities += tools.drawing_tokens(value_of(envelope.svg_usage), flaws)
    if "iterations" in answer.members:
        quantities += tools.iteration_tokens(answer.members, flaws)
    model = answer.model or request.model
    if not calls and "-search-" in model and answer.members and answer.succeeded:
        calls = tools.searching_model_calls(model)
    for tool, number in calls.items():
        if number:
            quantities.append(Quantity(metric=Metric.TOOL_CALLS, type=tool, quantity=number))
    return quantities


def _measured(
    endpoint: Endpoint,
    request: RequestShape,
    answer: Answer,
    split: TokenSplit | None,
    flaws: dict[str, None],
) -> list[Quantity]:
    """Return what is not counted in tokens, on the endpoints where that is so."""
    if endpoint.metering is Metering.AUDIO and not (split and split.input_tokens):
        known = request if answer.succeeded else RequestShape()
        reported = answer.members.get("seconds")
        return measures.seconds(reported, answer.envelope, known, flaws)
    if split is not None or not answer.succeeded:
        return []
    if endpoint.metering is Metering.IMAGES:
        return measures.images(answer.envelope, request)
    if endpoint.metering is Metering.SPEECH:
        if not (answer.model or request.model).startswith(_BY_CHARACTERS):
            flaws[notes.TOKENS_NOT_REPORTED] = None
        return measures.characters(request)
    return []
