"""Heads of requests and answers, and which headers go which way in each of the two modes."""

from typing import Any

import msgspec

Headers = list[tuple[bytes, bytes]]
"""Names in the case they came in, values without surrounding white space."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_OURS_UPWARD = frozenset({b"host", b"content-length", b"expect", b"accept-encoding"})
_CREDENTIALS = frozenset(
    {
        b"authorization",
        b"api-key",
        b"x-api-key",
        b"cookie",
        b"openai-organization",
        b"openai-project",
    }
)
_ACCOUNT = frozenset({b"set-cookie", b"openai-organization", b"openai-project"})
_OF_THE_BODY = frozenset(
    {
        b"content-length",
        b"content-encoding",
        b"content-md5",
        b"digest",
        b"content-digest",
        b"repr-digest",
    }
)
"""What an edited body makes untrue."""
_KEPT_FROM_CLIENTS = {
    (managed, edited): HOP_BY_HOP
    | (_ACCOUNT if managed else frozenset())
    | (_OF_THE_BODY if edited else frozenset())
    for managed in (False, True)
    for edited in (False, True)
}
"""What does not go down: by whether the account is the operator's, and the body edited."""
DECODABLE = (b"gzip", b"x-gzip", b"deflate", b"identity")


class RequestHead(msgspec.Struct, kw_only=True):
    """A request's first line and headers; ``fields`` are by lower-case name, the last one wins.

    Clients send the same headers again and again on one connection, but for the length: ``memo``
    keeps what was worked out of all headers but that one, from request to request; what depends on
    more says on what. (So the length in ``fields`` may be an older one: ``content_length`` is this
    request's.)

    ``content_length`` is None where the body comes in chunks or there is none; ``length_unknown``
    tells the two apart.
    """

    method: str
    path: str
    query: str
    headers: Headers
    fields: dict[bytes, bytes]
    http_minor: int
    content_length: int | None = None
    length_unknown: bool = False
    upgrade: bool = False
    memo: dict[object, Any] = msgspec.field(default_factory=dict)

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits with its body until it is welcome.

        From HTTP/1.0 that must be ignored (RFC 9110, section 10.1.1).
        """
        return self.http_minor > 0 and self.fields.get(b"expect", b"").lower() == b"100-continue"


class AnswerHead(msgspec.Struct, kw_only=True):
    """An answer's status line and headers; ``fields`` are by lower-case name."""

    status: int
    reason: bytes
    headers: Headers
    fields: dict[bytes, bytes] = msgspec.field(default_factory=dict)

    @property
    def media_type(self) -> bytes:
        """The content type without parameters, in lower case."""
        return self.fields.get(b"content-type", b"").partition(b";")[0].strip().lower()

    @property
    def has_body(self) -> bool:
        """Whether this status comes with a body at all."""
        return self.status >= 200 and self.status not in {204, 304}


def bearer_secret(fields: dict[bytes, bytes]) -> bytes | None:
    """Return the key that a client sent: a bearer token, ``api-key`` or ``x-api-key``."""
    authorization = fields.get(b"authorization")
    if authorization is not None:
        return secret_of_bearer(authorization)
    return fields.get(b"api-key") or fields.get(b"x-api-key") or None


def secret_of_bearer(authorization: bytes) -> bytes | None:
    """Return the token of ``Bearer <token>``; None for any other scheme."""
    scheme, _, secret = authorization.partition(b" ")
    return secret.strip() or None if scheme.lower() == b"bearer" else None


def is_preflight(head: RequestHead) -> bool:
    """Tell whether a browser asks what a page may send: never with a key (Fetch, section 4.8)."""
    return head.method == "OPTIONS" and b"access-control-request-method" in head.fields


def _hop_by_hop(headers: Headers, fields: dict[bytes, bytes]) -> frozenset[bytes]:
    """Return what is meant for one hop: the usual ones, and those that Connection names.

    Connection can't name what says how long the message is (RFC 9110, section 7.6.1).
    """
    last = fields.get(b"connection")
    if last is None:
        return HOP_BY_HOP
    if len(fields) == len(headers) and last.lower() in {b"keep-alive", b"close"}:
        return HOP_BY_HOP
    values = [value for name, value in headers if name.lower() == b"connection"]
    named = {name.strip().lower() for value in values for name in value.split(b",")}
    return HOP_BY_HOP | (named - {b"content-length"})


def accept_encoding(asked: bytes | None, *, edited: bool) -> bytes:
    """Return what we accept from the upstream: the client's wish cut to what we can decode.

    ``identity`` where the answer will be edited, since that needs it plain.
    """
    if edited or not asked:
        return b"identity"
    kept = [item for item in asked.split(b",") if _is_decodable(item)]
    return b",".join(kept).strip() or b"identity"


def _is_decodable(item: bytes) -> bool:
    """Whether we can do with an item of Accept-Encoding; without identity we never can."""
    name, _, weight = item.partition(b";")
    name = name.strip().lower()
    if name == b"identity":
        return weight.replace(b" ", b"").lower().rstrip(b"0.") != b"q="
    return name in DECODABLE


def upward(
    head: RequestHead, *, credentials: Headers | None, edited: bool, rewritten: bool = False
) -> Headers:
    """Return the headers to send upstream, without host and framing.

    ``credentials`` replace the client's own (managed mode); None leaves them (passthrough).
    ``rewritten``: the body is ours now, uncompressed. ``edited``: and the answer will be edited.
    """
    dropped = _hop_by_hop(head.headers, head.fields) | _OURS_UPWARD
    if credentials is not None:
        dropped |= _CREDENTIALS
    if edited or rewritten:
        dropped |= _OF_THE_BODY
    kept = [pair for pair in head.headers if pair[0].lower() not in dropped]
    asked = head.fields.get(b"accept-encoding")
    if asked is not None or edited:
        kept.append((b"Accept-Encoding", accept_encoding(asked, edited=edited)))
    return kept if credentials is None else kept + credentials


def downward(answer: AnswerHead, *, managed: bool, edited: bool) -> Headers:
    """Return the headers to send to the client, without framing unless it is unchanged.

    An ``edited`` body has another length and encoding than the upstream said.
    """
    dropped = _KEPT_FROM_CLIENTS[managed, edited]
    one_hop = _hop_by_hop(answer.headers, answer.fields)
    if one_hop is not HOP_BY_HOP:
        dropped |= one_hop
    fields = answer.fields
    if len(fields) == len(answer.headers):
        # No name comes twice: they are in lower case already, in the same order.
        named = zip(answer.headers, fields, strict=True)
        return [pair for pair, name in named if name not in dropped]
    return [pair for pair in answer.headers if pair[0].lower() not in dropped]
