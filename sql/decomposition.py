"""What changed a window's cost: an exact additive decomposition into drivers. Pure mathematics.

A window's cost C and its cost per success U are, over the models m,

    C = R * (n * sum of s_m * (i_m * pin_m * g_m + o_m * pout_m * h_m + f_m) + e)        U = C / (R * r)

R requests; r successes a request; n model calls a request; s_m the model's share of them; i_m, o_m its input and
output tokens a call; pin_m, pout_m what a token costs without any cache; g_m, h_m what caches leave of that; f_m what
a call costs beside its tokens; e the cost of eval traffic a request. h_m is below 1 where a gateway answered from its
own cache: such a call costs nothing and tells tokens. Each factor is a ratio of sums, so C is exact.

A driver's part is its Shapley value (Shapley 1953, "A value for n-person games"; Shorrocks 2013, "Decomposition
procedures for distributional analysis", for figures that are no games): the factors go from before to after one by
one, averaged over all orders. Parts sum to the change exactly and no order is preferred. The other common choice,
LMDI, is compared with it by Ang 2004 ("Decomposition analysis for policymaking in energy"): it takes logarithms, so
it cannot say what a new model, a vanished one or a factor of zero did; this one can. Because C and U are sums of
products, a part is the factor's own change times a slope (shapley.py), term by term; the slopes also tell the part of
a segment (segments.py). R has no part in U, and r none in C.

A factor that a window does not tell (the tokens a call of a model it never called) takes the other window's value, so
that its whole effect is the model mix. Without a request in one of the windows all of the change is volume. Without a
success in one of them U is unknown there, and only C is decomposed.

Money is in nano-dollars, whole numbers; nothing is rounded before the parts are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from fractions import Fraction
from functools import cached_property

from .shapley import Pair, apportion, exact_sum, slopes

Model = str | None


class Driver(StrEnum):
    """What can change a cost."""

    VOLUME = "volume"
    SUCCESS_RATE = "success rate"
    CALLS = "calls per request"
    MODEL_MIX = "model mix"
    INPUT_TOKENS = "input tokens"
    OUTPUT_TOKENS = "output tokens"
    CACHE = "cache"
    PRICES = "unit prices"
    EVALS = "eval traffic"


class Factor(StrEnum):
    """A factor of the formula; each belongs to one driver."""

    COST = "cost"
    REQUESTS = "R"
    FAILURES = "1/r"
    CALLS = "n"
    SHARE = "s"
    INPUT = "i"
    OUTPUT = "o"
    INPUT_CACHE = "g"
    OUTPUT_CACHE = "h"
    INPUT_PRICE = "pin"
    OUTPUT_PRICE = "pout"
    CALL_PRICE = "f"
    EVALS = "e"

    @property
    def driver(self) -> Driver:
        """The driver that moves it."""
        return _DRIVERS[self]


_DRIVERS = {
    Factor.COST: Driver.VOLUME,
    Factor.REQUESTS: Driver.VOLUME,
    Factor.FAILURES: Driver.SUCCESS_RATE,
    Factor.CALLS: Driver.CALLS,
    Factor.SHARE: Driver.MODEL_MIX,
    Factor.INPUT: Driver.INPUT_TOKENS,
    Factor.OUTPUT: Driver.OUTPUT_TOKENS,
    Factor.INPUT_CACHE: Driver.CACHE,
    Factor.OUTPUT_CACHE: Driver.CACHE,
    Factor.INPUT_PRICE: Driver.PRICES,
    Factor.OUTPUT_PRICE: Driver.PRICES,
    Factor.CALL_PRICE: Driver.PRICES,
    Factor.EVALS: Driver.EVALS,
}
_TERMS = (
    (Factor.SHARE, Factor.INPUT, Factor.INPUT_CACHE, Factor.INPUT_PRICE),
    (Factor.SHARE, Factor.OUTPUT, Factor.OUTPUT_CACHE, Factor.OUTPUT_PRICE),
    (Factor.SHARE, Factor.CALL_PRICE),
)
"""The products that a model's calls cost, each times the calls."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over a model's priced inference calls; `_nano` is nano-dollars.

    `paid_` tokens leave out what a gateway's cache answered. `full_input_nano` is what the input would have cost
    without the provider's cache, `input_nano` what it did cost; `call_nano` what was paid for no tokens. So money for
    input needs paid input tokens and a full price above 0, money for output paid output tokens.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    paid_input_tokens: int = 0
    paid_output_tokens: int = 0
    full_input_nano: int = 0
    input_nano: int = 0
    output_nano: int = 0
    call_nano: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def cost_nano(self) -> int:
        """What the calls cost."""
        return self.input_nano + self.output_nano + self.call_nano


@dataclass(frozen=True)
class WindowSums:
    """What one window, or one segment of it, adds up to."""

    requests: int = 0
    successes: int = 0
    evals_nano: int = 0
    models: Mapping[Model, Sums] = field(default_factory=dict)

    @cached_property
    def calls(self) -> int:
        """Priced inference calls."""
        return sum(each.calls for each in self.models.values())

    @cached_property
    def cost_nano(self) -> int:
        """Everything spent, eval traffic included."""
        return self.evals_nano + sum(each.cost_nano for each in self.models.values())


@dataclass(frozen=True, slots=True)
class Lever:
    """One factor (of one model, or of all) before and after, and what its change is worth in each measure."""

    factor: Factor
    model: Model
    before: Fraction
    after: Fraction
    cost_slope: Fraction
    success_slope: Fraction

    def cost_part(self) -> Fraction:
        """Its part in the change of the cost, nano-dollars."""
        return (self.after - self.before) * self.cost_slope

    def success_part(self) -> Fraction:
        """Its part in the change of the cost per success, nano-dollars."""
        return (self.after - self.before) * self.success_slope


@dataclass(frozen=True, slots=True)
class Change:
    """A figure before and after, in nano-dollars, and the parts of each driver, which sum to the difference."""

    before: int
    after: int
    parts: Mapping[Driver, int]


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The change between two windows. `per_success` is None where a window has no success."""

    before: WindowSums
    after: WindowSums
    levers: tuple[Lever, ...]
    cost: Change
    per_success: Change | None

    def pairs(self) -> dict[tuple[Factor, Model], Pair]:
        """Every factor before and after, with the values that were taken from the other window."""
        return {(lever.factor, lever.model): (lever.before, lever.after) for lever in self.levers}


def decompose(before: WindowSums, after: WindowSums) -> Decomposition:
    """The parts of each driver in the change from one window to the other.

    Each window's requests must have calls: requests above 0 with no calls are a ValueError.
    """
    for each in (before, after):
        if each.requests and not each.calls:
            raise ValueError("requests without calls cannot be decomposed")
    if not before.requests or not after.requests:
        whole = Lever(
            Factor.COST, None, Fraction(before.cost_nano), Fraction(after.cost_nano), Fraction(1), Fraction(0)
        )
        levers: tuple[Lever, ...] = (whole,)
    else:
        levers = tuple(_levers(before, after))
    cost = _change(before.cost_nano, after.cost_nano, levers, [lever.cost_part() for lever in levers])
    per_success = None
    if before.requests and after.requests and before.successes and after.successes:
        per_success = _change(
            rounded(Fraction(before.cost_nano, before.successes)),
            rounded(Fraction(after.cost_nano, after.successes)),
            levers,
            [lever.success_part() for lever in levers],
        )
    return Decomposition(before, after, levers, cost, per_success)


def rounded(value: Fraction) -> int:
    """To the nearest whole number, halves up: as the ledger rounds what is not negative.

    >>> rounded(Fraction(5, 2)), rounded(Fraction(7, 3))
    (3, 2)
    """
    return (value + Fraction(1, 2)).__floor__()


def _change(before: int, after: int, levers: Sequence[Lever], parts: Sequence[Fraction]) -> Change:
    of_driver = {
        driver: exact_sum(part for lever, part in zip(levers, parts, strict=True) if lever.factor.driver is driver)
        for driver in Driver
    }
    whole = apportion(after - before, list(of_driver.values()))
    return Change(before, after, dict(zip(of_driver, whole, strict=True)))


def _levers(before: WindowSums, after: WindowSums) -> Iterator[Lever]:
    """Every factor with its slopes, in both measures; both windows have requests."""
    shared = {
        Factor.REQUESTS: (Fraction(before.requests), Fraction(after.requests)),
        Factor.CALLS: (Fraction(before.calls, before.requests), Fraction(after.calls, after.requests)),
        Factor.EVALS: (Fraction(before.evals_nano, before.requests), Fraction(after.evals_nano, after.requests)),
    }
    measures = [Factor.REQUESTS]
    if before.successes and after.successes:
        shared[Factor.FAILURES] = (
            Fraction(before.requests, before.successes),
            Fraction(after.requests, after.successes),
        )
        measures.append(Factor.FAILURES)
    models = list(dict.fromkeys([*before.models, *after.models]))
    of_model = {model: _factors_of(model, before, after) for model in models}
    # measure -> factor -> model -> the slopes of each product that the factor stands in
    found: dict[Factor, dict[tuple[Factor, Model], list[Fraction]]] = {measure: {} for measure in measures}
    for measure in measures:
        slopes_of = found[measure]
        for model in models:
            for term in _TERMS:
                if not any(of_model[model][term[-1]]):
                    continue  # nothing was paid for it, before or after
                named = [(measure, None), (Factor.CALLS, None), *((factor, model) for factor in term)]
                pairs = [shared[measure], shared[Factor.CALLS], *(of_model[model][factor] for factor in term)]
                for key, slope in zip(named, slopes(pairs), strict=True):
                    slopes_of.setdefault(key, []).append(slope)
        evals = slopes([shared[measure], shared[Factor.EVALS]])
        for factor, slope in zip((measure, Factor.EVALS), evals, strict=True):
            slopes_of.setdefault((factor, None), []).append(slope)
    factors: dict[tuple[Factor, Model], Pair] = {(factor, None): pair for factor, pair in shared.items()}
    by_model: dict[tuple[Factor, Model], Pair] = {
        (factor, model): pair for model in models for factor, pair in of_model[model].items()
    }
    for (factor, model), (old, new) in [*factors.items(), *by_model.items()]:
        cost, success = (
            exact_sum(found.get(measure, {}).get((factor, model), ()))
            for measure in (Factor.REQUESTS, Factor.FAILURES)
        )
        yield Lever(factor, model, old, new, cost, success)


def _factors_of(model: Model, before: WindowSums, after: WindowSums) -> dict[Factor, Pair]:
    """A model's factors; what one window does not tell is the other's."""
    old, new = before.models.get(model, Sums()), after.models.get(model, Sums())
    price = _pair((old.full_input_nano, old.paid_input_tokens), (new.full_input_nano, new.paid_input_tokens), 0)
    return {
        Factor.SHARE: (Fraction(old.calls, before.calls), Fraction(new.calls, after.calls)),
        Factor.INPUT: _pair((old.input_tokens, old.calls), (new.input_tokens, new.calls), 0),
        Factor.INPUT_CACHE: _pair(
            (old.input_nano, price[0] * old.input_tokens), (new.input_nano, price[1] * new.input_tokens), 1
        ),
        Factor.INPUT_PRICE: price,
        Factor.OUTPUT: _pair((old.output_tokens, old.calls), (new.output_tokens, new.calls), 0),
        Factor.OUTPUT_CACHE: _pair(
            (old.paid_output_tokens, old.output_tokens), (new.paid_output_tokens, new.output_tokens), 1
        ),
        Factor.OUTPUT_PRICE: _pair(
            (old.output_nano, old.paid_output_tokens), (new.output_nano, new.paid_output_tokens), 0
        ),
        Factor.CALL_PRICE: _pair((old.call_nano, old.calls), (new.call_nano, new.calls), 0),
    }


def _pair(old: tuple[int, Fraction | int], new: tuple[int, Fraction | int], otherwise: int) -> Pair:
    """Two ratios; one over nothing takes the other's value, and both over nothing `otherwise`."""
    ratios = [Fraction(over) / Fraction(under) if under else None for over, under in (old, new)]
    known = next((ratio for ratio in ratios if ratio is not None), Fraction(otherwise))
    first, second = (known if ratio is None else ratio for ratio in ratios)
    return first, second
