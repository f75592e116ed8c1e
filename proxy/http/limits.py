"""What a client's connection is allowed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What one connection may take; seconds and bytes."""

    head_bytes: int = 64 * 1024
    client_timeout_s: float = 60.0
    keepalive_timeout_s: float = 75.0
    stalled_reader_s: float = 600.0
