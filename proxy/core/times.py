"""Moments as the ledger keeps them: whole microseconds of Unix time, so that nothing is lost."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SECOND_US = 1_000_000
QUARTER_S = 900
"""Timezones are offset by quarter hours: sums are kept by them, and prices begin on them."""


def to_us(moment: datetime) -> int:
    """Return microseconds of Unix time."""
    return (moment - EPOCH) // MICROSECOND


def from_us(moment_us: int) -> datetime:
    """Return an aware UTC datetime."""
    return EPOCH + timedelta(microseconds=moment_us)


def in_force(begun: Sequence[tuple[int, T]], at_us: int) -> T:
    """Return what is in force at a moment, of what began one after the other, newest first.

    The first one is so before its beginning, too: by a clock that was set back, say. Errors:
    IndexError if nothing ever began.
    """
    for since_us, each in begun:
        if since_us <= at_us:
            return each
    return begun[-1][1]
