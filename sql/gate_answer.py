"""What a gate answers with: both sides, how each measure changed, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from ..models.windows import Window
from .answers import Restatement


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a change lies, from `low` to `high`."""

    low: float
    high: float


class Measured(StrEnum):
    """What is measured on both sides."""

    EVAL_RATE = "pass rate"
    OUTCOME_RATE = "success rate"
    LATENCY_P50 = "latency p50"
    LATENCY_P95 = "latency p95"
    COST_PER_REQUEST = "cost per request"
    COST_PER_EVAL = "cost per successful eval"
    COST_PER_OUTCOME = "cost per outcome"

    @property
    def is_rate(self) -> bool:
        """Whether more is better, and its change is a difference; of the others it is a part of the baseline's."""
        return self in (Measured.EVAL_RATE, Measured.OUTCOME_RATE)


class Finding(StrEnum):
    """What the interval of a measure says about its limit."""

    WITHIN = "within"
    BEYOND = "beyond"
    OPEN = "open"


class Verdict(StrEnum):
    """What follows for the candidate."""

    PASS = "pass"  # noqa: S105  no password
    FAIL = "fail"
    NOT_ENOUGH_DATA = "not enough data"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much worse the candidate may be, in parts of one: of a rate, or of the baseline's latency or cost.

    None is not judged. A cost limit below 0 is an improvement that is asked for.
    """

    pass_rate_drop: float | None
    latency_increase: float | None
    cost_increase: float | None


DEFAULT_LIMITS = Limits(pass_rate_drop=0.02, latency_increase=0.10, cost_increase=None)
"""Two points of the pass rate, a tenth of the latency; cost is judged where it is asked for."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure on both sides. `subject` is the evaluator or outcome that it is about.

    Figures are Decimal dollars, milliseconds, or a rate in parts of one; None where there is nothing to measure.
    `change` and its interval are candidate minus baseline for a rate, else parts of the baseline's. `limit` is what
    the change must not be below (a rate) or above; None where it is not judged. `missing` says why there is no
    interval, `needed_requests` about how many a side would settle what is open.
    """

    measured: Measured
    subject: str | None
    baseline: Decimal | float | None
    candidate: Decimal | float | None
    baseline_size: int
    candidate_size: int
    change: float | None
    interval: Interval | None
    limit: float | None
    finding: Finding | None
    missing: str | None
    needed_requests: int | None


@dataclass(frozen=True, slots=True)
class Side:
    """One side: the condition on its calls, and how much there is of it. `cost_usd` is of its priced requests.

    `mixed` requests have calls of both sides; they are of the one that their first call is of.
    """

    conditions: Mapping[str, str]
    requests: int
    calls: int
    unpriced_calls: int
    unpriced_requests: int
    mixed_requests: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class GateReport:
    """The verdict on a candidate, and everything it rests on. `confidence` is that of the intervals.

    What is beyond its limit is so at `failing_confidence`, which is higher where several measures are judged.
    """

    verdict: Verdict
    window: Window
    baseline: Side
    candidate: Side
    confidence: float
    failing_confidence: float
    evaluator: str | None
    outcome: str | None
    limits: Limits
    measures: tuple[Measure, ...]
    restated: tuple[Restatement, ...] = ()
