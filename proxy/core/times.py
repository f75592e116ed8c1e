"""Moments as the ledger keeps them: whole microseconds of Unix time, so that nothing is lost."""

from datetime import UTC, datetime, timedelta

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
