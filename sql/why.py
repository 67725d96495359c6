"""Why a cost changed: two windows of one lake, decomposed into drivers and the segments that move them.

The sums come from `drivers/*.sql`, the mathematics from decomposition.py and segments.py; this puts them together.
Only calls of known cost are decomposed: a request all of whose calls are unpriced is in neither window, nor is its
success, and each window says how many calls that concerns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any

import duckdb

from ..models.errors import UsageError
from ..models.windows import Window, window, zone
from . import catalogue
from .answers import Restatement
from .compare import earlier_window
from .cost_change import CostChange, DriverChange, ModelFactors, WindowFigures
from .database import rows
from .decomposition import Decomposition, Driver, Factor, Model, Sums, WindowSums, decompose, rounded
from .driver_changes import driver_change, driver_segments, moved_share, usd
from .driver_figures import figures
from .relations import DRIVERS, read
from .segments import Sides, allocate, weigh

NAMES = ("cost-per-outcome",)
DEFAULT_DIMENSIONS = ("feature", "model", "prompt_version", "agent_name")
_SIDES = ("before", "after")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: the two windows, the outcome (None for the one told most often) and the dimensions."""

    name: str
    before: Window
    after: Window
    outcome: str | None
    dimensions: tuple[str, ...]

    @property
    def union(self) -> Window:
        """The window that holds both."""
        return Window(min(self.before.since, self.after.since), max(self.before.until, self.after.until))


def asked(
    name: str,
    *,
    since: str,
    until: str | None,
    compare: str,
    outcome: str | None,
    group_by: Sequence[str],
    now: datetime,
    tz: str,
) -> Asked:
    """Read a question as people write it; `compare` is "previous" or the start of a window of the same length.

    Raises UsageError for a name, a dimension or windows that cannot be asked.
    """
    wanted = catalogue.spoken(name)
    if wanted not in NAMES:
        raise UsageError(f'why "{name}": what can be explained is {", ".join(NAMES)}')
    known = catalogue.info_of(read(DRIVERS / "work_cells.sql")).group_by
    for dimension in group_by:
        if dimension not in known:
            raise UsageError(f'{wanted} cannot be explained by "{dimension}": it can by {", ".join(known)}')
    after = window(since, until, now=now, tz=zone(tz))
    before = earlier_window(compare, after, now=now, tz=zone(tz))
    if before.since < after.until and after.since < before.until:
        raise UsageError(
            f'--compare "{compare}" gives a window from {before.since.isoformat()} to {before.until.isoformat()}, '
            f"which overlaps the one from {after.since.isoformat()}: "
            f"start it {after.until - after.since} before that, or earlier"
        )
    return Asked(wanted, before, after, outcome, tuple(dict.fromkeys(group_by)) or DEFAULT_DIMENSIONS)


def explain(con: duckdb.DuckDBPyConnection, question: Asked, restated: tuple[Restatement, ...] = ()) -> CostChange:
    """Answer from a connection that has the relations `calls` and `trace_outcomes` over both windows.

    Leaves tables of its own on it. Raises UsageError for an outcome that nobody told.
    """
    outcome = _prepare(con, question)
    totals = {row["side"]: row for row in rows(con, _text("window_totals"))}
    of_model = _values(con, "model")
    whole = decompose(*_windows(of_model, totals))
    own = figures(whole)
    values = {name: of_model if name == "model" else _values(con, name) for name in question.dimensions}
    weights = weigh(whole)
    parts = {name: allocate(whole, of_one, weights) for name, of_one in values.items()}
    drivers = [
        driver_change(
            driver,
            own[driver],
            whole,
            [each for name in values for each in driver_segments(driver, whole, name, values[name], parts[name])],
        )
        for driver in sorted(Driver, key=lambda each: -moved_share(whole, each))
    ]
    return CostChange(
        question.name,
        outcome,
        _window_figures(question.before, whole.before, totals.get("before", {})),
        _window_figures(question.after, whole.after, totals.get("after", {})),
        _with_examples(con, question, drivers),
        tuple(_model_factors(whole)),
        question.dimensions,
        restated,
    )


def _prepare(con: duckdb.DuckDBPyConnection, question: Asked) -> str | None:
    """Sum the calls once, and judge the requests; the outcome they are judged by."""
    for name in ("work_cells", "told_outcomes", "requests"):
        con.execute(f"drop table if exists {name}")
    bound = {
        f"{side}_{end}": getattr(each, end)
        for side, each in zip(_SIDES, (question.before, question.after), strict=True)
        for end in ("since", "until")
    }
    con.execute(f"create temp table work_cells as {_text('work_cells', *question.dimensions)}", bound)
    con.execute("create temp table told_outcomes as select work_id, case_id, outcome, succeeded from trace_outcomes")
    names = [row["outcome"] for row in rows(con, _text("outcome_names"))]
    if question.outcome is not None and question.outcome not in names:
        told = f"told are {', '.join(names)}" if names else "no outcome was told"
        raise UsageError(f'no outcome "{question.outcome}" of a request in these windows: {told}')
    outcome = question.outcome or next(iter(names), None)
    con.execute(f"create temp table requests as {_text('requests')}", {"outcome": outcome})
    return outcome


@cache
def _text(name: str, *dimensions: str) -> str:
    """The SQL of a relation; `dimensions` are names from its own list."""
    return catalogue.render(catalogue.info_of(read(DRIVERS / f"{name}.sql")), group_by=dimensions)


def _windows(of_model: Mapping[Model, Sides], totals: Mapping[str, Mapping[str, Any]]) -> Sides:
    """The sums of the two windows, from those of their models."""
    before, after = (
        WindowSums(
            totals.get(side, {}).get("requests", 0),
            totals.get(side, {}).get("successes", 0),
            sum(each[place].evals_nano for each in of_model.values()),
            {model: sums for each in of_model.values() for model, sums in each[place].models.items()},
        )
        for place, side in enumerate(_SIDES)
    )
    return before, after


def _values(con: duckdb.DuckDBPyConnection, dimension: str) -> dict[str | None, Sides]:
    """The sums of each value of a dimension, before and after."""
    counted = {(row["side"], row["value"]): row for row in rows(con, _text("segment_requests", dimension))}
    evals: dict[tuple[str, str | None], int] = {}
    models: dict[tuple[str, str | None], dict[Model, Sums]] = {}
    for row in rows(con, _text("segment_sums", dimension)):
        key = row["side"], row["value"]
        if row["is_eval"]:
            evals[key] = evals.get(key, 0) + _nano(row["cost_usd"])
        else:
            tokens = (row[name] for name in _COUNTS)
            money = (_nano(row[name]) for name in _MONEY)
            models.setdefault(key, {})[row.get("model", row["value"])] = Sums(*tokens, *money)
    values = dict.fromkeys(value for _, value in (*evals, *models))
    return {
        value: (
            _side(("before", value), counted, evals, models),
            _side(("after", value), counted, evals, models),
        )
        for value in values
    }


def _side(
    key: tuple[str, str | None],
    counted: Mapping[tuple[str, str | None], Mapping[str, Any]],
    evals: Mapping[tuple[str, str | None], int],
    models: Mapping[tuple[str, str | None], Mapping[Model, Sums]],
) -> WindowSums:
    served = counted.get(key, {})
    return WindowSums(served.get("requests", 0), served.get("successes", 0), evals.get(key, 0), models.get(key, {}))


_COUNTS = ("calls", "input_tokens", "output_tokens", "paid_input_tokens", "paid_output_tokens")
_MONEY = ("full_input_usd", "input_usd", "output_usd", "call_usd")


def _nano(usd: Decimal) -> int:
    return int(usd.scaleb(9))


def _with_examples(
    con: duckdb.DuckDBPyConnection, question: Asked, changes: Sequence[DriverChange]
) -> tuple[DriverChange, ...]:
    """Traces of the window after that show each best: the most of what grew, the least of what fell."""
    moved = [each for each in changes if each.part_per_success_usd or each.part_total_usd]
    bound = {
        "drivers": [each.driver.value for each in moved],
        "directions": [_direction(each) for each in moved],
        "dimensions": [each.leading.dimension if each.leading else None for each in moved],
        "values": [each.leading.value if each.leading else None for each in moved],
    }
    found: dict[str, list[str]] = {}
    for row in rows(con, _text("examples", *question.dimensions), bound):
        found.setdefault(row["driver"], []).append(row["trace_id"])
    return tuple(replace(each, examples=tuple(found.get(each.driver.value, ()))) for each in changes)


def _direction(change: DriverChange) -> int:
    fell = (change.part_per_success_usd or change.part_total_usd) < 0
    return -1 if fell and change.driver not in (Driver.VOLUME, Driver.EVALS) else 1


def _window_figures(asked_for: Window, sums: WindowSums, totals: Mapping[str, Any]) -> WindowFigures:
    per_success = usd(rounded(Fraction(sums.cost_nano, sums.successes))) if sums.successes else None
    return WindowFigures(
        asked_for,
        requests=sums.requests,
        successes=sums.successes,
        undecided=totals.get("undecided", 0),
        calls=totals.get("calls", 0),
        unpriced_calls=totals.get("unpriced_calls", 0),
        unpriced_tokens=totals.get("unpriced_tokens", 0),
        unsplit_calls=totals.get("unsplit_calls", 0),
        cost_usd=usd(sums.cost_nano),
        cost_per_success_usd=per_success,
    )


def _model_factors(whole: Decomposition) -> Iterator[ModelFactors]:
    """Each model's factors, the dearest first."""
    pairs = whole.pairs()
    models = [lever.model for lever in whole.levers if lever.factor is Factor.SHARE]

    def cost(model: Model) -> int:
        return sum(side.models.get(model, Sums()).cost_nano for side in (whole.before, whole.after))

    def told(factor: Factor, model: Model, scale: Fraction = Fraction(1)) -> tuple[float, float]:
        before, after = pairs[factor, model]
        return float(before * scale), float(after * scale)

    for model in sorted(models, key=lambda model: (-cost(model), str(model))):
        yield ModelFactors(
            model,
            share=told(Factor.SHARE, model),
            input_tokens=told(Factor.INPUT, model),
            output_tokens=told(Factor.OUTPUT, model),
            input_price=told(Factor.INPUT_PRICE, model, Fraction(1, 1000)),
            output_price=told(Factor.OUTPUT_PRICE, model, Fraction(1, 1000)),
            call_price=told(Factor.CALL_PRICE, model, Fraction(1, 10**9)),
            input_cache=told(Factor.INPUT_CACHE, model),
            output_cache=told(Factor.OUTPUT_CACHE, model),
        )
