"""How budgets stand, as Prometheus text: limits, spend and what is reserved of each budget that the file names.

Users and keys are never labels, nor entities that only a budget for each has: there are too many of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from ..models.money import usd
from ..models.verdicts import Counter, Held
from .metrics import escaped
from .spending import Spent

FILE = "budgets.prom"

_TOO_MANY = ("user", "key")
_METRICS = (
    ("llmcost_budget_limit_usd", "US dollars that may be spent in the period"),
    ("llmcost_budget_spent_usd", "US dollars spent in the period, calls without a price at their upper bound"),
    (
        "llmcost_budget_reserved_usd",
        "US dollars held for requests under way, and for those whose spans have not landed",
    ),
)


def exposition(spent: Spent, held: Callable[[Counter], Held], decisions: Mapping[str, int], now: datetime) -> str:
    """The budgets in Prometheus' text format, every digit of the money; `decisions` are those since the start."""
    rows: dict[str, list[str]] = {name: [] for name, _ in _METRICS}
    for ceiling in spent.budgets.ceilings:
        if ceiling.level in _TOO_MANY or ceiling.is_for_each:
            continue
        counter = Counter(ceiling, ceiling.name)
        labels = {
            "level": ceiling.level,
            "entity": ceiling.name,
            "period": ceiling.period.value,
            "hard": str(ceiling.hard).lower(),
        }
        said = ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())
        amounts = (ceiling.limit, spent.spend(counter, now).total, held(counter).reserved + held(counter).settled)
        for (name, _), amount in zip(_METRICS, amounts, strict=True):
            rows[name].append(f"{name}{{{said}}} {usd(amount):f}")
    lines = []
    for name, meaning in _METRICS:
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge", *rows[name]]
    name = "llmcost_budget_decisions_total"
    lines += [f"# HELP {name} Decisions since this process started", f"# TYPE {name} counter"]
    lines += [f'{name}{{decision="{word}"}} {count}' for word, count in sorted(decisions.items())]
    return "\n".join([*lines, ""])
