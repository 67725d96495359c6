"""How one value reads to a person: money, counts, shares, moments, and what is not known.

Pure functions; `now` is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

NOT_APPLICABLE = "–"  # noqa: RUF001  a dash, so that nobody reads a minus
UNKNOWN = "unknown"
_MAX_PLACES = 9


def money_places(amounts: Iterable[Decimal]) -> int:
    """Decimal places for one column of money: two significant digits of its smallest amount, within reason.

    Beside dollars four places are enough, beside cents six; money() says of the rest that it is less.

    >>> money_places([Decimal("12.34"), Decimal("0")]), money_places([Decimal("12.34"), Decimal("0.0042")])
    (2, 4)
    >>> money_places([Decimal("12.34"), Decimal("0.00000066")]), money_places([Decimal("0.00000066")])
    (4, 8)
    """
    sizes = [abs(amount) for amount in amounts if amount]
    if not sizes:
        return 2
    most = 4 if max(sizes) >= 1 else 6 if max(sizes) >= Decimal("0.01") else _MAX_PLACES
    return min(most, max(2, 1 - min(sizes).adjusted()))


def money(amount: Decimal, places: int | None = None) -> str:
    """US dollars for people, never in scientific notation, and never 0 for what is not.

    >>> money(Decimal("1234.5")), money(Decimal("0.00417")), money(Decimal("-0.5")), money(Decimal(0))
    ('$1,234.50', '$0.0042', '-$0.50', '$0.00')
    >>> money(Decimal("0.00000066"), 4)
    '<$0.0001'
    """
    shown = places if places is not None else money_places([amount])
    if amount and not round(abs(amount), shown):
        return f"{'>-' if amount < 0 else '<'}${Decimal(1).scaleb(-shown):f}"
    return f"{'-' if amount < 0 else ''}${abs(amount):,.{shown}f}"


def number(value: float) -> str:
    """A count or a measure, with thousands separators.

    >>> number(12345), number(0.123456), number(3.0), number(float("nan"))
    ('12,345', '0.123', '3', 'unknown')
    """
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return UNKNOWN
    return f"{value:,.3f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"


def share(value: float) -> str:
    """A share of one as a percentage; what is not nothing never reads as 0%.

    >>> share(0.1234), share(0.0), share(0.0002), share(1.0)
    ('12.3%', '0%', '<0.1%', '100%')
    """
    if not math.isfinite(value):
        return UNKNOWN
    if 0 < abs(value) < 0.001:
        return "<0.1%"
    return f"{value * 100:.1f}".removesuffix(".0") + "%"


def duration(milliseconds: float) -> str:
    """A span's duration.

    >>> duration(0.42), duration(87), duration(1234), duration(95_000)
    ('0.4 ms', '87 ms', '1.2 s', '1 min 35 s')
    """
    if milliseconds < 1000:
        return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    return f"{minutes:,} min {seconds} s"


def moment(at: datetime) -> str:
    """An instant to the minute, with its zone.

    >>> from datetime import UTC
    >>> moment(datetime(2026, 11, 22, 5, 13, 44, tzinfo=UTC))
    '2026-11-22 05:13 UTC'
    """
    return at.strftime("%Y-%m-%d %H:%M %Z").strip()


def ago(at: datetime, now: datetime) -> str:
    """How long ago `at` was.

    >>> from datetime import UTC
    >>> now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    >>> ago(now - timedelta(seconds=3), now), ago(now - timedelta(hours=50), now), ago(now + timedelta(hours=1), now)
    ('3 s ago', '2 days ago', '60 min ahead of this clock')
    """
    gap = now - at
    text = _span_of_time(abs(gap))
    return f"{text} ago" if gap >= timedelta(0) else f"{text} ahead of this clock"


def _span_of_time(gap: timedelta) -> str:
    seconds = gap.total_seconds()
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} days"


def unit_of(name: str) -> str | None:
    """The unit of a column by the end of its name, as every relation of ours spells it.

    >>> unit_of("total_cost_usd"), unit_of("share_percent"), unit_of("calls")
    ('USD', 'percent', None)
    """
    return {"usd": "USD", "percent": "percent"}.get(name.rpartition("_")[2])


def column_of(values: Sequence[object], *, name: str, unit: str | None, is_dimension: bool) -> list[str]:
    """A whole column as text, so that the amounts of one column share their decimal places.

    What a NULL means depends on the column: a price nobody knows is "unknown", a cost per success without
    a success is a dash, and so is what an earlier window has no row for; a call without an owner is "unattributed".
    None of them is ever 0.
    """
    is_money = unit == "USD"
    places = money_places(v for v in values if isinstance(v, Decimal)) if is_money else None
    missing = NOT_APPLICABLE
    if is_dimension:
        missing = "unattributed"
    elif is_money and "cost" in name and "_per_" not in name and not name.startswith("previous_"):
        missing = UNKNOWN
    return [missing if value is None else _text(value, unit, places) for value in values]


def _text(value: object, unit: str | None, places: int | None) -> str:
    match value:
        case bool():
            text = "yes" if value else "no"
        case Decimal() | int() | float():
            text = _figure(value, unit, places)
        case datetime():
            text = value.strftime("%Y-%m-%d %H:%M:%S").removesuffix(":00")
        case dict():
            text = ", ".join(f"{key}={item}" for key, item in value.items())
        case list():
            text = ", ".join(map(str, value))
        case bytes():
            text = value.hex()
        case _:
            text = str(value)
    return one_line(text)


def one_line(text: str) -> str:
    """Text that others wrote, safe on a terminal: no control character moves the cursor or changes a colour.

    >>> one_line("refund\\x1b[2Jbot")
    'refund·[2Jbot'
    """
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "·" for sign in text)


def _figure(value: Decimal | float, unit: str | None, places: int | None) -> str:
    if not math.isfinite(value):
        return UNKNOWN
    if unit == "percent":
        return share(float(value) / 100)
    if unit == "USD":
        return money(value, places) if isinstance(value, Decimal) else money(Decimal(repr(value)))
    return f"{value:,f}" if isinstance(value, Decimal) else number(value)
