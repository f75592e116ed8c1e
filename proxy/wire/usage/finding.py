"""Where the usage is in an answer or event, decoding no more than the members that matter.

``usage`` at the top (most), in ``response`` (the Responses API's events), in ``message``
(Anthropic's first event), in ``x_groq`` (Groq), beside a choice (Moonshot).
"""

import json
import re
from typing import Any, Final

import msgspec

_NULL: Final = msgspec.Raw(b"null")
_USAGE: Final = b'"usage"'
_SMALLEST: Final = 16
"""Longer objects have something in them."""


class Envelope(msgspec.Struct, gc=False):
    """The top-level members of an answer or event.

    What is large or rarely needed is still bytes, ``null`` if it is missing.
    """

    type: Any = None
    id: Any = None
    item_id: Any = None
    model: Any = None
    service_tier: Any = None
    status: Any = None
    usage: msgspec.Raw = _NULL
    error: Any = None
    response: msgspec.Raw = _NULL
    message: msgspec.Raw = _NULL
    session: msgspec.Raw = _NULL
    choices: msgspec.Raw = _NULL
    x_groq: msgspec.Raw = _NULL
    tool_usage: msgspec.Raw = _NULL
    tools: msgspec.Raw = _NULL
    output: msgspec.Raw = _NULL
    data: msgspec.Raw = _NULL
    svg_usage: msgspec.Raw = _NULL
    duration: Any = None
    size: Any = None
    quality: Any = None


class _Holder(msgspec.Struct, gc=False):
    """What may hold usage inside an answer: a choice of Moonshot's, ``x_groq``."""

    usage: msgspec.Raw = _NULL
    error: Any = None


class _UsageChunk(msgspec.Struct, gc=False):
    usage: msgspec.Raw = _NULL
    choices: list[Any] | None = None


_MEMBERS: Final = frozenset(Envelope.__struct_fields__)
_ENVELOPE: Final = msgspec.json.Decoder(Envelope)
_HOLDER: Final = msgspec.json.Decoder(_Holder)
_HOLDERS: Final = msgspec.json.Decoder(list[_Holder])
_USAGE_CHUNK: Final = msgspec.json.Decoder(_UsageChunk)
_VALUE: Final = msgspec.json.Decoder()
_PARTS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_USAGE_AHEAD: Final = re.compile(r'"usage"\s*:\s*\{')
_PATIENT: Final = json.JSONDecoder()
_BROKEN: Final = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)


def read_envelope(body: bytes | msgspec.Raw) -> Envelope | None:
    """Read an answer's or event's top level; None if it is no JSON object.

    White space around it is allowed (DeepSeek's keep-alive lines). What is only nearly JSON (NaN
    in log probabilities, bytes that are not UTF-8) is read by a more patient parser.
    """
    try:
        return _ENVELOPE.decode(body)
    except _BROKEN:
        return _read_patiently(bytes(body))


def _read_patiently(body: bytes) -> Envelope | None:
    text = body.decode("utf-8-sig", "replace")
    try:
        members = json.loads(text, parse_constant=_no_number)
    except _BROKEN:
        return _salvage(text)
    if not isinstance(members, dict):
        return None
    envelope = Envelope()
    for name in _MEMBERS.intersection(members):
        value = members[name]
        plain = getattr(envelope, name) is None
        setattr(envelope, name, value if plain else msgspec.Raw(json.dumps(value).encode()))
    return envelope


def _no_number(_: str) -> None:
    """Read NaN and the infinities as nothing."""


def _salvage(text: str) -> Envelope | None:
    """Find the last whole usage object in a body that is broken elsewhere (cut in its middle)."""
    places = [match.end() - 1 for match in _USAGE_AHEAD.finditer(text)]
    if not places:
        return None
    try:
        usage, _ = _PATIENT.raw_decode(text, places[-1])
        return Envelope(usage=msgspec.Raw(msgspec.json.encode(usage)))
    except _BROKEN:
        return None


def value_of(raw: bytes | msgspec.Raw) -> Any:
    """Decode one member; None if it can't be."""
    try:
        return _VALUE.decode(raw)
    except _BROKEN:
        return None


def text_of(value: object) -> str | None:
    """Return a member if it is a text that is not empty."""
    return value if isinstance(value, str) and value else None


def length_of(raw: msgspec.Raw) -> int | None:
    """Return how many elements an array has, without decoding them; None if it is none."""
    try:
        return len(_PARTS.decode(raw))
    except _BROKEN:
        return None


def is_given(raw: msgspec.Raw) -> bool:
    """Tell whether a member is there and not ``null``."""
    return raw is not _NULL and raw != _NULL


def object_in(raw: msgspec.Raw) -> bytes:
    """Return a member's bytes if it is an object with anything in it, else none."""
    text = bytes(raw)
    if text.startswith(b"{") and (len(text) > _SMALLEST or text.strip(b"{} \t\r\n")):
        return text
    return b""


def usage_in(envelope: Envelope) -> bytes:
    """Return the usage object of an answer, wherever it is; none if there is none but ``null``."""
    usage = envelope.usage
    found = b"" if usage is _NULL else object_in(usage)
    if found:
        return found
    if is_given(envelope.x_groq):
        holder = _held(envelope.x_groq)
        found = b"" if holder is None else object_in(holder.usage)
    if not found and is_given(envelope.choices) and _USAGE in bytes(envelope.choices):
        found = _usage_of_choices(envelope.choices)
    return found


def error_in(envelope: Envelope) -> bool:
    """Tell whether an answer or event reports an error, as the SDKs see it."""
    if envelope.error or envelope.type == "error":
        return True
    if envelope.x_groq is not _NULL:
        holder = _held(envelope.x_groq)
        return holder is not None and bool(holder.error)
    return False


def _held(raw: msgspec.Raw) -> _Holder | None:
    try:
        return _HOLDER.decode(raw)
    except _BROKEN:
        return None


def _usage_of_choices(choices: msgspec.Raw) -> bytes:
    try:
        holders = _HOLDERS.decode(choices)
    except _BROKEN:
        return b""
    found = [object_in(holder.usage) for holder in holders]
    return next(filter(None, reversed(found)), b"")


def is_injected_usage_chunk(data: bytes) -> bool:
    """Tell whether a chunk is the one that ``include_usage`` adds: usage, and no choices.

    Empty choices alone are not enough: Azure's first chunk has them, beside prompt filters.
    """
    chunk = _usage_chunk(data)
    return chunk is not None and chunk.choices == []


def is_running_usage_chunk(data: bytes) -> bool:
    """Tell whether a chunk has usage beside choices that have not finished: so far.

    The finish chunk's does not count: Groq reports usage there whether it is asked for or not,
    and adds the chunk without choices only where it is.
    """
    chunk = _usage_chunk(data)
    return (
        chunk is not None
        and bool(chunk.choices)
        and not any(_finished(choice) for choice in chunk.choices or ())
    )


def _usage_chunk(data: bytes) -> _UsageChunk | None:
    """Read a chunk, if it has usage."""
    if _USAGE not in data:
        return None
    try:
        chunk = _USAGE_CHUNK.decode(data)
    except _BROKEN:
        return None
    return chunk if is_given(chunk.usage) else None


def _finished(choice: object) -> bool:
    return isinstance(choice, dict) and choice.get("finish_reason") is not None
