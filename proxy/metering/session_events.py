"""Events of our own, as an upstream's sockets write theirs."""

import msgspec

from proxy.errors import ProxyError
from proxy.http.render import error_body
from proxy.wire.turns import Declined
from proxy.wire.websocket_frames import TEXT, write_frame

_encode = msgspec.json.Encoder().encode


def error_event(error: ProxyError) -> bytes:
    """Write an error as an event of type ``error``."""
    return write_frame(TEXT, b'{"type":"error",' + error_body(error)[1:])


def declined_event(declined: Declined) -> bytes:
    """Write why a turn is declined, as a Responses socket does: with what HTTP would have said."""
    error = declined.error
    detail: dict[str, object] = {
        "type": error.type,
        "code": error.code,
        "message": error.message,
        "param": error.param,
    }
    if error.headers:
        detail["headers"] = {name.decode(): value.decode() for name, value in error.headers}
    event: dict[str, object] = {"type": "error", "error": detail, "status": error.status}
    if declined.lane is not None:
        event["stream_id"] = declined.lane
    return write_frame(TEXT, _encode(event))
