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

from collections.abc import Callable, Iterator, Mapping, Sequence
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

_FINE = 1 << 256
"""Weights are whole numbers of this unit: so a hundred thousand segments stay quick, and what is cut off is far below
what rounding to nano-dollars sees."""

_NOTHING = _FINE >> 64
"""A part below this is what was cut off, of a segment that moved nothing."""

Weights = tuple[int, int, int, int]
"""What X and Y after, and X and Y before, are worth in one measure."""


@dataclass(frozen=True, slots=True)
class SegmentParts:
    """A segment's part of each driver in both measures, nano-dollars; without a measure, None."""

    cost: Mapping[Driver, int]
    per_success: Mapping[Driver, int] | None


def weigh(whole: Decomposition) -> tuple[list[Weights], ...]:
    """What every factor's sums weigh in the total and, where it is known, in the cost per success."""
    cost = _weights(whole, [lever.cost_slope for lever in whole.levers])
    if whole.per_success is None:
        return (cost,)
    return cost, _weights(whole, [lever.success_slope for lever in whole.levers])


def allocate(
    whole: Decomposition, values: Mapping[Value, Sides], weights: tuple[list[Weights], ...] | None = None
) -> dict[Value, SegmentParts]:
    """The parts of each value of one dimension; `values` must add up to the two windows.

    `weights` are those of `weigh`, for one who asks for several dimensions.
    """
    weights = weights or weigh(whole)
    measures = [whole.cost.parts, *([whole.per_success.parts] if whole.per_success else [])]
    exact: list[dict[Value, dict[Driver, int]]] = [{} for _ in measures]
    for value, moved in _moved(whole, values):
        for of_measure, found in zip(weights, exact, strict=True):
            parts = found[value] = dict.fromkeys(Driver, 0)
            for place, ((x_before, y_before), (x_after, y_after)) in moved:
                one, two, three, four = of_measure[place]
                part = one * x_after + two * y_after + three * x_before + four * y_before
                parts[whole.levers[place].factor.driver] += int(part)
    rounded = [_rounded(parts, found) for parts, found in zip(measures, exact, strict=True)]
    return {
        value: SegmentParts(rounded[0][value], rounded[1][value] if len(rounded) > 1 else None) for value in values
    }


def _rounded(
    parts: Mapping[Driver, int], exact: Mapping[Value, Mapping[Driver, int]]
) -> dict[Value, dict[Driver, int]]:
    """Parts rounded so that the values sum to each driver's."""
    rounded: dict[Value, dict[Driver, int]] = {value: {} for value in exact}
    for driver, part in parts.items():
        fine = [of_value[driver] for of_value in exact.values()]
        of_values = [Fraction(each, _FINE) if abs(each) > _NOTHING else Fraction(0) for each in fine]
        for value, whole_part in zip(rounded, apportion(part, of_values), strict=True):
            rounded[value][driver] = whole_part
    return rounded


def _weights(whole: Decomposition, slopes: Sequence[Fraction]) -> list[Weights]:
    """For each lever what its X and Y weigh, so that the weighed sum is the slope times the share of the change."""
    windows = (whole.before, whole.after)
    prices = {lever.model: lever for lever in whole.levers if lever.factor is Factor.INPUT_PRICE}
    mix = exact_sum(
        lever.before * slope
        for lever, slope in zip(whole.levers, slopes, strict=True)
        if lever.factor is Factor.SHARE
    )
    usual_mix = Fraction((mix * _FINE).__floor__(), _FINE)  # its denominator has a factor of every model's
    found: list[Weights] = []
    for lever, own in zip(whole.levers, slopes, strict=True):
        (_, under_before), (_, under_after) = _ratios(lever, windows, windows, prices.get(lever.model))
        slope = own - usual_mix if lever.factor is Factor.SHARE else own
        usual = Fraction(0) if lever.factor in _PLAIN else lever.before
        if lever.factor is Factor.FAILURES:
            # what r moved, as what 1/r did: the segment whose success fell is told, not the one that had little of it
            usual, slope = 1 / lever.before, -slope * lever.before * lever.after
        if not slope or not under_before or not under_after:
            found.append((0, 0, 0, 0))  # one window does not tell the factor: it has the other's value, and no part
            continue
        after, before = slope / under_after, slope / under_before
        exact = (after, -usual * after, -before, usual * before)
        one, two, three, four = ((weight * _FINE).__floor__() for weight in exact)
        found.append((one, two, three, four))
    return found


def _moved(
    whole: Decomposition, values: Mapping[Value, Sides]
) -> Iterator[tuple[Value, list[tuple[int, list[Ratio]]]]]:
    """X and Y of every lever that each value has a part of: (place of the lever, before and after)."""
    windows = (whole.before, whole.after)
    prices = {lever.model: lever for lever in whole.levers if lever.factor is Factor.INPUT_PRICE}
    shared = [place for place, lever in enumerate(whole.levers) if lever.factor in _WHOLE]
    of_model: dict[Model, list[int]] = {}
    for place, lever in enumerate(whole.levers):
        if lever.factor not in _WHOLE:
            of_model.setdefault(lever.model, []).append(place)
    for value, sides in values.items():
        models = dict.fromkeys([*sides[0].models, *sides[1].models])
        touched = [*shared, *(place for model in models for place in of_model.get(model, ()))]
        levers = ((place, whole.levers[place]) for place in touched)
        yield value, [(place, _ratios(lever, sides, windows, prices.get(lever.model))) for place, lever in levers]


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
        sums.full_input_nano + _unpaid(sums, full_price),
    ),
    Factor.OUTPUT_CACHE: lambda _, sums, *__: (sums.paid_output_tokens, sums.output_tokens),
    Factor.INPUT_PRICE: lambda _, sums, *__: (sums.full_input_nano, sums.paid_input_tokens),
    Factor.OUTPUT_PRICE: lambda _, sums, *__: (sums.output_nano, sums.paid_output_tokens),
    Factor.CALL_PRICE: lambda _, sums, *__: (sums.call_nano, sums.calls),
}
"""X and Y, from a segment's sums, those of the lever's model in it, the window's, and the model's full price."""


def _unpaid(sums: Sums, full_price: Fraction) -> Fraction | int:
    """What a gateway's cache saved of the input; a whole number where it saved nothing, which is quick."""
    tokens = sums.input_tokens - sums.paid_input_tokens
    return full_price * tokens if tokens else 0


_WHOLE = {Factor.COST, Factor.REQUESTS, Factor.FAILURES, Factor.CALLS, Factor.EVALS}
"""Factors of all models together."""

_PLAIN = {Factor.COST, Factor.REQUESTS, Factor.SHARE}
"""Sums, and shares of one sum: their change is the sum of their values' changes."""
