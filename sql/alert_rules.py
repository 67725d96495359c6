"""Alert rules: finding them, and what the settings change of them.

A rule is one `.sql` file: a built-in one, or the user's in the lake's or the project's `alerts/` folder. Its header
says what it reads, the window of its calls, its severity, cool-down and parameters. alert.py asks it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import get_args

from ..models.alert_settings import SEVERITIES, Alerts, RuleSettings, Severity, Value
from ..models.errors import SettingsError, UsageError
from ..models.lake import Lake
from ..models.windows import length
from . import catalogue
from .relations import ALERTS, Relation, parsed, read

PROJECT_FOLDER = Path("alerts")
_PARAMETER = re.compile(r"--\s*param:\s*([a-z_][a-z0-9_]*)\s*=\s*('[^']*'|\S+)\s*(?:--\s*(.*))?")


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
