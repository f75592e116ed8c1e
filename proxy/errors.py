"""Errors that reach people: whose fault, what happened, what to do.

Adapters translate library errors into these; :mod:`proxy.http.render` alone turns them into
answers.
"""


class ProxyError(Exception):
    """An error with the status, type and code that OpenAI's SDKs expect."""

    status = 500
    type = "server_error"
    code: str | None = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = headers


class ClientError(ProxyError):
    """The request is at fault."""

    status = 400
    type = "invalid_request_error"
    code: str | None = None


class BadRequestError(ClientError):
    """The body can't be read, or two parsers could read it differently."""

    code = "invalid_body"


class UnauthorizedError(ClientError):
    """The key is missing, malformed, unknown or revoked."""

    status = 401
    code = "invalid_api_key"


class ForbiddenError(ClientError):
    """The key is good, but not for this."""

    status = 403
    code = "forbidden"


class NotFoundError(ClientError):
    """There is no such thing here."""

    status = 404
    code = "not_found"


class ClosedPathError(NotFoundError):
    """The path is not open in managed mode: it is not yet metered and guarded."""

    code = "path_not_open"


class MethodNotAllowedError(ClientError):
    """The path does not know this method."""

    status = 405
    code = "method_not_allowed"


class RequestTimedOutError(ClientError):
    """The client was too slow to send its request."""

    status = 408
    code = "request_timeout"


class ConflictError(ClientError):
    """It is already there, and different."""

    status = 409
    code = "conflict"


class BodyTooLargeError(ClientError):
    """The body is over the limit."""

    status = 413
    code = "request_too_large"


class UnreadableBodyError(ClientError):
    """The body is encoded in a way that can't be undone."""

    status = 415
    code = "unsupported_encoding"


RETRY_SOON = ((b"retry-after", b"1"),)
"""For what passes by itself: SDKs wait so many seconds, and ask again."""


class OverloadedError(ProxyError):
    """The proxy is at one of its limits; nothing was sent upstream."""

    status = 503
    code = "proxy_overloaded"


class LedgerUnavailableError(ProxyError):
    """Nothing can be metered now, so nothing is sent."""

    status = 503
    code = "metering_unavailable"


class UpstreamError(ProxyError):
    """The upstream is at fault."""

    status = 502
    type = "server_error"
    code = "upstream_error"


class UpstreamUnreachableError(UpstreamError):
    """No connection: the request did not reach the upstream."""

    code = "upstream_unreachable"


class UpstreamClosedError(UpstreamError):
    """The upstream broke the connection or the protocol; it may have processed the request."""

    code = "upstream_closed"


class UpstreamTimedOutError(UpstreamError):
    """The upstream was silent for too long."""

    status = 504
    code = "upstream_timeout"


class PricingError(ProxyError):
    """``pricing.toml`` is refused: one line each for what is wrong and where."""

    code = "invalid_pricing"


class SettingsError(ProxyError):
    """A setting is refused, in one sentence."""

    code = "invalid_settings"
