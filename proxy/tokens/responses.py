"""The Responses API: its input is counted as the chat that it amounts to.

Measured: messages as in a chat; functions and the text format in a block of their own, whatever
instructions there are. What the upstream holds (previous responses, stored prompts, hosted
tools, files) is not in the request and can't be counted; notes say so.
"""

from dataclasses import replace
from typing import Final

from proxy.tokens.families import Family
from proxy.tokens.formats import render_format
from proxy.tokens.json_shape import elements, members, text
from proxy.tokens.messages import Chat, functions_as_json, named_choice
from proxy.tokens.typescript import render_functions

_CALLED: Final = frozenset({"function_call", "custom_tool_call"})
_RESULTS: Final = frozenset({"function_call_output", "custom_tool_call_output"})
_WHOLE_CALL: Final = 1
_RETOLD_CALL: Final = -2
_CONTEXT: Final = ("previous_response_id", "conversation", "prompt")


def responses_input(chat: Chat, request: dict[str, object]) -> int:
    """Give the input tokens of a ``/responses`` request."""
    for member in _CONTEXT:
        if request.get(member):
            chat.count.note("stored_context_not_counted")
    chat.responses = True
    total = chat.family.reply_opening
    total += chat.count.each(_messages(chat, request), chat.message)
    return total + _block(chat, request) + _called(chat, request)


def chat_request(request: dict[str, object]) -> dict[str, object]:
    """Give what of a ``/responses`` request decides how its output is counted, as a chat's."""
    functions = [
        {"function": tool}
        for tool in map(members, elements(request.get("tools")))
        if tool.get("type") == "function"
    ]
    schema = members(members(request.get("text")).get("format"))
    return {
        "tools": functions,
        "response_format": {"type": schema.get("type"), "json_schema": schema},
        "tool_choice": "none" if request.get("tool_choice") == "none" else None,
    }


def responses_family(family: Family) -> Family:
    """Give the family's rules for the output of ``/responses``: each answer counts its end."""
    if not family.reasons:
        return replace(family, answer_end=1, parallel_calls=family.parallel_calls)
    return replace(
        family,
        text_end=family.responses_text_end,
        thought_text_end=family.responses_thought_text_end,
        text_end_with_tools=0,
        always_reasons=False,
        call=family.call if family.always_reasons else family.call + 1,
        thought_call=13,
        parallel_calls=14,
    )


def _called(chat: Chat, request: dict[str, object]) -> int:
    """Count what calls in the input have over a chat's.

    A model that reasons is told the format of each strict function. Others read a lone call as it
    was answered if the client sends it back whole, and any other in fewer words.
    """
    items = [members(item) for item in elements(request.get("input"))]
    if not chat.family.reasons:
        return sum(
            _WHOLE_CALL if _stands_alone(items, place) and _is_whole(item) else _RETOLD_CALL
            for place, item in enumerate(items)
            if _is_call(item)
        )
    tools = map(members, elements(request.get("tools")))
    loose = {text(tool.get("name")) for tool in tools if tool.get("strict") is False}
    calls = filter(_is_call, items)
    return sum(_RETOLD_CALL if text(call.get("name")) in loose else _WHOLE_CALL for call in calls)


def _stands_alone(items: list[dict[str, object]], place: int) -> bool:
    neighbours = items[max(place - 1, 0) : place] + items[place + 1 : place + 2]
    return not any(map(_is_call, neighbours))


def _is_whole(call: dict[str, object]) -> bool:
    """Tell whether a call has what only the answer that made it can have given it."""
    return bool(call.get("id") and call.get("status"))


def _is_call(item: dict[str, object]) -> bool:
    return item.get("type") in _CALLED


def _block(chat: Chat, request: dict[str, object]) -> int:
    """Count functions and text format: they stand apart from all messages."""
    family = chat.family
    tools = [members(tool) for tool in elements(request.get("tools"))]
    functions = [tool for tool in tools if tool.get("type") == "function"]
    if len(functions) < len(tools):
        chat.count.note("hosted_tools_not_counted")
    total = 0
    if functions:
        if family.foreign:
            total += functions_as_json(chat, functions) + family.tools
        else:
            total += chat.count(render_functions(functions)) + family.responses_tools
        total += sum(family.undescribed for each in functions if not each.get("description"))
        total += _choice(chat, request, functions)
    schema = members(members(request.get("text")).get("format"))
    if schema.get("type") == "json_schema":
        total += chat.count(render_format(schema)) + family.responses_format
    return total


def _choice(chat: Chat, request: dict[str, object], functions: list[dict[str, object]]) -> int:
    """Count a forced choice: by name, or because there is only one function."""
    choice = request.get("tool_choice")
    if choice == "required" and len(functions) == 1:
        choice = functions[0]
    elif members(choice).get("type") != "function":
        return 0
    return named_choice(chat, text(members(choice).get("name")))


def _messages(chat: Chat, request: dict[str, object]) -> list[dict[str, object]]:
    messages: list[dict[str, object]] = []
    if instructions := text(request.get("instructions")):
        messages.append({"role": "system", "content": instructions})
    given = request.get("input")
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    for item in map(members, elements(given)):
        if message := _message(item):
            messages.append(message)
        elif item.get("type") != "reasoning":
            chat.count.note("items_not_counted")
    return messages


def _message(item: dict[str, object]) -> dict[str, object]:
    """Give an item as a chat's message; an empty one if it is something else."""
    kind = item.get("type")
    if kind in _CALLED:
        arguments = item.get("arguments") or item.get("input")
        call = {"name": item.get("name"), "arguments": arguments}
        called = {"id": item.get("call_id"), "function": call}
        return {"role": "assistant", "tool_calls": [called]}
    if kind in _RESULTS:
        return {
            "role": "tool",
            "tool_call_id": item.get("call_id"),
            "content": _content(item.get("output")),
        }
    if "role" in item:
        return {"role": item["role"], "content": _content(item.get("content"))}
    return {}


def _content(content: object) -> object:
    return [_part(members(part)) for part in content] if isinstance(content, list) else content


def _part(part: dict[str, object]) -> dict[str, object]:
    if part.get("type") == "input_image":
        image = {"url": part.get("image_url"), "detail": part.get("detail")}
        return {"type": "image_url", "image_url": image}
    if part.get("type") == "input_file":
        return {"type": "file", "file": part}
    return part
