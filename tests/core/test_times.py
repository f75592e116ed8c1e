"""Moments and microseconds."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.times import from_us, to_us


@given(st.datetimes(timezones=st.timezones()))
def test_no_microsecond_is_lost(moment: datetime) -> None:
    assert from_us(to_us(moment)) == moment.astimezone(UTC)


def test_the_epoch_is_the_beginning() -> None:
    assert from_us(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert to_us(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)) == -1_000_000
