"""Work that lasts for days: traces and runs come out whole, and each day's part sums to the day's calls."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from support.lakes import NOW, SmallLake
from support.spans import NOON, SpanOf, call, span_id, trace_id

from llmcost.ingest.compact import compact
from llmcost.ingest.exchange import take_out
from llmcost.models.settings import Retention, Settings, Upkeep
from llmcost.sql.inventory import Inventory, mart_days

DAY = timedelta(days=1)
FIRST = NOON - 2 * DAY
OWNER = {"user.id": "ann", "app.feature": "migration"}
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "porter"}


def agent(**more: object) -> list[SpanOf]:
    """An agent's run that begins at FIRST and ends two days later, below a span that says whose it is."""
    return [
        SpanOf("long", "root", at=FIRST, seconds=2 * 86400 + 60, attributes=OWNER),
        SpanOf("long", "agent", parent="root", at=FIRST, seconds=2 * 86400 + 30, attributes={**AGENT, **more}),
    ]


def turns() -> list[SpanOf]:
    """One call of the run on each of its three days."""
    return [
        call("long", f"turn {n}", parent="agent", at=FIRST + n * DAY + timedelta(seconds=n), input=1000 * n, output=1)
        for n in range(3)
    ]


def others() -> list[SpanOf]:
    """A trace of each day's own."""
    return [call(f"short {n}", "call", at=FIRST + n * DAY, input=10, output=1) for n in range(3)]


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    return SmallLake(tmp_path / "lake")


def test_a_run_over_three_days_is_one_run_of_one_owner(lake: SmallLake) -> None:
    """The calls of its last day inherit from a span that began two days before them."""
    warehouse = lake.land(*agent(), *turns(), *others()).warehouse
    calls = warehouse.sql("select * from calls where trace_id is not null order by started_at").to_pylist()
    turns_of_run = [row for row in calls if row["trace_id"] == trace_id("long")]

    assert [("ann", "migration", span_id("long", "agent"))] * 3 == [
        (row["user_id"], row["feature"], row["agent_run_id"]) for row in turns_of_run
    ]
    (run,) = warehouse.sql("from agent_runs").to_pylist()
    assert (3, sum(row["cost_usd"] for row in turns_of_run)) == (run["calls"], run["cost_usd"])
    assert FIRST.date() == run["day"]
    (porter,) = [
        row for row in warehouse.ask("cost-per-agent-run").table.to_pylist() if row["agent_name"] == "porter"
    ]
    assert (1, run["cost_usd"]) == (porter["runs"], porter["cost_usd"])


def test_each_days_parts_sum_to_its_calls(lake: SmallLake) -> None:
    """Of traces and runs alike; folded they are whole."""
    warehouse = lake.land(*agent(), *turns(), *others()).warehouse
    by_day = "select day, sum(cost_usd) as cost, sum(calls)::bigint as calls from {} group by day order by day"
    of_calls = "select day, sum(cost_usd) as cost, count(*) as calls from calls {} group by day order by day"

    assert warehouse.sql(of_calls.format("")) == warehouse.sql(by_day.format("trace_days"))
    assert warehouse.sql(of_calls.format("where agent_run_id is not null")) == warehouse.sql(
        by_day.format("agent_run_days")
    )
    (whole,) = warehouse.sql(f"from traces where trace_id = '{trace_id('long')}'").to_pylist()
    assert (5, 3, 2 * 86_400_000 + 60_000.0) == (whole["spans"], whole["calls"], whole["duration_ms"])


def test_a_root_that_lands_last_reopens_each_day_it_lasts_into(lake: SmallLake) -> None:
    """An agent's span is exported when it ends: its calls were booked without an owner until then."""
    warehouse = lake.land(*turns(), *others(), call("after", "call", at=FIRST + 4 * DAY, input=1, output=1)).warehouse
    warehouse.refresh()
    assert [None] * 3 == warehouse.sql(
        f"select user_id from calls where trace_id = '{trace_id('long')}'"
    ).to_pydict()["user_id"]  # fmt: skip

    lake.land(*agent())
    assert [FIRST.date() + n * DAY for n in range(-1, 3) if n >= 0] == list(warehouse.refresh().refreshed)
    assert ["ann"] * 3 == warehouse.sql(
        f"select user_id from calls where trace_id = '{trace_id('long')}'"
    ).to_pydict()["user_id"]


def test_a_run_by_its_own_id_needs_no_span_around_it(lake: SmallLake) -> None:
    """Three traces on three days that name one run are one run."""
    named = {"agent_run_id": "run-7"}
    warehouse = lake.land(
        *(
            call(f"step {n}", "call", at=FIRST + 2 * n * DAY - 3 * DAY, input=100, output=1, attributes=named)
            for n in range(3)
        )
    ).warehouse

    (run,) = warehouse.sql("from agent_runs").to_pylist()
    assert ("run-7", 3) == (run["agent_run_id"], run["calls"])


def test_compaction_keeps_how_long_spans_last(lake: SmallLake) -> None:
    """The merged file says so again, and nothing is derived again."""
    for span in [*agent(), *others(), *turns()]:
        lake.land(span)
    warehouse = lake.warehouse
    warehouse.refresh()
    last = FIRST.date() + 2 * DAY
    assert [] != list(compact(lake.lake, Upkeep(), now=datetime.now(UTC) + 2 * DAY))

    assert [FIRST.date()] == [
        date.fromisoformat(path.parent.name[4:]) for path in Inventory.take(lake.lake).lasting_into(last)
    ]
    assert () == warehouse.refresh().refreshed


def test_what_was_inherited_stands_when_retention_takes_the_span(tmp_path: Path) -> None:
    """A far day that is gone reopens nothing."""
    settings = Settings().model_copy(update={"retention": Retention(spans_days=3)})
    lake = SmallLake(tmp_path / "lake", settings).land(*agent(), *turns(), *others())
    lake.land(call("now", "call", at=NOW - timedelta(hours=1), input=1, output=1))
    lake.warehouse.refresh()
    assert [] != lake.warehouse.retain(take_out)
    assert FIRST.date() not in Inventory.take(lake.lake).files["spans"]

    assert () == lake.warehouse.refresh().refreshed
    assert {"ann"} == set(
        lake.warehouse.sql(f"select user_id from calls where trace_id = '{trace_id('long')}'").to_pydict()["user_id"]
    )
    assert FIRST.date() in mart_days(lake.lake, "calls")


def test_a_span_with_a_broken_clock_lasts_a_month_at_most(lake: SmallLake) -> None:
    """One that ends in 2200 is no ancestor of everything for ever."""
    lake.land(SpanOf("odd", "root", at=NOON - 40 * DAY, seconds=170 * 365 * 86400.0), *others())

    inventory = Inventory.take(lake.lake)
    assert [] == inventory.lasting_into(NOON.date())
    assert [] != inventory.lasting_into(NOON.date() - 10 * DAY)


def test_a_run_that_lasts_is_compared_with_nothing(lake: SmallLake) -> None:
    """Its span's total is not held against a part of its calls."""
    lake.land(*agent(**{"gen_ai.usage.input_tokens": 3000, "gen_ai.usage.output_tokens": 3}), *turns())

    (run,) = lake.warehouse.sql("from agent_runs").to_pylist()
    assert run["unexplained_usd"] is None


def test_a_trace_is_shown_whole(lake: SmallLake) -> None:
    """`llmcost trace` shows the spans of all its days."""
    view = lake.land(*agent(), *turns()).warehouse.trace(trace_id("long"))

    assert (5, 3) == (len(view.spans), view.calls)
