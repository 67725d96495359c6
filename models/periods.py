"""The periods that a budget is for: days, weeks from Monday and calendar months of a time zone.

`now` is always passed in, so everything here is a pure function.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from .windows import Window


class Period(StrEnum):
    """How long a ceiling holds before spend counts from nothing again."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"

    def days(self, today: date) -> tuple[date, date]:
        """The first day of the period that holds `today`, and the day after its last.

        >>> [str(day) for day in Period.WEEKLY.days(date(2026, 11, 26))]
        ['2026-11-23', '2026-11-30']
        >>> [str(day) for day in Period.MONTHLY.days(date(2026, 12, 31))]
        ['2026-12-01', '2027-01-01']
        """
        if self is Period.DAILY:
            return today, today + timedelta(days=1)
        if self is Period.WEEKLY:
            monday = today - timedelta(days=today.weekday())
            return monday, monday + timedelta(days=7)
        first = today.replace(day=1)
        return first, (first + timedelta(days=31)).replace(day=1)

    def window(self, now: datetime, tz: ZoneInfo) -> Window:
        """The instants of the period that holds `now`: local midnight to local midnight.

        >>> Period.DAILY.window(datetime(2026, 10, 25, 12, tzinfo=UTC), ZoneInfo("Europe/Berlin")).until.isoformat()
        '2026-10-25T23:00:00+00:00'
        """
        since, until = (_midnight(day, tz) for day in self.days(local_day(now, tz)))
        return Window(since, until)


def local_day(now: datetime, tz: ZoneInfo) -> date:
    """The day that it is at `now` in `tz`."""
    return now.astimezone(tz).date()


def _midnight(day: date, tz: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), tz).astimezone(UTC)
