"""What managed mode refuses: all tenants share one upstream account.

What one tenant stored there must not be referred to by another, and nothing is to be stored but
background responses, which only their own subscription may name afterwards. So ``store`` is made
false where it would be true unless said, and whatever names a stored object is refused. Bodies are
cut and spliced, never re-written.
"""

import json
import re
from collections.abc import Container
from typing import Any, Final

from proxy.errors import BadRequestError
from proxy.wire import json_scan
from proxy.wire.endpoints import CHAT_COMPLETIONS, MESSAGES, RESPONSES, Endpoint
from proxy.wire.request import RequestFacts

_REFERENCES: Final = frozenset(
    {
        "file_id",
        "file_ids",
        "vector_store_id",
        "vector_store_ids",
        "container_id",
        "skill_id",
        "previous_response_id",
        "conversation_id",
        "response_id",
        "thread_id",
        "assistant_id",
        "prompt_id",
        "batch_id",
    }
)
"""Members that name stored objects, wherever they are in a body."""

_STORED_ID: Final = re.compile(
    r"(?:file|vs|resp|conv|cntr|container|thread|asst|batch|msgbatch|skill|pmpt|upload|ft)[-_]\w"
)
"""How the ids of stored objects begin, in members whose names end in ``_id``."""

_MARKS: Final = (
    b'_id"',
    b'_ids"',
    b'"id"',
    b'"container"',
    b'"conversation"',
    b'"prompt"',
    b'"store"',
)
"""A body without any of these refers to nothing."""

_TOOL_CALLS: Final = ("tool_use", "server_tool_use", "mcp_tool_use")
"""Anthropic's blocks whose ``input`` is the application's own: it may name what it likes."""

_WHY: Final = (
    "all keys of this proxy share one upstream account, so that one customer could read what "
    "another stored there"
)
_DEPTH_MAX: Final = 200
_METADATA: Final = frozenset({"metadata"})
_OF_A_TURN: Final = frozenset({"metadata", "stream_id"})
_OF_A_SESSION: Final = frozenset({"event_id", "response_id", "item_id", "previous_item_id"})


class _RepeatedMemberError(ValueError):
    """An object has a member twice."""


def guarded(endpoint: Endpoint, facts: RequestFacts, body: bytes) -> bytes:
    """Return the JSON body that may go up; the same bytes unless ``store`` had to be set.

    ``facts`` are of the same body, read strictly.

    Raises BadRequestError for what is refused, with the member's name and the reason.
    """
    if endpoint is CHAT_COMPLETIONS:
        return _guarded_chat(facts, body)
    may_refer = facts.escaped or any(mark in body for mark in _MARKS)
    members = _checked(body, blocks=endpoint is MESSAGES) if may_refer else {}
    return _guarded_top(endpoint, facts, body, members)


def _guarded_chat(facts: RequestFacts, body: bytes) -> bytes:
    """Check a chat: three searches, and nothing more, where it refers to nothing."""
    if facts.store:
        raise _stores("chat completions")
    # rfind takes half the time of ``in``: it needs no table of the needle.
    if facts.escaped or body.rfind(b"file_id") >= 0 or body.rfind(b'"audio"') >= 0:
        members = _checked(body)
        messages = members.get("messages")
        for message in messages if isinstance(messages, list) else ():
            if isinstance(message, dict) and _has_id(message.get("audio")):
                raise refers("messages[].audio.id")
    return body


def _guarded_top(
    endpoint: Endpoint, facts: RequestFacts, body: bytes, members: dict[str, Any]
) -> bytes:
    """Check what stands at the top of a body."""
    if endpoint is MESSAGES and members.get("container") is not None:
        raise refers("container")
    if _has_id(members.get("voice")):
        raise refers("voice.id")
    if endpoint is not RESPONSES:
        return body
    for name in ("conversation", "prompt"):
        if members.get(name) is not None:
            raise refers(name)
    _check_items(members.get("input"))
    _check_tools(members.get("tools"))
    if facts.background:  # it can't be without being stored; whose it is, is kept
        return body
    if facts.store:
        raise _stores("responses")
    return body if facts.store is False else _with_store_false(body)


def _check_items(items: object) -> None:
    """Refuse input items that stand for stored ones: by type, or an id and nothing else."""
    for item in items if isinstance(items, list) else ():
        if not isinstance(item, dict):
            continue
        kind = item.get("type")
        bare = not kind and "role" not in item and "content" not in item
        drawn = kind == "image_generation_call" and not item.get("result")
        if kind == "item_reference" or ((bare or drawn) and "id" in item):
            raise refers("input[].id")


def _check_tools(tools: object) -> None:
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and isinstance(tool.get("container"), str):
            raise refers("tools[].container")


def _with_store_false(body: bytes) -> bytes:
    for name, _, value_at, end in json_scan.members(body):
        if name == b"store":  # it is null, which means true
            return body[:value_at] + b"false" + body[end:]
    at = body.rindex(b"}")
    comma = b"" if body[:at].strip() == b"{" else b","
    return b'%b%b"store":false%b' % (body[:at], comma, body[at:])


def checked_message(message: bytes) -> dict[str, Any]:
    """Read a message of a realtime client, and refuse what refers to something stored.

    Its session's own answers and items are no such things. Raises BadRequestError.
    """
    return _checked(message, own=_OF_A_SESSION)


def guarded_turn(
    facts: RequestFacts, body: bytes, members: dict[str, Any], made: Container[str]
) -> bytes:
    """Return the ``response.create`` of a socket that may go up, as :func:`guarded` does.

    ``members`` are what :func:`read_members` read of it. ``made`` are the ids of the responses
    that its own session made: they are in the memory of its connection, where nobody else is.

    Raises BadRequestError.
    """
    _look_through(members, own=_OF_A_TURN, made=made)
    return _guarded_top(RESPONSES, facts, body, members)


def _checked(
    body: bytes, *, blocks: bool = False, own: frozenset[str] = _METADATA
) -> dict[str, Any]:
    """Read a body, and refuse references anywhere in it, and members that are there twice.

    ``blocks``: it has Anthropic's content blocks, where the input of a tool is not looked into.
    ``own`` are the members at the top that the application may fill as it likes.
    """
    members = read_members(body)
    _look_through(members, own=own, blocks=blocks)
    return members


def read_members(body: bytes) -> dict[str, Any]:
    """Read a JSON object, and refuse with BadRequestError members that are there twice."""
    try:
        members = json.loads(body, object_pairs_hook=_once)
    except _RepeatedMemberError as error:
        raise BadRequestError(
            f"The request body has the member {error.args[0]!r} twice in one object. Send it once."
        ) from None
    except (ValueError, RecursionError):
        raise BadRequestError("The request body is not a JSON object. Send one.") from None
    if not isinstance(members, dict):
        raise BadRequestError("The request body is not a JSON object. Send one.")
    return members


def _look_through(
    members: dict[str, Any],
    *,
    own: frozenset[str],
    blocks: bool = False,
    made: Container[str] = (),
) -> None:
    for name, value in members.items():
        if name not in own and not _is_own_response(name, value, made):
            _search({name: value}, _DEPTH_MAX, blocks=blocks)


def _is_own_response(name: str, value: object, made: Container[str]) -> bool:
    return name == "previous_response_id" and isinstance(value, str) and value in made


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedMemberError(next(name for name in names if names.count(name) > 1))
    return members


def _search(value: dict[str, Any] | list[Any], depth: int, *, blocks: bool) -> None:
    if not depth:
        raise BadRequestError("The request body is nested too deeply. Send a flatter one.")
    if isinstance(value, list):
        for element in value:
            if isinstance(element, dict | list):
                _search(element, depth - 1, blocks=blocks)
        return
    opaque = "input" if blocks and value.get("type") in _TOOL_CALLS else None
    for name, member in value.items():
        if _is_reference(name, member):
            raise refers(name)
        if name != opaque and isinstance(member, dict | list):
            _search(member, depth - 1, blocks=blocks)


def _is_reference(name: str, value: object) -> bool:
    """Tell whether a member names stored objects; where it is an object, it is a schema's."""
    if not name.endswith(("_id", "_ids")) or not value or isinstance(value, dict):
        return False
    if name in _REFERENCES:
        return True
    values = value if isinstance(value, list) else [value]
    return any(isinstance(each, str) and _STORED_ID.match(each) for each in values)


def _has_id(value: object) -> bool:
    return isinstance(value, dict) and value.get("id") is not None


def _stores(what: str) -> BadRequestError:
    return BadRequestError(
        f"'store' can't be true here: {_WHY}. Send 'store': false, or leave it out; {what} are "
        "then not stored.",
        param="store",
    )


def refers(name: str) -> BadRequestError:
    """Make the error for a member that refers to something stored."""
    return BadRequestError(
        f"{name!r} refers to something stored at the upstream, which is refused here: {_WHY}. "
        "Send the content itself.",
        param=name,
    )


def refuse_references(names: list[str]) -> None:
    """Refuse a form whose fields refer to stored objects."""
    if names:
        raise refers(names[0])
