"""The first seven rollups against arithmetic written out by hand, and all of them against the sum of calls."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from support.lakes import SmallLake
from support.marts import answer, ledger, session
from support.spans import NOON, SpanOf, call, span_id

from llmcost.models.errors import UsageError
from llmcost.sql import catalogue

ROLLUPS = sorted(catalogue.rollups(None))
DAY = timedelta(days=1)


def mini(input_tokens: int, output_tokens: int) -> Decimal:
    """gpt-4o-mini: $0.15 in, $0.60 out per million tokens."""
    return mtok("0.15", input_tokens) + mtok("0.60", output_tokens)


def haiku(input_tokens: int, output_tokens: int) -> Decimal:
    """claude-haiku-4-5: $1 in, $5 out per million tokens."""
    return mtok("1", input_tokens) + mtok("5", output_tokens)


def mtok(price: str, tokens: int) -> Decimal:
    """Tokens at a price per million."""
    return Decimal(price) * tokens / 1_000_000


# Three tickets for two customers over two days:
#   a: one call, resolved.   b: an agent that loops three times and fails.   c: one dear call, resolved, then revised
#   to unresolved a day later.   d: no outcome yet; unpriced model.   e: a judge.
A1 = mini(1000, 100)
B1, B2, B3 = mini(2000, 200), mini(4000, 200), mini(6000, 200)
C1 = haiku(3000, 500)
E1 = mini(500, 10)
TOTAL = A1 + B1 + B2 + B3 + C1 + E1


def tickets() -> list[SpanOf]:
    """The story above as spans."""
    acme = {"user.id": "ann", "customer.id": "acme", "app.feature": "support"}
    globex = {"user.id": "bob", "customer.id": "globex", "app.feature": "triage"}
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "solver"}
    return [
        SpanOf("a", "root", attributes=acme, seconds=5),
        call("a", "call", parent="root", input=1000, output=100),
        SpanOf(
            "a", "verdict", "outcome", "root", at=NOON + timedelta(minutes=5), attributes={"outcome.resolved": True}
        ),
        SpanOf("b", "root", attributes=acme, seconds=20),
        SpanOf("b", "agent", "invoke_agent solver", "root", attributes=agent, seconds=15),
        call("b", "1", parent="agent", input=2000, output=200),
        call("b", "2", parent="agent", at=NOON + timedelta(seconds=2), input=4000, output=200),
        call("b", "3", parent="agent", at=NOON + timedelta(seconds=4), input=6000, output=200),
        SpanOf("b", "verdict", "outcome", "root", attributes={"outcome.resolved": False, "outcome.value_usd": 0.0}),
        SpanOf(
            "c",
            "root",
            at=NOON + DAY,
            attributes=globex,
            events={"outcome": {"outcome.resolved": True}, "gen_ai.evaluation.result": evaluation("helpful", 0.9)},
        ),
        call(
            "c",
            "call",
            "claude-haiku-4-5",
            parent="root",
            provider="anthropic",
            at=NOON + DAY,
            input=3000,
            output=500,
        ),
        SpanOf("c", "late", "outcome", "root", at=NOON + 2 * DAY, attributes={"outcome.resolved": False}),
        call("d", "call", "acme-7b", provider="acme", input=100, output=10, attributes=globex),
        call("e", "call", input=500, output=10, at=NOON + DAY, attributes={**globex, "traffic.type": "eval"}),
    ]


def evaluation(name: str, score: float) -> dict[str, Any]:
    """An evaluation result as the conventions spell it."""
    return {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": score}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """The tickets, landed; tests only read them."""
    return SmallLake(tmp_path_factory.mktemp("tickets") / "lake").land(*tickets())


def rows(lake: SmallLake, name: str, **options: Any) -> list[dict[str, Any]]:
    """A rollup's rows."""
    return lake.warehouse.ask(name, **options).table.to_pylist()


def test_cost_per_outcome_counts_failures_in_the_numerator(lake: SmallLake) -> None:
    """One success carries the cost of all three tickets; the last word on each ticket holds."""
    resolved, none = (row for row in rows(lake, "cost-per-outcome"))

    assert (resolved["successes"], resolved["failures"], resolved["pending"]) == (1, 2, 0)
    assert resolved["total_cost_usd"] == A1 + B1 + B2 + B3 + C1
    assert resolved["cost_per_success_usd"] == A1 + B1 + B2 + B3 + C1
    assert resolved["failure_cost_usd"] == B1 + B2 + B3 + C1
    assert (none["outcome"], none["pending"]) == ("(none yet)", 2)
    assert (none["total_cost_usd"], none["unpriced_calls"]) == (E1, 1)


def test_cost_per_outcome_by_feature_keeps_each_ticket_with_its_feature(lake: SmallLake) -> None:
    """Grouped, every cost stays with the feature of its call."""
    found = {
        (row["feature"], row["outcome"]): row["total_cost_usd"]
        for row in rows(lake, "cost-per-outcome", group_by=["feature"])
    }

    assert found == {
        ("support", "resolved"): A1 + B1 + B2 + B3,
        ("triage", "resolved"): C1,
        ("triage", "(none yet)"): E1,
    }


def test_cost_per_user_day_shows_the_days_median_and_tail(lake: SmallLake) -> None:
    """Each user and day; median and p99 are over that day's users."""
    found = {(str(row["day"]), row["user_id"]): row for row in rows(lake, "cost-per-user-day")}

    assert {key: row["cost_usd"] for key, row in found.items()} == {
        ("2026-11-20", "ann"): A1 + B1 + B2 + B3,
        ("2026-11-20", "bob"): None,
        ("2026-11-21", "bob"): C1 + E1,
    }
    assert found["2026-11-20", "bob"]["unpriced_calls"] == 1
    assert found["2026-11-21", "bob"]["median_user_usd"] == C1 + E1


def test_the_median_and_tail_are_over_the_days_users(tmp_path: Path) -> None:
    """Exact by interpolation; calls without a user are no user."""
    spans = [
        call(user, "call", input=1000 * n, output=0, attributes={"user.id": user}) for n, user in enumerate("abc", 1)
    ]
    found = rows(
        SmallLake(tmp_path / "lake").land(*spans, call("d", "call", input=9000, output=0)), "cost-per-user-day"
    )

    assert {row["median_user_usd"] for row in found} == {mini(2000, 0)}
    assert {row["p99_user_usd"] for row in found} == {
        mini(2000, 0) + (mini(3000, 0) - mini(2000, 0)) * Decimal("0.98")
    }


def test_what_is_unknown_is_never_zero(tmp_path: Path) -> None:
    """A feature whose every call is unpriced has an unknown cost."""
    lake = SmallLake(tmp_path / "lake").land(call("t", "call", "acme-7b", provider="acme", input=100, output=10))

    assert [(row["cost_usd"], row["unpriced_calls"]) for row in rows(lake, "cost-per-feature")] == [(None, 1)]
    assert [row["total_cost_usd"] for row in rows(lake, "cost-per-outcome")] == [None]
    assert [row["eval_cost_usd"] for row in rows(lake, "eval-vs-inference")] == [Decimal(0)]


def test_cost_per_feature_is_per_request(lake: SmallLake) -> None:
    """Requests are traces; loops show as calls per request."""
    triage, support = rows(lake, "cost-per-feature")

    assert (support["feature"], support["requests"], support["calls"], support["calls_per_request"]) == (
        "support", 2, 4, 2.0,
    )  # fmt: skip
    assert support["cost_per_request_usd"] == (A1 + B1 + B2 + B3) / 2
    assert (triage["cost_usd"], triage["requests"]) == (C1 + E1, 3)
    assert triage["cost_per_request_usd"] == round((C1 + E1) / 3, 9)


def test_cost_per_agent_run_is_the_outermost_agents(tmp_path: Path) -> None:
    """Percentiles over runs, exact by interpolation; the runaway is named."""
    costs = [1000, 2000, 3000, 4000, 100_000]
    spans: list[SpanOf] = []
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "solver"}
    for number, tokens in enumerate(costs):
        trace = f"run {number}"
        spans += [
            SpanOf(trace, "agent", attributes=agent),
            call(trace, "call", parent="agent", input=tokens, output=1),
        ]
    (row,) = rows(SmallLake(tmp_path / "lake").land(*spans), "cost-per-agent-run")

    paid = [mini(tokens, 1) for tokens in costs]
    assert (row["agent_name"], row["runs"], row["calls_per_run"]) == ("solver", 5, 1.0)
    assert row["p50_usd"] == paid[2]
    assert row["p95_usd"] == paid[3] + (paid[4] - paid[3]) * Decimal("0.8")
    assert row["p99_usd"] == round(paid[3] + (paid[4] - paid[3]) * Decimal("0.96"), 9)
    assert (row["max_usd"], row["runaway_runs"]) == (paid[4], 1)
    assert row["dearest_run_id"] == span_id("run 4", "agent")


def test_cost_per_agent_run_keeps_calls_outside_runs(lake: SmallLake) -> None:
    """Calls of no agent are a row, so that the total is the ledger's."""
    by_agent = {row["agent_name"]: row["cost_usd"] for row in rows(lake, "cost-per-agent-run")}

    assert by_agent == {"solver": B1 + B2 + B3, "(no agent)": A1 + C1 + E1}


def test_cost_per_successful_eval(lake: SmallLake) -> None:
    """The evaluated work over its passes; the rest is a row of its own."""
    rest, helpful = sorted(rows(lake, "cost-per-successful-eval"), key=lambda row: row["evaluation_name"])

    assert (helpful["evaluation_name"], helpful["evals"], helpful["passed"]) == ("helpful", 1, 1)
    assert helpful["cost_per_pass_usd"] == C1
    assert rest["total_cost_usd"] == TOTAL - C1


def test_cost_per_customer(lake: SmallLake) -> None:
    """In all, per user and per request, with the share of the whole."""
    by_customer = {row["customer_id"]: row for row in rows(lake, "cost-per-customer")}

    assert by_customer["acme"]["cost_usd"] == A1 + B1 + B2 + B3
    assert by_customer["globex"]["cost_usd"] == C1 + E1
    assert by_customer["acme"]["share_percent"] == float(round(100 * (A1 + B1 + B2 + B3) / TOTAL, 2))


def test_eval_vs_inference(lake: SmallLake) -> None:
    """Judges beside the product, by day."""
    first, second = rows(lake, "eval-vs-inference")

    assert (first["inference_cost_usd"], first["eval_cost_usd"]) == (A1 + B1 + B2 + B3, Decimal(0))
    assert (second["inference_cost_usd"], second["eval_cost_usd"]) == (C1, E1)
    assert second["eval_per_inference"] == float(round(E1 / C1, 4))


@pytest.fixture(scope="module")
def con(lake: SmallLake) -> Iterator[duckdb.DuckDBPyConnection]:
    """The tickets' marts, opened once for many questions."""
    lake.warehouse.refresh()
    with session(lake.lake) as opened:
        yield opened


@pytest.mark.parametrize("name", ROLLUPS)
@pytest.mark.parametrize("by", [None, "day", "hour"])
def test_every_rollup_sums_to_the_calls(con: duckdb.DuckDBPyConnection, name: str, by: str | None) -> None:
    """However it is cut, a rollup's money is the ledger's: no dollar twice, none lost."""
    dims = catalogue.rollups(None)[name].group_by
    for group_by in ([], dims[:1], dims[-2:], dims):
        assert TOTAL == ledger(answer(con, name, by, group_by))


def test_a_rollup_that_is_asked_has_the_ledger_in_its_coverage(lake: SmallLake) -> None:
    """What stands under the rows is their sum."""
    asked = lake.warehouse.ask("cost-per-model", by="day", group_by=["feature"])

    assert TOTAL == asked.coverage.cost_usd == ledger(asked.table.to_pylist())


def test_a_trace_with_two_outcomes_is_in_full_under_each_and_once_in_the_ledger(tmp_path: Path) -> None:
    """Cost per resolved and cost per accepted are both the whole trace; the ledger splits it to the nano-dollar."""
    lake = SmallLake(tmp_path / "lake").land(
        call("t", "call", input=1, output=0),
        SpanOf(
            "t", "verdict", attributes={"outcome.resolved": True, "outcome.accepted": True, "outcome.rated": False}
        ),
    )
    found = {row["outcome"]: row for row in rows(lake, "cost-per-outcome")}

    assert {row["total_cost_usd"] for row in found.values()} == {mini(1, 0)}
    assert mini(1, 0) == Decimal("0.000000150")
    assert [found[name]["ledger_cost_usd"] for name in ("accepted", "rated", "resolved")] == [Decimal("5e-8")] * 3


def test_an_outcome_told_for_a_session_is_about_all_its_traces(tmp_path: Path) -> None:
    """The conversation counts once, with the cost of all its turns."""
    session = {"session.id": "s1"}
    lake = SmallLake(tmp_path / "lake").land(
        call("turn 1", "call", input=1000, output=100, attributes=session),
        call("turn 2", "call", input=1500, output=100, attributes=session),
        SpanOf("elsewhere", "verdict", attributes={"outcome.resolved": True, **session}),
    )
    (row,) = rows(lake, "cost-per-outcome")

    assert (row["successes"], row["total_cost_usd"]) == (1, mini(1000, 100) + mini(1500, 100))


def test_an_outcome_may_arrive_until_the_look_back_ends(tmp_path: Path) -> None:
    """A verdict days later, on another partition, counts for the call's own window."""
    lake = SmallLake(tmp_path / "lake").land(call("t", "call", input=1000, output=100, at=NOON - 5 * DAY))
    lake.land(SpanOf("t", "verdict", at=NOON + 2 * DAY, attributes={"outcome.accepted": True}))
    (row,) = rows(lake, "cost-per-outcome", since="2026-11-15", until="2026-11-16")

    assert (row["outcome"], row["successes"], row["cost_per_success_usd"]) == ("accepted", 1, mini(1000, 100))


def test_days_are_those_of_the_time_zone_asked_for(tmp_path: Path) -> None:
    """23:30 UTC is tomorrow in Berlin; the sum does not change."""
    late = NOON.replace(hour=23, minute=30)
    lake = SmallLake(tmp_path / "lake").land(call("t", "call", input=1000, output=100, at=late))

    assert [str(row["day"]) for row in rows(lake, "eval-vs-inference")] == ["2026-11-20"]
    assert [str(row["day"]) for row in rows(lake, "eval-vs-inference", tz="Europe/Berlin")] == ["2026-11-21"]
    assert [row["hour"] for row in rows(lake, "eval-vs-inference", by="hour")] == ["2026-11-20T23"]


def test_windows_are_half_open(lake: SmallLake) -> None:
    """A call at the boundary is in exactly one of two adjoining windows."""
    early = lake.warehouse.ask("cost-per-feature", since="2026-11-20", until="2026-11-20T12:00:00Z").coverage
    late = lake.warehouse.ask("cost-per-feature", since="2026-11-20T12:00:00Z", until="2026-11-22").coverage

    assert (early.calls, late.calls) == (0, 7)


@pytest.mark.parametrize("name", ROLLUPS)
def test_an_empty_lake_answers_with_no_rows(tmp_path: Path, name: str) -> None:
    """Nothing landed is no error: no rows, the right columns."""
    asked = SmallLake(tmp_path / "lake").warehouse.ask(name)

    assert asked.table.num_rows == 0
    assert {column.name for column in asked.info.columns} <= set(asked.table.column_names)


def test_where_keeps_only_what_matches(lake: SmallLake) -> None:
    """A filter is bound, never spliced: a quote in a value is a value."""
    assert lake.warehouse.ask("cost-per-feature", where={"customer_id": "acme"}).coverage.calls == 4
    assert lake.warehouse.ask("cost-per-feature", where={"customer_id": "a' or '1'='1"}).coverage.calls == 0
    with pytest.raises(UsageError, match='--where "cost_usd": accepted are'):
        lake.warehouse.ask("cost-per-feature", where={"cost_usd": "1"})


def test_unknown_names_are_answered_with_the_nearest(lake: SmallLake) -> None:
    """A misspelt rollup, grain or dimension says what there is."""
    with pytest.raises(UsageError, match="did you mean cost-per-outcome"):
        lake.warehouse.ask("cost-per-outcom")
    with pytest.raises(UsageError, match='cannot be grouped by "colour"'):
        lake.warehouse.ask("cost-per-feature", group_by=["colour"])
    with pytest.raises(UsageError, match="accepted are day, hour"):
        lake.warehouse.ask("cost-per-feature", by="fortnight")
    with pytest.raises(UsageError, match="accepted are 90m, 24h, 7d"):
        lake.warehouse.ask("cost-per-feature", since="whenever")


def test_the_calls_files_say_the_same_to_every_reader(lake: SmallLake) -> None:
    """polars, pyarrow and plain DuckDB on the glob give the warehouse's total to the last decimal."""
    lake.warehouse.refresh()
    folder = lake.lake.mart("calls")
    glob = f"{folder}/**/*.parquet"

    assert pl.read_parquet(glob)["cost_usd"].sum() == TOTAL
    assert pl.scan_parquet(folder).select("cost_usd").collect()["cost_usd"].sum() == TOTAL
    assert pc.sum(ds.dataset(folder, format="parquet").to_table()["cost_usd"]).as_py() == TOTAL
    assert duckdb.sql(f"select sum(cost_usd) from '{glob}'").fetchall() == [(TOTAL,)]
    assert lake.warehouse.rollup("cost-per-customer")["cost_usd"].sum() == TOTAL


def test_a_days_file_is_made_again_only_when_its_inputs_change(tmp_path: Path) -> None:
    """A second refresh does nothing; a late span reopens its day."""
    lake = SmallLake(tmp_path / "lake").land(*tickets())
    assert len(lake.warehouse.refresh().refreshed) == 3
    assert lake.warehouse.refresh().refreshed == ()

    lake.land(call("late", "call", input=1000, output=100, at=NOON - 9 * DAY))
    assert [str(day) for day in lake.warehouse.refresh().refreshed] == ["2026-11-11"]
    assert lake.warehouse.ask("cost-per-feature", since="30d").coverage.cost_usd == TOTAL + mini(1000, 100)
