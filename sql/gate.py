"""Whether a candidate may replace a baseline: both measured over one window, and held against limits.

Passes where every judged measure is shown to be within its limit; fails where one is shown to be beyond; otherwise
there is too little data. The statistics are in gate_statistics.py, the requests of each side in `sides/*.sql`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import duckdb

from ..models.errors import UsageError
from ..models.windows import Window
from . import catalogue
from .answers import Restatement
from .database import rows
from .gate_answer import Finding, GateReport, Limits, Measure, Measured, Side, Verdict
from .gate_figures import SIDE_NAMES, figures_of
from .gate_statistics import Change, TooLittle, needed
from .relations import SIDES, read


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: what the calls of each side have, by dimension, and the limits.

    An evaluator or outcome of None is the one told most.
    """

    baseline: Mapping[str, str]
    candidate: Mapping[str, str]
    window: Window
    limits: Limits
    confidence: float
    evaluator: str | None
    outcome: str | None

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Every dimension that a side names."""
        return tuple(dict.fromkeys((*self.baseline, *self.candidate)))


def asked(
    baseline: Mapping[str, str],
    candidate: Mapping[str, str],
    asked_for: Window,
    *,
    limits: Limits,
    confidence: float = 0.95,
    evaluator: str | None = None,
    outcome: str | None = None,
) -> Asked:
    """Check a question. Raises UsageError for sides, limits or a confidence that cannot be meant."""
    known = catalogue.info_of(read(SIDES / "side_requests.sql")).group_by
    for name, side in zip(SIDE_NAMES, (baseline, candidate), strict=True):
        if not side:
            raise UsageError(f"--{name}: say what its calls have, such as --{name} prompt_version=v4")
        for dimension in side:
            if dimension not in known:
                raise UsageError(f'--{name} "{dimension}": accepted are {", ".join(known)}')
    if dict(baseline) == dict(candidate):
        raise UsageError("--baseline and --candidate are the same: nothing can be compared")
    if not 0.5 <= confidence < 1:
        raise UsageError(f"--confidence {confidence}: it must be at least 0.5 and below 1, such as 0.95")
    for name, limit, least in (
        ("--max-pass-rate-drop", limits.pass_rate_drop, 0.0),
        ("--max-latency-increase", limits.latency_increase, 0.0),
        ("--max-cost-increase", limits.cost_increase, -0.99),
    ):
        if limit is not None and not limit >= least:
            raise UsageError(f"{name} {limit}: it must be at least {least:g}, in parts of one: 0.02 is two percent")
    judged = Limits(
        *(
            None if limit is None or math.isinf(limit) else limit
            for limit in (limits.pass_rate_drop, limits.latency_increase, limits.cost_increase)
        )
    )
    if judged == Limits(None, None, None):
        raise UsageError("no limit is left to judge by: set one of them to less than inf")
    return Asked(baseline, candidate, asked_for, judged, confidence, evaluator, outcome)


def judge(con: duckdb.DuckDBPyConnection, question: Asked, restated: tuple[Restatement, ...] = ()) -> GateReport:
    """Answer from a connection that has `calls`, `trace_evals` and `trace_outcomes` over the window.

    Leaves tables of its own on it. Raises UsageError for an evaluator or outcome that nobody told, while others are.
    """
    _place(con, question)
    evaluator = _named(con, "evaluator", question.evaluator)
    outcome = _named(con, "outcome", question.outcome)
    _table(con, "side_verdicts", {"evaluator": evaluator})
    _table(con, "side_cases", {"outcome": outcome})
    limits = _limits(question.limits, has_evals=evaluator is not None, has_outcomes=outcome is not None)
    failing = failing_confidence(question.confidence, len(limits))
    subjects = {
        Measured.EVAL_RATE: evaluator,
        Measured.COST_PER_EVAL: evaluator,
        Measured.OUTCOME_RATE: outcome,
        Measured.COST_PER_OUTCOME: outcome,
    }
    measures = tuple(
        _measure(con, measured, subjects.get(measured), limits.get(measured), (question.confidence, failing))
        for measured in Measured
    )
    return GateReport(
        verdict_of([measure.finding for measure in measures if measure.finding]),
        question.window,
        _side(con, "baseline", question.baseline),
        _side(con, "candidate", question.candidate),
        question.confidence,
        failing,
        evaluator,
        outcome,
        question.limits,
        measures,
        restated,
    )


def failing_confidence(confidence: float, judged: int) -> float:
    """The confidence at which one of so many judged measures is beyond its limit: Bonferroni's.

    That all of them are within needs none: a candidate that is worse in one passes no more often than that one alone.

    >>> round(failing_confidence(0.95, 5), 4)
    0.99
    """
    return 1 - (1 - confidence) / max(judged, 1)


def finding_of(change: Change, limit: float, *, is_floor: bool) -> Finding:
    """What a change says about a limit, by its intervals at the confidence and at the failing one, in that order."""
    holding, failing = change.intervals
    if is_floor:
        is_within, is_beyond = holding.low >= limit, failing.high < limit
    else:
        is_within, is_beyond = holding.high <= limit, failing.low > limit
    return Finding.WITHIN if is_within else Finding.BEYOND if is_beyond else Finding.OPEN


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    """What follows from the findings of every judged measure."""
    if Finding.BEYOND in findings:
        return Verdict.FAIL
    is_shown = bool(findings) and all(finding is Finding.WITHIN for finding in findings)
    return Verdict.PASS if is_shown else Verdict.NOT_ENOUGH_DATA


def _place(con: duckdb.DuckDBPyConnection, question: Asked) -> None:
    bound = {
        f"{name}_{dimension}": side.get(dimension)
        for name, side in zip(SIDE_NAMES, (question.baseline, question.candidate), strict=True)
        for dimension in question.dimensions
    }
    _table(con, "side_requests", bound, *question.dimensions)


def _table(con: duckdb.DuckDBPyConnection, name: str, bound: Mapping[str, str | None], *dimensions: str) -> None:
    con.execute(f"create or replace temp table {name} as {_text(name, *dimensions)}", dict(bound))


@cache
def _text(name: str, *dimensions: str) -> str:
    """The SQL of a relation; `dimensions` are names from its own list."""
    return catalogue.render(catalogue.info_of(read(SIDES / f"{name}.sql")), group_by=dimensions)


def _named(con: duckdb.DuckDBPyConnection, kind: str, wanted: str | None) -> str | None:
    """The evaluator or outcome to judge by: the one that is wanted, else the one that both sides have most of."""
    names = [row["name"] for row in rows(con, _text("told_names")) if row["kind"] == kind]
    if wanted is not None and names and wanted not in names:
        raise UsageError(f'no {kind} "{wanted}" of a request of these sides: told are {", ".join(names)}')
    return wanted or next(iter(names), None)


def _limits(limits: Limits, *, has_evals: bool, has_outcomes: bool) -> dict[Measured, float]:
    """What each judged measure is held against; without any verdict the pass rate is among them, and stays open."""
    found: dict[Measured, float] = {}
    if limits.pass_rate_drop is not None:
        if has_evals or not has_outcomes:
            found[Measured.EVAL_RATE] = -limits.pass_rate_drop
        if has_outcomes:
            found[Measured.OUTCOME_RATE] = -limits.pass_rate_drop
    if limits.latency_increase is not None:
        found |= dict.fromkeys((Measured.LATENCY_P50, Measured.LATENCY_P95), limits.latency_increase)
    if limits.cost_increase is not None:
        told = [Measured.COST_PER_EVAL] if has_evals else []
        told += [Measured.COST_PER_OUTCOME] if has_outcomes else []
        found |= dict.fromkeys(told or [Measured.COST_PER_REQUEST], limits.cost_increase)
    return found


def _measure(
    con: duckdb.DuckDBPyConnection,
    measured: Measured,
    subject: str | None,
    limit: float | None,
    confidences: tuple[float, float],
) -> Measure:
    told = figures_of(con, measured)
    change, missing = None, None
    try:
        change = told.change(confidences)
    except TooLittle as reason:
        missing = str(reason)
    finding, more = None, None
    if limit is not None:
        finding = Finding.OPEN if change is None else finding_of(change, limit, is_floor=measured.is_rate)
    if limit is not None and change is not None and finding is Finding.OPEN:
        more = needed(
            change.estimate,
            change.intervals[0],
            limit,
            min(told.sizes),
            is_ratio=not measured.is_rate,
            is_floor=measured.is_rate,
        )
    return Measure(
        measured,
        subject,
        *told.figures,
        *told.sizes,
        change.estimate if change else None,
        change.intervals[0] if change else None,
        limit,
        finding,
        missing,
        more,
    )


def _side(con: duckdb.DuckDBPyConnection, name: str, conditions: Mapping[str, str]) -> Side:
    query = """
        select
            count(*) as requests,
            coalesce(sum(calls), 0)::bigint as calls,
            coalesce(sum(unpriced_calls), 0)::bigint as unpriced_calls,
            count(*) filter (cost_usd is null) as unpriced_requests,
            count(*) filter (is_mixed) as mixed_requests,
            coalesce(sum(cost_usd), 0) as cost_usd,
        from side_requests
        where side = $side
    """
    (found,) = rows(con, query, {"side": name})
    return Side(dict(conditions), **found)
