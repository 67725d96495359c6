"""Telemetry beside reports: both sides in full, the variance, and causes that arithmetic finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.lakes import NOW
from support.spans import NOON
from support.two_sides import TwoSides, call

from llmcost.ingest.report_store import store
from llmcost.ingest.reports import Report, Usage, summed
from llmcost.models.errors import UsageError
from llmcost.models.settings import Reconciling
from llmcost.sql.reconciliation import Cause, Reconciliation

DAY = timedelta(days=1)
MIDNIGHT = NOON.replace(hour=0)
MINI = "gpt-4o-mini-2024-07-18"
NANO = Decimal("0.000000001")


def mini(input_tokens: int, output_tokens: int = 0, cached: int = 0) -> Decimal:
    """gpt-4o-mini: $0.15 in, $0.075 cached, $0.60 out per million tokens."""
    fresh = Decimal("0.15") * (input_tokens - cached) + Decimal("0.075") * cached
    return (fresh + Decimal("0.60") * output_tokens) / 1_000_000


def used(input_tokens: int, output_tokens: int = 0, *, day: datetime = MIDNIGHT, **told: Any) -> Usage:
    """A row of a usage report of OpenAI."""
    row = Usage("completions", day, day + DAY, "openai", model=MINI, input_tokens=input_tokens)
    return replace(row, output_tokens=output_tokens, **told)


def paid(cost: Decimal, *, day: datetime = MIDNIGHT, **told: Any) -> Usage:
    """A row of a costs report of OpenAI."""
    row = Usage("costs", day, day + DAY, "openai", model=MINI, line_item=f"{MINI}, input", cost=cost, currency="USD")
    return replace(row, **told)


def seen(model: str = MINI, *, at: datetime = NOON, **told: Any) -> dict[str, Any]:
    """A call that telemetry tells, booked at its list price."""
    return call(model, at=at, **told)


def causes(answer: Reconciliation, report: int = 0) -> dict[Cause, Decimal]:
    """What explains a report's variance."""
    return {each.cause: each.amount_usd for each in answer.totals[report].causes}


def ask(lake: TwoSides, **options: Any) -> Reconciliation:
    """Everything of the days around."""
    return lake.ask(**options)


def test_what_agrees_has_no_variance_and_no_cause(tmp_path: Path) -> None:
    """An alias and a snapshot are one model; what a library calls default is standard."""
    lake = TwoSides(tmp_path).land(
        seen(input=1000, output=100, cache_read=400), seen("gpt-4o-mini", input=50, output=5)
    )
    lake.told(used(1050, 105, cache_read_tokens=400, requests=2), paid(mini(1050, 105, 400)))

    (totals,) = ask(lake).totals

    assert (Decimal(0), 0, ()) == (totals.variance_usd, totals.variance_tokens, totals.causes)
    assert (1.0, 1.0, Decimal(0)) == (totals.token_coverage, totals.cost_coverage, totals.unexplained_usd)


def test_calls_that_nobody_traced_are_missing_at_their_worth(tmp_path: Path) -> None:
    lake = TwoSides(tmp_path).land(seen(input=1000, output=100))
    lake.told(
        used(5000, 700, requests=4),
        paid(mini(5000, 700)),
    )

    answer = ask(lake)

    assert {Cause.MISSING_CALLS: -mini(4000, 600)} == causes(answer)
    assert answer.totals[0].variance_usd == -mini(4000, 600)
    assert (1100 / 5700, Decimal(0)) == (answer.totals[0].token_coverage, answer.totals[0].unexplained_usd)


def test_calls_without_usage_are_told_from_calls_that_are_missing(tmp_path: Path) -> None:
    """Of three requests that are short one was seen without its usage: a third of the tokens is that."""
    lake = TwoSides(tmp_path).land(seen(input=1000, output=100), seen())
    lake.told(used(4000, 400, requests=4), paid(mini(4000, 400)))

    assert {Cause.USAGE_MISSING: -mini(1000, 100), Cause.MISSING_CALLS: -mini(2000, 200)} == causes(ask(lake))


def test_cache_fields_that_a_library_leaves_out_cost_too_much(tmp_path: Path) -> None:
    lake = TwoSides(tmp_path).land(seen(input=1000, output=100))
    lake.told(used(1000, 100, cache_read_tokens=600, requests=1), paid(mini(1000, 100, 600)))

    answer = ask(lake)

    assert {Cause.MISSING_CACHE_FIELDS: mini(1000) - mini(1000, 0, 600)} == causes(answer)
    assert (0, Decimal(0)) == (answer.totals[0].variance_tokens, answer.totals[0].unexplained_usd)


@pytest.mark.parametrize("is_tier_told", [True, False])
def test_a_batch_that_telemetry_does_not_know_of_is_found_by_its_price(tmp_path: Path, is_tier_told: bool) -> None:
    """Told by the usage report's tier, or seen from tokens that agree and money that is half of theirs."""
    tier = {"service_tier": "batch"} if is_tier_told else {}
    lake = TwoSides(tmp_path).land(seen(input=1_000_000, output=100_000))
    lake.told(used(1_000_000, 100_000, requests=1, **tier), paid(mini(1_000_000, 100_000) / 2))

    answer = ask(lake)

    assert {Cause.BATCH_DISCOUNT: mini(1_000_000, 100_000) / 2} == causes(answer)
    assert (Decimal(0), 0) == (answer.totals[0].unexplained_usd, answer.totals[0].variance_tokens)


def test_another_tier_is_found_and_split_where_both_tell_it(tmp_path: Path) -> None:
    """A gpt-5-mini at priority costs 1.8 times its price; by tier the tokens are too many here and too few there."""
    start = {"provider": "openai", "model": "gpt-5-mini", "service_tier": "priority"}
    list_price = Decimal("0.25") * 1_000_000 / 1_000_000
    lake = TwoSides(tmp_path).land(seen("gpt-5-mini", input=1_000_000))
    row = replace(used(1_000_000, requests=1), **start)
    lake.told(row, replace(paid(list_price * Decimal("1.8")), **start))

    answer = ask(lake, group_by=["model", "service_tier"])

    assert {Cause.SERVICE_TIER: -list_price * Decimal("0.8")} == causes(answer)
    by_tier = {row["service_tier"]: (row["variance_usd"], row["cause"]) for row in answer.table.to_pylist()}
    assert {
        "standard": (list_price, "service_tier"),
        "priority": (-list_price * Decimal("1.8"), "service_tier"),
    } == by_tier


def test_an_old_price_is_known_as_one_and_any_other_is_said_with_its_factor(tmp_path: Path) -> None:
    """A gateway reports what it thinks a call costs: billed at the list price, that was stale."""
    lake = TwoSides(tmp_path / "stale").land(seen(input=1_000_000, cost=Decimal("0.5")))
    lake.told(used(1_000_000), paid(mini(1_000_000)))
    assert {Cause.STALE_PRICES: Decimal("0.5") - mini(1_000_000)} == causes(ask(lake))

    lake = TwoSides(tmp_path / "discount").land(seen(input=1_000_000))
    lake.told(used(1_000_000), paid(mini(1_000_000) * Decimal("0.83")))
    (each,) = ask(lake).totals[0].causes
    assert (Cause.PRICES_DIFFER, mini(1_000_000) * Decimal("0.17"), Decimal("0.83")) == (
        each.cause, each.amount_usd, each.factor,
    )  # fmt: skip


def test_a_contract_that_is_booked_is_what_tokens_are_worth(tmp_path: Path) -> None:
    """At a fifth off, missing tokens are valued at a fifth off, and nothing is left over."""
    lake = TwoSides(tmp_path).land(seen(input=1_000_000, cost=mini(1_000_000) * Decimal("0.8")))
    lake.told(used(3_000_000), paid(mini(3_000_000) * Decimal("0.8")))

    assert {Cause.MISSING_CALLS: -mini(2_000_000) * Decimal("0.8")} == causes(ask(lake))


def test_a_model_without_a_price_and_a_fine_tuned_one_are_seen(tmp_path: Path) -> None:
    """Its tokens are worth what was billed for a token; what no call tells is missing all the same."""
    lake = TwoSides(tmp_path / "odd").land(seen("acme-7b", input=600, output=200))
    lake.told(used(1200, 400, model="acme-7b"), paid(Decimal("0.016"), model="acme-7b"))
    answer = ask(lake)
    assert {Cause.UNPRICED_MODEL: Decimal("-0.008"), Cause.MISSING_CALLS: Decimal("-0.008")} == causes(answer)
    assert answer.table.to_pylist()[0]["unpriced_calls"] == 1

    tuned = "ft:gpt-4o-mini-2024-07-18:acme::abc"
    lake = TwoSides(tmp_path / "tuned").land(seen(tuned, input=1_000_000))
    booked = ask(lake.told(used(1_000_000, model=tuned))).totals[0].cost_usd
    lake.told(paid(booked * 3, model=tuned))
    assert {Cause.FINE_TUNED_MODEL: booked - booked * 3} == causes(ask(lake))


def test_days_that_begin_elsewhere_are_found_by_their_counts(tmp_path: Path) -> None:
    """A report in days of New York: calls of the small hours stand on the day before."""
    offset = timedelta(hours=5)
    lake = TwoSides(tmp_path)
    calls = [(MIDNIGHT + timedelta(hours=hours), 1000 + 7 * hours) for hours in range(1, 70, 3)]
    lake.land(*(seen(input=tokens, at=at) for at, tokens in calls))
    by_day: dict[datetime, int] = {MIDNIGHT - DAY: 0}
    for at, tokens in calls:
        local = (at - offset).replace(hour=0)
        by_day[local] = by_day.get(local, 0) + tokens
    lake.told(
        *(used(tokens, day=day) for day, tokens in by_day.items()),
        *(paid(mini(tokens), day=day) for day, tokens in by_day.items()),
    )

    answer = ask(lake, by="day")

    assert {Cause.DAY_BOUNDARY.value} == {row["cause"] for row in answer.table.to_pylist() if row["variance_usd"]}
    assert all(row["unexplained_usd"] == 0 for row in answer.table.to_pylist())
    assert "openai: its days begin at 05:00 UTC, by its counts" in answer.notes
    assert answer.totals[0].variance_usd == 0


def test_a_report_taken_too_early_lacks_what_came_after(tmp_path: Path) -> None:
    lake = TwoSides(tmp_path).land(seen(input=1000, at=NOON), seen(input=400, at=NOON + timedelta(hours=6)))
    lake.told(used(1000), paid(mini(1000)), now=NOON + timedelta(hours=2))

    answer = ask(lake)

    assert {Cause.PARTIAL_REPORT: mini(400)} == causes(answer)
    assert "openai: imported before its end: 2026-11-20" in answer.notes


def test_one_response_told_twice_is_a_duplicate_and_the_rest_is_not_in_the_report(tmp_path: Path) -> None:
    """Copies in two traces that do not overlap in time are two calls of one response."""
    later = NOON + timedelta(hours=1)
    lake = TwoSides(tmp_path).land(
        seen(input=1000, output=10, response_id="chatcmpl-1"),
        seen(input=1000, output=10, response_id="chatcmpl-1", at=later),
        seen(input=300, output=3, response_id="chatcmpl-2", at=later),
    )
    lake.told(used(1000, 10), paid(mini(1000, 10)))

    assert {Cause.DUPLICATES: mini(1000, 10), Cause.NOT_IN_REPORT: mini(300, 3)} == causes(ask(lake))


def test_what_is_billed_for_no_tokens_is_said_as_that(tmp_path: Path) -> None:
    lake = TwoSides(tmp_path).land(seen(input=1000))
    search = paid(Decimal("0.025"), model=None, line_item="web search tool calls")
    lake.told(used(1000), paid(mini(1000)), search)

    answer = ask(lake)

    assert {Cause.NOT_TOKENS: Decimal("-0.025")} == causes(answer)
    assert [(None, "report"), ("gpt-4o-mini", "both")] == [
        (row["model"], row["found_in"]) for row in answer.table.to_pylist()
    ]


def test_names_of_one_side_only_stay_in_the_answer(tmp_path: Path) -> None:
    """A model that only telemetry knows, one that only the report does, and calls outside of both are all said."""
    lake = TwoSides(tmp_path).land(
        seen(input=1000),
        seen("gpt-4.1-mini", input=500),
        seen(input=70, at=NOON + DAY),
        seen("claude-haiku-4-5", input=10, provider="anthropic"),
    )
    lake.told(used(1000), used(900, model="gpt-4o"))

    answer = ask(lake)

    assert {"gpt-4o-mini": "both", "gpt-4.1-mini": "telemetry", "gpt-4o": "report"} == {
        row["model"]: row["found_in"] for row in answer.table.to_pylist()
    }
    assert (1, mini(70)) == (answer.totals[0].outside_calls, answer.totals[0].outside_cost_usd)
    assert any(note.startswith("no report tells of anthropic: 1 calls") for note in answer.notes)
    assert "openai: the report tells tokens only: import its costs to compare money" in answer.notes


def test_bedrocks_bill_meets_its_model_ids(tmp_path: Path) -> None:
    """`us.anthropic.claude-sonnet-4-5-…` and "Claude Sonnet 4.5" are one model; input excludes what caches read."""
    name = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    spans = [seen(name, provider="aws.bedrock", input=14_000, output=500, cache_read=10_000)]
    lake = TwoSides(tmp_path).land(*spans)
    booked = lake.calls[0]["cost_usd"]
    row = Usage("bedrock", NOON, NOON + timedelta(hours=1), "aws", model="Claude Sonnet 4.5", service_tier="standard")
    row = replace(row, input_tokens=14_000, output_tokens=500, cache_read_tokens=10_000, cost=booked, currency="USD")
    store(lake.lake, Report("aws-cur", (row,), is_whole=True), NOW)

    (totals,) = ask(lake).totals

    assert ("aws-cur", 1, 14_500, Decimal(0), 0) == (
        totals.report, totals.calls, totals.report_tokens, totals.variance_usd, totals.variance_tokens,
    )  # fmt: skip


def test_a_tools_estimate_is_no_bill(tmp_path: Path) -> None:
    """LiteLLM's and a provider's word stand apart: a report each, its money in a column of its own."""
    lake = TwoSides(tmp_path).land(seen(input=1000))
    row = replace(used(1000), report="spend_logs", record_id="r", cost=mini(1000), is_billed=False)
    store(lake.lake, Report("litellm", (replace(row, period_start=NOON, period_end=NOON + NANO_SECOND),)), NOW)
    lake.told(used(1000), paid(mini(1000)))

    answer = ask(lake)

    assert [("litellm", None, mini(1000)), ("openai", mini(1000), None)] == [
        (row["report"], row["billed_cost_usd"], row["estimated_cost_usd"]) for row in answer.table.to_pylist()
    ]
    assert [False, True] == [totals.is_billed for totals in answer.totals]
    assert {"openai"} == {row["report"] for row in ask(lake, reports=["openai"]).table.to_pylist()}


NANO_SECOND = timedelta(microseconds=1)


def test_projects_are_compared_where_the_settings_say_what_they_are(tmp_path: Path) -> None:
    names = Reconciling(project="team", names={"proj_1": "support"})
    lake = TwoSides(tmp_path, names).land(seen(input=1000, team="support"), seen(input=300, team="sales"))
    lake.told(used(1000, project_id="proj_1"), used(500, project_id="sales"))

    rows = {row["project"]: row["variance_tokens"] for row in ask(lake).table.to_pylist()}

    assert {"support": 0, "sales": -200} == rows
    with pytest.raises(UsageError, match=r"reconcile\.project"):
        ask(TwoSides(tmp_path / "other"), group_by=["project"])


def test_usage_by_model_meets_costs_by_day(tmp_path: Path) -> None:
    """What the money does not tell is compared without; the tokens' models still explain it."""
    lake = TwoSides(tmp_path).land(seen(input=1000), seen("gpt-4.1-mini", input=500))
    bill = mini(1000) + Decimal("0.40") * 500 / 1_000_000 + mini(2000)
    lake.told(used(3000), used(500, model="gpt-4.1-mini"), paid(bill, model=None, line_item=None))

    answer = ask(lake)

    assert {Cause.MISSING_CALLS: -mini(2000)} == causes(answer)
    assert "openai: not every part of the report tells model: compared without" in answer.notes


def test_what_is_asked_wrongly_is_seen(tmp_path: Path) -> None:
    lake = TwoSides(tmp_path).land(seen(input=1000))
    with pytest.raises(UsageError, match="no report speaks of"):
        ask(lake)
    lake.told(used(1000))
    for options, said in (
        ({"by": "hour"}, "accepted is day"),
        ({"group_by": ["feature"]}, "it can by provider, model"),
        ({"reports": ["azure"]}, 'no report "azure" in the window: there are openai'),
        ({"provider": "mistral"}, 'no report tells of provider "mistral"'),
    ):
        with pytest.raises(UsageError, match=said):
            ask(lake, **options)


calls_drawn = st.lists(
    st.tuples(
        st.integers(0, 70),
        st.sampled_from([MINI, "gpt-4.1-mini", "gpt-5-mini", "acme-7b"]),
        st.integers(0, 5000),
        st.integers(0, 900),
    ),
    min_size=1,
    max_size=8,
)
rows_drawn = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([MINI, "gpt-4.1-mini", "gpt-5-mini", "acme-7b", "gpt-4o"]),
        st.sampled_from(["standard", "batch", "flex", None]),
        st.integers(0, 5000),
        st.integers(0, 900),
        st.integers(0, 10**8),
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, max_examples=12, phases=[Phase.explicit, Phase.generate])
@given(calls=calls_drawn, told=rows_drawn, by=st.sampled_from([None, "day"]))
def test_both_sides_are_whole_and_causes_sum_to_the_variance(
    tmp_path_factory: pytest.TempPathFactory,
    calls: Sequence[tuple[int, str, int, int]],
    told: Sequence[tuple[int, str, str | None, int, int, int]],
    by: str | None,
) -> None:
    """Whatever either side tells: its rows sum to its source, and causes with what is unexplained to the variance."""
    lake = TwoSides(tmp_path_factory.mktemp("any"))
    lake.land(
        *(
            seen(model, input=sent, output=given_, at=MIDNIGHT + timedelta(hours=hour))
            for number, (hour, model, sent, given_) in enumerate(calls)
        )
    )
    usage_rows = [
        used(sent, given_, day=MIDNIGHT + day * DAY, model=model, service_tier=tier)
        for day, model, tier, sent, given_, _ in told
    ]
    bills = [paid(nano * NANO, day=MIDNIGHT + day * DAY, model=model) for day, model, _, _, _, nano in told]
    lake.told(*summed(usage_rows), *summed(bills))

    answer = ask(lake, by=by, group_by=["model"])

    (totals,), rows = answer.totals, answer.table.to_pylist()
    ledger, count = sum((each["cost_usd"] or 0 for each in lake.calls), Decimal(0)), len(lake.calls)
    assert ledger == sum(row["cost_usd"] for row in rows) + totals.outside_cost_usd
    assert count == sum(row["calls"] for row in rows) + totals.outside_calls
    assert sum(nano for *_, nano in told) * NANO == sum(row["billed_cost_usd"] or 0 for row in rows)
    assert sum(sent + given_ for _, _, _, sent, given_, _ in told) == sum(row["report_tokens"] or 0 for row in rows)
    parts: dict[tuple[Any, ...], Decimal] = {}
    for each in answer.causes.to_pylist():
        key = (each.get("day"), each["model"])
        parts[key] = parts.get(key, Decimal(0)) + each["amount_usd"]
    for row in rows:
        if row["variance_usd"] is not None:
            explained = parts.get((row.get("day"), row["model"]), Decimal(0))
            assert row["variance_usd"] == explained + row["unexplained_usd"]
