"""Moments and microseconds."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.times import from_us, in_force, to_us


@given(st.datetimes(timezones=st.timezones()))
def test_no_microsecond_is_lost(moment: datetime) -> None:
    assert from_us(to_us(moment)) == moment.astimezone(UTC)


def test_the_epoch_is_the_beginning() -> None:
    assert from_us(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert to_us(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)) == -1_000_000


@pytest.mark.parametrize(
    ("at_us", "found"), [(99, "second"), (20, "second"), (19, "first"), (10, "first"), (9, "first")]
)
def test_what_began_last_is_in_force_and_the_first_before_all(at_us: int, found: str) -> None:
    assert in_force([(20, "second"), (10, "first")], at_us) == found


def test_nothing_is_in_force_where_nothing_began() -> None:
    with pytest.raises(IndexError):
        in_force([], 0)
