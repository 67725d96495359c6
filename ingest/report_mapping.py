"""Any other CSV as a report: a mapping in TOML says which column is which.

    source = "azure"                 # whose report; what is imported again replaces what this one said before
    provider = "azure"               # of every row, unless a column says it
    granularity = "day"              # or hour, or month: how long a row's time is
    time_zone = "UTC"                # of days and times without a zone
    date_format = "%d/%m/%Y"         # where they are not ISO 8601
    tokens_per_unit = 1000           # what the counts are in
    is_bill = true                   # false: the money is an estimate

    [columns]                        # ours = theirs; period_start is needed, and tokens or a cost
    period_start = "Date"
    model = "Meter"
    input_tokens = "Input"
    billed_cost_usd = "Cost"
    currency = "Currency"

Without a mapping the file's columns must be named as ours are.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ..models.errors import ReportError, UsageError
from ..models.schema import TOKEN_COLUMNS
from ..models.windows import zone
from .reports import Row, Usage, count, decimal, instant, text, tier

_TEXTS = ("provider", "model", "project_id", "key_id", "service_tier", "line_item", "currency")
COLUMNS = ("period_start", *_TEXTS, "requests", *TOKEN_COLUMNS, "billed_cost_usd", "estimated_cost_usd")
"""What a column of the file can stand for."""

_GRAINS = ("hour", "day", "month")
_NAME = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True)
class Mapped:
    """What a mapping says; without a file, what holds where nothing is said."""

    source: str = "csv"
    provider: str | None = None
    granularity: str = "day"
    tz: ZoneInfo = field(default_factory=lambda: zone("UTC"))
    date_format: str | None = None
    tokens_per_unit: Decimal = Decimal(1)
    columns: Mapping[str, str] = field(default_factory=dict)
    is_bill: bool = True


def load(path: Path) -> Mapped:
    """Read a mapping. Raises ReportError naming what is wrong in it, and what is accepted."""
    try:
        said: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise ReportError(f'cannot read the mapping "{path}": {error}') from None
    columns = said.pop("columns", {})
    known = ("source", "provider", "granularity", "time_zone", "date_format", "tokens_per_unit", "is_bill")
    for name in said:
        if name not in known:
            raise ReportError(f'mapping "{path}": unknown entry "{name}": known are {", ".join(known)}, [columns]')
    for name in columns:
        if name not in COLUMNS:
            raise ReportError(f'mapping "{path}": [columns] {name}: it is none of {", ".join(COLUMNS)}')
    source = str(said.get("source", "csv"))
    if not _NAME.fullmatch(source):
        raise ReportError(f'mapping "{path}": source = "{source}": write letters, digits, - and _, such as azure')
    grain = said.get("granularity", "day")
    if grain not in _GRAINS:
        raise ReportError(f'mapping "{path}": granularity = "{grain}": accepted are {", ".join(_GRAINS)}')
    try:
        tz = zone(str(said.get("time_zone", "UTC")))
    except UsageError as error:
        raise ReportError(f'mapping "{path}": {error}') from None
    return Mapped(
        source=source,
        provider=text(said.get("provider")),
        granularity=grain,
        tz=tz,
        date_format=text(said.get("date_format")),
        tokens_per_unit=decimal(said.get("tokens_per_unit", 1), "tokens_per_unit") or Decimal(1),
        columns={name: str(theirs) for name, theirs in columns.items()},
        is_bill=bool(said.get("is_bill", True)),
    )


def usage(rows: Sequence[Row], mapped: Mapped) -> Iterator[Usage]:
    """The rows of a CSV under a mapping. Raises ReportError for a missing column and a wrong value."""
    if not rows:
        return
    names = {name: mapped.columns.get(name, name) for name in COLUMNS}
    if names["period_start"] not in rows[0] and "period_start" not in mapped.columns and "day" in rows[0]:
        names["period_start"] = "day"
    listed = ", ".join(map(str, rows[0]))
    for ours in ("period_start", *mapped.columns):
        if names[ours] not in rows[0]:
            raise ReportError(
                f'no column "{names[ours]}" for {ours}; the file has {listed}: name it in [columns] of --mapping'
            )
    told = [name for name in (*TOKEN_COLUMNS, "billed_cost_usd", "estimated_cost_usd") if names[name] in rows[0]]
    if not told:
        raise ReportError(f"no column of tokens or money; the file has {listed}: name it in [columns] of --mapping")
    for row in rows:
        yield _row({ours: row.get(theirs) for ours, theirs in names.items()}, mapped)


def _row(said: Mapping[str, Any], mapped: Mapped) -> Usage:
    start, end = _period(said["period_start"], mapped)
    billed = decimal(said["billed_cost_usd"], "billed_cost_usd") if mapped.is_bill else None
    estimated = decimal(said["estimated_cost_usd"], "estimated_cost_usd")
    if not mapped.is_bill and estimated is None:
        estimated = decimal(said["billed_cost_usd"], "billed_cost_usd")
    tokens: dict[str, Any] = {name: _tokens(said[name], name, mapped) for name in TOKEN_COLUMNS}
    return Usage(
        "csv",
        start,
        end,
        text(said["provider"]) or mapped.provider,
        model=text(said["model"]),
        project_id=text(said["project_id"]),
        key_id=text(said["key_id"]),
        service_tier=tier(said["service_tier"]),
        line_item=text(said["line_item"]),
        requests=count(said["requests"], "requests"),
        **tokens,
        cost=estimated if billed is None else billed,
        currency=text(said["currency"]),
        is_billed=billed is not None or estimated is None,
    )


def _tokens(value: object, name: str, mapped: Mapped) -> int | None:
    number = decimal(value, name)
    if number is None or mapped.tokens_per_unit == 1:
        return count(number, name)
    return count(round(number * mapped.tokens_per_unit), name)


def _period(value: object, mapped: Mapped) -> tuple[datetime, datetime]:
    """The UTC bounds of a row's hour, day or month in the mapping's time zone."""
    moment = _moment(value, mapped.date_format) if mapped.date_format else None
    if moment is None:
        moment = instant(value, "period_start")
        is_bare = not isinstance(value, str) or not re.search(r"(Z|UTC|[+-]\d\d:?\d\d)$", value.strip())
        moment = moment.replace(tzinfo=None) if is_bare else moment.astimezone(mapped.tz).replace(tzinfo=None)
    local = moment.replace(tzinfo=mapped.tz) if moment.tzinfo is None else moment.astimezone(mapped.tz)
    local = local.replace(minute=0, second=0, microsecond=0)
    if mapped.granularity == "hour":
        start = local.astimezone(UTC)
        return start, start + timedelta(hours=1)
    local = local.replace(hour=0)
    if mapped.granularity == "month":
        local = local.replace(day=1)
        after = (local + timedelta(days=32)).replace(day=1)
    else:
        after = local + timedelta(days=1)  # on the wall's clock: 23 or 25 hours where it is set
    return local.astimezone(UTC), after.astimezone(UTC)


def _moment(value: object, date_format: str) -> datetime:
    try:
        return datetime.strptime(str(value).strip(), date_format)  # noqa: DTZ007  (its zone is the mapping's)
    except ValueError:
        raise ReportError(f'period_start is "{value}", which is not as date_format = "{date_format}"') from None
