"""The models that a request names besides its own: fallbacks, and those that its tools call.

Read are ``fallbacks`` (Anthropic, LiteLLM: names, or objects with ``model``), ``models``
(OpenRouter: names), ``tools`` with a model of their own, at the top (Anthropic's advisor, OpenAI's
images) or among the items of ``input``, ``plugins`` (OpenRouter's) and ``providerOptions``
(Vercel's). Of functions only what stands beside their name: their schemas may say what they like.

What can't be read, or leaves the choice to the upstream (``"fallbacks": "default"``), is a model
without a name, which only those may use who may use every model, at any price.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from proxy.core.reservations import Other
from proxy.wire.json_scan import may_hide_names

MOST_OTHERS: Final = 32
"""More are not told apart. OpenRouter takes three, and a panel of eight."""
ABSENT: Final = msgspec.Raw(b"")

_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_OVERRIDES: Final = frozenset(
    {"model", "messages", "thinking", "output_config", "speed", "temperature", "top_p", *_LIMITS}
)
"""What an entry of fallbacks may say anew without costing more than is reserved for it."""
_FUNCTIONS: Final = (None, "function", "custom")
_NO_TOOLS: Final = ("plugins", "providerOptions")
_LISTS: Final = frozenset({"models", "analysis_models"})
_MARKS: Final = (b'"model"', b'models"')
_list = msgspec.json.Decoder(list[msgspec.Raw])


Naming = tuple[msgspec.Raw, msgspec.Raw, msgspec.Raw, msgspec.Raw, msgspec.Raw, msgspec.Raw]
"""``fallbacks``, ``models``, ``tools``, ``plugins``, ``providerOptions`` and ``input``."""


def read_others(naming: Naming) -> tuple[Other, ...]:
    """Return the models that these members of a body name, in no order that matters."""
    fallbacks, models, *called, items = naming
    found: list[Other] = []
    if fallbacks is not ABSENT:
        found += _listed(bytes(fallbacks), "fallbacks")
    if models is not ABSENT:
        found += _listed(bytes(models), "models")
    for member, value in zip(("tools", "plugins", "providerOptions"), called, strict=True):
        if value is not ABSENT and _may_name(raw := bytes(value)):
            found += _called(raw, member)
    if items is not ABSENT:
        found += _among_items(bytes(items))
    if len(found) > MOST_OTHERS:
        return (Other("", found[MOST_OTHERS].member),)
    return tuple(found)


def _may_name(raw: bytes) -> bool:
    # rfind takes half the time of ``in``: it needs no table of the needle.
    return any(raw.rfind(mark) >= 0 for mark in _MARKS) or may_hide_names(raw)


def _among_items(raw: bytes) -> list[Other]:
    """Return what tools name that are among the items of an input (OpenAI's additional tools)."""
    if raw[:1] != b"[" or not (raw.rfind(b'"tools"') >= 0 or may_hide_names(raw)):
        return []
    found: list[Other] = []
    for item in _list.decode(raw):
        if (one := bytes(item))[:1] == b"{" and _may_name(one):
            found += _called(one, "input")
    return found


def _listed(raw: bytes, member: str) -> list[Other]:
    """Return what a list of models to try in turn names."""
    value = _read(raw)
    if value is None:
        return []
    if not isinstance(value, list):
        return [Other("", member)]
    return [_entry(each, member) for each in value[: MOST_OTHERS + 1]]


def _entry(value: object, member: str) -> Other:
    if isinstance(value, str):
        return Other(value, member)
    if not isinstance(value, dict) or not value.keys() <= _OVERRIDES:
        return Other("", member)
    name = value.get("model")
    limits = [value[limit] for limit in _LIMITS if value.get(limit) is not None]
    if not isinstance(name, str) or not all(map(_count, limits)):
        return Other("", member)
    return Other(name, member, max(limits, default=None))


def _called(raw: bytes, member: str) -> list[Other]:
    """Return what tools and the like name: what they use comes on top of the request's own."""
    value = _read(raw)
    if member == "input" and isinstance(value, dict):
        value = value.get("tools")
        if not isinstance(value, list):
            return []
    if not isinstance(value, list if member == "tools" else list | dict):
        return [Other("", member)]
    found: list[Other] = []
    pending: list[object] = [value if member in _NO_TOOLS else {"tools": value}]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += reversed(value)
        elif isinstance(value, dict):
            pending += reversed(_within(value, member, found))
    return found


def _within(value: dict[str, Any], member: str, found: list[Other]) -> list[object]:
    """Add what an object names itself; return what in it is to be looked at."""
    inner: list[object] = []
    for name, each in value.items():
        if name == "tools" and isinstance(each, list):
            inner += [tool for tool in each if not _is_known(tool, member, found)]
        elif (name == "model" or name in _LISTS) and not isinstance(each, dict):
            found += _named(each, member)
        else:
            inner.append(each)
    return inner


def _is_known(tool: object, member: str, found: list[Other]) -> bool:
    """Add the model of a tool of which it is known where it stands; tell whether it is so."""
    if not isinstance(tool, dict):
        return True
    kind, name = tool.get("type"), tool.get("model")
    advises = isinstance(kind, str) and kind.startswith("advisor_")
    if kind not in _FUNCTIONS and not (advises and isinstance(name, str)):
        return False
    if isinstance(name, str):
        limit = _count(tool.get("max_tokens")) if advises else 0
        uses = _count(tool.get("max_uses")) if advises else 0
        found.append(Other(name, member, limit or None, tool=True, uses=uses))
    return True


def _named(value: object, member: str) -> Iterator[Other]:
    for name in value if isinstance(value, list) else [value]:
        if name is not None:
            yield Other(name if isinstance(name, str) else "", member, tool=True)


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 63:
        return value
    return 0


def _read(raw: bytes) -> Any:
    """Read a part of a body; what is there twice, or too deep, is no list and no object."""
    try:
        return json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return False


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is there twice")
    return members
