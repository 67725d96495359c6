"""Histories of made-up calls with a cause planted in the second of two weeks, straight as `calls` and outcomes.

Everything else moves by a few percent, as it does from week to week. Money is nano-dollars until DuckDB has it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import duckdb
import pyarrow as pa

from llmcost.models.windows import Window
from llmcost.sql.decomposition import Driver
from llmcost.sql.why import Asked

from .lakes import NOW

WEEK = timedelta(days=7)
AFTER = Window(NOW - WEEK, NOW)
BEFORE = Window(NOW - 2 * WEEK, NOW - WEEK)
PLANTED: dict[str, tuple[Driver, ...]] = {
    "a longer prompt": (Driver.INPUT_TOKENS,),
    "a cheaper model that loops more": (Driver.MODEL_MIX, Driver.CALLS),
    "a price change": (Driver.PRICES,),
    "a drop in success": (Driver.SUCCESS_RATE,),
    "a cache break": (Driver.CACHE,),
    "doubled evals": (Driver.EVALS,),
    "more volume": (Driver.VOLUME,),
}
"""What each cause moves; where it is two, the larger in money is first."""


@dataclass(frozen=True)
class Week:
    """What one week is like. `small` is the cheaper model's share of the calls, `new` the new prompt's."""

    requests: int = 120
    success: float = 0.62
    calls: float = 2.0
    small: float = 0.4
    input_tokens: int = 3000
    output_tokens: int = 250
    cached: float = 0.6
    price: float = 1.0
    evals: float = 0.45
    """Eval dollars for each inference dollar of an ordinary week."""
    new: float = 0.0
    longer: float = 1.0
    """Input tokens of the new prompt over those of the old."""


def ordinary(chance: random.Random) -> Week:
    """A week with noise of up to three percent either way in everything."""

    def about(value: float, most: float = 0.03) -> float:
        return value * chance.uniform(1 - most, 1 + most)

    usual = Week()
    return Week(
        round(about(usual.requests)),
        about(usual.success),
        about(usual.calls),
        about(usual.small),
        round(about(usual.input_tokens)),
        round(about(usual.output_tokens)),
        about(usual.cached),
        about(usual.price, 0.01),
        about(usual.evals),
    )


def with_cause(cause: str, week: Week, chance: random.Random) -> Week:
    """The same week with the cause in it."""
    changed: dict[str, float] = {}
    match cause:
        case "a longer prompt":
            changed = {"new": chance.uniform(0.5, 0.7), "longer": chance.uniform(2.0, 2.6)}
        case "a cheaper model that loops more":
            changed = {"small": chance.uniform(0.8, 0.95), "calls": week.calls * chance.uniform(1.7, 2.2)}
        case "a price change":
            changed = {"price": week.price * chance.uniform(1.3, 1.6)}
        case "a drop in success":
            changed = {"success": week.success * chance.uniform(0.55, 0.75)}
        case "a cache break":
            changed = {"cached": week.cached * chance.uniform(0.0, 0.2)}
        case "doubled evals":
            changed = {"evals": week.evals * 2}
        case "more volume":
            changed = {"requests": round(week.requests * chance.uniform(1.3, 1.8))}
    return replace(week, **changed)  # type: ignore[arg-type]


def calls_of(week: Week, name: str, since: datetime, chance: random.Random) -> Iterator[dict[str, object]]:
    """The calls of a week: its counts as they are told, its tokens with spread."""
    count = round(week.calls * week.requests)
    small, new = (_some(count, share, chance) for share in (week.small, week.new))
    cost = 0
    for number in range(count):
        is_small, is_new = small[number], new[number]
        tokens = round(week.input_tokens * chance.uniform(0.8, 1.2) * (week.longer if is_new else 1))
        output = round(week.output_tokens * chance.uniform(0.8, 1.2))
        cached = round(tokens * week.cached)
        dear, dear_output = (800, 4000) if is_small else (3000, 15_000)
        saved = round(cached * dear * week.price * 0.9)
        output_nano = round(output * dear_output * week.price)
        cost += round(tokens * dear * week.price) - saved + output_nano
        yield {
            **_call(f"{name}-{number % week.requests}", since, chance),
            "model": "small" if is_small else "big",
            "feature": ("refund", "search", "triage")[number % week.requests % 3],
            "prompt_version": "v7" if is_new else "v6",
            "traffic_type": "inference",
            "input_tokens": tokens,
            "output_tokens": output,
            "cost_nano": round(tokens * dear * week.price) - saved + output_nano,
            "output_nano": output_nano,
            "saved_nano": saved,
        }
    usual = week.requests * 2.0 * 0.0063 * 10**9
    for number in range(10):
        yield {
            **_call(f"{name}-judge-{number}", since, chance),
            "model": "big",
            "feature": "judging",
            "prompt_version": None,
            "traffic_type": "eval",
            "input_tokens": 900,
            "output_tokens": 10,
            "cost_nano": round(week.evals * usual / 10),
            "output_nano": None,
            "saved_nano": None,
        }


def _some(count: int, share: float, chance: random.Random) -> list[bool]:
    """As many as the share says, in any order."""
    some = [number < round(share * count) for number in range(count)]
    chance.shuffle(some)
    return some


def _call(work: str, since: datetime, chance: random.Random) -> dict[str, object]:
    return {"work_id": work, "trace_id": work, "started_at": since + chance.random() * WEEK}


def history(con: duckdb.DuckDBPyConnection, before: Week, after: Week, chance: random.Random) -> Asked:
    """Two weeks as the relations that the question reads, and the question."""
    rows = [
        *calls_of(before, "before", BEFORE.since, chance),
        *calls_of(after, "after", AFTER.since, chance),
    ]
    told = [
        {
            "work_id": f"{name}-{number}",
            "case_id": f"{name}-{number}",
            "outcome": "resolved",
            "succeeded": reached,
        }
        for name, week in (("before", before), ("after", after))
        for number, reached in enumerate(_some(week.requests, week.success, chance))
    ]
    con.register("rows", pa.Table.from_pylist(rows))
    con.register("told", pa.Table.from_pylist(told))
    con.execute("create or replace temp table trace_outcomes as from told")
    con.execute(
        """
        create or replace temp table calls as
        select
            * exclude (cost_nano, output_nano, saved_nano),
            null::varchar as agent_name,
            'list' as cost_basis,
            (cost_nano::decimal(18, 0) * 0.000000001)::decimal(18, 9) as cost_usd,
            (output_nano::decimal(18, 0) * 0.000000001)::decimal(18, 9) as output_cost_usd,
            (saved_nano::decimal(18, 0) * 0.000000001)::decimal(18, 9) as cache_savings_usd
        from rows
        """
    )
    con.unregister("rows")
    con.unregister("told")
    return Asked("cost-per-outcome", BEFORE, AFTER, None, ("prompt_version",) if after.new else ("model",))
