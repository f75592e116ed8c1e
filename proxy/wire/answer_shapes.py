"""The members of answers that are counted, and no others: the rest is skipped unread.

Values are ``Any``, because upstreams put all kinds of things there; only what contains is typed.
"""

from typing import Any

import msgspec


class Function(msgspec.Struct):
    """A function or custom tool as a call names it."""

    name: Any = None
    arguments: Any = None
    input: Any = None


class Call(msgspec.Struct):
    """A call, or a part of one."""

    index: Any = None
    function: Function | None = None
    custom: Function | None = None


class Message(msgspec.Struct):
    """A chat message, or a part of one."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    audio: Any = None


class Choice(msgspec.Struct):
    """A choice of a chat or completions answer."""

    index: Any = 0
    delta: Message | None = None
    message: Message | None = None
    text: Any = None
    finish_reason: Any = None


class Item(msgspec.Struct):
    """An output item of a response, or a content block of a message."""

    type: Any = None
    content: Any = None
    summary: Any = None
    name: Any = None
    arguments: Any = None
    input: Any = None
    text: Any = None
    thinking: Any = None


class Response(msgspec.Struct):
    """A response as its events carry it."""

    output: list[Item] | None = None
    status: Any = None
    created_at: Any = None


class Payload(msgspec.Struct):
    """An event or a body of any endpoint; every member of them that is read."""

    choices: list[Choice] | None = None
    created: Any = None
    created_at: Any = None
    type: Any = None
    index: Any = None
    output_index: Any = None
    response: Response | None = None
    item: Item | None = None
    output: list[Item] | None = None
    delta: Any = None
    content_block: Item | None = None
    content: list[Item] | None = None
    status: Any = None
    stop_reason: Any = None


_payloads = msgspec.json.Decoder(Payload)


def read_payload(data: bytes) -> Payload | None:
    """Read an event's data or a body; None if it is no JSON object or none of these shapes."""
    try:
        return _payloads.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
