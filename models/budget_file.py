"""The file of budgets, `budgets.yaml`: read and checked whole, and read again when it changes.

    budgets:
      enabled: true                 # false: everything is allowed
      default_period: monthly       # or weekly (from Monday), daily
      warn_threshold: 0.8
      time_zone: UTC
      org: {limit: 10000, hard: true}
      teams: {support: {limit: 800, hard: true}, "*": {limit: 200}}
      agents: {refund-bot: [{limit: 20, period: daily}, {limit: 300, hard: true}]}
      runs: {refund-bot: {tokens: 500000, cost_usd: 2, tool_calls: 50, retries: 5, depth: 8}}

A section for each level: orgs, teams, customers, users, keys, tags, agents, models, providers.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from .budgets import COLUMNS, WHOLE, Budgets, Ceiling, RunLimits, UnpricedBound
from .errors import BudgetFileError, UsageError
from .money import amount_of
from .periods import Period
from .windows import zone

_SECTIONS = {f"{level}s": level for level in COLUMNS}


def load(path: Path) -> Budgets:
    """The budgets in the file `path`. Raises BudgetFileError that names the entry; also if it is not there."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BudgetFileError(
            f'cannot read the budgets "{path}": {said}: docs/budgets.md says how it is written'
        ) from error
    return parse(text, str(path))


def parse(text: str, source: str = "budgets.yaml") -> Budgets:
    """The budgets that a YAML text says. Raises BudgetFileError that names the entry and what is wrong with it."""
    try:
        found = yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader, which also refuses names that repeat)
    except yaml.YAMLError as error:
        raise BudgetFileError(f'"{source}" is not YAML: {" ".join(str(error).split())}') from error
    try:
        return _budgets(_mapping(found, "the file", ("budgets",)).get("budgets"))
    except ValueError as error:
        raise BudgetFileError(f'budgets "{source}": {error}') from error


class BudgetFile:
    """The file of budgets, read again when it is another one than before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        """Why the file as it stands cannot be used; the budgets are then those of before."""
        self.budgets = Budgets()
        self._seen: object = None

    def look(self) -> bool:
        """Read the file if it changed; whether the budgets or the problem may have. No file is no budgets."""
        try:
            status = self.path.stat()
            seen: object = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            seen = None
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self.budgets = Budgets() if seen is None else load(self.path)
            self.problem = None
        except BudgetFileError as error:
            self.problem = str(error)
        return True


class _Loader(yaml.SafeLoader):
    """YAML in which a name stands once: of two entries for one team, one would silently not hold."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f'"{twice[0]}" stands twice', node.start_mark)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


_TOP = ("enabled", "default_period", "warn_threshold", "time_zone", "unpriced", "org", *_SECTIONS, "runs")
_CEILING = ("limit", "hard", "period", "warn_threshold")
_RUN = ("tokens", "cost_usd", "tool_calls", "retries", "depth", "hard")


def _budgets(found: object) -> Budgets:
    top = _mapping(found, "budgets", _TOP)
    period = _period(top.get("default_period", Period.MONTHLY.value), "default_period")
    warn = _share(top.get("warn_threshold", "0.8"), "warn_threshold")
    ceilings: list[Ceiling] = []
    if "org" in top:
        ceilings += _ceilings("org", "org", WHOLE, top["org"], period=period, warn=warn)
    for section, level in _SECTIONS.items():
        for name, entry in _named(top.get(section), section):
            ceilings += _ceilings(f"{section}.{name}", level, name, entry, period=period, warn=warn)
    try:
        tz = zone(str(top.get("time_zone", "UTC")))
    except UsageError as error:
        raise ValueError(f"time_zone: {error}") from error
    return Budgets(
        tuple(ceilings),
        tuple(_run_limits(name, entry) for name, entry in _named(top.get("runs"), "runs")),
        tz,
        _flag(top.get("enabled", True), "enabled"),
        _unpriced(top.get("unpriced")),
    )


def _ceilings(
    place: str, level: str, name: str, entry: object, *, period: Period, warn: Decimal
) -> Iterator[Ceiling]:
    """The ceilings of one entity: an entry, or a list of them for several periods."""
    several = entry if isinstance(entry, list) else [entry]
    periods: set[Period] = set()
    for each in several:
        said = _mapping(each, place, _CEILING)
        if "limit" not in said:
            raise ValueError(f"{place} needs a limit, in US dollars")
        own = _period(said.get("period", period.value), f"{place}.period")
        if own in periods:
            raise ValueError(f"{place} has two {own} limits: keep one")
        periods.add(own)
        yield Ceiling(
            level,
            name,
            _amount(said["limit"], f"{place}.limit"),
            _flag(said.get("hard", False), f"{place}.hard"),
            own,
            _share(said["warn_threshold"], f"{place}.warn_threshold") if "warn_threshold" in said else warn,
        )


def _run_limits(agent: str, entry: object) -> RunLimits:
    place = f"runs.{agent}"
    said = _mapping(entry, place, _RUN)
    counts = {name: _count(said[name], f"{place}.{name}") for name in said if name not in ("cost_usd", "hard")}
    cost = _amount(said["cost_usd"], f"{place}.cost_usd") if "cost_usd" in said else None
    if cost is None and not counts:
        raise ValueError(f"{place} limits nothing: say one of {', '.join(_RUN[:-1])}")
    return RunLimits(agent, cost=cost, hard=_flag(said.get("hard", True), f"{place}.hard"), **counts)


def _unpriced(entry: object) -> UnpricedBound:
    if entry is None:
        return UnpricedBound()
    said = _mapping(entry, "unpriced", ("input", "output"))
    if len(said) < 2:
        raise ValueError("unpriced needs input and output, in US dollars per million tokens")
    numbers = {}
    for name, value in said.items():
        _amount(value, f"unpriced.{name}")
        numbers[name] = Decimal(str(value))
    return UnpricedBound(**numbers, always=True)


def _named(found: object, section: str) -> Iterator[tuple[str, object]]:
    """The entries of a section by name."""
    if found is None:
        return
    if not isinstance(found, dict):
        raise ValueError(f"{section} must be names, each with a limit")
    for name, entry in found.items():
        if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
            raise ValueError(f"{section}: {name!r} is not a name: put it in quotes")
        yield str(name), entry


def _mapping(found: object, place: str, known: Iterable[str]) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"{place} = {found!r} must have entries of its own: {', '.join(known)}")
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(str(name), list(known), n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f'{place} has an unknown entry "{name}": {hint}')
    return found


def _amount(value: object, place: str) -> int:
    try:
        return amount_of(value)
    except ValueError as error:
        raise ValueError(f"{place} = {error}") from error


def _period(value: object, place: str) -> Period:
    if not isinstance(value, str) or value not in list(Period):
        raise ValueError(f"{place} = {value!r} is none of {', '.join(Period)}")
    return Period(value)


def _share(value: object, place: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{place} = {value!r} is not a share between 0 and 1, such as 0.8")
    try:
        share = Decimal(str(value))
    except ArithmeticError:
        share = Decimal(-1)
    if not share.is_finite() or not 0 < share <= 1:
        raise ValueError(f"{place} = {value!r} is not a share between 0 and 1, such as 0.8")
    return share


def _flag(value: object, place: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{place} = {value!r} is neither true nor false")
    return value


def _count(value: object, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{place} = {value!r} is not a whole number from 0 on")
    return value
