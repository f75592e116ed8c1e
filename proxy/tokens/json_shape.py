"""Reading JSON that someone else wrote: every accessor gives its type, whatever is there."""

import json


def members(value: object) -> dict[str, object]:
    """Give ``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def elements(value: object) -> list[object]:
    """Give ``value`` if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """Give ``value`` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def compact(value: object) -> str:
    """Write ``value`` as JSON without white space, as the models' own formats do."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def ascii_compact(value: object) -> str:
    """Write ``value`` as JSON without white space, all but ASCII escaped."""
    return json.dumps(value, separators=(",", ":"), default=str)


def spaced(value: object) -> str:
    """Write ``value`` as JSON with a space after ``,`` and ``:``."""
    return json.dumps(value, ensure_ascii=False, default=str)


def recompacted(arguments: object) -> str:
    """Write JSON text anew without white space; text that is no JSON stays as it is."""
    if not isinstance(arguments, str):
        return compact(arguments) if arguments else ""
    try:
        return compact(json.loads(arguments))
    except (ValueError, RecursionError):
        return arguments


def respaced(result: str, *, escaped: bool) -> str:
    """Write a result anew with a space after ``,`` and ``:``; what is no JSON as a string."""
    try:
        return json.dumps(json.loads(result), ensure_ascii=escaped)
    except (ValueError, RecursionError):
        return json.dumps(result, ensure_ascii=escaped)
