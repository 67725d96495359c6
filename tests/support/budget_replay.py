"""Made-up budgets over made-up calls: what should be told of them, by arithmetic, beside what rules told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from llmcost.models.alert_settings import Alerts
from llmcost.models.budgets import COLUMNS, Ceiling
from llmcost.models.lake import Lake
from llmcost.models.money import nanos
from llmcost.models.periods import Period
from llmcost.models.verdicts import Counter, Spend, Standing
from llmcost.models.windows import zone
from llmcost.sql.alert_rules import rules
from llmcost.sql.derive import empty_relation
from llmcost.sql.standing_rows import standing_rows

from .incidents import DAY, HOUR, START, Past, replay, replaying

RULES = ("budget-fast-start", "budget-notice", "hourly-budget-pace")
MARKS = (50, 80, 100)
DAILY_USD = 60
CEILINGS = (
    Ceiling("agent", "indexer", nanos(Decimal("5.5")), False, Period.DAILY),
    Ceiling("team", "product", nanos(Decimal(DAILY_USD)), True, Period.DAILY),
    Ceiling("team", "product", nanos(Decimal(420)), True, Period.MONTHLY),
)
"""One that is used up on many days, one with room, and one that is used up within a month."""


@dataclass
class Burst:
    """Spend of a team within an hour or two."""

    rule: str
    start: datetime
    minutes: int
    usd: float


def bursts(past: Past, first: datetime, days: int) -> list[Burst]:
    """An hour's on every other day, a fast start on the others."""
    found = []
    for day in range(days):
        at = first + day * DAY
        if day % 2:
            found.append(Burst("hourly-budget-pace", at + past.chance.randint(4, 22) * HOUR, 50, 6.0))
        else:
            found.append(Burst("budget-fast-start", at + timedelta(minutes=5), 100, 20.0))
    return found


def with_bursts(past: Past, planted: Sequence[Burst]) -> pa.Table:
    """The ordinary calls of a history, and those of the bursts."""
    rows: list[dict[str, Any]] = []
    for burst in planted:
        for n in range(20):
            at = burst.start + n * timedelta(minutes=burst.minutes) / 20
            rows.append(past.row(at, burst.usd / 20, feature="chat", team="product", input_tokens=900 + n))
    added = pa.Table.from_pylist(rows, schema=empty_relation("calls").schema)
    return pa.concat_tables([past.calls(), added])


def standing(con: duckdb.DuckDBPyConnection, ceiling: Ceiling, now: datetime) -> Standing:
    """How a ceiling stands at `now`, by the calls that had begun."""
    window = ceiling.period.window(now, zone("UTC"))
    query = f"""
        select coalesce(sum(cost_usd), 0) from all_calls
        where {COLUMNS[ceiling.level]} = $name and started_at >= $since and started_at < $now
    """
    (spent,) = con.execute(query, {"name": ceiling.name, "since": window.since, "now": now}).fetchall()[0]
    return Standing(Counter(ceiling, ceiling.name), window, Spend(priced=nanos(spent)))


@dataclass
class Told:
    """What should have been told of each rule and what was: sets of (budget, period of the budget)."""

    expected: dict[str, set[tuple[str, str]]]
    told: dict[str, set[tuple[str, str]]]
    unresolved: int


def run(seed: int, days: int, first_day: int = 30) -> Told:
    """Look every hour of these days; nothing else is planted."""
    first = START + first_day * DAY
    past = Past(seed, ("retry-storms",), each=0)
    planted = bursts(past, first, days)
    looks = [first + hour * HOUR + timedelta(minutes=59) for hour in range(24 * days)]
    asked = [rule for rule in rules(None, Alerts()) if rule.name in RULES]
    with replaying(with_bursts(past, planted)) as con:
        fired, _, _ = replay(
            con, Lake(Path("/nonexistent")), looks, asked=asked,
            standings=lambda now: standing_rows(standing(con, each, now) for each in CEILINGS),
        )  # fmt: skip
        expected: dict[str, set[tuple[str, str]]] = {
            "budget-notice": {
                (_name(each, mark), str(reached.window.since.date()))
                for now in looks
                for each in CEILINGS
                for reached in [standing(con, each, now)]
                for mark in MARKS
                if reached.spend.total * 100 >= mark * reached.limit
            }
        }
    daily = f"team product daily of {DAILY_USD}.00"
    for rule in ("hourly-budget-pace", "budget-fast-start"):
        own = {(daily, str(burst.start.date())) for burst in planted if burst.rule == rule}
        expected[rule] = own
    # a fast start is also more than an hour's part
    expected["hourly-budget-pace"] |= expected["budget-fast-start"]
    told = {rule: {(each.entity, each.period) for each in fired if each.rule == rule} for rule in RULES}
    over = looks[-1] - 2 * HOUR
    unresolved = sum(
        each.resolved_at is None and each.at < over - DAY for each in fired if "monthly" not in each.entity
    )
    return Told(expected, told, unresolved)


def _name(ceiling: Ceiling, mark: int) -> str:
    return f"{ceiling.level} {ceiling.name} {ceiling.period} of {Decimal(ceiling.limit) / 10**9:.2f} at {mark}%"
