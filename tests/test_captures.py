"""The recorded captures, call by call, against the mock provider's own usage log."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import cycle
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from genai_prices import Usage, calc_price
from support import captures
from support.server import Server

from llmcost.sql import Warehouse
from llmcost.sql.inventory import Inventory

NOT_TOLD = {
    "langfuse-langchain": "the embedding call is not traced",
    "openinference-langchain": "the embedding call is not traced",
    "openinference-litellm-openai-double": "LiteLLM leaves the usage of an Anthropic stream out",
    "otel-genai-google": "of two requests under one span only the last one's usage is told; tool input is left out",
    "otel-openai-v2": "the Responses API is not instrumented; cache and reasoning counts are never sent",
    "pydantic-ai-v2": "the embedder is not traced",
    "traceai-sdk": "messages.stream() is not traced, and one agent loop ended early",
}
"""Captures whose totals fall short of the truth, and what the libraries did not say."""

PROVIDERS = {"gemini": "google"}
TOKENS = {
    "input_tokens": "input_total",
    "output_tokens": "output_total",
    "cache_read_tokens": "cache_read",
    "cache_write_tokens": "cache_write",
    "cache_write_1h_tokens": "cache_write_1h",
    "reasoning_tokens": "reasoning",
    "audio_input_tokens": "audio_in",
    "audio_output_tokens": "audio_out",
}


@dataclass
class Comparison:
    """One capture: what landed, and what was counted of it beside what was true."""

    landed: Inventory
    calls: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    billed: list[dict[str, Any]]
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    untold: list[dict[str, Any]] = field(default_factory=list)
    split: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Comparison]:
    """Every capture derived and matched with its truth by span id."""
    return {name: compare(name, tmp_path_factory.mktemp(name)) for name in captures.names()}


def compare(name: str, folder: Path) -> Comparison:
    """Derive one capture and pair each true call with the one row that describes it."""
    landed = captures.land(folder, [captures.requests(name)])
    marts = captures.derive(folder, landed)
    calls = [
        {**call, "cache_write_tokens": (call["cache_write_5m_tokens"] or 0) + (call["cache_write_1h_tokens"] or 0)}
        for call in marts["calls"].to_pylist()
    ]
    by_span = {span_id: call for call in calls for span_id in call["span_ids"]}
    truth = {row["seq"]: row for row in captures.truth(name)}
    billed = [row for row in truth.values() if row.get("usage") and row["api"] != "responses.retrieve"]
    result = Comparison(landed, calls, marts["agent_runs"].to_pylist(), billed)
    for expected in captures.expected(name)["calls"]:
        row = truth[expected["seq"]]
        found = {call["span_id"]: call for span in expected.get("span_ids", ()) if (call := by_span.get(span))}
        if expected["status"] != "observed":
            result.untold.append(row)
        elif len(found) == 1:
            result.pairs.append((next(iter(found.values())), row))
        else:
            result.split.append(row)
    return result


@pytest.mark.parametrize("name", captures.names())
def test_each_call_is_counted_once_with_its_tokens(compared: dict[str, Comparison], name: str) -> None:
    """Every call that telemetry tells is one row, with the provider's own input and output."""
    comparison = compared[name]

    assert comparison.split == []
    assert [(row["usage"]["input_total"], row["usage"]["output_total"]) for _, row in comparison.pairs] == [
        (call["input_tokens"] or 0, call["output_tokens"] or 0) for call, _ in comparison.pairs
    ]


@pytest.mark.parametrize("name", captures.names())
def test_details_are_the_providers_or_unknown(compared: dict[str, Comparison], name: str) -> None:
    """A cache, reasoning or audio count is the truth, or was not sent; it is never another number."""
    for call, row in compared[name].pairs:
        for column, true_name in TOKENS.items():
            if call[column]:
                assert row["usage"].get(true_name) == call[column], (row["seq"], column)


@pytest.mark.parametrize("name", captures.names())
def test_nothing_is_counted_above_the_truth(compared: dict[str, Comparison], name: str) -> None:
    """The sum of tokens never exceeds what the provider counted; where it is short, the cause is known."""
    comparison = compared[name]
    for column, true_name in (("input_tokens", "input_total"), ("output_tokens", "output_total")):
        told = [row["usage"][true_name] for row in comparison.billed if row["usage_sent"]]
        counted = sum(call[column] or 0 for call in comparison.calls)
        assert counted <= sum(told)
        assert (counted == sum(told)) == (name not in NOT_TOLD) or column == "output_tokens"


def test_log_records_add_no_call(compared: dict[str, Comparison], tmp_path: Path) -> None:
    """Libraries that repeat each call in a log record are counted from their spans: the same calls and tokens."""
    for name in captures.names_with_logs():
        spans = captures.land(tmp_path / name, [captures.requests(name, logs=False)])
        calls = captures.derive(tmp_path / name, spans)["calls"].to_pylist()
        assert tokens(calls) == tokens(compared[name].calls), name


def tokens(calls: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    """Calls as a multiset of what they used."""
    return Counter((call["trace_id"], call["span_id"], call["input_tokens"], call["output_tokens"]) for call in calls)


def test_claude_codes_records_give_its_calls_their_cost(compared: dict[str, Comparison]) -> None:
    """Its spans have tokens and owner; only its records have the cost, the full model id and the lifetimes."""
    calls = compared["claude-agent-sdk-openinference"].calls

    assert {(call["cost_basis"], call["model"], call["is_cache_ttl_assumed"]) for call in calls} == {
        ("reported", "claude-sonnet-4-5-20250929", False)
    }
    assert all(call["span_ids"] and call["log_id"] is None for call in calls)


@pytest.mark.parametrize("name", captures.names())
def test_model_and_vendor_are_the_answering_ones(compared: dict[str, Comparison], name: str) -> None:
    """The model is the one that answered, or the alias that was asked for where nothing else is told."""
    for call, row in compared[name].pairs:
        assert call["model"] in {row.get("model_response"), row["model_requested"]}
        assert call["provider"] in {PROVIDERS.get(row["provider"], row["provider"]), None} or row["api"] == "manual"


@pytest.mark.parametrize("name", captures.names())
def test_list_cost_is_the_librarys_own(compared: dict[str, Comparison], name: str) -> None:
    """Where usage is complete, list_cost_usd is what genai-prices computes from the truth, to the nano-dollar."""
    for call, row in compared[name].pairs:
        usage, complete = row["usage"], True
        for column, true_name in TOKENS.items():
            complete &= (call[column] or 0) == (usage.get(true_name) or 0)
        if complete and call["list_cost_usd"] is not None and call["model"] == row.get("model_response"):
            assert true_cost(row, call) == call["list_cost_usd"], (row["seq"], call["model"])


def true_cost(row: dict[str, Any], call: dict[str, Any]) -> Decimal:
    """The library's price of a truth row, rounded as money is booked."""
    usage = row["usage"]
    counts = {
        "input_tokens": usage["input_total"],
        "output_tokens": usage["output_total"],
        "cache_read_tokens": usage.get("cache_read"),
        "cache_write_tokens": usage.get("cache_write"),
        "cache_write_1h_tokens": usage.get("cache_write_1h"),
        "input_audio_tokens": usage.get("audio_in"),
        "output_audio_tokens": usage.get("audio_out"),
    }
    price = calc_price(
        Usage(**{name: count for name, count in counts.items() if count}),
        model_ref=call["model"],
        provider_id=call["provider"],
        genai_request_timestamp=datetime.fromtimestamp(row["time"], UTC),
        price_context={"service_tier": row["service_tier"].lower()} if row.get("service_tier") else None,
    )
    return price.total_price.quantize(Decimal("1e-9"), ROUND_HALF_UP)


OWNERS = ("user_id", "customer_id", "feature", "session_id")


def test_owners_are_recovered_wherever_a_span_of_the_trace_tells_them(
    compared: dict[str, Comparison], capsys: pytest.CaptureFixture[str]
) -> None:
    """A dimension that all spans of a trace agree on reaches each of its calls; no other value ever does."""
    lines = [f"{'capture':36} {'calls':>5}" + "".join(f" {owner:>14}" for owner in OWNERS)]
    for name, comparison in compared.items():
        told: dict[tuple[str, str], set[str]] = defaultdict(set)
        for paths in comparison.landed.files["spans"].values():
            for path in paths:
                for span in pq.read_table(path, columns=["trace_id", *OWNERS]).to_pylist():
                    for owner in OWNERS:
                        told[span["trace_id"], owner] |= {span[owner]} - {None}
        calls = comparison.calls
        row = f"{name:36} {len(calls):5}"
        for owner in OWNERS:
            for call in calls:
                words = told[call["trace_id"], owner]
                assert call[owner] in words or not words or (call[owner] is None and len(words) > 1), (
                    name,
                    owner,
                    call,
                )
            found = sum(call[owner] is not None for call in calls)
            possible = sum(bool(told[call["trace_id"], owner]) for call in calls)
            row += f" {f'{found} of {possible}':>14}"
        lines.append(row)
    with capsys.disabled():
        print("\n" + "\n".join(lines))  # noqa: T201  (the table is this test's result)


def test_no_recording_has_a_run_that_is_not_explained(compared: dict[str, Comparison]) -> None:
    """Agents of seven recordings repeat their calls' usage; none of it is left over."""
    told = 0
    for name, comparison in compared.items():
        reported = [row["unexplained_usd"] for row in comparison.runs]
        assert not any(reported), name
        told += any(value is not None for value in reported)
    assert told == 7


def test_all_captures_in_one_lake_count_the_same(
    compared: dict[str, Comparison], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Landed together they give the same calls as apart: ids that happen to repeat merge nothing."""
    inventory = captures.land(tmp_path, [captures.requests(name) for name in captures.names()])
    together = captures.derive(tmp_path, inventory)["calls"].to_pylist()

    apart = [call for comparison in compared.values() for call in comparison.calls]
    assert money(apart) == money(together)
    with capsys.disabled():
        print("\n" + table(compared))  # noqa: T201  (the table is this test's result)


def money(calls: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    """Calls as a multiset of what they cost."""
    return Counter((call["trace_id"], call["span_id"], call["input_tokens"], call["cost_usd"]) for call in calls)


def table(compared: dict[str, Comparison]) -> str:
    """Captures beside their truth, for people."""
    lines = [
        f"{'capture':36} {'calls':>5} {'exact':>5} {'untold':>6} {'input':>7} {'of':>7} {'output':>6} {'of':>6}  why"
    ]
    totals: Counter[str] = Counter()
    for name, comparison in compared.items():
        told = [row["usage"] for row in comparison.billed if row["usage_sent"]]
        row = {
            "calls": len(comparison.billed),
            "exact": len(comparison.pairs),
            "untold": len(comparison.untold),
            "input": sum(call["input_tokens"] or 0 for call in comparison.calls),
            "true_input": sum(usage["input_total"] for usage in told),
            "output": sum(call["output_tokens"] or 0 for call in comparison.calls),
            "true_output": sum(usage["output_total"] for usage in told),
        }
        totals.update(row)
        lines.append(_line(name, row, NOT_TOLD.get(name, "")))
    return "\n".join([*lines, _line("all", totals, "")])


def _line(name: str, row: dict[str, int] | Counter[str], why: str) -> str:
    return (
        f"{name:36} {row['calls']:5} {row['exact']:5} {row['untold']:6} {row['input']:7} {row['true_input']:7} "
        f"{row['output']:6} {row['true_output']:6}  {why}"
    ).rstrip()


def test_two_receivers_land_what_the_decoder_reads(tmp_path: Path) -> None:
    """Recorded spans sent by turns to two real servers on one lake give the same calls and the same money."""
    with Server(tmp_path / "lake") as one, Server(tmp_path / "lake") as other:
        turns = cycle((one, other))
        for name in captures.names():
            for request in captures.requests(name, logs=False):
                next(turns).send(request.body)
        assert (one.stop(), other.stop()) == (0, 0)
    warehouse = Warehouse(tmp_path / "lake", now=lambda: datetime(2026, 11, 23, tzinfo=UTC))

    spans = [captures.requests(name, logs=False) for name in captures.names()]
    decoded = captures.derive(tmp_path, captures.land(tmp_path / "decoded", spans))["calls"].to_pylist()
    assert money(decoded) == money(warehouse.sql("from calls").to_pylist())
