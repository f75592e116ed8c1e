"""What a client's connection is allowed."""

from dataclasses import dataclass

WRITE_HIGH_WATER_BYTES = 256 * 1024
LINGER_S = 5.0
MAX_HEADERS = 1000
SMALL_HEAD_BYTES = 4096
"""In a head of no more than this the headers cannot be too many."""
MAX_PIPELINED = 16
"""How many requests a client may send ahead of its answers before it is read no further."""
MAX_WAITING = 256
"""How many may come in what was read by then; the rest is for nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What one connection may take; seconds and bytes."""

    head_bytes: int = 64 * 1024
    client_timeout_s: float
    keepalive_timeout_s: float
    stalled_reader_s: float
