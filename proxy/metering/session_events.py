"""Events of our own, as an upstream's sockets write theirs."""

from proxy.errors import ProxyError
from proxy.http.render import error_body
from proxy.wire.websocket_frames import TEXT, write_frame


def error_event(error: ProxyError) -> bytes:
    """Write an error as an event of type ``error``."""
    return write_frame(TEXT, b'{"type":"error",' + error_body(error)[1:])
