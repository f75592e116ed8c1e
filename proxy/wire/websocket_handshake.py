"""A WebSocket's opening handshake (RFC 6455, section 4): what goes up, what comes down.

Browsers can't set headers, so OpenAI takes keys as subprotocols, too
(``openai-insecure-api-key.…``, ``openai-organization.…``, ``openai-project.…``).
"""

from typing import Final
from urllib.parse import parse_qsl

from proxy.errors import BadRequestError
from proxy.wire.headers import AnswerHead, Headers, RequestHead, downward, upward

SWITCHED: Final = 101
_KEY: Final = b"openai-insecure-api-key."
_SECRETS: Final = (_KEY, b"openai-organization.", b"openai-project.")
_PROTOCOL: Final = b"sec-websocket-protocol"
_EXTENSIONS: Final = b"sec-websocket-extensions"
_UPGRADE: Final[Headers] = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
_MODEL_NAMES: Final = frozenset({"model", "deployment"})
_TRANSCRIPTION: Final = ("intent", "transcription")


def is_websocket(head: RequestHead) -> bool:
    """Tell whether a request asks for a WebSocket, and brings nothing else."""
    return (
        head.upgrade
        and head.method == "GET"
        and head.fields.get(b"upgrade", b"").lower() == b"websocket"
        and not head.content_length
        and not head.length_unknown
    )


def subprotocol_secret(head: RequestHead) -> bytes | None:
    """Return the key that a browser sends among its subprotocols, if it wants an upgrade."""
    if not head.upgrade:
        return None
    offered = (item for item in _offered(head.headers) if item.startswith(_KEY))
    return next(offered, b"").removeprefix(_KEY) or None


def model_asked(query: str, *, strict: bool, needed: bool = True) -> str:
    """Return the model that a socket's query names, or ``""``.

    ``strict`` (managed mode): it must be named once, but where the session only transcribes or
    its messages name it (not ``needed``), and nothing else may be named that the upstream keeps.

    Raises BadRequestError.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [value for name, value in pairs if name in _MODEL_NAMES]
    if not strict:
        return names[0] if names else ""
    for name, _ in pairs:
        if name.endswith("_id"):
            raise BadRequestError(
                f"{name!r} refers to something at the upstream, which is refused here: all keys of "
                "this proxy share one upstream account. Open a session of your own.",
                param=name,
            )
    if len(names) > 1 or (needed and not any(names) and _TRANSCRIPTION not in pairs):
        raise BadRequestError(
            "Name one model in the query, such as ?model=gpt-realtime.", param="model"
        )
    return names[0] if names else ""


def handshake_upward(head: RequestHead, *, credentials: Headers | None, metered: bool) -> Headers:
    """Return the handshake's headers to send upstream, without Host.

    Extensions are not offered where a socket is ``metered``: permessage-deflate would hide the
    usage, and the client can't tell, because a server need not take what it is offered.
    """
    kept = upward(head, credentials=credentials, edited=False)
    if metered:
        kept = [pair for pair in kept if pair[0].lower() != _EXTENSIONS]
    if credentials is not None:
        offered = [item for item in _offered(kept) if not item.startswith(_SECRETS)]
        kept = [pair for pair in kept if pair[0].lower() != _PROTOCOL]
        if offered:
            kept.append((b"Sec-WebSocket-Protocol", b", ".join(offered)))
    return kept + _UPGRADE


def handshake_downward(answer: AnswerHead, *, managed: bool) -> Headers:
    """Return the headers of the upstream's 101 to send to the client."""
    return downward(answer, managed=managed, edited=False) + _UPGRADE


def _offered(headers: Headers) -> list[bytes]:
    values = [value for name, value in headers if name.lower() == _PROTOCOL]
    items = [item.strip() for value in values for item in value.split(b",")]
    return [item for item in items if item]
