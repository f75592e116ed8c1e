"""What metering must know of a request's body, and the one edit that it makes to it.

Unknown members are never touched: bodies are cut and spliced, not re-written.
"""

import codecs
import re
from itertools import compress

import msgspec

from proxy.core.reservations import Other
from proxy.errors import BadRequestError
from proxy.wire import json_scan
from proxy.wire.json_scan import may_hide_names
from proxy.wire.other_models import ABSENT, Naming, read_others

_ASK = b'{"include_usage":true}'

_ABSENT = ABSENT


class _Decisive(msgspec.Struct, gc=False):
    """The members that decide what is metered or reserved, as raw JSON."""

    model: msgspec.Raw = _ABSENT
    stream: msgspec.Raw = _ABSENT
    stream_options: msgspec.Raw = _ABSENT
    n: msgspec.Raw = _ABSENT
    best_of: msgspec.Raw = _ABSENT
    max_tokens: msgspec.Raw = _ABSENT
    max_completion_tokens: msgspec.Raw = _ABSENT
    max_output_tokens: msgspec.Raw = _ABSENT
    service_tier: msgspec.Raw = _ABSENT
    store: msgspec.Raw = _ABSENT
    background: msgspec.Raw = _ABSENT
    fallbacks: msgspec.Raw = _ABSENT
    models: msgspec.Raw = _ABSENT
    tools: msgspec.Raw = _ABSENT
    plugins: msgspec.Raw = _ABSENT
    provider_options: msgspec.Raw = msgspec.field(default=_ABSENT, name="providerOptions")
    input: msgspec.Raw = _ABSENT


_decoder = msgspec.json.Decoder(_Decisive)
_value = msgspec.json.Decoder()
_options = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LONE_SURROGATE = re.compile(
    rb"(?<!\\)(?:\\\\)*\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_SLICE_BYTES = 1 << 16
_TOOLS = b'"tools"'
_MOST = (1 << 63) - 1
"""A count over this is none: no database keeps it."""
_QUOTED = tuple(b'"%b"' % name.encode() for name in _Decisive.__struct_encode_fields__[:-1])
"""Of all but ``input``, which many things are called: see :func:`_repeats`."""


class RequestFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a JSON body says that metering needs; absent or oddly typed members are None.

    ``include_usage`` is what the client itself asked for; ``may_ask`` whether the option can be
    set for it without breaking what it sent: there are no ``stream_options``, or they are an
    object whose ``include_usage`` is a boolean or absent. What is neither true nor false nor null
    counts as true for ``store`` and ``background``: some upstreams take it so.
    ``max_output_tokens`` is the largest limit of output, ``limited_by`` the names of those set.
    ``escaped``: names may be written with escapes (told only where it was read strictly).
    ``named`` are the models that it names besides its own; ``unread`` is where they would be, if
    that was not looked at: ask :meth:`others`.
    """

    model: str = ""
    stream: bool = False
    include_usage: bool = False
    may_ask: bool = False
    n: int | None = None
    best_of: int | None = None
    limited_by: tuple[str, ...] = ()
    max_output_tokens: int | None = None
    service_tier: str | None = None
    store: bool | None = None
    background: bool = False
    escaped: bool = False
    named: tuple[Other, ...] = ()
    unread: Naming | None = None

    def others(self) -> tuple[Other, ...]:
        """Return the models that it names besides its own."""
        return self.named if self.unread is None else read_others(self.unread)


NO_FACTS = RequestFacts()


def read_facts(body: bytes, *, strict: bool) -> RequestFacts:
    """Read a JSON body's decisive members.

    ``strict`` (managed mode) refuses with BadRequestError what two parsers could read
    differently: invalid JSON, bytes that are not UTF-8, excess depth, duplicate decisive
    members. Otherwise such a body has no facts, and the upstream may say what is wrong with it;
    and for models other than its own it is not searched before somebody asks.
    """
    try:
        found = _decoder.decode(body)
    except RecursionError:
        return _refuse("is nested too deeply", strict=strict)
    except _UNREADABLE as error:
        return _refuse(_flaw(str(error), body), strict=strict)
    escaped = strict and _refuse_ambiguity(body, found)
    model = _read(found.model)
    options = _read_options(found.stream_options)
    asked = _read(options.get("include_usage", _ABSENT)) if options else None
    tier = None if found.service_tier is _ABSENT else _read(found.service_tier)
    store = None if found.store is _ABSENT else _read(found.store)
    background = None if found.background is _ABSENT else _read(found.background)
    limited_by, largest = _limits(found)
    naming = None
    of_list = found.fallbacks is found.models is found.plugins is found.provider_options is _ABSENT
    if not (of_list and found.tools is found.input is _ABSENT):
        naming = (
            found.fallbacks, found.models, found.tools, found.plugins, found.provider_options,
            found.input,
        )  # fmt: skip
    return RequestFacts(
        model=model if isinstance(model, str) else "",
        stream=found.stream is not _ABSENT and _read(found.stream) is True,
        include_usage=asked is True,
        may_ask=options is not None and (asked is None or isinstance(asked, bool)),
        n=None if found.n is _ABSENT else _integer(found.n),
        best_of=None if found.best_of is _ABSENT else _integer(found.best_of),
        limited_by=limited_by,
        max_output_tokens=largest,
        service_tier=tier if isinstance(tier, str) else None,
        store=None if store is None else store is not False,
        background=background is not None and background is not False,
        escaped=escaped,
        named=read_others(naming) if naming and strict else (),
        unread=None if strict else naming,
    )


def with_usage_asked(body: bytes) -> bytes:
    """Return ``body`` with ``stream_options.include_usage`` set, all else as it was.

    The body has ``may_ask``. ``continuous_usage_stats`` (vLLM) is dropped: it would put usage
    beside choices, where it can't be taken out again.
    """
    place = _options_place(body)
    if place is None:
        at = body.rindex(b"}")
        comma = b"" if body[:at].strip() == b"{" else b","
        return b'%b%b"stream_options":%b%b' % (body[:at], comma, _ASK, body[at:])
    value_at, end = place
    options = _read_options(msgspec.Raw(body[value_at:end])) or {}
    options.pop("continuous_usage_stats", None)
    options["include_usage"] = msgspec.Raw(b"true")
    return body[:value_at] + msgspec.json.encode(options) + body[end:]


def _options_place(body: bytes) -> tuple[int, int] | None:
    """Find the value of ``stream_options``: of the last one, which is the one that counts."""
    if b'"stream_options"' not in body and not may_hide_names(body):
        return None
    place = None
    for raw_name, _, value_at, end in json_scan.members(body):
        if _plain(raw_name) == "stream_options":
            place = value_at, end
    return place


def _plain(raw_name: bytes) -> str:
    if b"\\" not in raw_name:
        return raw_name.decode(errors="replace")
    name = _read(msgspec.Raw(b'"%b"' % raw_name))
    return name if isinstance(name, str) else ""


def _refuse_ambiguity(body: bytes, found: _Decisive) -> bool:
    """Return whether names may be written with escapes, once nothing is ambiguous."""
    if not body.isascii() and not _is_utf_8(body):
        _refuse("is not UTF-8", strict=True)
    escaped = may_hide_names(body)
    if not escaped and not _repeats(body, found):
        return False
    seen = set()
    for raw_name, *_ in json_scan.members(body):
        name = _plain(raw_name)
        if name in seen:
            _refuse(f"has the member {name!r} twice", strict=True)
        seen.add(name)
    return escaped


def _is_utf_8(body: bytes) -> bool:
    """Whether it is; a slice at a time, since a text takes up to four times as much memory."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(body), _SLICE_BYTES):
            decoder.decode(body[at : at + _SLICE_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _flaw(error: str, body: bytes) -> str:
    """Say what is wrong with a body, by what the decoder says of it.

    It takes the first half of a pair at which something else follows for the end of the data.
    """
    if "surrogate" in error or ("truncated" in error and _LONE_SURROGATE.search(body)):
        return "has half of a surrogate pair (\\ud83d, say) without the other: no valid Unicode"
    return "is not a JSON object"


def _refuse(what: str, *, strict: bool) -> RequestFacts:
    if strict:
        message = f"The request body {what}. Send one JSON object in UTF-8, each member once."
        raise BadRequestError(message)
    return NO_FACTS


def _repeats(body: bytes, found: _Decisive) -> bool:
    """Whether a decisive member's name stands in the body twice: as a member, or elsewhere.

    Of ``input`` only the tools among its items are decisive.
    """
    for quoted in compress(_QUOTED, msgspec.structs.astuple(found)):  # what is absent is empty
        if body.find(quoted) != body.rfind(quoted):
            return True
    return found.input is not _ABSENT and found.tools is _ABSENT and body.rfind(_TOOLS) >= 0


def _read(raw: msgspec.Raw) -> object:
    if raw is _ABSENT:
        return None
    try:
        value: object = _value.decode(raw)
    except _UNREADABLE:
        return None
    return value


def _integer(raw: msgspec.Raw) -> int | None:
    value = _read(raw)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _MOST else None


def _limits(found: _Decisive) -> tuple[tuple[str, ...], int | None]:
    """Return which limits of output are set, and the largest of them.

    Which one an upstream goes by is its own choice, so a smaller one beside it bounds nothing.
    None where one of them is no count: some upstreams take it for one, others for no limit.
    """
    names: list[str] = []
    largest: int | None = 0
    for name, raw in (
        ("max_completion_tokens", found.max_completion_tokens),
        ("max_output_tokens", found.max_output_tokens),
        ("max_tokens", found.max_tokens),
    ):
        if raw is _ABSENT or bytes(raw) == b"null":
            continue
        names.append(name)
        value = _integer(raw)
        largest = None if value is None or largest is None else max(largest, value)
    return tuple(names), largest if names else None


def _read_options(raw: msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    """Read ``stream_options``: absent and null are empty; None where it is not an object."""
    if raw is _ABSENT or bytes(raw) == b"null":
        return {}
    try:
        return _options.decode(raw)
    except _UNREADABLE:
        return None
