"""Retention: what is older than the settings keep goes; what was derived from it stays, and is sealed.

Before a day's spans go, its marts and those of the day after, which read it, are made fresh; then the record of what
went is written (sealed.py); then the files are taken out. A sealed day is never derived again, because its inputs are
gone; its calls and rollups are answered from its marts. What arrives for a sealed day is in no mart: it is counted,
and `llmcost doctor` tells.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

from ..models.errors import LakeNotWritable
from ..models.lake import MARTS, Lake
from ..models.settings import Retention
from .derive import Rules
from .inventory import Inventory, ask_current
from .materialise import refresh_days
from .sealed import Sealed, landed_rows

Remove = Callable[[Path, Collection[Path]], bool]
"""Takes exact files out of the table at a root; False where one is not in it any more, and nothing was changed."""

Progress = Callable[[int, int], None]
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Retained:
    """What a pass removed of one relation: `files`, all of days before `before`."""

    relation: str
    before: date
    files: int


def retain(
    lake: Lake, rules: Rules, settings: Retention, *, now: datetime, remove: Remove, progress: Progress | None = None
) -> list[Retained]:
    """Remove what `settings` keep no longer; returns what was removed.

    Today is the day of `now`, but not later than the newest day with spans: a clock that leaps ahead removes nothing.
    Interrupted anywhere, the next pass goes on. Raises LakeNotWritable.
    """
    newest = max(Inventory.take(lake).files.get("spans", {}), default=None)
    if newest is None:
        return []
    today = min(now.date(), newest)
    done = []
    for table, days in (("spans", settings.spans_days), ("events", settings.events_days)):
        if days is not None:
            before = _seal(lake, rules, table, today - timedelta(days=days), now=now, progress=progress)
            done.append(Retained(table, before, _remove_landed(lake, table, before, remove)))
    if settings.marts_days is not None:
        before = today - timedelta(days=settings.marts_days)
        done.append(Retained("marts", before, _remove_marts(lake, before)))
    return [each for each in done if each.files]


def _seal(lake: Lake, rules: Rules, table: str, before: date, *, now: datetime, progress: Progress | None) -> date:
    """Make fresh what reads the days that go, then record that they go; returns before which day all go."""
    sealed = Sealed.read(lake)
    was = sealed.spans_before if table == "spans" else sealed.events_before
    if was is not None and before <= was:
        return was

    def derive(inventory: Inventory) -> None:
        days = [day for day in inventory.days() if day <= before]  # the last reads the day before it
        refresh_days(lake, inventory, rules, days, progress, now=now)

    # Rows that land while the marts are made are not in them: they count as late.
    rows = landed_rows(lake.table(table))
    if not any(day < before for day in rows):
        return was or before
    ask_current(lake, derive)
    late = max(0, rows.get(was, 0) - getattr(sealed, f"boundary_{table}")) if was else 0
    said = {
        f"{table}_before": before,
        f"leaving_{table}": sum(count for day, count in rows.items() if day < before),
        f"boundary_{table}": rows.get(before, 0),
        f"late_{table}": getattr(sealed, f"late_{table}") + late,
    }
    replace(sealed, **said).write(lake)
    return before


def _remove_landed(lake: Lake, table: str, before: date, remove: Remove) -> int:
    """Take out all files of days before `before`; what came after they were sealed is counted as late."""
    for _ in range(_TRIES):
        files = [
            path for day, paths in Inventory.take(lake).files.get(table, {}).items() if day < before for path in paths
        ]
        rows = sum(count for day, count in landed_rows(lake.table(table)).items() if day < before)
        if not files:
            return 0
        if remove(lake.table(table), files):
            sealed = Sealed.read(lake)
            if table == "spans":
                late = sealed.late_spans + max(0, rows - sealed.leaving_spans)
                replace(sealed, late_spans=late, leaving_spans=0).write(lake)
            else:
                late = sealed.late_events + max(0, rows - sealed.leaving_events)
                replace(sealed, late_events=late, leaving_events=0).write(lake)
            return len(files)
    return 0  # compacted under our hands again and again; the next pass is soon


def _remove_marts(lake: Lake, before: date) -> int:
    """Remove the marts of days before `before`; from then on no question counts those days."""
    sealed = Sealed.read(lake)
    if sealed.marts_before is None or sealed.marts_before < before:
        if not any(_mart_files(lake, before)):
            return 0
        replace(sealed, marts_before=before).write(lake)
    files = _mart_files(lake, before)
    try:
        for path in files:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise LakeNotWritable(f'cannot remove "{path}": {error.strerror or error}') from error
    return len(files)


def _mart_files(lake: Lake, before: date) -> list[Path]:
    return [
        path
        for name in MARTS
        for path in sorted(lake.mart(name).glob(f"day=*/{name}.parquet"))
        if date.fromisoformat(path.parent.name.removeprefix("day=")) < before
    ]
