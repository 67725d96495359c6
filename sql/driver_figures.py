"""Each driver's own figure before and after, in a unit people know. Pure mathematics.

Tokens, caches and prices are averages over the models. They are taken at one mix of models and at one use, the mean
of both windows', so that a figure moves only when its own driver did: a cheaper model with shorter prompts is model
mix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from .decomposition import Decomposition, Driver, Factor, Model

_MILLION = 10**6
_BILLION = 10**9


@dataclass(frozen=True, slots=True)
class Figure:
    """A driver's own figure. `subject` is the model that a share is of."""

    unit: str
    before: float | None
    after: float | None
    subject: Model = None


def figures(whole: Decomposition) -> dict[Driver, Figure]:
    """The figure of every driver; None where a window has no request to measure it on."""
    sides = (whole.before, whole.after)

    def told(unit: str, over: list[int], under: list[int], times: int = 1) -> Figure:
        before, after = (float(Fraction(x * times, y)) if y else None for x, y in zip(over, under, strict=True))
        return Figure(unit, before, after)

    requests = [side.requests for side in sides]
    found = {
        Driver.VOLUME: Figure("requests", requests[0], requests[1]),
        Driver.SUCCESS_RATE: told("percent of requests", [side.successes for side in sides], requests, 100),
        Driver.CALLS: told("calls per request", [side.calls for side in sides], requests),
        Driver.EVALS: told(
            "USD per 1,000 requests",
            [side.evals_nano for side in sides],
            [each * _BILLION for each in requests],
            1000,
        ),
    }
    return found | (
        _by_model(whole) if all(requests) else dict.fromkeys(set(Driver) - set(found), Figure("", None, None))
    )


def _by_model(whole: Decomposition) -> dict[Driver, Figure]:
    """Averages over the models, at the mean of both windows in everything but the driver itself."""
    pairs = whole.pairs()
    models = [lever.model for lever in whole.levers if lever.factor is Factor.SHARE]

    def mean(factor: Factor, model: Model) -> Fraction:
        return (pairs[factor, model][0] + pairs[factor, model][1]) / 2

    def over_models(of_model: Callable[[Model, int], Fraction], side: int) -> Fraction:
        return sum((mean(Factor.SHARE, model) * of_model(model, side) for model in models), Fraction(0))

    def input_money(model: Model, side: int) -> Fraction:
        return mean(Factor.INPUT, model) * mean(Factor.INPUT_PRICE, model) * pairs[Factor.INPUT_CACHE, model][side]

    def full_money(model: Model, _: int) -> Fraction:
        return mean(Factor.INPUT, model) * mean(Factor.INPUT_PRICE, model)

    def tokens(model: Model, _: int) -> Fraction:
        return mean(Factor.INPUT, model) + mean(Factor.OUTPUT, model)

    def same_use(model: Model, side: int) -> Fraction:
        def use(*factors: Factor) -> Fraction:
            return mean(factors[0], model) * mean(factors[1], model) * pairs[factors[2], model][side]

        return (
            use(Factor.INPUT, Factor.INPUT_CACHE, Factor.INPUT_PRICE)
            + use(Factor.OUTPUT, Factor.OUTPUT_CACHE, Factor.OUTPUT_PRICE)
            + pairs[Factor.CALL_PRICE, model][side]
        )

    def figure(unit: str, of_model: Callable[[Model, int], Fraction], scale: Fraction = Fraction(1)) -> Figure:
        before, after = (float(over_models(of_model, side) * scale) for side in (0, 1))
        return Figure(unit, before, after)

    full = over_models(full_money, 0)
    cached = [float(100 - 100 * over_models(input_money, side) / full) if full else None for side in (0, 1)]
    used = over_models(tokens, 0)
    gainer = max(models, key=lambda model: pairs[Factor.SHARE, model][1] - pairs[Factor.SHARE, model][0])
    shares = [float(100 * share) for share in pairs[Factor.SHARE, gainer]]
    per_tokens = Fraction(_MILLION, _BILLION) / used if used else Fraction(1, _BILLION)
    return {
        Driver.MODEL_MIX: Figure("percent of calls", shares[0], shares[1], gainer),
        Driver.INPUT_TOKENS: figure("tokens per call", lambda model, side: pairs[Factor.INPUT, model][side]),
        Driver.OUTPUT_TOKENS: figure("tokens per call", lambda model, side: pairs[Factor.OUTPUT, model][side]),
        Driver.CACHE: Figure("percent of input saved", cached[0], cached[1]),
        Driver.PRICES: figure("USD per million tokens" if used else "USD per call", same_use, per_tokens),
    }
