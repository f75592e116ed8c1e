"""What is refused before there is a request: bytes that are no HTTP, heads that are too large."""

from proxy.errors import ClientError


class HeadTooLargeError(ClientError):
    """The request's line and headers are over the limit."""

    status = 431
    code = "headers_too_large"


def malformed(error: Exception) -> ClientError:
    """Say what the parser could not read."""
    return ClientError(f"The request is not valid HTTP/1.1: {error}. Check the client.")


def head_too_large(limit: int) -> HeadTooLargeError:
    """Say how large a head may be."""
    return HeadTooLargeError(
        f"The request's headers are larger than {limit:,} bytes. Send fewer or shorter ones."
    )
