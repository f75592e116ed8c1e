"""Billing periods: ``[start, end)`` between local midnights of the customer, kept in UTC.

Local midnights make a period as long as its days are: New York's November 2026 has 721 hours.
A calendar period is a month. An anniversary period starts on the day of the month on which the
subscription started, clamped to short months (the 31st is the 28th in February), as in Lago.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """``[start, end)``: aware UTC moments, both midnights in ``timezone``."""

    start: datetime
    end: datetime
    timezone: str

    def __contains__(self, moment: datetime) -> bool:
        """Tell whether a moment is in the period."""
        return self.start <= moment < self.end


@lru_cache(maxsize=1024)
def zone(timezone: str) -> ZoneInfo:
    """Return an IANA timezone; ``ValueError`` if there is none of that name."""
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        msg = f"{timezone!r} is not a timezone: write an IANA name such as 'Europe/Berlin' or 'UTC'"
        raise ValueError(msg) from error


def midnight(day: date, timezone: str) -> datetime:
    """Return when a day begins in a timezone, in UTC.

    Where the clock jumps over midnight, the day begins at the jump; where midnight comes twice,
    it begins at the first.
    """
    return datetime.combine(day, time(), zone(timezone)).astimezone(UTC)


def period_of(moment: datetime, timezone: str, anchor: datetime | None = None) -> Period:
    """Return the monthly period that holds ``moment`` (aware).

    Without ``anchor`` it is the calendar month; with it (the subscription's start) periods begin
    on the anchor's day of the month.
    """
    local = moment.astimezone(zone(timezone)).date()
    anchor_day = 1 if anchor is None else anchor.astimezone(zone(timezone)).day
    year, month = local.year, local.month
    if local < _clamped(year, month, anchor_day):
        year, month = _month_after(year, month, -1)
    following = _month_after(year, month, 1)
    return Period(
        start=midnight(_clamped(year, month, anchor_day), timezone),
        end=midnight(_clamped(*following, anchor_day), timezone),
        timezone=timezone,
    )


def utc_text(moment: datetime) -> str:
    """Write a moment as RFC 3339 in UTC: ``2026-11-01T00:00:00Z``."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _month_after(year: int, month: int, months: int) -> tuple[int, int]:
    index = year * 12 + month - 1 + months
    return index // 12, index % 12 + 1


def _clamped(year: int, month: int, day: int) -> date:
    return date(year, month, min(day, monthrange(year, month)[1]))
