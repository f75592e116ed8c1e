"""What is billed beside an answer's own tokens: tool calls, and models inside the answer.

Sources: the SDKs' types (``tool_usage``, output items), the providers' price pages. Only what has
a price is counted: opening a page and finding in it are no searches.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from proxy.core.usage import Metric, Quantity
from proxy.wire.endpoints import Modality
from proxy.wire.usage import notes
from proxy.wire.usage.finding import Envelope, value_of
from proxy.wire.usage.splitting import split_tokens
from proxy.wire.usage.vocabulary import whole

_COUNTERS: Final = (
    # (the path in the usage object, the tool)
    (("server_tool_use", "web_search_requests"), "web_search"),  # Anthropic
    (("server_tool_use_details", "web_search_requests"), "web_search"),  # OpenRouter
    (("server_side_tool_usage_details", "web_search_calls"), "web_search"),  # xAI
    (("server_side_tool_usage_details", "x_search_calls"), "x_search"),
    (("server_side_tool_usage_details", "code_interpreter_calls"), "code_interpreter"),
    (("server_side_tool_usage_details", "file_search_calls"), "file_search"),
    (("server_side_tool_usage_details", "document_search_calls"), "document_search"),
    (("tool_calls_details", "search_web", "invocation"), "web_search"),  # Perplexity's agent
    (("num_search_queries",), "web_search"),  # Perplexity's deep research
    (("web_search_usage", "tool_usage"), "web_search"),  # Xiaomi
    (("num_sources_used",), "search_source"),  # xAI's live search
)
_COUNTER_ROOTS: Final = frozenset(path[0] for path, _ in _COUNTERS)

_CALLS: Final = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
}
"""The output items of the Responses API that are billed by the call."""

_FREE_ACTIONS: Final = frozenset({"open_page", "find_in_page", "find"})

_OWN_ITERATIONS: Final = frozenset({"message", "fallback_message", "None"})
"""The calls inside a call of Anthropic's that the answer's own counts are made of."""

_SEARCHING_MODELS: Final = (
    # (in the model's name, the tool): they search once in each call, and report no count of it
    ("-search-preview", "web_search_preview"),
    ("-search-api", "web_search"),
)

IMAGE_TOOL: Final = "image_generation"
"""The model that image tokens are booked on where the answer names none: it has no price."""


def reported_calls(usage: Mapping[str, object], flaws: dict[str, None]) -> dict[str, int]:
    """Return the tool calls that a usage object counts; zeros too: they overrule the output."""
    calls: dict[str, int] = {}
    if _COUNTER_ROOTS.isdisjoint(usage):
        return calls
    for path, tool in _COUNTERS:
        value: Any = usage
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        number = None if value is None else whole(value, flaws)
        if number is not None:
            calls[tool] = max(calls.get(tool, 0), number)
    return calls


def searching_model_calls(model: str) -> dict[str, int]:
    """Return the search that a chat model with one built in makes."""
    return {tool: 1 for part, tool in _SEARCHING_MODELS if part in model}


def response_calls(
    envelope: Envelope, reported: Mapping[str, int], flaws: dict[str, None]
) -> dict[str, int]:
    """Return the tool calls of a whole response: those it reports, else those in its output."""
    calls = {**_output_calls(_items(envelope)), **reported}
    usage = value_of(envelope.tool_usage)
    search = usage.get("web_search") if isinstance(usage, dict) else None
    if isinstance(search, dict) and "num_requests" in search:
        calls["web_search"] = whole(search["num_requests"], flaws) or 0
    if "web_search" in calls and _previews(envelope):
        calls["web_search_preview"] = calls.pop("web_search")
    return calls


def _output_calls(items: Iterable[Mapping[str, Any]]) -> Counter[str]:
    calls: Counter[str] = Counter()
    containers: set[object] = set()
    for item in items:
        tool = _CALLS.get(str(item.get("type")))
        action = item.get("action")
        if tool is None or (isinstance(action, dict) and str(action.get("type")) in _FREE_ACTIONS):
            continue
        if tool == "code_interpreter":  # billed by the container, not by the call
            container = str(item.get("container_id"))
            if container in containers:
                continue
            containers.add(container)
        calls[tool] += 1
    return calls


def _previews(envelope: Envelope) -> bool:
    """Tell whether the response's search was the older, dearer tool."""
    return any(
        str(tool.get("type")).startswith("web_search_preview")
        for tool in objects(value_of(envelope.tools))
    )


def response_models(envelope: Envelope, flaws: dict[str, None]) -> list[Quantity]:
    """Return what other models did inside a whole response: images, and drawings as SVG."""
    items = [item for item in _items(envelope) if item.get("type") == "image_generation_call"]
    usage = value_of(envelope.tool_usage)
    tokens = usage.get("image_gen") if isinstance(usage, dict) else None
    quantities: list[Quantity] = []
    if isinstance(tokens, dict):
        quantities += tokens_of(tokens, _image_model(envelope), flaws, Modality.IMAGE)
    else:
        quantities += _images(items, _image_model(envelope))
    for item in items:
        quantities += drawing_tokens(item.get("svg_usage"), flaws)
    return quantities


def _images(items: Sequence[Mapping[str, Any]], model: str) -> list[Quantity]:
    """Count the images of answers from before their tokens were reported."""
    kinds = Counter(
        f"{item.get('quality') or 'auto'}/{item.get('size') or 'auto'}"
        for item in items
        if item.get("status") != "failed"
    )
    return [
        Quantity(metric=Metric.IMAGES, type=kind, quantity=number, model=model)
        for kind, number in kinds.items()
    ]


def _image_model(envelope: Envelope) -> str:
    for tool in objects(value_of(envelope.tools)):
        if tool.get("type") == IMAGE_TOOL and isinstance(tool.get("model"), str):
            return str(tool["model"])
    return IMAGE_TOOL


def drawing_tokens(usage: object, flaws: dict[str, None]) -> list[Quantity]:
    """Return the tokens of ``svg_usage``, which names the model that drew."""
    if not isinstance(usage, dict):
        return []
    model = usage.get("model")
    return tokens_of(usage, model if isinstance(model, str) else IMAGE_TOOL, flaws)


def iteration_tokens(usage: Mapping[str, object], flaws: dict[str, None]) -> list[Quantity]:
    """Return what Anthropic's calls inside the call used: compaction, and an advisor's model.

    The answer's own counts are those of the messages alone.
    """
    iterations = usage.get("iterations")
    if not isinstance(iterations, list):
        return []
    quantities: list[Quantity] = []
    for iteration in objects(iterations):
        if str(iteration.get("type")) in _OWN_ITERATIONS:
            continue
        model = iteration.get("model")
        quantities += tokens_of(iteration, model if isinstance(model, str) else None, flaws)
    if quantities:
        flaws[notes.OTHER_MODELS] = None
    return quantities


def tokens_of(
    usage: Mapping[str, object],
    model: str | None,
    flaws: dict[str, None],
    output_modality: Modality = Modality.TEXT,
) -> list[Quantity]:
    """Return another model's tokens as quantities of that model."""
    split = split_tokens(usage, flaws, made_as=output_modality)
    return [
        Quantity(metric=Metric.TOKENS, type=kind, quantity=number, model=model)
        for kind, number in (split.parts if split else ())
    ]


def _items(envelope: Envelope) -> list[Mapping[str, Any]]:
    """Decode the output items, unless no tool can be among them."""
    if b"_call" not in bytes(envelope.output):
        return []
    return objects(value_of(envelope.output))


def objects(values: object) -> list[Mapping[str, Any]]:
    """Return what of a list is an object; nothing if it is no list."""
    return (
        [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
    )
