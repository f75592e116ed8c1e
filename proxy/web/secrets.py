"""Which secret a request shows, where else secrets may be in it, and how much may be told."""

from typing import Final
from urllib.parse import parse_qsl, urlencode

from proxy.core.subscriptions import KEY_PREFIX_LENGTH
from proxy.wire.headers import RequestHead, bearer_secret, secret_of_bearer
from proxy.wire.websocket_handshake import is_websocket, subprotocol_secret

_PARAMETERS: Final = frozenset({"api-key", "api_key", "key", "access_token", "authorization"})
_SHOWN_IN_QUERY: Final = frozenset({"api-key", "authorization"})
_SHOWN: Final = "shown"
"""What is remembered with the headers of a connection's last request."""


def shown_secret(head: RequestHead) -> bytes | None:
    """Return the key that a client shows: in a header, or where browsers put it for a socket."""
    secret: bytes | None = head.memo.get(_SHOWN)
    if secret is None:
        secret = head.memo[_SHOWN] = bearer_secret(head.fields)
    return secret or subprotocol_secret(head) or _secret_in_query(head)


def _secret_in_query(head: RequestHead) -> bytes | None:
    """Return the key that openai-node puts into a socket's address for Azure, from browsers, too.

    Other requests can send headers: an address is too easily kept somewhere to have a key in it.
    """
    if not head.upgrade or not head.query or not is_websocket(head):
        return None
    pairs = parse_qsl(head.query, encoding="latin-1")
    shown = [(name.lower(), value.encode("latin-1")) for name, value in pairs]
    shown = [pair for pair in shown if pair[0] in _SHOWN_IN_QUERY]
    if len(shown) != 1:
        return None  # of two, the upstream might take the other one
    name, value = shown[0]
    return secret_of_bearer(value) if name == "authorization" else value


def prefix_of(secret: bytes | None) -> str:
    """Return what may be shown of a secret: never more than a third of it."""
    shown = (secret or b"")[: min(KEY_PREFIX_LENGTH, len(secret or b"") // 3)]
    return shown.decode("ascii", "replace")


def without_secrets(query: str) -> str:
    """Return a query without what some take for a key."""
    if not query:
        return query
    pairs = parse_qsl(query, keep_blank_values=True)
    kept = [pair for pair in pairs if pair[0].lower() not in _PARAMETERS]
    return query if len(kept) == len(pairs) else urlencode(kept)
