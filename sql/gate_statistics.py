"""Confidence intervals of a change from a baseline to a candidate. Pure mathematics.

Rates have a closed form, Newcombe's; ratios of sums and of quantiles are bootstrapped, seeded, so that one history
has one answer. What is resampled is a whole request with all that was spent on it: its calls are not independent of
each other. docs/gate.md says why these methods, and where they come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from .gate_answer import Interval

Floats = npt.NDArray[np.float64]

RESAMPLES = 4000
"""Of each bootstrap: the tail of a 99.5% interval still has ten of them."""

LEAST_REQUESTS = 30
"""On either side, for the ratio of two costs or of two medians."""

LEAST_SUCCESSES = 10
"""On either side, where what is divided by can fail."""

LEAST_IN_TAIL = 5
"""Requests beyond a quantile on either side, for the ratio of two of them: 100 requests for a 95th percentile."""

_SEED = 20_261_122
_MOST_GROUPS = 5_000
_AT_ONCE = 200_000
"""Numbers that a bootstrap holds in memory at a time, roughly."""


class TooLittle(Exception):
    """There is too little for an interval; the text says of what."""


@dataclass(frozen=True, slots=True)
class Change:
    """An estimate of a change, and its interval at each confidence that was asked for, in that order."""

    estimate: float
    intervals: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Sums:
    """Requests of one side: what was spent on each, and how much of what the cost is divided by it gave.

    `amounts` are dollars or tokens, `counts` 1 for each request, or 1 for each success and 0 for the others.
    """

    amounts: Floats
    counts: Floats

    @property
    def ratio(self) -> float:
        """The amounts over the counts."""
        return float(self.amounts.sum() / self.counts.sum())


def rate_change(
    baseline: tuple[int, int], candidate: tuple[int, int], confidences: Sequence[float] = (0.95,)
) -> Change:
    """The difference of two rates, each (successes, of how many): candidate minus baseline, in parts of one.

    Newcombe's hybrid score interval: it holds at rates near 0 and 1 and for small numbers. Raises TooLittle where a
    side has none.

    >>> change = rate_change((56, 70), (48, 80))
    >>> round(change.estimate, 4), [round(x, 4) for x in (change.intervals[0].low, change.intervals[0].high)]
    (-0.2, [-0.3339, -0.0524])
    """
    _need(1, baseline[1], candidate[1], "requests with a verdict")
    before, after = baseline[0] / baseline[1], candidate[0] / candidate[1]
    estimate = after - before
    intervals = []
    for confidence in confidences:
        low_before, high_before = _wilson(*baseline, confidence)
        low_after, high_after = _wilson(*candidate, confidence)
        intervals.append(
            Interval(
                estimate - math.hypot(after - low_after, high_before - before),
                estimate + math.hypot(high_after - after, before - low_before),
            )
        )
    return Change(estimate, tuple(intervals))


def _wilson(successes: int, total: int, confidence: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / total
    middle = rate + z * z / (2 * total)
    half = z * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def ratio_change(
    baseline: Sums, candidate: Sums, confidences: Sequence[float] = (0.95,), resamples: int = RESAMPLES
) -> Change:
    """How much the ratio of sums changed, in parts of the baseline's: 0.1 is a tenth more.

    A studentised bootstrap of the logarithm of the quotient: costs are skewed, and its interval follows the skew.
    Raises TooLittle for under LEAST_REQUESTS requests, under LEAST_SUCCESSES counts, or a side that cost nothing.
    """
    _need(LEAST_REQUESTS, len(baseline.amounts), len(candidate.amounts), "requests")
    _need(LEAST_SUCCESSES, baseline.counts.sum(), candidate.counts.sum(), "successes")
    if baseline.amounts.sum() <= 0 or candidate.amounts.sum() <= 0:
        raise TooLittle("a side cost nothing")
    chance = np.random.default_rng(_SEED)
    before, after = (_log_ratio(side) for side in (baseline, candidate))
    estimate = float(after[0][0] - before[0][0])
    error = math.hypot(before[1][0], after[1][0])
    if error == 0:
        return Change(
            math.expm1(estimate), (Interval(math.expm1(estimate), math.expm1(estimate)),) * len(confidences)
        )
    drawn = [_resampled(side, chance, resamples) for side in (baseline, candidate)]
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.hypot(drawn[0][1], drawn[1][1])
        pivots = (drawn[1][0] - drawn[0][0] - estimate) / errors
    pivots = np.sort(pivots[np.isfinite(pivots)])
    intervals = []
    for confidence in confidences:
        low, high = np.quantile(pivots, [(1 - confidence) / 2, (1 + confidence) / 2])
        intervals.append(Interval(_grown(estimate - high * error), _grown(estimate - low * error)))
    return Change(_grown(estimate), tuple(intervals))


def _grown(logarithm: float) -> float:
    return math.expm1(min(logarithm, 700.0))


def _log_ratio(side: Sums) -> tuple[Floats, Floats]:
    """The logarithm of the ratio and its standard error, as arrays of one."""
    weights = np.ones((1, len(side.amounts)))
    return _weighted(side, weights)


def _resampled(side: Sums, chance: np.random.Generator, resamples: int) -> tuple[Floats, Floats]:
    """The same of each resample. Many requests are summed in random groups first: sums of equals are equals too."""
    grouped = _grouped(side, chance)
    size = len(grouped.amounts)
    each = max(1, _AT_ONCE // size)
    parts = []
    for begin in range(0, resamples, each):
        count = min(each, resamples - begin)
        chosen = chance.integers(0, size, (count, size), dtype=np.int32)
        rows = np.arange(count, dtype=np.int64)[:, None] * size
        weights = np.bincount((chosen + rows).ravel(), minlength=count * size).reshape(count, size)
        parts.append(_weighted(grouped, weights.astype(np.float64)))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _grouped(side: Sums, chance: np.random.Generator) -> Sums:
    size = len(side.amounts)
    if size <= _MOST_GROUPS:
        return side
    group = chance.permutation(size) % _MOST_GROUPS
    return Sums(
        np.bincount(group, side.amounts, _MOST_GROUPS).astype(np.float64),
        np.bincount(group, side.counts, _MOST_GROUPS).astype(np.float64),
    )


def _weighted(side: Sums, weights: Floats) -> tuple[Floats, Floats]:
    """Of each row of weights: the logarithm of the ratio, and its standard error by linearisation."""
    size = len(side.amounts)
    amounts, counts = side.amounts / side.amounts.mean(), side.counts
    moments = np.stack([amounts, counts, amounts * amounts, amounts * counts, counts * counts], axis=1)
    spent, given, spent_twice, both, given_twice = (weights @ moments).T
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = spent / given
        squares = spent_twice - 2 * ratio * both + ratio * ratio * given_twice
        errors = np.sqrt(np.maximum(squares, 0) * size / max(size - 1, 1)) / spent
        return np.log(ratio) + math.log(side.amounts.mean()), errors


def quantile_change(
    baseline: Floats,
    candidate: Floats,
    quantile: float,
    confidences: Sequence[float] = (0.95,),
    resamples: int = RESAMPLES,
) -> Change:
    """How much a quantile changed, in parts of the baseline's: 0.1 is a tenth more.

    A percentile bootstrap. Which order statistic a resample's quantile is follows from the Beta distribution of
    uniform order statistics, so nothing is resampled: it costs the same for a hundred requests and for a million.
    Raises TooLittle for under LEAST_REQUESTS requests or LEAST_IN_TAIL beyond the quantile, or a quantile of 0.
    """
    least = max(LEAST_REQUESTS, math.ceil(LEAST_IN_TAIL / min(quantile, 1 - quantile) - 1e-9))
    _need(least, len(baseline), len(candidate), "requests")
    chance = np.random.default_rng(_SEED)
    whole = [float(np.quantile(side, quantile)) for side in (baseline, candidate)]
    drawn = [_quantiles(np.sort(side), quantile, chance, resamples) for side in (baseline, candidate)]
    if whole[0] <= 0 or drawn[0].min() <= 0:
        raise TooLittle("the baseline takes no time")
    ratios = np.sort(drawn[1] / drawn[0])
    intervals = []
    for confidence in confidences:
        low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2])
        intervals.append(Interval(float(low) - 1, float(high) - 1))
    return Change(whole[1] / whole[0] - 1, tuple(intervals))


def _quantiles(ordered: Floats, quantile: float, chance: np.random.Generator, resamples: int) -> Floats:
    """The quantile of each of so many resamples of `ordered`, between two of its values as percentile_cont has it."""
    size = len(ordered)
    place = (size - 1) * quantile
    rank = math.floor(place) + 1
    # the rank-th smallest of `size` uniform numbers, and the next one above it
    lower = chance.beta(rank, size - rank + 1, resamples)
    upper = lower + (1 - lower) * chance.beta(1, max(size - rank, 1), resamples) if rank < size else lower
    values = [ordered[np.minimum((each * size).astype(np.int64), size - 1)] for each in (lower, upper)]
    return values[0] + (values[1] - values[0]) * (place - math.floor(place))


def needed(
    estimate: float, interval: Interval, margin: float, size: int, *, is_ratio: bool, is_floor: bool
) -> int | None:
    """About how many requests a side would settle it, if the change stays what it seems; None if no number would.

    `margin` is the bound that the interval has to clear: from above where it is a floor, else from below.
    """
    where, low, high, bound = (
        (math.log1p(max(each, -0.999999)) if is_ratio else each)
        for each in (estimate, interval.low, interval.high, margin)
    )
    room, half = (where - bound, where - low) if is_floor else (bound - where, high - where)
    if room <= 0 or half <= 0:
        return None
    return max(size + 1, math.ceil(size * (half / room) ** 2))


def _need(least: float, before: float, after: float, of_what: str) -> None:
    for name, count in (("baseline", before), ("candidate", after)):
        if count < least:
            raise TooLittle(f"the {name} has {count:,.0f} {of_what}, {least:,.0f} are needed")
