"""The other rollups: rows in, rows out, written out by hand; and the money of all of them against the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from support.lakes import SmallLake
from support.marts import Row, answer, booked, evaluation, ledger, outcome, session, write_marts
from support.spans import NOON, call

from llmcost.models.schema import DIMENSIONS
from llmcost.sql import catalogue

EVERY = sorted(catalogue.rollups(None))
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")


def usd(text: str) -> Decimal:
    return Decimal(text)


def asked(folder: Path, name: str, marts: dict[str, list[Row]], by: str | None = None, *dims: str) -> list[Row]:
    with session(write_marts(folder / "lake", **marts)) as con:
        return answer(con, name, by, dims)


def test_leaderboards_rank_the_owners_and_not_what_nobody_owns(tmp_path: Path) -> None:
    """The dearest is first; a row without an owner has a share and no rank."""
    calls = [
        booked("a", "3", developer="ann", team="red", input_tokens=10, output_tokens=1),
        booked("b", "1", developer="ann", team="red", input_tokens=20, output_tokens=2),
        booked("c", "3", developer="bob", team="red"),
        booked("d", "1"),
    ]
    ann, bob, nobody = asked(tmp_path, "cost-per-developer", {"calls": calls})

    assert (ann["rank"], ann["developer"], ann["cost_usd"], ann["requests"]) == (1, "ann", usd("3") + usd("1"), 2)
    assert (ann["cost_per_request_usd"], ann["share_percent"]) == ((usd("3") + usd("1")) / 2, 50.0)
    assert (ann["input_tokens"], ann["output_tokens"]) == (10 + 20, 1 + 2)
    assert (bob["rank"], nobody["rank"], nobody["developer"]) == (2, None, "(unattributed)")
    with session(write_marts(tmp_path / "again", calls=calls)) as con:
        assert [(row["rank"], row["team"], row["cost_usd"]) for row in answer(con, "cost-per-team")] == [
            (1, "red", usd("3") + usd("1") + usd("3")),
            (None, "(unattributed)", usd("1")),
        ]


def test_cost_per_model_parts_tiers_and_prices_a_million_tokens(tmp_path: Path) -> None:
    """Input and output are priced over the calls whose parts are known; list stands beside booked."""
    part = {"input_tokens": 1000, "output_tokens": 100, "list_cost_usd": usd("4"), "output_cost_usd": usd("1")}
    calls = [
        booked("a", "3", **part),
        booked("b", "3", input_tokens=5000, output_tokens=500, list_cost_usd=None),
        booked("c", "1", is_batch=True, service_tier="batch", **{**part, "output_cost_usd": usd("0.4")}),
    ]
    standard, batch = asked(tmp_path, "cost-per-model", {"calls": calls})

    assert (standard["is_batch"], standard["calls"], standard["cost_usd"]) == (False, 2, usd("3") + usd("3"))
    assert standard["input_per_million_usd"] == (usd("3") - usd("1")) / 1000 * 1_000_000
    assert standard["output_per_million_usd"] == usd("1") / 100 * 1_000_000
    assert (standard["list_cost_usd"], standard["booked_minus_list_usd"]) == (usd("4"), usd("3") - usd("4"))
    assert (batch["service_tier"], batch["input_per_million_usd"]) == ("batch", (usd("1") - usd("0.4")) * 1000)


def test_a_prompt_version_is_compared_with_the_one_before_it_in_its_feature(tmp_path: Path) -> None:
    """First seen decides which is previous; another feature's versions and unversioned calls do not count."""
    support, triage = {"feature": "support"}, {"feature": "triage"}
    calls = [
        booked("a", "2", NOON - DAY, prompt_version="v9", input_tokens=100, output_tokens=10, **support),
        booked("b", "4", NOON - DAY, prompt_version="v9", input_tokens=300, output_tokens=30, **support),
        booked("c", "5", NOON, **support),
        booked("d", "3.6", NOON + HOUR, prompt_version="v10", input_tokens=500, output_tokens=50, **support),
        booked("e", "7", NOON, prompt_version="v10", **triage),
    ]
    told = [outcome("a", "resolved", True), outcome("b", "resolved", False), outcome("d", "resolved", True)]
    rows = asked(tmp_path, "cost-per-prompt-version", {"calls": calls, "outcomes": told})
    found = {(row["feature"], row["prompt_version"]): row for row in rows}

    old, new = found["support", "v9"], found["support", "v10"]
    assert (old["cost_per_request_usd"], old["previous_version"]) == ((usd("2") + usd("4")) / 2, None)
    assert (old["input_tokens_per_call"], old["output_tokens_per_call"], old["success_percent"]) == (200, 20, 50)
    assert (new["previous_version"], new["change_per_request_usd"]) == ("v9", usd("3.6") - usd("3"))
    assert (new["change_percent"], new["verdicts"], new["success_percent"]) == (20, 1, 100)
    assert (found["triage", "v10"]["previous_version"], found["triage", "v10"]["success_percent"]) == (None, None)
    assert found["support", "(unattributed)"]["cost_usd"] == usd("5")


def test_a_routes_seven_days_are_empty_until_the_window_holds_them(tmp_path: Path) -> None:
    """Each day beside the seven that end with it; a request on two of them is one, a day without calls is no gap."""
    first = datetime(2026, 11, 10, 12, tzinfo=UTC)
    calls = [booked(f"t{n}", str(n + 1), first + n * DAY, route="/a") for n in (0, 1, 5, 7)]
    calls.append(booked("t5", "10", first + 6 * DAY, route="/a"))
    with session(write_marts(tmp_path / "lake", calls=calls), since="2026-11-10", until="2026-11-18") as con:
        rows = answer(con, "cost-per-route", "day")
        (whole,) = answer(con, "cost-per-route")

    assert [row["cost_usd"] for row in rows] == [usd("1"), usd("2"), usd("6"), usd("10"), usd("8")]
    assert [row["seven_day_usd"] for row in rows] == [
        None, None, None, usd("1") + usd("2") + usd("6") + usd("10"), usd("2") + usd("6") + usd("10") + usd("8"),
    ]  # fmt: skip
    assert [row["seven_day_requests"] for row in rows] == [None, None, None, 3, 3]
    assert rows[-1]["seven_day_cost_per_request_usd"] == round((usd("2") + usd("6") + usd("10") + usd("8")) / 3, 9)
    assert (whole["cost_usd"], whole["seven_day_usd"]) == (usd("27"), usd("27") - usd("1"))


def test_cost_per_session_tells_turns_length_and_end(tmp_path: Path) -> None:
    """A session's last word on each outcome holds, whichever turn it was told of."""
    calls = [
        booked("a", "1", NOON, session_id="s"),
        booked("a", "2", NOON + HOUR, session_id="s"),
        booked("b", "3", NOON + 2 * HOUR, session_id="s", seconds=30),
        booked("c", "4"),
    ]
    told = [
        outcome("a", "resolved", False, NOON),
        outcome("b", "resolved", True, NOON + HOUR),
        outcome("b", "rated", None),
    ]
    rows = asked(tmp_path, "cost-per-session", {"calls": calls, "outcomes": told})
    found = {row["session_id"]: row for row in rows}

    mine = found["s"]
    assert (mine["turns"], mine["calls"], mine["cost_usd"]) == (2, 3, usd("1") + usd("2") + usd("3"))
    assert (mine["started_at"], mine["ended_at"]) == (NOON, NOON + 2 * HOUR + timedelta(seconds=30))
    assert (mine["duration_ms"], mine["outcomes"]) == ((2 * 3600 + 30) * 1000, "rated pending, resolved yes")
    assert mine["cost_per_turn_usd"] == (usd("1") + usd("2") + usd("3")) / 2
    assert (found["(unattributed)"]["cost_usd"], found["(unattributed)"]["duration_ms"]) == (usd("4"), None)


def test_cost_per_trace_has_percentiles_and_names_the_dearest(tmp_path: Path) -> None:
    """A trace over midnight is one, on the day it started; one without a price is never the dearest."""
    late = NOON.replace(hour=23, minute=59)
    calls = [
        booked("a", "1", late, feature="x"),
        booked("a", "1", late + HOUR, feature="x"),
        booked("b", "4", late, feature="y"),
        booked("z", None, late, feature="y"),
    ]
    roots = [{"trace_id": "a", "started_at": late, "root_name": "POST /a", "calls": 2}]
    with session(write_marts(tmp_path / "lake", calls=calls, traces=roots)) as con:
        (row,) = answer(con, "cost-per-trace", "day")
        by_root = answer(con, "cost-per-trace", None, ["root_name"])

    assert (str(row["day"]), row["traces"], row["calls"]) == ("2026-11-20", 3, 4)
    assert (row["p50_usd"], row["mean_usd"], row["max_usd"]) == (usd("3"), (usd("2") + usd("4")) / 2, usd("4"))
    assert row["p95_usd"] == usd("2") + (usd("4") - usd("2")) * usd("0.95")
    assert row["p99_usd"] == usd("2") + (usd("4") - usd("2")) * usd("0.99")
    assert (row["dearest_trace_id"], row["unpriced_calls"]) == ("b", 1)
    assert [(each["root_name"], each["cost_usd"]) for each in by_root] == [(None, usd("4")), ("POST /a", usd("2"))]


def test_agent_model_hour_writes_hours_as_the_clock_shows_them(tmp_path: Path) -> None:
    at = datetime(2026, 11, 20, 14, 59, tzinfo=UTC)
    calls = [
        booked("a", "1", at, agent_name="solver", agent_run_id="1"),
        booked("b", "2", at, agent_name="solver", agent_run_id="2"),
        booked("b", "4", at + HOUR, agent_name="solver", agent_run_id="2", model="gpt-4o"),
        booked("c", "8", at + HOUR),
    ]
    rows = asked(tmp_path, "agent-model-hour", {"calls": calls})

    assert [(row["hour"], row["agent_name"], row["model"], row["runs"], row["cost_usd"]) for row in rows] == [
        ("2026-11-20T14", "solver", "gpt-4o-mini", 2, usd("1") + usd("2")),
        ("2026-11-20T15", "(no agent)", "gpt-4o-mini", 0, usd("8")),
        ("2026-11-20T15", "solver", "gpt-4o", 1, usd("4")),
    ]


def test_tokens_per_request_sums_the_calls_of_a_request_first(tmp_path: Path) -> None:
    calls = [
        booked("a", "1", input_tokens=100, output_tokens=10, cache_read_tokens=50),
        booked("a", "1", NOON + HOUR, input_tokens=300, output_tokens=30),
        booked("b", "1", input_tokens=200, output_tokens=20),
        booked("c", None),
    ]
    (row,) = asked(tmp_path, "tokens-per-request", {"calls": calls})

    assert (row["requests"], row["calls"], row["calls_without_usage"]) == (3, 4, 1)
    assert (row["mean_input_tokens"], row["p50_input_tokens"]) == ((400 + 200) / 2, 300)
    assert row["p95_input_tokens"] == 200 + (400 - 200) * 0.95
    assert (row["mean_output_tokens"], row["p95_output_tokens"]) == ((40 + 20) / 2, 20 + (40 - 20) * 0.95)
    assert (row["mean_cache_read_tokens"], row["cache_read_tokens_per_call"]) == (50, 50)
    assert (row["input_tokens_per_call"], row["output_tokens_per_call"]) == (600 / 3, 60 / 3)


def test_cache_savings_keeps_the_providers_cache_apart_from_the_gateways(tmp_path: Path) -> None:
    """What a gateway's cache answered was not sent, so it is in no ratio; what is not told is not guessed."""
    calls = [
        booked("a", "1", input_tokens=1000, cache_read_tokens=600, cache_savings_usd=usd("0.5")),
        booked("b", "1", input_tokens=1000, cache_write_5m_tokens=200, cache_savings_usd=usd("-0.1")),
        booked("c", "0", input_tokens=900, cost_basis="cache_hit", avoided_cost_usd=usd("0.7")),
        booked("d", "1", model="other", input_tokens=10),
    ]
    mini, other = asked(tmp_path, "cache-savings", {"calls": calls})

    assert (mini["input_tokens"], mini["cache_read_tokens"], mini["cache_write_tokens"]) == (2000, 600, 200)
    assert (mini["cache_hit_percent"], mini["cache_savings_usd"]) == (30, usd("0.5") - usd("0.1"))
    assert (mini["gateway_hits"], mini["avoided_cost_usd"], mini["cost_usd"]) == (1, usd("0.7"), usd("2"))
    assert (other["cache_hit_percent"], other["cache_savings_usd"], other["avoided_cost_usd"]) == (None, None, None)


def test_wasted_spend_believes_outcomes_before_evaluations(tmp_path: Path) -> None:
    """Each trace is in one part; good and bad verdicts together are mixed, and no waste."""
    calls = [booked(name, str(2**n)) for n, name in enumerate("abcdefg")]
    told = [
        outcome("a", "resolved", True),
        outcome("b", "resolved", False),
        outcome("c", "resolved", True),
        outcome("c", "accepted", False),
        outcome("g", "resolved", None),
    ]
    scores = [
        evaluation("a", "x", False),
        evaluation("d", "x", False),
        evaluation("e", "x", True),
        evaluation("f", "x", None),
    ]
    (row,) = asked(tmp_path, "wasted-spend", {"calls": calls, "outcomes": told, "evals": scores})

    parts = {name: row[f"{name}_cost_usd"] for name in ("passed", "outcome_failed", "eval_failed", "mixed")}
    assert parts == {
        "passed": usd("1") + usd("16"), "outcome_failed": usd("2"), "eval_failed": usd("8"), "mixed": usd("4"),
    }  # fmt: skip
    assert row["not_judged_cost_usd"] == usd("32") + usd("64")
    assert (row["cost_usd"], row["requests"], row["failed_requests"]) == (usd("127"), 7, 2)
    assert row["wasted_percent"] == round(100 * (2 + 8) / 127, 2)
    assert row["wasted_of_judged_percent"] == round(100 * (2 + 8) / (1 + 16 + 2 + 8 + 4), 2)


def test_a_retry_is_a_later_call_of_the_same_model_in_the_same_trace(tmp_path: Path) -> None:
    """A call that ran beside the failed one is no retry, nor is one of another model or trace."""
    failed = {"status": "ERROR", "error_type": "timeout", "seconds": 10}
    calls = [
        booked("a", "1", NOON, **failed),
        booked("a", "2", NOON + HOUR),
        booked("b", "4", NOON, **failed),
        booked("b", "8", NOON + timedelta(seconds=5)),
        booked("c", "16", NOON, **failed),
        booked("c", "32", NOON + HOUR, model="other"),
    ]
    rows = asked(tmp_path, "retries-and-errors", {"calls": calls})
    found = {(row["model"], row["error_type"]): row for row in rows}

    errors = found["gpt-4o-mini", "timeout"]
    assert (errors["calls"], errors["failed_calls"], errors["retries"]) == (3, 3, 1)
    assert (errors["cost_usd"], errors["failed_percent"]) == (usd("1") + usd("4") + usd("16"), 60)
    assert (errors["retried_requests"], errors["retried_requests_cost_usd"]) == (1, usd("1") + usd("2"))
    assert found["gpt-4o-mini", "(no error)"]["cost_usd"] == usd("2") + usd("8")
    assert found["other", "(no error)"]["retried_requests_cost_usd"] == 0


def test_latency_is_of_calls_that_a_provider_answered(tmp_path: Path) -> None:
    calls = [
        booked("a", "1", seconds=1, output_tokens=100),
        booked("b", "3", seconds=3, output_tokens=500),
        booked("c", "0", seconds=60, status="ERROR"),
        booked("d", "0", seconds=0, cost_basis="cache_hit", output_tokens=100),
        booked("e", None, seconds=2),
    ]
    (row,) = asked(tmp_path, "latency-and-cost", {"calls": calls})

    assert (row["calls"], row["timed_calls"], row["p50_ms"]) == (5, 3, 2000)
    assert (row["p95_ms"], row["p99_ms"]) == (2000 + 1000 * 0.9, 2000 + 1000 * 0.98)
    assert (row["output_tokens_per_second"], row["cost_per_call_usd"]) == ((100 + 500) / (1 + 3), usd("4") / 4)


def test_cost_per_request_over_time(tmp_path: Path) -> None:
    """Whole requests, on the day they started."""
    late = NOON.replace(hour=23)
    calls = [
        booked("a", "1", late),
        booked("a", "2", late + 2 * HOUR),
        booked("b", "5", late),
        booked("c", "7", NOON + DAY),
    ]
    first, second = asked(tmp_path, "cost-per-request", {"calls": calls})

    assert (str(first["day"]), first["requests"], first["cost_usd"]) == ("2026-11-20", 2, usd("8"))
    assert (first["cost_per_request_usd"], first["p50_usd"]) == (usd("8") / 2, (usd("3") + usd("5")) / 2)
    assert first["p95_usd"] == usd("3") + (usd("5") - usd("3")) * usd("0.95")
    assert (str(second["day"]), second["cost_usd"]) == ("2026-11-21", usd("7"))


def test_unattributed_spend_has_a_row_for_every_dimension(tmp_path: Path) -> None:
    """Each row is about all calls; the ledger is told once."""
    calls = [booked("a", "1", feature="x"), booked("b", "3"), booked("c", None)]
    rows = asked(tmp_path, "unattributed-spend", {"calls": calls})
    found = {row["dimension"]: row for row in rows}

    assert set(found) == set(DIMENSIONS)
    assert (found["feature"]["unattributed_calls"], found["feature"]["unattributed_cost_usd"]) == (2, usd("3"))
    assert (found["feature"]["cost_usd"], found["feature"]["unattributed_percent"]) == (usd("1") + usd("3"), 75)
    assert found["traffic_type"]["unattributed_cost_usd"] == 0
    assert ledger(rows) == usd("1") + usd("3")


def test_unpriced_spend_counts_tokens_and_guesses_no_dollar(tmp_path: Path) -> None:
    calls = [
        booked("a", "1", input_tokens=50, output_tokens=10),
        booked("b", None, model="acme-7b", input_tokens=25, output_tokens=5),
        booked("c", None, model=None, unpriced_reason="model_missing", input_tokens=10),
    ]
    rows = asked(tmp_path, "unpriced-spend", {"calls": calls})

    columns = ("reason", "model", "calls", "input_tokens", "share_of_tokens_percent", "cost_usd")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("model_not_in_price_book", "acme-7b", 1, 25, 30, None),
        ("model_missing", None, 1, 10, 10, None),
        ("(priced)", None, 1, 50, 60, usd("1")),
    ]


def test_model_substitution_prices_the_same_tokens_on_the_others(tmp_path: Path) -> None:
    """gpt-4o-mini is $0.15 in, $0.60 out; claude-haiku-4-5 $1 in, $5 out; acme-7b has no price, and gets none."""
    lake = SmallLake(tmp_path / "lake").land(
        call("a", "1", input=1000, output=100, attributes={"app.feature": "x"}),
        call("b", "1", "claude-haiku-4-5", provider="anthropic", input=2000, output=200),
        call("c", "1", "acme-7b", provider="acme", input=4000, output=400),
        call("d", "1", "text-embedding-3-small", input=8000),
    )
    rows = lake.warehouse.ask("model-substitution").table.to_pylist()
    found = {(row["model"].partition("-2024")[0], row["other_model"].partition("-2024")[0]): row for row in rows}

    def mini(sent: int, got: int) -> Decimal:
        return (usd("0.15") * sent + usd("0.60") * got) / 1_000_000

    def haiku(sent: int, got: int) -> Decimal:
        return (usd("1") * sent + usd("5") * got) / 1_000_000

    assert {pair[1] for pair in found if pair[0] == "gpt-4o-mini"} == {"gpt-4o-mini", "claude-haiku-4-5"}
    assert found["gpt-4o-mini", "gpt-4o-mini"]["other_cost_usd"] == mini(1000, 100)
    assert found["gpt-4o-mini", "claude-haiku-4-5"]["other_cost_usd"] == haiku(1000, 100)
    assert found["claude-haiku-4-5", "gpt-4o-mini"]["difference_usd"] == haiku(2000, 200) - mini(2000, 200)
    unpriced = found["acme-7b", "gpt-4o-mini"]
    assert (unpriced["cost_usd"], unpriced["other_cost_usd"]) == (None, mini(4000, 400))
    assert (unpriced["difference_usd"], found["acme-7b", "acme-7b"]["unknown_calls"]) == (None, 1)
    assert ledger(rows) == mini(1000, 100) + haiku(2000, 200) + usd("0.02") * 8000 / 1_000_000

    filtered = lake.warehouse.ask("model-substitution", where={"feature": "x"}).table.to_pylist()
    assert {row["other_model"] for row in filtered} == {"gpt-4o-mini-2024-07-18", "claude-haiku-4-5"}


def test_cost_per_successful_eval_by_scorer_version_and_model(tmp_path: Path) -> None:
    """The scorer is a column; each version and model has its own calls' cost, over their traces' passes."""
    calls = [
        booked("a", "1", prompt_version="v1"),
        booked("b", "2", prompt_version="v1"),
        booked("c", "4", prompt_version="v2", model="gpt-4o"),
    ]
    scores = [evaluation("a", "fit", True), evaluation("b", "fit", False), evaluation("c", "fit", True)]
    rows = asked(
        tmp_path, "cost-per-successful-eval", {"calls": calls, "evals": scores}, None, "prompt_version", "model"
    )

    columns = ("evaluation_name", "prompt_version", "model", "passed", "cost_per_pass_usd")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("fit", "v2", "gpt-4o", 1, usd("4")),
        ("fit", "v1", "gpt-4o-mini", 1, usd("1") + usd("2")),
    ]


def test_a_second_evaluation_of_a_trace_has_no_part_of_the_ledger(tmp_path: Path) -> None:
    """Its part is known, and 0; unknown is what has no price."""
    scores = [evaluation("a", "fit", True), evaluation("a", "fun", True)]
    rows = asked(tmp_path, "cost-per-successful-eval", {"calls": [booked("a", "1")], "evals": scores})

    assert {row["evaluation_name"]: row["ledger_cost_usd"] for row in rows} == {"fit": usd("1"), "fun": usd("0")}


def test_an_agents_run_without_a_price_is_not_its_dearest(tmp_path: Path) -> None:
    calls = [
        booked("a", "1", agent_name="solver", agent_run_id="paid"),
        booked("b", None, agent_name="solver", agent_run_id="unknown"),
    ]
    (row,) = asked(tmp_path, "cost-per-agent-run", {"calls": calls})

    assert (row["dearest_run_id"], row["max_usd"]) == ("paid", usd("1"))


@pytest.mark.parametrize("name", EVERY)
def test_every_rollup_answers_one_call_and_none(tmp_path: Path, name: str) -> None:
    """No calls are no rows, one call is its cost; every documented column is there."""
    columns = {column.name for column in catalogue.rollups(None)[name].columns}
    with session(write_marts(tmp_path / "none", calls=[])) as con:
        assert answer(con, name) == []
    with session(write_marts(tmp_path / "one", calls=[booked("a", "0.000000001")])) as con:
        rows = answer(con, name)
        assert ledger(rows) == usd("0.000000001")
        assert columns <= set(rows[0])


# The end of summer time in Berlin, and its beginning.
AUTUMN = datetime(2026, 10, 25, tzinfo=BERLIN).astimezone(UTC)
SPRING = datetime(2026, 3, 29, tzinfo=BERLIN).astimezone(UTC)


@pytest.mark.parametrize(("midnight", "hours"), [(AUTUMN, 25), (SPRING, 23)])
def test_a_day_of_25_or_23_hours_holds_its_hours(tmp_path: Path, midnight: datetime, hours: int) -> None:
    """One call each hour, from an hour before the day to an hour after it: the days sum to the window."""
    calls = [booked(f"t{n}", str(n + 2), midnight + n * HOUR, route="/a") for n in range(-1, hours + 1)]
    lake = write_marts(tmp_path / "lake", calls=calls)
    date = midnight.astimezone(BERLIN).date()
    with session(lake, since=str(date - DAY), until=str(date + 2 * DAY), tz="Europe/Berlin") as con:
        per_day = {row["day"]: row for row in answer(con, "cost-per-route", "day")}
        sums = {name: ledger(answer(con, name, by)) for name in EVERY for by in ("day", "hour")}
    with session(lake, since=str(date), until=str(date + DAY), tz="Europe/Berlin") as con:
        (alone,) = answer(con, "cost-per-route")

    assert {day: row["calls"] for day, row in per_day.items()} == {date - DAY: 1, date: hours, date + DAY: 1}
    assert alone["cost_usd"] == per_day[date]["cost_usd"] == sum(usd(str(n + 2)) for n in range(hours))
    assert set(sums.values()) == {sum(usd(str(n + 2)) for n in range(-1, hours + 1))}


def test_adjoining_windows_share_no_call_and_lose_none(tmp_path: Path) -> None:
    """Half-open: a call at the boundary is in the second; a day without calls between two is no row."""
    boundary = datetime(2026, 11, 18, tzinfo=UTC)
    calls = [
        booked("a", "1", boundary - timedelta(microseconds=1)),
        booked("b", "2", boundary),
        booked("c", "4", boundary + 2 * DAY),
    ]
    lake = write_marts(tmp_path / "lake", calls=calls)
    with session(lake, since="2026-11-17", until="2026-11-18") as con:
        assert {ledger(answer(con, name)) for name in EVERY} == {usd("1")}
    with session(lake, since="2026-11-18", until="2026-11-21") as con:
        assert {ledger(answer(con, name)) for name in EVERY} == {usd("2") + usd("4")}
        assert [str(row["day"]) for row in answer(con, "cost-per-request")] == ["2026-11-18", "2026-11-20"]


def _calls() -> st.SearchStrategy[Row]:
    """A call of few works, owners and models, at any time of four days, priced or not."""
    word = st.sampled_from([None, "x", "y"])
    return st.builds(
        lambda work, cost, minutes, owners, **columns: booked(
            work, None if cost is None else str(Decimal(cost).scaleb(-9)), NOON - timedelta(minutes=minutes),
            **columns, **owners,
        ),
        work=st.sampled_from("abcd"),
        cost=st.one_of(st.none(), st.integers(0, 10**12)),
        minutes=st.integers(0, 4 * 24 * 60),
        owners=st.fixed_dictionaries({name: word for name in DIMENSIONS if name != "traffic_type"}),
        model=st.sampled_from(["gpt-4o-mini", "claude-haiku-4-5", "acme-7b", None]),
        status=st.sampled_from(["OK", "ERROR"]),
        traffic_type=st.sampled_from(["inference", "eval"]),
        is_batch=st.booleans(),
        input_tokens=st.one_of(st.none(), st.integers(0, 10**15)),
        output_tokens=st.one_of(st.none(), st.integers(0, 10**6)),
    )  # fmt: skip


def _lakes() -> st.SearchStrategy[dict[str, list[Any]]]:
    works, verdict = st.sampled_from("abcd"), st.sampled_from([True, False, None])
    return st.fixed_dictionaries(
        {
            "calls": st.lists(_calls(), min_size=1, max_size=12),
            "outcomes": st.lists(st.builds(outcome, works, st.sampled_from(["won", "kept"]), verdict), max_size=4),
            "evals": st.lists(st.builds(evaluation, works, st.sampled_from(["fit", "fun"]), verdict), max_size=4),
        }
    )


@given(
    marts=_lakes(),
    by=st.sampled_from([None, "day", "hour"]),
    tz=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
    where=st.sampled_from([{}, {"feature": "x"}, {"model": "gpt-4o-mini"}]),
    chosen=st.lists(st.integers(0, 99), max_size=3),
)
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_rollup_loses_or_doubles_a_nano_dollar(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    marts: dict[str, list[Row]],
    by: str | None,
    tz: str,
    where: dict[str, str],
    chosen: list[int],
) -> None:
    """Whatever calls there are and however they are cut, the money of every rollup is the sum of the calls."""
    lake = write_marts(tmp_path_factory.mktemp("random") / "lake", **marts)
    paid = [
        row["cost_usd"] or Decimal(0)
        for row in marts["calls"]
        if all(row[column] == value for column, value in where.items())
    ]
    with session(lake, tz=tz, where=where) as con:
        for name, info in catalogue.rollups(None).items():
            dims = [info.group_by[number % len(info.group_by)] for number in chosen if info.group_by]
            assert (name, ledger(answer(con, name, by, dims))) == (name, sum(paid, Decimal(0)))
