"""Alert rules: finding them, checking what the settings change of them, and what they find at an instant.

A rule is one `.sql` file: a built-in one, or the user's in the lake's or the project's `alerts/` folder. Its rows are
violations: `entity` and `period`, `observed`, `baseline` and `threshold`, and whatever else is to be shown. It may
read every relation, the user's files, the baselines, and each rollup over the rule's window under the rollup's name.
Its parameters are bound. Nothing here remembers anything: models/alerts.py says what is told of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, get_args

import duckdb
import pyarrow as pa

from ..models.alert_settings import SEVERITIES, Alerts, RuleSettings, Severity, Value
from ..models.alerts import Figure, Looked, Violation
from ..models.errors import LlmcostError, SettingsError, UsageError
from ..models.lake import Lake
from ..models.windows import length, zone
from . import catalogue
from .database import quoted, reason
from .files import open_files
from .relations import ALERTS, BASELINES, Relation, closure, parsed, read
from .standing_rows import SCHEMA

PROJECT_FOLDER = Path("alerts")
FIGURES = ("observed", "baseline", "threshold")
_NEEDED = ("entity", "period", *FIGURES)
_PARAMETER = re.compile(r"--\s*param:\s*([a-z_][a-z0-9_]*)\s*=\s*('[^']*'|\S+)\s*(?:--\s*(.*))?")
_STANDINGS = "budget_standings"
_NANO = Decimal("0.000000001")
_TRACES_SHOWN = 5

Standings = Callable[[datetime], pa.Table]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A named value of a rule: what it means, and what it is."""

    name: str
    meaning: str
    value: Value | Decimal


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as the settings leave it; `problem` is why it cannot be asked."""

    name: str
    path: Path
    sentence: str = ""
    reads: tuple[str, ...] = ()
    window: timedelta = timedelta(days=1)
    severity: Severity = "warning"
    cool_down: timedelta = timedelta(0)
    parameters: tuple[Parameter, ...] = ()
    is_enabled: bool = True
    has_said_severity: bool = False
    """Whether the settings name the severity; then that of a row does not count."""

    problem: str | None = None

    @property
    def is_users(self) -> bool:
        """Whether it is the user's own file."""
        return self.path.parent != ALERTS

    @property
    def first_sentence(self) -> str:
        """What it says when it fires."""
        return self.sentence.partition(". ")[0].rstrip(".") + "."


def rules(lake: Lake | None, settings: Alerts, name: str | None = None) -> list[Rule]:
    """All rules by name, or the one called `name`; a user's file of a built-in name replaces it.

    Raises UsageError for an unknown name, SettingsError where the settings change a rule or parameter there is not.
    """
    found: dict[str, Rule] = {}
    for folder in (ALERTS, *([lake.alerts] if lake else []), PROJECT_FOLDER):
        for path in sorted(folder.glob("*.sql")):
            found[catalogue.spoken(path.stem)] = _of_file(path)
    for said, changed in settings.rules.items():
        known = catalogue.spoken(said)
        if known not in found:
            raise SettingsError(f'setting "alerts.rules.{said}": no such rule: {catalogue.nearest(known, found)}')
        found[known] = _changed(found[known], changed)
    if name is None:
        return [found[each] for each in sorted(found)]
    if (wanted := catalogue.spoken(name)) not in found:
        raise UsageError(f'unknown rule "{name}": {catalogue.nearest(wanted, found)} (all: llmcost alerts list)')
    return [found[wanted]]


def longest(asked: Iterable[Rule]) -> timedelta:
    """The longest window of these rules; a day at least."""
    return max([timedelta(days=1), *(rule.window for rule in asked)])


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


def _of_file(path: Path) -> Rule:
    name = catalogue.spoken(path.stem)
    try:
        relation = read(path) if path.parent == ALERTS else parsed(path)
        return Rule(
            name=name,
            path=path,
            sentence=relation.sentence,
            reads=relation.reads,
            window=length(relation.facts.get("window", "24h")),
            severity=_severity(relation),
            cool_down=length(relation.facts.get("cool_down", "0m")),
            parameters=tuple(_parameters(relation)),
        )
    except UsageError as error:
        return Rule(name, path, problem=f'alert rule "{path}": {error}')


def _severity(relation: Relation) -> Severity:
    said = relation.facts.get("severity", "warning")
    if said not in SEVERITIES:
        raise UsageError(f'severity: "{said}": accepted are {", ".join(get_args(Severity))}')
    return SEVERITIES[SEVERITIES.index(said)]


def _parameters(relation: Relation) -> Iterable[Parameter]:
    for line in relation.text.splitlines():
        if not line.startswith("--"):
            return
        if re.match(r"--\s*param:", line):
            if not (match := _PARAMETER.fullmatch(line.strip())):
                raise UsageError(f'cannot read "{line}": write -- param: factor = 2 -- what it means')
            yield Parameter(match[1], match[3] or "", _value(match[2]))


def _value(text: str) -> Value | Decimal:
    """A parameter's value as its file has it: a number, 'text', true or false.

    >>> _value("2"), _value("0.5"), _value("'free'"), _value("true")
    (2, Decimal('0.5'), 'free', True)
    """
    if text in ("true", "false"):
        return text == "true"
    if text.startswith("'"):
        return text[1:-1]
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"-?\d+\.\d+", text):
        return Decimal(text)
    raise UsageError(f"cannot read the parameter's value {text}: write a number, 'text', true or false")


def _changed(rule: Rule, changed: RuleSettings) -> Rule:
    """The rule under its settings. Raises SettingsError for a parameter that it does not have, or of another kind."""
    return replace(
        rule,
        is_enabled=changed.enabled,
        severity=changed.severity or rule.severity,
        has_said_severity=changed.severity is not None,
        cool_down=length(changed.cool_down) if changed.cool_down else rule.cool_down,
        parameters=_set_parameters(rule, changed.parameters) if not rule.problem else rule.parameters,
    )


def _set_parameters(rule: Rule, values: Mapping[str, Value]) -> tuple[Parameter, ...]:
    for name in values.keys() - {each.name for each in rule.parameters}:
        known = ", ".join(["enabled", "severity", "cool_down", *(each.name for each in rule.parameters)])
        raise SettingsError(f'setting "alerts.rules.{rule.name}.{name}": no such parameter: accepted are {known}')
    return tuple(
        replace(each, value=_of_kind(rule, each, values[each.name])) if each.name in values else each
        for each in rule.parameters
    )


def _of_kind(rule: Rule, parameter: Parameter, value: Value) -> Value | Decimal:
    is_number = isinstance(parameter.value, int | Decimal) and not isinstance(parameter.value, bool)
    if is_number and isinstance(value, int | float) and not isinstance(value, bool):
        return value if isinstance(value, int) else Decimal(repr(value))
    if type(value) is type(parameter.value):
        return value
    wanted = "a number" if is_number else "true or false" if isinstance(parameter.value, bool) else "text"
    raise SettingsError(f'setting "alerts.rules.{rule.name}.{parameter.name}" = {value!r}: it is {wanted}')
