"""What part of a driver each segment carries: the segments of a dimension sum to the driver. Pure mathematics.

A driver's part is a sum of factors' changes, each times a slope (decomposition.py). Every factor is a ratio of two
sums, q = X / Y, and both sums are additive over the values v of any dimension, so its change splits exactly:

    q1 - q0 = sum over v of [(X1_v - q0 * Y1_v) / Y1 - (X0_v - q0 * Y0_v) / Y0]

in words: how far each value, with its weight, is from the whole's figure before. A value whose weight did not change
has its weight times its own change; a new one, its distance from what was usual; one that left, what leaving changed.
So for each driver, in both measures, the parts of all values of one dimension sum to the driver's part, in exact
arithmetic, and after rounding to the nano-dollar too. Parts of different dimensions tell the same change again.

A request belongs to the value that most of its calls have: R_v and r_v count it once. The model mix is measured
against what a call of the average model before was worth, so that a segment's growth alone, at the same mix, is no
mix. Where a window has no request all of the change is volume, and a segment's part is that of its own cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from .decomposition import Decomposition, Driver, Factor, Lever, Model, Sums, WindowSums
from .shapley import apportion, exact_sum

Value = TypeVar("Value", bound="str | None")
Sides = tuple[WindowSums, WindowSums]
"""One segment before and after."""

Ratio = tuple[Fraction | int, Fraction | int]
"""X and Y of a factor."""

_FINE = 10**30
"""Slopes are cut here, so that thousands of segments stay quick: far below what rounding to nano-dollars sees."""


@dataclass(frozen=True, slots=True)
class SegmentParts:
    """A segment's part of each driver in both measures, nano-dollars; without a measure, None."""

    cost: Mapping[Driver, int]
    per_success: Mapping[Driver, int] | None


def allocate(whole: Decomposition, values: Mapping[Value, Sides]) -> dict[Value, SegmentParts]:
    """The parts of each value of one dimension; `values` must add up to the two windows."""
    shares = _shares(whole, values)
    cost = _rounded(whole, whole.cost.parts, [lever.cost_slope for lever in whole.levers], shares)
    if whole.per_success is None:
        return {value: SegmentParts(cost[value], None) for value in values}
    success = _rounded(whole, whole.per_success.parts, [lever.success_slope for lever in whole.levers], shares)
    return {value: SegmentParts(cost[value], success[value]) for value in values}


def _rounded(
    whole: Decomposition,
    parts: Mapping[Driver, int],
    slopes: Sequence[Fraction],
    shares: Mapping[Value, Sequence[tuple[int, Fraction]]],
) -> dict[Value, dict[Driver, int]]:
    """Each share of a factor's change at its slope, rounded so that the values sum to the drivers' parts."""
    mixes = [lever.factor is Factor.SHARE for lever in whole.levers]
    usual = exact_sum(
        lever.before * slope for lever, slope, is_mix in zip(whole.levers, slopes, mixes, strict=True) if is_mix
    )
    centred = [slope - usual if is_mix else slope for slope, is_mix in zip(slopes, mixes, strict=True)]
    fine = [(slope * _FINE).__floor__() for slope in centred]
    rounded: dict[Value, dict[Driver, int]] = {value: {} for value in shares}
    exact: dict[Value, dict[Driver, int]] = {value: dict.fromkeys(parts, 0) for value in shares}
    for value, of_value in shares.items():
        for place, share in of_value:
            exact[value][whole.levers[place].factor.driver] += fine[place] * share.numerator // share.denominator
    for driver, part in parts.items():
        whole_parts = apportion(part, [Fraction(exact[value][driver], _FINE) for value in shares])
        for value, whole_part in zip(shares, whole_parts, strict=True):
            rounded[value][driver] = whole_part
    return rounded


def _shares(whole: Decomposition, values: Mapping[Value, Sides]) -> dict[Value, list[tuple[int, Fraction]]]:
    """How much of each factor's change is each value's: (place of the lever, share)."""
    windows = (whole.before, whole.after)
    prices = {lever.model: lever for lever in whole.levers if lever.factor is Factor.INPUT_PRICE}
    totals = [_ratios(lever, windows, windows, prices.get(lever.model)) for lever in whole.levers]
    shared = [place for place, lever in enumerate(whole.levers) if lever.factor in _WHOLE]
    of_model: dict[Model, list[int]] = {}
    for place, lever in enumerate(whole.levers):
        if lever.factor not in _WHOLE:
            of_model.setdefault(lever.model, []).append(place)
    found: dict[Value, list[tuple[int, Fraction]]] = {}
    for value, sides in values.items():
        models = dict.fromkeys([*sides[0].models, *sides[1].models])
        touched = [*shared, *(place for model in models for place in of_model.get(model, ()))]
        found[value] = [
            (place, share)
            for place in touched
            for lever in [whole.levers[place]]
            if (share := _share(lever, totals[place], _ratios(lever, sides, windows, prices.get(lever.model))))
        ]
    return found


def _share(lever: Lever, totals: Sequence[Ratio], parts: Sequence[Ratio]) -> Fraction:
    """A segment's part of the change of X / Y; 0 where one window does not tell the factor."""
    under_before, under_after = (Fraction(under) for _, under in totals)
    if not under_before or not under_after:
        return Fraction(0)
    usual = Fraction(0) if lever.factor in _PLAIN else lever.before
    if lever.factor is Factor.FAILURES:
        usual = 1 / usual
    (over_old, under_old), (over_new, under_new) = parts
    moved = (over_new - usual * under_new) / under_after - (over_old - usual * under_old) / under_before
    # what r moved, as what 1/r did: the segment whose success fell is told, not the one that had little of it
    return -moved * lever.before * lever.after if lever.factor is Factor.FAILURES else moved


def _ratios(lever: Lever, sides: Sides, windows: Sides, price: Lever | None) -> list[Ratio]:
    """X and Y of a factor before and after, over a segment or over the whole."""
    prices = (price.before, price.after) if price else (Fraction(0), Fraction(0))
    ratio = _RATIOS[lever.factor]
    return [
        ratio(side, side.models.get(lever.model, Sums()), window, full_price)
        for side, window, full_price in zip(sides, windows, prices, strict=True)
    ]


_RATIOS: Mapping[Factor, Callable[[WindowSums, Sums, WindowSums, Fraction], Ratio]] = {
    Factor.COST: lambda side, *_: (side.cost_nano, 1),
    Factor.REQUESTS: lambda side, *_: (side.requests, 1),
    Factor.FAILURES: lambda side, *_: (side.successes, side.requests),
    Factor.EVALS: lambda side, *_: (side.evals_nano, side.requests),
    Factor.CALLS: lambda side, *_: (side.calls, side.requests),
    Factor.SHARE: lambda _, sums, window, __: (sums.calls, window.calls),
    Factor.INPUT: lambda _, sums, *__: (sums.input_tokens, sums.calls),
    Factor.OUTPUT: lambda _, sums, *__: (sums.output_tokens, sums.calls),
    # a segment's own full price, so that its contract is no cache; what a gateway answered, at the model's
    Factor.INPUT_CACHE: lambda _, sums, __, full_price: (
        sums.input_nano,
        sums.full_input_nano + full_price * (sums.input_tokens - sums.paid_input_tokens),
    ),
    Factor.OUTPUT_CACHE: lambda _, sums, *__: (sums.paid_output_tokens, sums.output_tokens),
    Factor.INPUT_PRICE: lambda _, sums, *__: (sums.full_input_nano, sums.paid_input_tokens),
    Factor.OUTPUT_PRICE: lambda _, sums, *__: (sums.output_nano, sums.paid_output_tokens),
    Factor.CALL_PRICE: lambda _, sums, *__: (sums.call_nano, sums.calls),
}
"""X and Y, from a segment's sums, those of the lever's model in it, the window's, and the model's full price."""

_WHOLE = {Factor.COST, Factor.REQUESTS, Factor.FAILURES, Factor.CALLS, Factor.EVALS}
"""Factors of all models together."""

_PLAIN = {Factor.COST, Factor.REQUESTS, Factor.SHARE}
"""Sums, and shares of one sum: their change is the sum of their values' changes."""
