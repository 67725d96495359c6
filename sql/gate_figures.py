"""The figures of a gate: what each measure is on either side, exactly, and what its change is estimated from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

import duckdb

from .database import rows
from .gate_answer import Measured
from .gate_statistics import Change, Sums, quantile_change, rate_change, ratio_change

SIDE_NAMES = ("baseline", "candidate")
_NANO = Decimal("0.000000001")
_RELATIONS = {
    Measured.EVAL_RATE: "side_verdicts",
    Measured.OUTCOME_RATE: "side_cases",
    Measured.COST_PER_REQUEST: "(select side, work_id as case_id, cost_usd, true as succeeded from side_requests)",
    Measured.COST_PER_EVAL: "side_verdicts",
    Measured.COST_PER_OUTCOME: "side_cases",
}
"""Where a rate or a cost is counted: rows with side, case_id, succeeded and cost_usd."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A measure's figure on each side, of how many, and how its change is estimated."""

    figures: tuple[Decimal | float | None, Decimal | float | None]
    sizes: tuple[int, int]
    change: Callable[[Sequence[float]], Change]


def figures_of(con: duckdb.DuckDBPyConnection, measured: Measured) -> Figures:
    """One measure, from a connection that has the relations of `sides/*.sql` as tables."""
    match measured:
        case Measured.EVAL_RATE | Measured.OUTCOME_RATE:
            return _rate(con, _RELATIONS[measured])
        case Measured.LATENCY_P50 | Measured.LATENCY_P95:
            return _latency(con, 0.5 if measured is Measured.LATENCY_P50 else 0.95)
        case _:
            return _cost(con, _RELATIONS[measured])


def _rate(con: duckdb.DuckDBPyConnection, relation: str) -> Figures:
    query = f"select side, count(*) as size, count(*) filter (succeeded) as good from {relation} group by side"
    counted = {row["side"]: (row["good"], row["size"]) for row in rows(con, query)}
    before, after = (counted.get(side, (0, 0)) for side in SIDE_NAMES)
    return Figures(
        (_over(*before), _over(*after)),
        (before[1], after[1]),
        lambda confidences: rate_change(before, after, confidences),
    )


def _over(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _latency(con: duckdb.DuckDBPyConnection, quantile: float) -> Figures:
    query = "select duration_ms from side_requests where side = $side and duration_ms is not null order by work_id"
    before, after = (con.execute(query, {"side": side}).fetchnumpy()["duration_ms"] for side in SIDE_NAMES)
    at = f"percentile_cont({quantile}) within group (order by duration_ms::double)"
    query = f"select side, {at} as at from side_requests group by side"
    figures = {row["side"]: row["at"] for row in rows(con, query)}
    return Figures(
        (figures.get("baseline"), figures.get("candidate")),
        (len(before), len(after)),
        lambda confidences: quantile_change(before, after, quantile, confidences),
    )


def _cost(con: duckdb.DuckDBPyConnection, relation: str) -> Figures:
    """Cost over successes, of what has a price: exact for people, in floating point for its interval."""
    counted = {
        row["side"]: row
        for row in rows(
            con,
            f"""
            select side, count(*) as size, sum(cost_usd) as cost_usd, count(*) filter (succeeded) as good
            from {relation}
            where cost_usd is not null
            group by side
            """,
        )
    }
    sums = []
    for side in SIDE_NAMES:
        found = con.execute(
            f"""
            select cost_usd::double as amounts, succeeded::int::double as counts
            from {relation}
            where side = $side and cost_usd is not null
            order by case_id
            """,
            {"side": side},
        ).fetchnumpy()
        sums.append(Sums(found["amounts"], found["counts"]))
    figures = [
        (row["cost_usd"] / row["good"]).quantize(_NANO, ROUND_HALF_UP) if row and row["good"] else None
        for row in map(counted.get, SIDE_NAMES)
    ]
    return Figures(
        (figures[0], figures[1]),
        (len(sums[0].amounts), len(sums[1].amounts)),
        lambda confidences: ratio_change(sums[0], sums[1], confidences),
    )
