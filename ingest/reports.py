"""Reports of providers and gateways: what they say was used and billed, as rows of one shape.

A reader turns what a file or an API says into `Usage` rows; here they are summed to what is stored. Nothing is
guessed: what a report does not tell is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from ..models.errors import ReportError
from ..models.schema import TOKEN_COLUMNS

_NANO = Decimal("1e-9")
_MOST_USD = Decimal(10) ** 9
_LENGTHS = {timedelta(minutes=1): "minute", timedelta(hours=1): "hour", timedelta(hours=25): "day"}
"""The most that each may last: a local day has up to 25 hours."""

_STANDARD = ("default", "standard", "on_demand", "auto", "standard_only")

Row = Mapping[str, Any]
"""A row of a file or a page of an API, as it was sent."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a report says of one period and one set of names; None is what it does not say.

    `input_tokens` are everything sent, cached or not. `cost` is in `currency`: a bill, or a tool's own estimate
    where `is_billed` is False. A row with a `record_id` tells one request; the others total their period.
    """

    report: str
    period_start: datetime
    period_end: datetime
    provider: str | None = None
    model: str | None = None
    project_id: str | None = None
    key_id: str | None = None
    service_tier: str | None = None
    line_item: str | None = None
    record_id: str | None = None
    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    audio_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_output_tokens: int | None = None
    cost: Decimal | None = None
    currency: str | None = None
    is_billed: bool = True

    @property
    def granularity(self) -> str:
        """How long its period is."""
        if self.record_id is not None:
            return "request"
        length = self.period_end - self.period_start
        return next((name for most, name in _LENGTHS.items() if length <= most), "month")

    @property
    def day(self) -> date:
        """The UTC day on which its period starts."""
        return self.period_start.date()


_COUNTS = ("requests", *TOKEN_COLUMNS)
_NAMES = tuple(field.name for field in fields(Usage) if field.name not in (*_COUNTS, "cost"))


@dataclass(frozen=True)
class Report:
    """What was read of one report: rows summed to one for each period and names, and what to tell of it.

    One that `is_whole` speaks for all the time from its first day to its last; others for their periods alone.
    """

    source: str
    rows: tuple[Usage, ...]
    notes: tuple[str, ...] = ()
    is_whole: bool = False

    @property
    def first_day(self) -> date:
        """The UTC day on which its first period starts."""
        return min(row.day for row in self.rows)

    @property
    def last_day(self) -> date:
        """The UTC day on which its last period starts."""
        return max(row.day for row in self.rows)


def summed(rows: Iterable[Usage]) -> tuple[Usage, ...]:
    """Rows of one period and the same names as one: counts and money added exactly; None where no row tells any."""
    found: dict[tuple[Any, ...], Usage] = {}
    for row in rows:
        key = tuple(getattr(row, name) for name in _NAMES)
        if (before := found.get(key)) is None:
            found[key] = row
        elif row.record_id is not None:
            found[key] = row  # one request told twice is one
        else:
            found[key] = replace(
                before, **{name: _plus(getattr(before, name), getattr(row, name)) for name in (*_COUNTS, "cost")}
            )
    return tuple(found.values())


def with_quiet_days(rows: Sequence[Usage]) -> list[Usage]:
    """The rows, and for each day between the first and the last without one a row that says: nothing was used.

    For reports that list what was billed and have no line for a day without. The row has the first row's names of
    provider and report only.
    """
    said = {row.day for row in rows}
    if not said or not all(row.granularity in _LENGTHS.values() for row in rows):
        return list(rows)
    first, days = rows[0], (max(said) - min(said)).days
    quiet = [min(said) + timedelta(days=number) for number in range(days)]
    return [*rows, *(nothing_used(first.report, day, first) for day in quiet if day not in said)]


def nothing_used(report: str, day: date, like: Usage) -> Usage:
    """A row that says that on a UTC day nothing was used, in what `like` tells: tokens, money or both."""
    start = datetime.combine(day, time(), UTC)
    tokens = 0 if like.input_tokens is not None or like.output_tokens is not None else None
    return Usage(
        report,
        start,
        start + timedelta(days=1),
        provider=like.provider,
        input_tokens=tokens,
        output_tokens=tokens,
        cost=None if like.cost is None else Decimal(0),
        currency=like.currency,
        is_billed=like.is_billed,
    )


def _plus(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else one + other


def usd(row: Usage, rates: Mapping[str, Decimal]) -> tuple[Decimal | None, Decimal | None]:
    """A row's cost in US dollars to nine places, and the stated rate that made it so.

    Raises ReportError for a currency without a rate: none is looked up.
    """
    if row.cost is None:
        return None, None
    currency = (row.currency or "USD").upper()
    rate = Decimal(1) if currency == "USD" else rates.get(currency)
    if rate is None:
        raise ReportError(
            f"the report is in {currency}: say what one is worth in US dollars, such as --rate {currency}=1.08"
        )
    amount = (row.cost * rate).quantize(_NANO, ROUND_HALF_UP)
    if abs(amount) >= _MOST_USD:
        raise ReportError(f"a cost of {row.cost} {currency} is more than a report can hold")
    return amount, rate


def tier(word: object, *, is_batch: bool = False) -> str | None:
    """A service tier in one spelling; None where nothing is said.

    >>> tier("default"), tier("ON_DEMAND_FLEX"), tier(None, is_batch=True), tier("")
    ('standard', 'flex', 'batch', None)
    """
    if is_batch:
        return "batch"
    text = str(word or "").strip().lower().removeprefix("on_demand_").removeprefix("service_tier_")
    return "standard" if text in _STANDARD else text or None


def text(value: object) -> str | None:
    """A value as text; None where it is empty."""
    return (str(value).strip() or None) if value is not None else None


def count(value: object, name: str) -> int | None:
    """A whole number of tokens or requests; None where it is empty. Raises ReportError for anything else."""
    if value is None or value == "":
        return None
    number = decimal(value, name)
    if number is None or number != number.to_integral_value() or not 0 <= number < Decimal(10) ** 18:
        raise ReportError(f'{name} is "{value}": a count must be a whole number from 0 on')
    return int(number)


def decimal(value: object, name: str) -> Decimal | None:
    """A number with every digit that was sent; None where it is empty.

    Raises ReportError for anything else, commas too: nobody can say whether they part thousands or decimals.
    """
    if value is None or value == "":
        return None
    try:
        number = Decimal(repr(value) if isinstance(value, float) else str(value).strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or isinstance(value, bool):
        raise ReportError(f'{name} is "{value}", which is no number: write it as 1234.56')
    return number


def instant(value: object, name: str) -> datetime:
    """An instant in UTC of seconds since 1970, ISO 8601 text, a date or a datetime; without a zone it is UTC.

    Raises ReportError for anything else.
    """
    try:
        if isinstance(value, int | Decimal) or (isinstance(value, str) and re.fullmatch(r"\d{9,12}(\.0+)?", value)):
            return datetime.fromtimestamp(int(Decimal(value)), UTC)
        moment = datetime.fromisoformat(value.strip().removesuffix(" UTC")) if isinstance(value, str) else value
        if isinstance(moment, date) and not isinstance(moment, datetime):
            moment = datetime.combine(moment, time())
        if not isinstance(moment, datetime):
            raise ValueError
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ReportError(f'{name} is "{value}", which is no time: write it as 2026-11-22T14:03:00Z') from None
