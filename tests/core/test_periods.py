from datetime import UTC, date, datetime, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.periods import Period, midnight, period_of, utc_text, zone

ZONES = sorted(available_timezones() - {"Factory", "localtime"})
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("moment", "timezone", "start", "end"),
    [
        (utc(2026, 11, 21), "UTC", utc(2026, 11, 1), utc(2026, 12, 1)),
        (utc(2026, 12, 31, 23, 59), "UTC", utc(2026, 12, 1), utc(2027, 1, 1)),
        (utc(2026, 11, 21), "America/New_York", utc(2026, 11, 1, 4), utc(2026, 12, 1, 5)),
        (utc(2026, 11, 1, 3, 59), "America/New_York", utc(2026, 10, 1, 4), utc(2026, 11, 1, 4)),
        (utc(2026, 3, 1), "Asia/Kathmandu", utc(2026, 2, 28, 18, 15), utc(2026, 3, 31, 18, 15)),
    ],
)
def test_calendar_month(moment: datetime, timezone: str, start: datetime, end: datetime) -> None:
    assert period_of(moment, timezone) == Period(start=start, end=end, timezone=timezone)


@pytest.mark.parametrize(("month", "hours"), [(11, 721), (3, 743), (4, 720)])
def test_daylight_saving_in_new_york(month: int, hours: int) -> None:
    period = period_of(utc(2026, month, 15), "America/New_York")
    assert period.end - period.start == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("moment", "start", "end"),
    [
        (utc(2026, 2, 15), utc(2026, 1, 31), utc(2026, 2, 28)),
        (utc(2026, 2, 28), utc(2026, 2, 28), utc(2026, 3, 31)),
        (utc(2026, 3, 30, 23, 59), utc(2026, 2, 28), utc(2026, 3, 31)),
        (utc(2028, 2, 29), utc(2028, 2, 29), utc(2028, 3, 31)),
        (utc(2027, 1, 1), utc(2026, 12, 31), utc(2027, 1, 31)),
    ],
)
def test_anniversary_is_clamped_to_short_months(
    moment: datetime, start: datetime, end: datetime
) -> None:
    period = period_of(moment, "UTC", anchor=utc(2025, 8, 31, 17, 30))
    assert (period.start, period.end) == (start, end)


def test_anniversary_day_is_the_customers() -> None:
    anchor = utc(2026, 1, 15, 2)  # the 14th in New York
    period = period_of(utc(2026, 1, 20), "America/New_York", anchor)
    assert period.start == utc(2026, 1, 14, 5)


def test_a_day_begins_where_the_clock_jumps_over_midnight() -> None:
    # Beirut, 2024-03-31: 00:00 becomes 01:00.
    assert midnight(date(2024, 3, 31), "Asia/Beirut") == utc(2024, 3, 30, 22)
    # Havana, 2024-11-03: 01:00 becomes 00:00; the day begins at the first midnight.
    assert midnight(date(2024, 11, 3), "America/Havana") == utc(2024, 11, 3, 4)


@given(MOMENTS, st.sampled_from(ZONES), st.none() | MOMENTS)
def test_periods_tile_time(moment: datetime, timezone: str, anchor: datetime | None) -> None:
    period = period_of(moment, timezone, anchor)
    assert moment in period
    assert period.end not in period
    assert timedelta(days=27) < period.end - period.start < timedelta(days=32)
    assert period_of(period.end, timezone, anchor).start == period.end
    before = period_of(period.start - timedelta(microseconds=1), timezone, anchor)
    assert before.end == period.start
    assert period.start.timestamp() % 900 == 0


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "x\0y", "America"])
def test_no_such_timezone(name: str) -> None:
    with pytest.raises(ValueError, match="is not a timezone: write an IANA name"):
        zone(name)


def test_utc_text() -> None:
    assert utc_text(utc(2026, 11, 1)) == "2026-11-01T00:00:00Z"
    assert (
        utc_text(datetime(2026, 11, 1, tzinfo=zone("America/New_York"))) == "2026-11-01T04:00:00Z"
    )
