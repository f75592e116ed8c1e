"""Why a connection to an upstream could not be made, as an error that says whose fault it is."""

import errno

from proxy.errors import OverloadedError, ProxyError, UpstreamUnreachableError

_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def cannot_connect(place: str, error: Exception) -> ProxyError:
    """Return the error for a client; ``place`` is the upstream's host and port."""
    if isinstance(error, OSError) and error.errno in _OURS:
        return OverloadedError(
            "The proxy has as many files and connections open as it may. Try again soon, or have "
            "the operator raise the limit of open files.",
            headers=((b"retry-after", b"1"),),
        )
    reason = getattr(error, "strerror", None) or type(error).__name__
    return UpstreamUnreachableError(
        f"The upstream at {place} can't be reached ({reason}). Try again; if it lasts, the "
        "operator should check PROXY_UPSTREAM_BASE_URL."
    )
