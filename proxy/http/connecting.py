"""Where an upstream is, and why a connection to it could not be made: whose fault that is."""

import errno
from dataclasses import dataclass
from functools import cached_property

from proxy.errors import RETRY_SOON, OverloadedError, ProxyError, UpstreamUnreachableError

_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where an upstream is; ``base_path`` is put before each path (``/v1``)."""

    scheme: str
    host: str
    port: int
    base_path: str

    @cached_property
    def authority(self) -> bytes:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return (host if self.port == default else f"{host}:{self.port}").encode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamLimits:
    """Bounds of the pool; seconds."""

    connections: int
    connect_timeout_s: float
    silence_timeout_s: float
    idle_s: float


def cannot_connect(place: str, error: Exception) -> ProxyError:
    """Return the error for a client; ``place`` is the upstream's host and port."""
    if isinstance(error, OSError) and error.errno in _OURS:
        return OverloadedError(
            "The proxy has as many files and connections open as it may. Try again soon, or have "
            "the operator raise the limit of open files.",
            headers=RETRY_SOON,
        )
    reason = getattr(error, "strerror", None) or type(error).__name__
    return UpstreamUnreachableError(
        f"The upstream at {place} can't be reached ({reason}). Try again; if it lasts, the "
        "operator should check PROXY_UPSTREAM_BASE_URL."
    )
