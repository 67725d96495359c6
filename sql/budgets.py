"""How budgets stand by the lake as it is: every ceiling with its spend, pace and projected end; and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from ..models.budgets import COLUMNS, Ceiling
from ..models.money import usd
from ..models.verdicts import (
    NOTHING_HELD,
    Asked,
    Ceilings,
    Counter,
    Held,
    RunFigures,
    Standing,
    Verdict,
    excesses,
    verdict,
)
from .spending import Spent

_NANO = Decimal(1).scaleb(-9)
_SETTLED = timedelta(hours=1)
"""So much of a period must have passed before its pace says anything of its end."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a ceiling is used: USD a day so far in the period, and the period's spend if it goes on so.

    `projected_usd` is NULL in the first hour; `runs_out_at` where the limit is not reached in this period.
    """

    daily_burn_usd: Decimal
    projected_usd: Decimal | None
    runs_out_at: datetime | None


def pace(standing: Standing, now: datetime) -> Pace:
    """The pace of a ceiling at `now`, by the spend of the whole period so far."""
    window, spent = standing.window, usd(standing.spend.total)
    passed = _seconds(now - window.since)
    whole = _seconds(window.until - window.since)
    a_day = _rounded(spent * 86_400 / passed) if passed else Decimal(0)
    if now - window.since < _SETTLED:
        return Pace(a_day, None, None)
    projected = _rounded(spent * whole / passed)
    limit = usd(standing.limit)
    runs_out = None
    if spent and projected > limit:
        runs_out = window.since + timedelta(seconds=float(passed * limit / spent))
    return Pace(a_day, projected, runs_out)


def standings(spent: Spent, now: datetime) -> list[Standing]:
    """Every ceiling by level and name; one that is for each, for each entity that spent anything under it."""
    return [
        spent.standing(counter, now)
        for ceiling in spent.budgets.ceilings
        for counter in _counters(ceiling, spent, now)
    ]


def _counters(ceiling: Ceiling, spent: Spent, now: datetime) -> Iterable[Counter]:
    if not ceiling.is_for_each:
        return [Counter(ceiling, ceiling.name)]
    own = {
        spent.hidden(COLUMNS[other.level], other.name)
        for other in spent.budgets.ceilings
        if other.level == ceiling.level and not (other.is_for_each or other.is_shared)
    }
    totals = spent.totals(ceiling.period, now)
    found = [
        (entity, spend) for (level, entity), spend in totals.items() if level == ceiling.level and entity not in own
    ]
    dearest_first = sorted(found, key=lambda each: (-each[1].total, each[0]))
    return [Counter(ceiling, entity) for entity, _ in dearest_first if (ceiling.level, entity) != ("org", "")]


def widened(asked: Asked, spent: Spent) -> Asked:
    """The request with its models also as what they turned out to be."""
    models = asked.entities.get("model", ())
    if not models:
        return asked
    known = tuple(dict.fromkeys(name for model in models for name in spent.models_of(model)))
    return replace(asked, entities={**asked.entities, "model": known})


def decide(
    ceilings: Ceilings,
    spent: Spent,
    asked: Asked,
    now: datetime,
    held: Callable[[Counter], Held] = lambda _: NOTHING_HELD,
) -> tuple[Verdict, tuple[Standing, ...]]:
    """Whether a request may be made by what was spent and is `held`, and how all that it is under stands."""
    if ceilings.budgets.is_empty:
        return Verdict(True, None), ()
    whole = widened(asked, spent)
    found = tuple(spent.standing(each, now, held(each)) for each in ceilings.over(whole.entities))
    limits = ceilings.limits_of(whole.entities.get("agent", ())) if asked.agent_run_id or asked.run.is_told else None
    landed = spent.runs.get(spent.hidden("agent_run_id", asked.agent_run_id or ""), RunFigures())
    return verdict(found, excesses(limits, landed.or_more(asked.run)), asked.estimate), found


def _seconds(length: timedelta) -> Decimal:
    return Decimal(length // timedelta(microseconds=1)) / 1_000_000


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(_NANO, ROUND_HALF_UP)
