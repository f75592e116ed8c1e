"""What is told to a client whose bytes can't be served at all."""

import httptools

from proxy.errors import BodyTooLargeError, ClientError, RequestTimedOutError


class Deaf(httptools.HttpRequestParser):
    """Reads nothing any more.

    Another parser might still be in a head: that is kept until its end, which may never come.
    """

    def feed_data(self, data: object) -> None:
        """Let it go by."""


class HeadTooLargeError(ClientError):
    """The request's line and headers are over the limit."""

    status = 431
    code = "headers_too_large"


def malformed(error: Exception) -> ClientError:
    """Return the error for what is no HTTP."""
    return ClientError(f"The request is not valid HTTP/1.1: {error}. Check the client.")


def head_too_large(limit: int) -> HeadTooLargeError:
    """Return the error for a head of more than ``limit`` bytes, or of too many headers."""
    return HeadTooLargeError(
        f"The request's headers are larger than {limit:,} bytes, or too many. Send fewer or "
        "shorter ones."
    )


def body_too_large(limit: int) -> BodyTooLargeError:
    """Return the error for a body of more than ``limit`` bytes that is read whole."""
    return _too_large(limit, "PROXY_MAX_BODY_BYTES")


def upload_too_large(limit: int) -> BodyTooLargeError:
    """Return the error for a body of more than ``limit`` bytes that is streamed through."""
    return _too_large(limit, "PROXY_MAX_UPLOAD_BYTES")


def _too_large(limit: int, setting: str) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"The request body is larger than {limit:,} bytes. Send a smaller one, or have the "
        f"operator raise {setting}."
    )


def body_too_slow() -> RequestTimedOutError:
    """Return the error for a body that does not come, or only in drops."""
    return RequestTimedOutError("The request body did not arrive in time. Send it again, faster.")
