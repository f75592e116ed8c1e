"""The one place where errors become answers, in OpenAI's shape."""

import msgspec

from proxy.errors import ProxyError
from proxy.http.exchange import Exchange
from proxy.http.reasons import REASONS
from proxy.wire.headers import Headers

REQUEST_ID_HEADER = b"x-weighbridge-request-id"
_encoder = msgspec.json.Encoder()


def error_body(error: ProxyError) -> bytes:
    """Write ``{"error": {"message", "type", "param", "code"}}``: all four are required."""
    detail = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    return _encoder.encode({"error": detail})


def error_headers(error: ProxyError, request_id: str | None = None) -> Headers:
    """Return the headers that go with an error."""
    headers: Headers = [(b"content-type", b"application/json"), *error.headers]
    if request_id is not None:
        headers.append((REQUEST_ID_HEADER, request_id.encode()))
    return headers


def respond_error(exchange: Exchange, error: ProxyError, request_id: str | None = None) -> None:
    """Answer with an error."""
    exchange.respond(error.status, error_headers(error, request_id), error_body(error))


def respond_json(exchange: Exchange, value: object, status: int = 200) -> None:
    """Answer with a JSON value of ours."""
    body = _encoder.encode(value)
    exchange.respond(status, [(b"content-type", b"application/json")], body)


def render_bytes(error: ProxyError) -> bytes:
    """Write a whole answer for a connection that has no exchange and will close."""
    body = error_body(error)
    head = b"HTTP/1.1 %d %b\r\n" % (error.status, REASONS.get(error.status, b"Error"))
    head += b"".join(b"%b: %b\r\n" % pair for pair in error_headers(error))
    return head + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body
