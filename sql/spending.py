"""What was spent, kept in memory and brought up to date: exact sums of the lake's calls by day, level and entity.

A day's sums are made by one query over its `calls` mart. A day whose file is another one than before is summed anew
and every other is as it was, so what is kept equals what starting from nothing would give.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ..models.budgets import COLUMNS, Budgets
from ..models.lake import TABLES, Lake
from ..models.money import nanos
from ..models.periods import Period, local_day
from ..models.settings import Settings
from ..models.verdicts import NOTHING, NOTHING_HELD, Counter, Held, RunFigures, Spend, Standing
from ..models.windows import Window
from .asking import Asking, Seen
from .database import rows
from .questions import Progress
from .relations import SPEND, read
from .run_steps import run_figures

RUN_DAYS = 2
"""UTC days, up to today, in which an agent's run is looked for."""

Hidden = Callable[[str, str], str]
"""A value of a column as it stands in the lake: a hash, where the settings say so."""


def as_said(_: str, value: str) -> str:
    """Values stand in the lake as they were said."""
    return value


@dataclass(frozen=True, slots=True)
class _Day:
    """What one UTC day's calls come to, and which file said so."""

    identity: object
    sums: pa.Table
    models: frozenset[tuple[str, str]]
    runs: Mapping[str, RunFigures]


@dataclass(frozen=True, slots=True)
class _Turn:
    """One turn of a period: its instants, its first local day and the day after its last."""

    window: Window
    days: tuple[date, date]


@dataclass(frozen=True)
class Spent:
    """What was spent, as of an instant: everything that had landed by then is in it."""

    budgets: Budgets
    as_of: datetime
    sums: pa.Table
    models: Mapping[str, frozenset[str]]
    """Models as priced, by the name that requests have for them."""
    runs: Mapping[str, RunFigures]
    hidden: Hidden = as_said
    _totals: dict[tuple[date, date], dict[tuple[str, str], Spend]] = field(default_factory=dict)
    _turns: dict[Period, _Turn] = field(default_factory=dict)

    def standing(self, counter: Counter, now: datetime, held: Held = NOTHING_HELD) -> Standing:
        """How a ceiling stands in the period that holds `now`."""
        return Standing(counter, self._turn(counter.ceiling.period, now).window, self.spend(counter, now), held)

    def spend(self, counter: Counter, now: datetime) -> Spend:
        """What counts against a ceiling in the period that holds `now`."""
        totals = self.totals(counter.ceiling.period, now)
        level, entity = counter.ceiling.level, counter.entity
        if not counter.ceiling.is_shared:
            return totals.get((level, self.hidden(COLUMNS[level], entity)), NOTHING)
        shared = (f"{level} like", entity)  # no level is called so
        if shared not in totals:
            matching = (
                spend for (of, name), spend in totals.items() if of == level and fnmatch.fnmatchcase(name, entity)
            )
            totals[shared] = sum(matching, NOTHING)
        return totals[shared]

    def totals(self, period: Period, now: datetime) -> dict[tuple[str, str], Spend]:
        """Spend by level and entity, as the lake names it, in the period that holds `now`."""
        first, until = self._turn(period, now).days
        if (first, until) not in self._totals:
            days = self.sums.column("local_day")
            inside = pc.and_(pc.greater_equal(days, pa.scalar(first)), pc.less(days, pa.scalar(until)))
            measures = [(name, "sum") for name in ("cost", "bound", "calls", "unpriced_calls")]
            summed = self.sums.filter(inside).group_by(["level", "entity"]).aggregate(measures)
            columns = [summed.column(f"{name}_sum").to_pylist() for name, _ in measures]
            keys = zip(summed.column("level").to_pylist(), summed.column("entity").to_pylist(), strict=True)
            self._totals[first, until] = {key: Spend(*figures) for key, *figures in zip(keys, *columns, strict=True)}
        return self._totals[first, until]

    def _turn(self, period: Period, now: datetime) -> _Turn:
        """The period that holds `now`; looked up once, because every decision asks for several."""
        turn = self._turns.get(period)
        if turn is None or not turn.window.since <= now < turn.window.until:
            days = period.days(local_day(now, self.budgets.tz))
            turn = self._turns[period] = _Turn(period.window(now, self.budgets.tz), days)
        return turn

    def models_of(self, asked: str) -> tuple[str, ...]:
        """A model as a request names it, and as what it turned out to be."""
        return (asked, *sorted(self.models.get(asked, frozenset()) - {asked}))


class Spending:
    """Keeps what was spent in a lake under budgets; `now` is the clock. Use from one thread at a time."""

    def __init__(self, lake: Lake, settings: Settings, now: Callable[[], datetime], hidden: Hidden = as_said) -> None:
        self._lake = lake
        self._settings = settings
        self._now = now
        self._hidden = hidden
        self._asking = Asking(lake, settings, now)
        self._budgets: Budgets | None = None
        self._days: dict[date, _Day] = {}
        self._signature: object = None
        self._spent: Spent | None = None

    def look(self, budgets: Budgets, progress: Progress | None = None) -> Spent:
        """What was spent by now under `budgets`; changed days are derived first, where the lake can be written.

        Raises what a question raises.
        """
        if budgets != self._budgets:
            self._budgets, self._days, self._signature = budgets, {}, None
        now = self._now()
        if budgets.is_empty:
            return Spent(budgets, now, _NO_SUMS, {}, {}, self._hidden)
        window = _window(budgets, now)
        signature = self._look_around(window)
        if self._spent is not None and signature == self._signature:
            self._spent = replace(self._spent, as_of=now)
            return self._spent
        days = self._asking.window(
            partial(self._sum, budgets, window),
            window,
            tz=budgets.tz.key,
            progress=progress,
            wanted=("calls",),
        )
        self._days, self._signature = days, signature
        self._spent = _spent(budgets, now, days.values(), self._hidden)
        return self._spent

    def _look_around(self, window: Window) -> object:
        """What changes when something landed or a day's calls were derived; cheap."""
        logs = [self._lake.table(name) / "_delta_log" for name in TABLES]
        marts = [self._lake.mart_file("calls", day) for day in window.days()]
        prices = sorted(self._lake.prices.glob("*.toml"))
        return window.first_day, [(path, _identity(path)) for path in (*logs, *marts, *prices)]

    def _sum(self, budgets: Budgets, window: Window, con: duckdb.DuckDBPyConnection, seen: Seen) -> dict[date, _Day]:
        found: dict[date, _Day] = {}
        for day in seen.days:
            if not window.first_day <= day <= window.last_day:
                continue
            file = seen.lake.mart_file("calls", day)
            identity = (file, _identity(file))
            with_runs = bool(budgets.runs) and day > window.last_day - timedelta(days=RUN_DAYS + 1)
            kept = self._days.get(day)
            if kept is not None and kept.identity == identity and not with_runs:
                found[day] = kept
            else:
                found[day] = self._sum_day(budgets, con, day, identity, with_runs=with_runs)
        return found

    def _sum_day(
        self, budgets: Budgets, con: duckdb.DuckDBPyConnection, day: date, identity: object, *, with_runs: bool
    ) -> _Day:
        bound = budgets.unpriced
        parameters = {
            "day": day,
            "input_rate": nanos(bound.input),
            "output_rate": nanos(bound.output),
            "is_stated": bound.always,
        }
        con.execute(f"create or replace temp table bounded_calls as {_text('bounded_calls')}", parameters)
        levels = sorted({ceiling.level for ceiling in budgets.ceilings})
        sums = con.sql(_text("spend_by_entity"), params={"levels": levels}).to_arrow_table()
        models = frozenset((row["request_model"], row["model"]) for row in rows(con, _text("asked_models")))
        runs = run_figures(con, self._lake, self._settings, budgets, day) if with_runs else {}
        return _Day(identity, sums, models, runs)


def _window(budgets: Budgets, now: datetime) -> Window:
    """Whole UTC days with every call that any of the budgets' current periods may count."""
    starts = [ceiling.period.window(now, budgets.tz).since for ceiling in budgets.ceilings]
    starts.append(now - timedelta(days=RUN_DAYS - 1))
    first = datetime.combine(min(starts).date(), time(), UTC)
    return Window(first, datetime.combine(now.date() + timedelta(days=2), time(), UTC))


def _spent(budgets: Budgets, as_of: datetime, days: Sequence[_Day] | Any, hidden: Hidden) -> Spent:
    days = list(days)
    models: dict[str, set[str]] = {}
    runs: dict[str, RunFigures] = {}
    for day in days:
        for asked, model in day.models:
            models.setdefault(asked, set()).add(model)
        for run, figures in day.runs.items():
            runs[run] = figures.and_then(runs[run]) if run in runs else figures
    sums = pa.concat_tables([day.sums for day in days]) if days else _NO_SUMS
    spent = Spent(budgets, as_of, sums, {name: frozenset(found) for name, found in models.items()}, runs, hidden)
    for period in {ceiling.period for ceiling in budgets.ceilings}:
        spent.totals(period, as_of)
    return spent


def _text(name: str) -> str:
    return read(SPEND / f"{name}.sql").text


def _identity(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


_NO_SUMS = pa.schema(
    [
        ("local_day", pa.date32()),
        ("level", pa.string()),
        ("entity", pa.string()),
        *((name, pa.int64()) for name in ("calls", "unpriced_calls", "cost", "bound")),
    ]
).empty_table()
