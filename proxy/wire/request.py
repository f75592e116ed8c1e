"""What metering must know of a request's body, and the one edit that it makes to it.

Unknown members are never touched: bodies are cut and spliced, not re-written.
"""

from dataclasses import dataclass

import msgspec

from proxy.errors import BadRequestError
from proxy.wire import json_scan

_ASK = b'{"include_usage":true}'


class _Decisive(msgspec.Struct):
    """The members that decide what is metered or reserved, as raw JSON."""

    model: msgspec.Raw = msgspec.Raw(b"")
    stream: msgspec.Raw = msgspec.Raw(b"")
    stream_options: msgspec.Raw = msgspec.Raw(b"")
    n: msgspec.Raw = msgspec.Raw(b"")
    max_tokens: msgspec.Raw = msgspec.Raw(b"")
    max_completion_tokens: msgspec.Raw = msgspec.Raw(b"")
    max_output_tokens: msgspec.Raw = msgspec.Raw(b"")
    service_tier: msgspec.Raw = msgspec.Raw(b"")
    store: msgspec.Raw = msgspec.Raw(b"")
    background: msgspec.Raw = msgspec.Raw(b"")


_decoder = msgspec.json.Decoder(_Decisive)
_value = msgspec.json.Decoder()
_options = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NAMES = tuple((name, b'"%b"' % name.encode()) for name in _Decisive.__struct_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What a JSON body says that metering needs; absent or oddly typed members are None.

    ``include_usage`` is what the client itself asked for; ``may_ask`` whether the option can be
    set for it without breaking what it sent (usage-formats.md, section 3).
    """

    model: str = ""
    stream: bool = False
    include_usage: bool = False
    may_ask: bool = False
    n: int | None = None
    max_output_tokens: int | None = None
    service_tier: str | None = None
    store: bool | None = None
    background: bool = False


NO_FACTS = RequestFacts()


def read_facts(body: bytes, *, strict: bool) -> RequestFacts:
    """Read a JSON body's decisive members.

    ``strict`` (managed mode) refuses with BadRequestError what two parsers could read
    differently: invalid JSON, bytes that are not UTF-8, excess depth, duplicate decisive
    members. Otherwise such a body has no facts, and the upstream may say what is wrong with it.
    """
    try:
        found = _decoder.decode(body)
    except RecursionError:
        return _refuse("is nested too deeply", strict=strict)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _refuse("is not a JSON object", strict=strict)
    if strict:
        _refuse_ambiguity(body, found)
    options = _read_options(found.stream_options)
    asked = None if options is None else _read(options.get("include_usage"))
    limit = _integer(found.max_completion_tokens)
    if limit is None:
        limit = _integer(found.max_output_tokens)
    if limit is None:
        limit = _integer(found.max_tokens)
    model, tier, store = _read(found.model), _read(found.service_tier), _read(found.store)
    return RequestFacts(
        model=model if isinstance(model, str) else "",
        stream=_read(found.stream) is True,
        include_usage=asked is True,
        may_ask=options is not None and (asked is None or isinstance(asked, bool)),
        n=_integer(found.n),
        max_output_tokens=limit,
        service_tier=tier if isinstance(tier, str) else None,
        store=store if isinstance(store, bool) else None,
        background=_read(found.background) is True,
    )


def with_usage_asked(body: bytes) -> bytes:
    """Return ``body`` with ``stream_options.include_usage`` set, all else as it was.

    The body has ``may_ask``. ``continuous_usage_stats`` (vLLM) is dropped: it would put usage
    beside choices, where it can't be taken out again.
    """
    for name, name_at, value_at, end in json_scan.members(body):
        if name != b"stream_options":
            continue
        options = _read_options(msgspec.Raw(body[value_at:end])) or {}
        options.pop("continuous_usage_stats", None)
        options["include_usage"] = msgspec.Raw(b"true")
        return body[:value_at] + msgspec.json.encode(options) + body[end:]
    at = body.rindex(b"}")
    return b'%b,"stream_options":%b%b' % (body[:at], _ASK, body[at:])


def _refuse_ambiguity(body: bytes, found: _Decisive) -> None:
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            _refuse("is not UTF-8", strict=True)
    if b"\\u00" not in body and not any(
        body.count(quoted) > 1 for name, quoted in _NAMES if len(getattr(found, name))
    ):
        return
    seen = set()
    for raw_name, *_ in json_scan.members(body):
        name = raw_name.decode() if b"\\" not in raw_name else str(_value.decode(b'"%b"' % raw_name))
        if name in seen:
            _refuse(f"has the member {name!r} twice", strict=True)
        seen.add(name)


def _refuse(what: str, *, strict: bool) -> RequestFacts:
    if strict:
        message = f"The request body {what}. Send one JSON object in UTF-8, each member once."
        raise BadRequestError(message)
    return NO_FACTS


def _read(raw: msgspec.Raw | None) -> object:
    if raw is None or not len(raw):
        return None
    value: object = _value.decode(raw)
    return value


def _integer(raw: msgspec.Raw) -> int | None:
    value = _read(raw)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _read_options(raw: msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    """Read ``stream_options``: absent and null are empty; None where it is not an object."""
    if not len(raw) or bytes(raw) == b"null":
        return {}
    try:
        return _options.decode(raw)
    except msgspec.DecodeError:
        return None
