"""The one clock: everything that decides by time is told the time, and this is who tells it."""

import time
from datetime import UTC, datetime


def now_us() -> int:
    """Return the time now, in microseconds of Unix time."""
    return time.time_ns() // 1000  # noqa: TID251 - this is the clock's home


def now() -> datetime:
    """Return the time now, aware, UTC."""
    return datetime.now(UTC)  # noqa: TID251 - this is the clock's home
