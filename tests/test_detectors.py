"""Detectors: a planted case is found and named, ordinary ones are not, and their rows still sum to the ledger."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.marts import Row, answer, booked, ledger, session, write_marts
from support.spans import NOON

DAY, MINUTE, SECOND = timedelta(days=1), timedelta(minutes=1), timedelta(seconds=1)


def usd(text: str) -> Decimal:
    return Decimal(text)


def found(folder: Path, name: str, calls: list[Row], *dims: str, **files: str) -> list[Row]:
    """The suspects' rows, after their sum with the ordinary was checked."""
    lake = write_marts(folder / "lake", calls=calls)
    for file, text in files.items():
        (lake.user_rollups / f"{file}.csv").write_text(text)
    with session(lake) as con:
        rows = answer(con, name, None, dims)
    assert ledger(rows) == sum((row["cost_usd"] for row in calls if row["cost_usd"] is not None), Decimal(0))
    return [row for row in rows if row["finding"] != "(ordinary)"]


def of_run(agent: str, run: str, cost: str, **columns: Any) -> Row:
    return booked(run, cost, agent_name=agent, agent_run_id=run, **columns)


def test_a_run_over_ten_times_its_agents_median_is_a_runaway(tmp_path: Path) -> None:
    """By cost and by tokens; an agent that is dear every time is not, nor one exactly at ten times."""
    calls = [of_run("solver", f"run {n}", "1", input_tokens=100) for n in range(4)]
    calls += [of_run("solver", "away", "10.5", input_tokens=1001), of_run("solver", "edge", "10", input_tokens=1000)]
    calls += [of_run("dear", f"dear {n}", "500") for n in range(3)]
    (row,) = found(tmp_path, "runaway-agents", calls)

    assert (row["agent_name"], row["agent_run_id"], row["trace_id"]) == ("solver", "away", "away")
    assert (row["finding"], row["cost_usd"], row["median_run_usd"]) == ("cost, tokens", usd("10.5"), usd("1"))
    assert row["times_median_cost"] == 10.5


def test_a_run_that_loops_is_a_runaway_though_it_costs_little(tmp_path: Path) -> None:
    """Eleven calls where the median run makes one; split by model it is still one run's money."""
    calls = [of_run("solver", f"run {n}", "1") for n in range(4)]
    calls += [of_run("solver", "loop", "0.1", at=NOON + n * SECOND, model="a" if n else "b") for n in range(11)]
    rows = found(tmp_path, "runaway-agents", calls, "model")

    assert {(row["finding"], row["agent_run_id"], row["model"], row["calls"]) for row in rows} == {
        ("calls", "loop", "a", 10), ("calls", "loop", "b", 1),
    }  # fmt: skip
    assert sum(row["cost_usd"] for row in rows) == 11 * usd("0.1")


def test_failures_that_come_thick_and_mostly_are_a_retry_storm(tmp_path: Path) -> None:
    """Ten within five minutes and half of the calls; a second burst after a pause is a second storm."""
    failed = {"status": "ERROR", "feature": "support", "agent_name": "solver", "seconds": 0}
    calls = [booked(f"a{n}", "0.2", NOON + n * 20 * SECOND, **failed) for n in range(10)]
    calls += [booked(f"b{n}", "0.3", NOON + 30 * MINUTE + n * SECOND, **failed) for n in range(12)]
    first, second = sorted(found(tmp_path, "retry-storms", calls), key=lambda row: row["began_at"])

    assert (first["finding"], first["feature"], first["agent_name"]) == ("failing", "support", "solver")
    assert (first["began_at"], first["last_at"]) == (NOON, NOON + 180 * SECOND)
    assert (first["failed_calls"], first["cost_usd"]) == (10, 10 * usd("0.2"))
    assert (second["began_at"], second["cost_usd"]) == (NOON + 30 * MINUTE, 12 * usd("0.3"))


def test_a_request_made_again_and_again_is_a_retry_storm_without_an_error(tmp_path: Path) -> None:
    """The same input to the same model one after the other; the first of them is no try."""
    again = {"input_tokens": 700, "output_tokens": 5, "seconds": 1}
    calls = [booked("t", "0.01", NOON + 2 * n * SECOND, **again) for n in range(12)]
    (row,) = found(tmp_path, "retry-storms", calls)

    assert (row["finding"], row["calls"], row["failed_calls"]) == ("repeating", 11, 0)
    assert row["cost_usd"] == 11 * usd("0.01")


def test_ordinary_traffic_is_no_retry_storm(tmp_path: Path) -> None:
    """Nine failures, failures of a tenth of the traffic, calls beside each other, an embedder's equal pieces."""
    calls = [booked(f"few{n}", "1", NOON + n * SECOND, status="ERROR", feature="few") for n in range(9)]
    calls += [
        booked(f"busy{n}", "1", NOON + n * SECOND, status="OK" if n % 10 else "ERROR", feature="busy")
        for n in range(120)
    ]
    beside = {"input_tokens": 700, "output_tokens": 5, "seconds": 60, "feature": "votes"}
    calls += [booked("votes", "1", NOON + n * SECOND, **beside) for n in range(20)]
    pieces = {"input_tokens": 512, "output_tokens": 0, "operation": "embeddings", "feature": "index"}
    calls += [booked("index", "1", NOON + 2 * n * SECOND, **pieces) for n in range(20)]

    assert found(tmp_path, "retry-storms", calls) == []


def sized(feature: str, version: str, day: int, tokens: int, count: int = 20, **columns: Any) -> list[Row]:
    """`count` requests of a feature's prompt version, each of so many tokens, `day` days after the first."""
    return [
        booked(
            f"{feature} {version} {day} {n}", "3", NOON - 4 * DAY + day * DAY + n * MINUTE,
            feature=feature, prompt_version=version, input_tokens=tokens, output_cost_usd=usd("1"), **columns,
        )
        for n in range(count)
    ]  # fmt: skip


def test_a_prompt_that_has_grown_is_found_on_the_days_that_it_was_larger(tmp_path: Path) -> None:
    """Against its own first days; what it cost more is the growth's share of the input."""
    calls = [*sized("a", "v1", 0, 1000), *sized("a", "v1", 1, 1500), *sized("a", "v1", 2, 2000)]
    (row,) = found(tmp_path, "context-bloat", calls)

    assert (row["finding"], row["feature"], row["prompt_version"]) == ("grown", "a", "v1")
    assert (row["day"], row["requests"], row["times_usual"]) == ((NOON - 2 * DAY).date(), 20, 2.0)
    assert (row["input_tokens_per_request"], row["usual_input_tokens_per_request"]) == (2000, 1000)
    assert (row["cost_usd"], row["growth_usd"]) == (20 * usd("3"), 20 * (usd("3") - usd("1")) / 2)


def test_a_new_prompt_version_is_measured_against_the_one_before_it(tmp_path: Path) -> None:
    calls = [*sized("a", "v1", 0, 1000), *sized("a", "v2", 1, 1600), *sized("a", "v2", 2, 1400)]
    (row,) = found(tmp_path, "context-bloat", calls)

    assert (row["finding"], row["prompt_version"], row["against_version"]) == ("new version", "v2", "v1")
    assert (row["day"], row["times_usual"]) == ((NOON - 3 * DAY).date(), 1.6)


def test_what_always_was_large_or_is_rare_or_judges_is_no_context_bloat(tmp_path: Path) -> None:
    """Two versions side by side from the start, nine requests, too few to begin with, eval traffic."""
    calls = [*sized("a", "v1", 0, 1000), *sized("a", "v2", 0, 3000), *sized("a", "v2", 1, 3000)]
    calls += [*sized("rare", "v1", 0, 1000), *sized("rare", "v1", 1, 9000, 9)]
    calls += [*sized("young", "v1", 0, 1000, 19), *sized("young", "v1", 1, 9000, 11)]
    calls += [*sized("judged", "v1", 0, 1000), *sized("judged", "v1", 1, 9000, traffic_type="eval")]

    assert found(tmp_path, "context-bloat", calls) == []


def test_an_older_version_with_traffic_after_the_takeover_is_stale(tmp_path: Path) -> None:
    """From the day after; its cost stands beside what as many requests cost under the current one."""
    calls = [*sized("a", "v1", 0, 10), *sized("a", "v1", 1, 10, 5), *sized("a", "v2", 1, 10, 15)]
    stale = [row | {"cost_usd": usd("5")} for row in sized("a", "v1", 2, 10, 2)]
    calls += [*sized("a", "v2", 2, 10, 18), *stale]
    (row,) = found(tmp_path, "stale-prompt-versions", calls)

    assert (row["feature"], row["prompt_version"], row["current_version"]) == ("a", "v1", "v2")
    assert (row["took_over_on"], row["requests"], row["cost_usd"]) == ((NOON - 3 * DAY).date(), 2, 2 * usd("5"))
    assert (row["cost_per_request_usd"], row["current_cost_per_request_usd"]) == (usd("5"), usd("3"))
    assert row["difference_usd"] == 2 * usd("5") - 2 * usd("3")
    assert row["trace_id"] == "a v1 2 1"


def test_a_canary_a_rollback_and_versions_side_by_side_are_not_stale(tmp_path: Path) -> None:
    """Nothing has taken over; the older one has again; which is older is unknown; evals of the old are meant."""
    calls = [*sized("canary", "v1", 0, 10), *sized("canary", "v1", 1, 10), *sized("canary", "v2", 1, 10, 2)]
    calls += [*sized("back", "v1", 0, 10), *sized("back", "v2", 1, 10), *sized("back", "v1", 2, 10)]
    calls += [*sized("back", "v2", 3, 10, 2), *sized("back", "v1", 3, 10)]
    calls += [*sized("beside", "v1", 0, 10, 9), *sized("beside", "v2", 0, 10), *sized("beside", "v1", 1, 10, 9)]
    calls += [*sized("judged", "v1", 0, 10), *sized("judged", "v2", 1, 10)]
    calls += sized("judged", "v1", 2, 10, traffic_type="eval")

    assert found(tmp_path, "stale-prompt-versions", calls) == []


def accounts() -> list[Row]:
    """Five small accounts, a greedy one, and a greedy one that pays."""
    calls = [booked(f"t{n}", "0.1", customer_id=f"small{n}", user_id="u", tags=["free"]) for n in range(5)]
    calls += [booked(f"g{n}", "1", customer_id="greedy", user_id=f"u{n}", tags=["plan:free"]) for n in range(2)]
    return [*calls, booked("p", "9", customer_id="payer"), booked("n", "50")]


def test_an_account_without_revenue_that_costs_ten_medians_is_an_abuser(tmp_path: Path) -> None:
    """Revenue of an earlier time is none; who pays may cost what it costs."""
    revenue = "customer_id,since,until,revenue_usd\npayer,2026-11-01,2026-12-01,3\ngreedy,2026-09-01,2026-10-01,3\n"
    (row,) = found(tmp_path, "free-tier-abusers", accounts(), revenue=revenue)

    assert (row["account_id"], row["cost_usd"], row["users"]) == ("greedy", 2 * usd("1"), 2)
    assert (row["median_account_usd"], row["times_median"]) == (usd("0.1"), 20.0)


def test_without_a_revenue_file_tags_say_who_is_free(tmp_path: Path) -> None:
    """And without tags nobody is; nor among four accounts."""
    (row,) = found(tmp_path / "tags", "free-tier-abusers", accounts())
    assert row["account_id"] == "greedy"

    assert found(tmp_path / "none", "free-tier-abusers", [row | {"tags": None} for row in accounts()]) == []
    few = [row for row in accounts() if row.get("customer_id") not in ("small0", "small1")]
    assert found(tmp_path / "few", "free-tier-abusers", few) == []


def test_users_are_accounts_where_no_customer_is_told(tmp_path: Path) -> None:
    calls = [booked(f"t{n}", "0.1", user_id=f"small{n}", tags=["free"]) for n in range(5)]
    (row,) = found(tmp_path, "free-tier-abusers", [*calls, booked("g", "2", user_id="greedy", tags=["free"])])

    assert (row["account_id"], row["trace_id"]) == ("greedy", "g")


def prompted(feature: str, count: int, gap: timedelta, **columns: Any) -> list[Row]:
    """Calls of one prompt of 3,000 tokens, `gap` apart."""
    more = {"feature": feature, "prompt_version": "v1", "input_tokens": 3000, "output_tokens": 10} | columns
    return [booked(f"{feature} {n} {columns}", "0.01", NOON + n * gap, **more) for n in range(count)]


def cached(tokens: int) -> Decimal:
    """gpt-4o-mini: $0.15 a million in, $0.075 read from cache."""
    return (usd("0.15") - usd("0.075")) * tokens / 1_000_000


def test_misses_beside_hits_would_have_saved_what_the_hits_did(tmp_path: Path) -> None:
    """The prefix is what hits read; the call that comes after more than five minutes could not hit."""
    hits = prompted("a", 12, MINUTE, cache_read_tokens=2048)
    misses = [row | {"started_at": row["started_at"] + 20 * SECOND} for row in prompted("a", 10, MINUTE)]
    late = prompted("a", 1, MINUTE)[0] | {"started_at": NOON + 2 * 60 * MINUTE, "trace_id": "late"}
    (row,) = found(tmp_path, "cache-misses", [*hits, *misses, late])

    assert (row["finding"], row["feature"], row["prompt_version"]) == ("beside hits", "a", "v1")
    assert (row["calls"], row["prefix_tokens"], row["cost_usd"]) == (10, 2048, 10 * usd("0.01"))
    assert row["missed_savings_usd"] == 10 * cached(2048)
    assert row["missed_percent"] == round(100 * 10 / 21, 2)


@pytest.mark.parametrize(("told", "finding"), [({"cache_read_tokens": 0}, "never hit"), ({}, "not told")])
def test_a_prompt_that_is_never_cached_is_found_and_says_how_sure_it_is(
    tmp_path: Path, told: dict[str, int], finding: str
) -> None:
    """At most all of its smallest calls; the first could not hit."""
    (row,) = found(tmp_path, "cache-misses", prompted("a", 20, MINUTE, **told))

    assert (row["finding"], row["calls"], row["prefix_tokens"]) == (finding, 19, 3000)
    assert row["missed_savings_usd"] == 19 * cached(3000)


def test_short_rare_seldom_missing_and_unpriced_prompts_are_no_cache_misses(tmp_path: Path) -> None:
    calls = prompted("short", 30, MINUTE, input_tokens=1023, cache_read_tokens=0)
    calls += prompted("few", 19, MINUTE, cache_read_tokens=0)
    calls += prompted("slow", 30, 6 * MINUTE, cache_read_tokens=0)
    calls += prompted("good", 90, MINUTE, cache_read_tokens=2048)
    calls += [row | {"started_at": row["started_at"] + SECOND} for row in prompted("good", 10, MINUTE)]
    calls += prompted("unknown", 30, MINUTE, model="acme-7b", cache_read_tokens=0)
    calls += prompted("varied", 30, MINUTE, input_tokens=500, cache_read_tokens=0)

    assert found(tmp_path, "cache-misses", calls) == []
