"""What went wrong in other systems that track LLM cost, one test each: it must hold here.

Numbers are those of the list of pitfalls the product is built against: 1-11 counting a dollar once,
12-27 the right price, 28-31 the right owner and day.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.lakes import SmallLake
from support.spans import NOON, SpanOf, call, span_id, trace_id

from llmcost.ingest.check import check_traces
from llmcost.models.settings import Settings

Lands = Callable[..., list[dict[str, Any]]]
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "solver"}
ANTHROPIC = {"model": "claude-sonnet-4-5-20250929", "provider": "anthropic"}
NATIVE = "com.anthropic.sdk.python"


def mtok(price: str, tokens: int) -> Decimal:
    """Tokens at a price per million."""
    return Decimal(price) * tokens / 1_000_000


def mini(input_tokens: int, output_tokens: int = 0) -> Decimal:
    """gpt-4o-mini: $0.15 in, $0.60 out per million tokens."""
    return mtok("0.15", input_tokens) + mtok("0.60", output_tokens)


@pytest.fixture
def lands(tmp_path: Path) -> Lands:
    """Land spans, one segment each call, and return all calls so far in order of start."""
    lake = SmallLake(tmp_path / "lake")

    def land(*spans: SpanOf) -> list[dict[str, Any]]:
        lake.land(*spans)
        return lake.warehouse.sql("from calls order by started_at, span_id").to_pylist()

    land.lake = lake  # type: ignore[attr-defined]
    return land


def unbilled(lands: Lands) -> dict[str, str]:
    """span_id -> reason."""
    found = lands.lake.warehouse.sql("from unbilled_spans").to_pylist()  # type: ignore[attr-defined]
    return {row["span_id"]: row["reason"] for row in found}


def test_01_agent_spans_that_repeat_usage_do_not_count(lands: Lands) -> None:
    """Agent and workflow spans are control totals, not calls."""
    usage = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100}
    (only,) = lands(
        SpanOf("t", "agent", attributes={**AGENT, **usage}), call("t", "llm", parent="agent", input=1000, output=100)
    )

    assert only["cost_usd"] == mini(1000, 100)
    assert unbilled(lands) == {span_id("t", "agent"): "aggregate_agent"}


def test_02_of_framework_and_sdk_span_the_one_with_cache_detail_wins(lands: Lands) -> None:
    """The outer span is blind to caching; the inner one tells it."""
    (only,) = lands(
        call("t", "outer", input=1000, output=100, scope="framework", seconds=3),
        call("t", "inner", parent="outer", input=1000, output=100, cache_read=800, seconds=2),
    )

    assert only["cache_read_tokens"] == 800
    assert only["list_cost_usd"] == mini(200, 100) + mtok("0.075", 800)
    assert unbilled(lands) == {span_id("t", "inner"): "nested_same_usage"}


def test_03_what_an_aggregate_says_is_shown_beside_its_calls(lands: Lands) -> None:
    """The agent's own figure is neither hidden nor added: it stands in unbilled_spans, the difference on the run."""
    (only,) = lands(
        SpanOf("t", "agent", attributes={**AGENT, "gen_ai.usage.input_tokens": 5000, "gen_ai.usage.cost": 0.01}),
        call("t", "llm", parent="agent", input=1000, output=100),
    )
    warehouse = lands.lake.warehouse  # type: ignore[attr-defined]
    (row,) = warehouse.sql("from unbilled_spans").to_pylist()
    (run,) = warehouse.sql("from agent_runs").to_pylist()

    assert (row["input_tokens"], row["reported_cost_usd"]) == (5000, Decimal("0.01"))
    assert run["cost_usd"] == only["cost_usd"] == mini(1000, 100)
    assert run["unexplained_usd"] == Decimal("0.01") - mini(1000, 100)


def test_04_gateway_and_sdk_spans_merge_and_keep_both_sides_owners(lands: Lands) -> None:
    """The gateway gives team and key, the SDK gives user and feature."""
    (only,) = lands(
        call("t", "sdk", input=10, output=1, response_id="r-1", attributes={"user.id": "ann", "feature": "chat"}),
        call(
            "t", "gateway", parent="sdk", scope="gateway", input=10, output=1, response_id="r-1",
            attributes={"user.id": "default", "team": "search", "key_id": "vk-7"},
        ),
    )  # fmt: skip

    assert (only["user_id"], only["feature"], only["team"], only["key_id"]) == ("ann", "chat", "search", "vk-7")


def test_05_aggregated_usage_is_never_money(lands: Lands) -> None:
    """gen_ai.aggregated_usage.* is no call, on whatever span it stands."""
    aggregated = {"gen_ai.aggregated_usage.input_tokens": 9000, "gen_ai.operation.name": "invoke_agent"}

    assert lands(SpanOf("t", "agent", attributes=aggregated)) == []


def test_06_details_are_parts_and_add_nothing(lands: Lands) -> None:
    """Cache, audio and reasoning counts are within input and output."""
    details = {"gen_ai.usage.reasoning.output_tokens": 60, "gen_ai.usage.audio.input_tokens": 0}
    (only,) = lands(call("t", "llm", "gpt-5-mini", input=1000, output=100, cache_read=400, attributes=details))

    assert (only["input_tokens"], only["output_tokens"]) == (1000, 100)
    assert only["list_cost_usd"] == mtok("0.25", 600) + mtok("0.025", 400) + mtok("2", 100)


def test_07_spans_sent_again_are_counted_once(lands: Lands) -> None:
    """An exporter's retry lands twice and costs once."""
    spans = [call("t", "llm", input=1000, output=100)]
    lands(*spans)

    assert [row["cost_usd"] for row in lands(*spans)] == [mini(1000, 100)]
    assert unbilled(lands) == {span_id("t", "llm"): "sent_again"}


def test_08_spans_without_ids_are_rejected_and_counted() -> None:
    """They are told to the exporter as a partial success; none stands for the others."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    for _ in range(3):
        spans.add(trace_id=bytes(16), span_id=bytes(8))
    spans.add(trace_id=b"\x01" * 16, span_id=b"\x01" * 8)
    checked = check_traces(message.SerializeToString())

    assert (checked.spans, checked.rejected) == (4, 3)


def test_09_of_two_versions_of_a_span_the_later_end_then_the_larger_usage_wins(lands: Lands) -> None:
    """A partial streaming row does not stand in the whole one's way, whichever comes first."""
    whole = call("t", "llm", input=1000, output=500, seconds=4)
    partial = call("t", "llm", input=1000, output=50, seconds=1)
    smaller = call("t", "llm", input=1000, output=40, seconds=4)
    lands(whole)
    lands(partial)

    assert [row["output_tokens"] for row in lands(smaller)] == [500]


def test_10_a_re_export_with_fresh_ids_is_recognised_by_its_response(lands: Lands) -> None:
    """Equal response ids at the same time are one request, in whatever trace."""
    (only,) = lands(
        call("t", "llm", input=1000, output=100, response_id="chatcmpl-1"),
        call("again", "llm", input=1000, output=100, response_id="chatcmpl-1"),
    )

    assert only["cost_usd"] == mini(1000, 100)
    assert sorted(only["span_ids"]) == sorted([span_id("t", "llm"), span_id("again", "llm")])


def test_11_attempts_are_rows_with_their_status(lands: Lands) -> None:
    """A failed attempt is billed 0 and seen; the retry is another row."""
    failed = call("t", "1", failed=True, attributes={"error.type": "RateLimitError"})
    rows = lands(failed, call("t", "2", at=NOON + timedelta(seconds=2), input=1000, output=100))

    assert [(row["status"], row["cost_usd"], row["cost_basis"]) for row in rows] == [
        ("ERROR", Decimal(0), "failed"),
        ("UNSET", mini(1000, 100), "list"),
    ]


@pytest.mark.parametrize(
    ("scope", "input_tokens"),
    [("openlit.instrumentation.anthropic", 600), ("opentelemetry.instrumentation.anthropic", 1000)],
)
def test_12_whether_input_includes_cache_is_a_rule_by_scope(lands: Lands, scope: str, input_tokens: int) -> None:
    """600 uncached + 400 read, told exclusively or inclusively, cost the same."""
    (only,) = lands(call("t", "llm", **ANTHROPIC, scope=scope, input=input_tokens, output=0, cache_read=400))

    assert only["input_tokens"] == 1000
    assert only["list_cost_usd"] == mtok("3", 600) + mtok("0.3", 400)


def test_12_more_cache_than_input_cannot_be_inclusive(lands: Lands) -> None:
    """A count smaller than its cache tokens is read as excluding them, whatever its scope."""
    (only,) = lands(call("t", "llm", **ANTHROPIC, input=10, output=0, cache_read=400))

    assert only["input_tokens"] == 410


def test_13_output_is_never_derived_from_a_total(lands: Lands) -> None:
    """A total without an output leaves the output unknown."""
    (only,) = lands(call("t", "llm", input=1000, attributes={"gen_ai.usage.total_tokens": 5000}))

    assert (only["input_tokens"], only["output_tokens"]) == (1000, None)


@pytest.mark.parametrize("tokens", [1000, 1000.0, "1000"])
def test_14_numbers_may_come_as_int_double_or_text(lands: Lands, tokens: object) -> None:
    """Any numeric spelling is a number."""
    (only,) = lands(call("t", "llm", input=tokens, output=100, attributes={"cost.usd": "0.25"}))

    assert (only["input_tokens"], only["reported_cost_usd"]) == (1000, Decimal("0.25"))


def test_15_every_view_of_a_trace_shows_one_cost(lands: Lands) -> None:
    """The trace, its tree, its rollup and its calls agree."""
    lands(SpanOf("t", "root"), call("t", "1", parent="root", input=7, output=3), call("t", "2", input=9, output=1))
    warehouse = lands.lake.warehouse  # type: ignore[attr-defined]
    cost = mini(16, 4)

    assert warehouse.trace(trace_id("t")).cost_usd == cost
    assert warehouse.sql("select sum(cost_usd) as cost from traces").to_pylist() == [{"cost": cost}]
    assert warehouse.ask("cost-per-feature").coverage.cost_usd == cost


@pytest.mark.parametrize(
    "spelling",
    [
        "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_write_input_tokens", "gen_ai.usage.details.cache_write_tokens", "cache_creation_tokens",
    ],
)  # fmt: skip
def test_16_every_spelling_of_a_cache_write_is_priced(lands: Lands, spelling: str) -> None:
    """Five spellings, one price."""
    (only,) = lands(call("t", "llm", **ANTHROPIC, input=1000, output=0, attributes={spelling: 400}))

    assert only["list_cost_usd"] == mtok("3", 600) + mtok("3.75", 400)


def test_16_an_unknown_usage_key_is_pointed_out(lands: Lands) -> None:
    """A positive count that no spelling reads is a finding of the doctor."""
    lands(call("t", "llm", attributes={"gen_ai.usage.quantum_tokens": 12}))
    findings = lands.lake.warehouse.doctor()  # type: ignore[attr-defined]

    assert ["gen_ai.usage.quantum_tokens" in f.message for f in findings if f.check == "usage keys"] == [True]


def test_17_one_hour_cache_writes_have_their_own_price(lands: Lands) -> None:
    """5 minutes at 1.25x, one hour at 2x; an unknown lifetime counts as 5 minutes and is marked."""
    native = "anthropic.usage.cache_creation.ephemeral_{}_input_tokens"
    known = {native.format("5m"): 100, native.format("1h"): 300, "gen_ai.usage.cache_write.input_tokens": 400}
    first, second = lands(
        call("t", "known", **ANTHROPIC, input=1000, output=0, attributes=known),
        call("t", "unknown", **ANTHROPIC, at=NOON + timedelta(minutes=1), input=1000, output=0,
             attributes={"gen_ai.usage.cache_write.input_tokens": 400}),
    )  # fmt: skip

    assert first["list_cost_usd"] == mtok("3", 600) + mtok("3.75", 100) + mtok("6", 300)
    assert second["list_cost_usd"] == mtok("3", 600) + mtok("3.75", 400)
    assert (first["is_cache_ttl_assumed"], second["is_cache_ttl_assumed"]) == (False, True)


def test_18_an_unknown_model_has_no_price_and_says_so(lands: Lands) -> None:
    """NULL with a reason, never 0; the rollup says how much it leaves out."""
    (only,) = lands(call("t", "llm", "acme-7b", provider="acme", input=1000, output=100))
    coverage = lands.lake.warehouse.ask("cost-per-feature").coverage  # type: ignore[attr-defined]

    assert (only["cost_usd"], only["unpriced_reason"]) == (None, "model_not_in_price_book")
    assert (coverage.unpriced_calls, coverage.unpriced_tokens) == (1, 1100)


def test_19_a_deployment_name_is_priced_by_the_users_alias(lands: Lands) -> None:
    """An Azure deployment or an inference profile gets its price by a regex of the user's."""
    prices = lands.lake.lake.prices / "own.toml"  # type: ignore[attr-defined]
    prices.write_text('[[alias]]\nmatch = "prod-chat-.*"\nprovider = "openai"\nmodel = "gpt-4o-mini"\n')
    (only,) = lands(call("t", "llm", "prod-chat-eu", provider="azure", input=1000, output=100))

    assert (only["provider"], only["model"], only["cost_usd"]) == ("openai", "gpt-4o-mini", mini(1000, 100))


def test_20_the_tier_is_the_calls_and_strictly_above_its_boundary(lands: Lands) -> None:
    """At 200,000 the base price holds; one token more, and every component pays the tier's."""
    at, above = lands(
        call("t", "at", "gemini-2.5-pro", provider="google", input=200_000, output=10),
        call(
            "t",
            "above",
            "gemini-2.5-pro",
            provider="google",
            at=NOON + timedelta(minutes=1),
            input=200_001,
            output=10,
        ),
    )

    assert at["list_cost_usd"] == mtok("1.25", 200_000) + mtok("10", 10)
    assert above["list_cost_usd"] == round(mtok("2.5", 200_001) + mtok("15", 10), 9)


def test_21_each_call_is_priced_then_summed(lands: Lands) -> None:
    """Two calls under the tier's boundary stay under it, however large their sum."""
    lands(
        *(
            call(
                "t",
                str(n),
                "gemini-2.5-pro",
                provider="google",
                at=NOON + timedelta(minutes=n),
                input=150_000,
                output=0,
            )
            for n in range(2)
        )
    )
    coverage = lands.lake.warehouse.ask("cost-per-feature").coverage  # type: ignore[attr-defined]

    assert coverage.cost_usd == mtok("1.25", 300_000)


def test_22_service_tier_and_batch_are_part_of_the_price(lands: Lands) -> None:
    """Flex and batch are half the price; what the response says goes before what was asked."""
    flex = {"openai.request.service_tier": "flex"}
    answered = {**flex, "openai.response.service_tier": "default"}
    rows = lands(
        call("t", "flex", "gpt-5-mini", input=1000, output=0, attributes=flex),
        call("t", "default", "gpt-5-mini", at=NOON + timedelta(minutes=1), input=1000, output=0, attributes=answered),
    )

    assert [row["list_cost_usd"] for row in rows] == [mtok("0.125", 1000), mtok("0.25", 1000)]


def test_23_thinking_tokens_are_output(lands: Lands) -> None:
    """Where a library leaves thoughts out of the output, the rule for it adds them."""
    answer = (
        '{"usage_metadata": {"prompt_token_count": 500, "thoughts_token_count": 300, "candidates_token_count": 40}}'
    )
    attributes = {
        "gen_ai.request.model": "gemini-2.5-flash", "gen_ai.system": "gcp.vertex.agent",
        "gen_ai.usage.input_tokens": 500, "gen_ai.usage.output_tokens": 40, "gcp.vertex.agent.llm_response": answer,
    }  # fmt: skip
    (only,) = lands(SpanOf("t", "llm", "call_llm", scope="gcp.vertex.agent", attributes=attributes))

    assert (only["output_tokens"], only["reasoning_tokens"]) == (340, 300)


def test_24_a_stream_without_usage_is_unknown(lands: Lands) -> None:
    """Never a guessed number in the cost column."""
    (only,) = lands(call("t", "llm", attributes={"gen_ai.request.stream": True}))

    assert (only["cost_usd"], only["unpriced_reason"], only["input_tokens"]) == (None, "usage_missing", None)


def test_25_a_booked_cost_names_its_price_book(lands: Lands) -> None:
    """A changed layer is another book: the days are made again under its name, and the change is told."""
    before = lands(call("t", "llm", input=1000, output=100))[0]["price_book"]
    prices = lands.lake.lake.prices / "own.toml"  # type: ignore[attr-defined]
    prices.write_text('[[list]]\nmodel = "gpt-4o-mini*"\ninput = 1\noutput = 2\n')
    (told,) = lands.lake.warehouse.ask("cost-per-feature").restated  # type: ignore[attr-defined]
    (after,) = lands(call("u", "other", "acme", provider="acme", at=NOON - timedelta(days=3)))[1:]

    assert before == "genai-prices 0.2.3"
    assert after["price_book"].startswith("genai-prices 0.2.3+")
    assert after["cost_usd"] == mtok("1", 1000) + mtok("2", 100)
    assert (told.book_before, told.book_after) == (before, after["price_book"])
    assert (told.cost_before, told.cost_after) == (mini(1000, 100), after["cost_usd"])


def test_26_contract_and_list_stand_side_by_side(lands: Lands) -> None:
    """A discount by provider and customer; the list price stays visible."""
    prices = lands.lake.lake.prices / "contract.toml"  # type: ignore[attr-defined]
    prices.write_text('[[contract]]\nprovider = "openai"\ncustomer_id = "acme"\npercent = -20\nfrom = 2026-01-01\n')
    acme, other = lands(
        call("t", "1", input=1000, output=100, attributes={"customer.id": "acme"}),
        call("u", "2", at=NOON + timedelta(minutes=1), input=1000, output=100, attributes={"customer.id": "globex"}),
    )

    assert (acme["list_cost_usd"], acme["cost_usd"]) == (mini(1000, 100), mini(1000, 100) * Decimal("0.8"))
    assert (acme["cost_basis"], other["cost_basis"], other["cost_usd"]) == ("contract", "list", mini(1000, 100))


def test_27_failed_calls_and_cache_hits_cost_nothing(lands: Lands) -> None:
    """A gateway's cache hit costs 0 and shows what it saved."""
    hit, failed = lands(
        call("t", "hit", input=1000, output=100, attributes={"x-agentcc-cache": "hit"}),
        call("t", "failed", at=NOON + timedelta(minutes=1), failed=True),
    )

    assert (hit["cost_usd"], hit["avoided_cost_usd"], hit["cost_basis"]) == (Decimal(0), mini(1000, 100), "cache_hit")
    assert (failed["cost_usd"], failed["cost_basis"]) == (Decimal(0), "failed")


def test_28_owners_are_inherited_and_coverage_is_said(lands: Lands) -> None:
    """Metadata on the root reaches the call through spans that know nothing; what nobody owns is a row."""
    lands(
        SpanOf("t", "root", attributes={"user.id": "ann", "feature": "chat"}),
        SpanOf("t", "middle", parent="root"),
        call("t", "llm", parent="middle", input=1000, output=100, resource={"deployment.environment.name": "prod"}),
        call("u", "alone", input=1000, output=100),
    )
    answer = lands.lake.warehouse.ask("cost-per-feature")  # type: ignore[attr-defined]

    assert [row["feature"] for row in answer.table.to_pylist()] == ["(unattributed)", "chat"]
    assert answer.coverage.unattributed["feature"] == answer.coverage.unattributed["user_id"] == 0.5
    assert (answer.dimensions, answer.coverage.unattributed["team"]) == (("feature",), 1.0)


def test_29_a_trace_across_midnight_keeps_its_owner_and_outcome(lands: Lands) -> None:
    """The root is on one UTC day, the call on the next, the outcome on a third."""
    midnight = NOON.replace(hour=0)
    (only,) = lands(
        SpanOf("t", "root", at=midnight - timedelta(seconds=5), seconds=60, attributes={"user.id": "ann"}),
        call("t", "llm", parent="root", at=midnight + timedelta(seconds=5), input=1000, output=100),
        SpanOf("t", "verdict", at=midnight + timedelta(days=1), attributes={"outcome.resolved": True}),
    )
    (row,) = lands.lake.warehouse.ask("cost-per-outcome").table.to_pylist()  # type: ignore[attr-defined]

    assert (str(only["day"]), only["user_id"]) == ("2026-11-20", "ann")
    assert (row["successes"], row["cost_per_success_usd"]) == (1, mini(1000, 100))


def test_30_days_of_any_zone_sum_to_the_window(lands: Lands) -> None:
    """48 hourly calls around a clock change: each in one day, whatever the zone."""
    lands(*(call(str(n), "llm", at=NOON - timedelta(hours=n), input=1000, output=100) for n in range(48)))
    warehouse = lands.lake.warehouse  # type: ignore[attr-defined]

    for tz in ("UTC", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia"):
        days = warehouse.ask("eval-vs-inference", tz=tz).table["cost_usd"].to_pylist()
        assert sum(days) == 48 * mini(1000, 100)


def test_31_what_has_landed_is_in_the_answer(lands: Lands) -> None:
    """Materialised days do not hide a span that came after them."""
    lands(call("t", "1", input=1000, output=100))
    warehouse = lands.lake.warehouse  # type: ignore[attr-defined]
    warehouse.refresh()
    lands(call("t", "2", at=NOON + timedelta(minutes=1), input=1000, output=100))

    assert warehouse.ask("cost-per-feature").coverage.calls == 2


def test_an_unmarked_span_counts_where_nothing_below_it_does(lands: Lands) -> None:
    """The mission's own vocabulary needs no operation; a total on the request's span is not a second call."""
    own = {"model": "gpt-4o-mini", "prompt_tokens": 18, "prompt_cached_tokens": 10, "completion_tokens": 4}
    total = {"model": "gpt-4o-mini", "prompt_tokens": 99, "completion_tokens": 9, "cost.usd": 0.1}
    rows = lands(
        SpanOf("t", "alone", attributes=own),
        SpanOf("u", "request", attributes=total),
        call("u", "llm", parent="request", input=50, output=5),
        SpanOf("v", "new", attributes={**own, "gen_ai.operation.name": "dream_up"}),
    )

    assert sorted((row["input_tokens"], row["cache_read_tokens"]) for row in rows if row["cache_read_tokens"]) == [
        (18, 10),
        (18, 10),
    ]
    assert [row["input_tokens"] for row in rows if not row["cache_read_tokens"]] == [50]


@pytest.mark.parametrize("cost", [5e8, 1e12, 1e300])
def test_a_broken_cost_leaves_its_day_whole(lands: Lands, cost: float) -> None:
    """A figure that no span can cost is no report, on a call or on an agent; neighbours keep theirs."""
    agent = SpanOf("t", "agent", attributes={**AGENT, "cost.usd": cost})
    broken = call("t", "llm", parent="agent", input=1000, output=100, attributes={"cost.usd": cost})
    rows = lands(
        agent, broken, call("u", "llm", at=NOON + timedelta(minutes=1), input=7, attributes={"cost.usd": 0.5})
    )

    assert [(row["cost_usd"], row["reported_cost_usd"]) for row in rows] == [
        (mini(1000, 100), None),
        (Decimal("0.5"), Decimal("0.5")),
    ]
    assert unbilled(lands) == {span_id("t", "agent"): "aggregate_agent"}


def test_reported_or_list_first_is_a_setting(tmp_path: Path) -> None:
    """The report is booked by default; `pricing.prefer = "list"` books the book."""
    reported = call("t", "llm", input=1000, output=100, attributes={"cost.usd": 0.5})
    by_report = SmallLake(tmp_path / "a").land(reported).warehouse
    by_list = SmallLake(tmp_path / "b", Settings(pricing={"prefer": "list"})).land(reported).warehouse

    assert by_report.ask("cost-per-feature").coverage.cost_usd == Decimal("0.5")
    assert by_list.ask("cost-per-feature").coverage.cost_usd == mini(1000, 100)
