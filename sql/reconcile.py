"""Reconcile: telemetry beside what providers' own reports say, the variance, and what explains it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ..models.errors import UsageError
from ..models.lake import Lake
from ..models.prices import PriceBook
from ..models.settings import Reconciling
from ..models.windows import Window
from .answers import Restatement
from .database import rows
from .reconcile_rows import GROUPS, Compared, compared
from .reconciliation import Reconciliation
from .relations import read
from .usage_rates import UsageRates
from .usage_sides import Names, Period, Sides, shift_days, sides_of

_SIDES = Path(__file__).with_name("reconcile_sides")


@dataclass(frozen=True)
class Question:
    """What is asked: a window of whole UTC days, what rows are split by, and which reports and vendor; none: all."""

    window: Window
    by: str | None
    group_by: tuple[str, ...]
    reports: frozenset[str]
    provider: str | None


def question(
    asked: Window,
    settings: Reconciling,
    *,
    by: str | None,
    group_by: Sequence[str],
    reports: Sequence[str],
    provider: str | None,
) -> Question:
    """Check what is asked. Raises UsageError for a grain or a name that there is not."""
    if by not in (None, "day"):
        raise UsageError(f'--by "{by}": accepted is day: reports tell no hours')
    for name in group_by:
        if name not in GROUPS:
            raise UsageError(f'reconcile cannot be grouped by "{name}": it can by {", ".join(GROUPS)}')
    if "project" in group_by and settings.project is None:
        raise UsageError(
            "--group-by project: say which dimension of calls a report's project is, such as "
            'reconcile.project = "team" in llmcost.toml'
        )
    first, last = (datetime.combine(day, time(), UTC) for day in (asked.first_day, asked.last_day))
    default = ("model", *(["project"] if settings.project else []))
    chosen = tuple(dict.fromkeys(group_by)) or default
    return Question(Window(first, last + timedelta(days=1)), by, chosen, frozenset(reports), provider)


def needed(lake: Lake, asked: Question) -> Window:
    """The window whose calls are compared: to the end of the last period, and a day more on both sides.

    Raises UsageError where no report speaks of the window.
    """
    days = [d for d in lake.report_days("provider_usage") if asked.window.first_day <= d <= asked.window.last_day]
    ends = [asked.window.until]
    for day in days:
        with lake.mart_file("provider_usage", day).open("rb") as file:
            ends += pq.ParquetFile(file).read(["period_end"])["period_end"].to_pylist()
    if not days:
        raise UsageError(
            f"no report speaks of {asked.window.first_day} to {asked.window.last_day}: "
            "import one with: llmcost reconcile import FILE, or fetch it with: llmcost reconcile fetch openai"
        )
    return Window(asked.window.since - timedelta(days=1), max(ends) + timedelta(days=1))


def reconcile(
    con: duckdb.DuckDBPyConnection,
    asked: Question,
    book: PriceBook,
    settings: Reconciling,
    restated: tuple[Restatement, ...],
) -> Reconciliation:
    """Answer from a session over the needed window."""
    con.execute("set variable project = $value", {"value": settings.project})
    con.execute("set variable by_key = $value", {"value": "key_id" in asked.group_by})
    telemetry = rows(con, read(_SIDES / "telemetry_hours.sql").text)
    reported: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows(con, read(_SIDES / "reported_periods.sql").text):
        if asked.window.since <= row["since"] < asked.window.until:
            reported[report_of(row["source"])].append(row)
    if unknown := asked.reports - reported.keys():
        raise UsageError(f'no report "{min(unknown)}" in the window: there are {", ".join(sorted(reported))}')
    names = Names(book)
    telemetry.sort(key=lambda row: row["hour"])
    for row in telemetry:
        names.of(row["provider"], row["model"])
    can = {"provider", "model", "service_tier"}
    can |= {"project_id"} if settings.project else set()
    can |= {"key_id"} if "key_id" in asked.group_by else set()
    found, notes = [], []
    for report in sorted(asked.reports or reported):
        told = [row for row in reported[report] if _is_of(row, asked.provider, names)]
        if not told:
            continue
        ours = [row for row in telemetry if _is_of(row, asked.provider, names)]
        window = Period(asked.window.since, asked.window.until)
        sides = sides_of(report, told, ours, names, window=window, dimensions=can, own_names=settings.names)
        offset = shift_days(sides)
        notes += _notes(sides, asked, told, offset)
        found.append(compared(sides, asked.by, asked.group_by, UsageRates(book)))
    if not found:
        raise UsageError(f'no report tells of provider "{asked.provider}" in the window')
    notes += _unreported(telemetry, asked, found, names)
    return Reconciliation(
        asked.window,
        asked.by,
        asked.group_by,
        pa.concat_tables([each.table for each in found]),
        pa.concat_tables([each.causes for each in found]),
        tuple(each.totals for each in found),
        tuple(notes),
        restated,
    )


def report_of(source: str) -> str:
    """The report that a source is part of: usage and costs of one provider are one.

    >>> report_of("openai-costs"), report_of("anthropic-usage"), report_of("aws-cur")
    ('openai', 'anthropic', 'aws-cur')
    """
    return source.removesuffix("-usage").removesuffix("-costs")


def _is_of(row: Mapping[str, Any], provider: str | None, names: Names) -> bool:
    return provider is None or names.of(row["provider"], row["model"])[0] == provider.lower()


def _notes(sides: Sides, asked: Question, told: Sequence[Mapping[str, Any]], offset: timedelta | None) -> list[str]:
    """What of a report was not compared, and why."""
    notes = []
    unsplit = [name for name in asked.group_by if GROUPS[name] not in sides.coarse]
    if unsplit:
        notes.append(f"{sides.report}: not every part of the report tells {', '.join(unsplit)}: compared without")
    if not sides.tells_money:
        notes.append(f"{sides.report}: the report tells tokens only: import its costs to compare money")
    if not sides.tells_tokens:
        notes.append(f"{sides.report}: the report tells money only: import its usage to compare tokens")
    if sides.outside_calls:
        notes.append(
            f"{sides.report}: {sides.outside_calls:,} calls of the window, ${sides.outside_cost:,.2f}, are on days "
            "of which the report does not speak"
        )
    partial = sorted({row["since"].date().isoformat() for row in told if row["partial_at"]})
    if partial:
        notes.append(f"{sides.report}: imported before its end: {', '.join(partial)}")
    if offset is not None:
        hours = int(offset.total_seconds()) // 3600
        notes.append(f"{sides.report}: its days begin at {hours % 24:02}:00 UTC, by its counts")
    return notes


def _unreported(
    telemetry: Sequence[Mapping[str, Any]], asked: Question, found: Sequence[Compared], names: Names
) -> list[str]:
    """Calls of vendors of which no report speaks."""
    known = {vendor for each in found for vendor in each.vendors}
    cost, calls, vendors = Decimal(0), 0, set()
    for row in telemetry:
        vendor = names.of(row["provider"], row["model"])[0]
        is_asked = asked.window.since <= row["hour"] < asked.window.until and asked.provider is None
        if is_asked and vendor not in known and None not in known:
            cost += row["cost_usd"] or 0
            calls += row["calls"]
            vendors.add(vendor or "unknown")
    if not calls:
        return []
    return [f"no report tells of {', '.join(sorted(vendors))}: {calls:,} calls, ${cost:,.2f}"]
