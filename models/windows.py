"""Windows of time: half-open UTC intervals, and the words people write for them.

`now` is always passed in, so everything here is a pure function.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .errors import UsageError

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_RELATIVE = re.compile(r"(\d{1,6})\s*([mhdw])")
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_ACCEPTED = (
    "accepted are 90m, 24h, 7d, 4w, today, yesterday, a date (2026-11-22) "
    "or a time (2026-11-22T14:00, with Z or +02:00 for another zone)"
)


@dataclass(frozen=True)
class Window:
    """The instants `since <= t < until`, both aware and in UTC."""

    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        if self.since >= self.until:
            raise UsageError(
                f"the window is empty: --since {self.since.isoformat()} is not before "
                f"--until {self.until.isoformat()}"
            )

    @property
    def first_day(self) -> date:
        """The UTC day that holds `since`."""
        return self.since.date()

    @property
    def last_day(self) -> date:
        """The last UTC day with an instant in the window."""
        return (self.until - timedelta(microseconds=1)).date()

    def days(self) -> Iterator[date]:
        """Every UTC day the window touches, in order."""
        for offset in range((self.last_day - self.first_day).days + 1):
            yield self.first_day + timedelta(days=offset)


def zone(name: str) -> ZoneInfo:
    """The time zone `name` (IANA).

    >>> zone("Europe/Berlin").key
    'Europe/Berlin'
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, IsADirectoryError):
        raise UsageError(
            f'unknown time zone "{name}": use an IANA name such as UTC, Europe/Berlin, America/New_York'
        ) from None


def instant(text: str, *, now: datetime, tz: ZoneInfo) -> datetime:
    """The UTC instant that `text` names, seen from `now`; dates and bare times are read in `tz`.

    >>> berlin = zone("Europe/Berlin")
    >>> now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    >>> instant("7d", now=now, tz=berlin).isoformat()
    '2026-11-15T12:00:00+00:00'
    >>> instant("2026-11-22", now=now, tz=berlin).isoformat()
    '2026-11-21T23:00:00+00:00'
    """
    word = text.strip().lower()
    try:
        if match := _RELATIVE.fullmatch(word):
            return now - int(match[1]) * _UNITS[match[2]]
        if word == "now":
            return now
        midnight = now.astimezone(tz).replace(hour=0, minute=0, second=0, microsecond=0)
        if word == "today":
            return midnight.astimezone(UTC)
        if word == "yesterday":
            return (midnight - timedelta(days=1)).astimezone(UTC)
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise UsageError(f'cannot read the time "{text}": {_ACCEPTED}') from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=tz)
    return moment.astimezone(UTC)


def length(text: str) -> timedelta:
    """How long "30m", "6h", "14d" or "4w" is. Raises UsageError for anything else.

    >>> length("36h"), length("0m")
    (datetime.timedelta(days=1, seconds=43200), datetime.timedelta(0))
    """
    if match := _RELATIVE.fullmatch(text.strip().lower()):
        return int(match[1]) * _UNITS[match[2]]
    raise UsageError(f'cannot read the length of time "{text}": write 30m, 6h, 14d or 4w')


def same_length(asked: Window, start: datetime | None, tz: ZoneInfo) -> Window:
    """The window from `start` that is as long as `asked`; without `start`, the one just before.

    Whole days of `tz` stay whole days, though one of them has 23 or 25 hours.

    >>> berlin = zone("Europe/Berlin")
    >>> october = Window(*(datetime(2026, month, 1, tzinfo=berlin).astimezone(UTC) for month in (10, 11)))
    >>> same_length(october, None, berlin).since.astimezone(berlin).isoformat()
    '2026-08-31T00:00:00+02:00'
    """
    since, until = asked.since.astimezone(tz), asked.until.astimezone(tz)
    local = start.astimezone(tz) if start else since
    if not all(_is_midnight(at) for at in (since, until, local)):
        length = asked.until - asked.since
        begin = start or asked.since - length
        return Window(begin, begin + length)
    days = timedelta(days=(until.date() - since.date()).days)
    first = local if start else local - days  # on the wall's clock
    return Window(first.astimezone(UTC), (first + days).astimezone(UTC))


def _is_midnight(local: datetime) -> bool:
    return (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0)


def window(since: str, until: str | None, *, now: datetime, tz: ZoneInfo) -> Window:
    """The window between two instants as people write them; `until` defaults to `now`.

    A relative `since` such as 7d counts back from `now`, to the second.
    """
    end = instant(until, now=now, tz=tz) if until else now
    return Window(instant(since, now=now, tz=tz), end)


def month(text: str, *, now: datetime, tz: ZoneInfo) -> Window:
    """A calendar month of `tz`, half-open: 2026-10, or `last` and `this` as seen from `now`.

    >>> found = month("2026-10", now=datetime(2026, 11, 22, tzinfo=UTC), tz=zone("Europe/Berlin"))
    >>> found.since.isoformat(), found.until.isoformat()
    ('2026-09-30T22:00:00+00:00', '2026-10-31T23:00:00+00:00')
    """
    here = now.astimezone(tz)
    word = text.strip().lower()
    if word in ("last", "this"):
        back = 1 if word == "last" else 0
        year, number = divmod(here.year * 12 + here.month - 1 - back, 12)
    elif match := _MONTH.fullmatch(word):
        year, number = int(match[1]), int(match[2]) - 1
    else:
        raise UsageError(f'cannot read the month "{text}": accepted are 2026-10, last and this')
    if not 1 <= year < 9999:
        raise UsageError(f'there are no calls in the month "{text}": accepted are 2026-10, last and this')
    first = datetime(year, number + 1, 1, tzinfo=tz)
    after = datetime(year + (number + 1) // 12, (number + 1) % 12 + 1, 1, tzinfo=tz)
    return Window(first.astimezone(UTC), after.astimezone(UTC))
