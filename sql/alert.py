"""What alert rules find at an instant: violations, which nothing here remembers (models/alerts.py does).

The rows of a rule have `entity` and `period`, `observed`, `baseline` and `threshold`, and whatever else is to be
shown. It may read every relation, the user's files, the baselines, and each rollup over the rule's window under the
rollup's name. Its parameters are bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import duckdb
import pyarrow as pa

from ..models.alerts import Figure, Looked, Violation
from ..models.errors import LlmcostError, UsageError
from ..models.lake import Lake
from ..models.windows import zone
from . import catalogue
from .alert_rules import Rule
from .database import quoted, reason
from .files import open_files
from .relations import BASELINES, Relation, closure, parsed, read
from .standing_rows import SCHEMA

FIGURES = ("observed", "baseline", "threshold")
_NEEDED = ("entity", "period", *FIGURES)
_STANDINGS = "budget_standings"
_NANO = Decimal("0.000000001")
_TRACES_SHOWN = 5

Standings = Callable[[datetime], pa.Table]


def relations(lake: Lake, asked: Collection[Rule]) -> set[str] | None:
    """The relations that these rules read, those of rollups and baselines too; None for whatever there is."""
    if any(rule.is_users for rule in asked):
        return None  # a user's own may read what its header does not name
    known = catalogue.rollups(lake)
    found = set[str]()
    for name in {name for rule in asked for name in rule.reads}:
        if (path := BASELINES / f"{name}.sql").exists():
            found |= {*read(path).reads}
        elif info := known.get(catalogue.spoken(name)):
            found |= {*info.reads}
        elif name != _STANDINGS:
            found.add(name)
    return closure(found)


class Looker:
    """A session in which rules are asked; its calls reach back as far as the longest of their windows.

    The instant is moved from one look to the next: what the session was given once is not made again.
    """

    def __init__(
        self, con: duckdb.DuckDBPyConnection, lake: Lake, standings: Standings = lambda _: SCHEMA.empty_table()
    ) -> None:
        """`standings` says how budgets stand at an instant; it may raise what the rules that read it then say."""
        self._con = con
        self._standings = standings
        self._lake = lake
        self._rollups = catalogue.rollups(lake)
        self._there = set[str]()

    def look(self, asked: Iterable[Rule], now: datetime, tz: str) -> list[Looked]:
        """What each rule finds at `now`; one that is broken says so in its result, and stops no other."""
        _set(self._con, now=now, since=now, until=now, today=now.astimezone(zone(tz)).date().isoformat())
        self._there.discard(_STANDINGS)
        found = []
        for rule in asked:
            try:
                violations, problem = self._violations(rule, now), None
            except LlmcostError as error:
                violations, problem = [], str(error)
            except duckdb.Error as error:
                violations, problem = [], f'alert rule "{rule.path}": {reason(error)}'
            found.append(Looked(rule.name, rule.first_sentence, rule.severity, rule.cool_down, violations, problem))
        return found

    def _violations(self, rule: Rule, now: datetime) -> list[Violation]:
        if rule.problem:
            raise UsageError(rule.problem)
        relation = parsed(rule.path)
        _set(self._con, since=now - rule.window)
        for name in rule.reads:
            if name not in self._there:
                self._offer(name, rule, now)
        bound = {each.name: each.value for each in rule.parameters if re.search(rf"\${each.name}\b", relation.text)}
        return violations_of(self._con.sql(relation.text, params=bound or None).to_arrow_table(), relation, rule)

    def _offer(self, name: str, rule: Rule, now: datetime) -> None:
        """Make a relation that a rule reads: a baseline, a rollup over whatever window is set, or a file's."""
        info = self._rollups.get(catalogue.spoken(name))
        if name == _STANDINGS:
            self._con.register(name, self._standings(now))
        elif (path := BASELINES / f"{name}.sql").exists():
            offer_baseline(self._con, read(path))
        elif info is None:
            open_files(self._con, self._lake, [name], rule.path)
        elif info.problem:
            raise UsageError(info.problem)
        else:
            open_files(self._con, self._lake, info.reads, info.path)
            self._con.execute(f"create temp view {quoted(name)} as {catalogue.render(info)}")
        self._there.add(name)


def offer_baseline(con: duckdb.DuckDBPyConnection, baseline: Relation) -> None:
    """Make a baseline of the session's calls, a function that gives a relation.

    The variable `now` must be set: a function's text is bound when it is made, and again each time it is used.
    """
    con.execute(f"create temp macro {baseline.name}({baseline.facts['argument']}) as table {baseline.text}")


def violations_of(table: pa.Table, relation: Relation, rule: Rule) -> list[Violation]:
    """A rule's rows. Raises UsageError for a column that is needed and not there."""
    for name in _NEEDED:
        if name not in table.column_names:
            raise UsageError(
                f'alert rule "{rule.path}": its rows have no column "{name}": give it {", ".join(_NEEDED)}'
            )
    columns = {column.name: column for column in relation.columns}
    figures = {name: _figure(name, columns.get(name)) for name in FIGURES}
    return [
        _violation(row, rule, figures)
        for row in table.to_pylist(maps_as_pydicts="lossy")
        if row["entity"] is not None
    ]


def _figure(name: str, column: Any) -> Figure:
    if column is None:
        return Figure(meaning=name, value=None)
    meaning = column.meaning.partition(";")[0]
    return Figure(meaning=meaning.removesuffix(f", {column.unit}"), value=None, unit=column.unit)


def _violation(row: Mapping[str, Any], rule: Rule, figures: Mapping[str, Figure]) -> Violation:
    aside = (*_NEEDED, "severity", "trace_id", "trace_ids")
    shown = {name: str(value) for name, value in row.items() if name not in aside}
    told = {name: value for name, value in shown.items() if row[name] is not None}
    traces = [*(row.get("trace_ids") or ()), row.get("trace_id")]
    return Violation(
        entity=str(row["entity"]),
        period=str(row["period"]),
        severity=None if rule.has_said_severity else row.get("severity"),
        shown=told,
        trace_ids=tuple(dict.fromkeys(trace for trace in traces if trace))[:_TRACES_SHOWN],
        **{name: _told(figure, row[name]) for name, figure in figures.items()},
    )


def _told(figure: Figure, value: Any) -> Figure:
    """The figure with its value; money to the nano-dollar."""
    number = None if value is None else Decimal(str(value))
    if number is not None and figure.unit == "USD":
        number = number.quantize(_NANO, ROUND_HALF_UP)
    return figure.model_copy(update={"value": number})


def _set(con: duckdb.DuckDBPyConnection, **variables: object) -> None:
    for name, value in variables.items():
        con.execute(f"set variable {name} = $value", {"value": value})
