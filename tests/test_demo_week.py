"""The demo's week is the same for everybody, and its ledger adds up."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from llmcost.cli.demo_trace import Model, Tokens, list_price
from llmcost.cli.demo_truth import CountedCall, compare, of_ledger
from llmcost.cli.demo_week import Week, tell

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PER_MILLION = Decimal(1) / 1_000_000


@pytest.fixture(scope="module")
def week() -> Week:
    return tell(NOW)


def test_the_week_is_the_same_for_the_same_seed_and_another_for_another(week: Week) -> None:
    assert tell(NOW) == week
    assert tell(NOW, seed=1).spans != week.spans


def test_the_week_at_another_moment_is_the_same_week_moved(week: Week) -> None:
    moved = tell(NOW + timedelta(days=100))
    assert [span.span_id for span in moved.spans] == [span.span_id for span in week.spans]


def test_every_span_lies_in_the_week_and_ends_after_it_began(week: Week) -> None:
    assert week.since - timedelta(seconds=1) <= min(span.started_at for span in week.spans)
    assert max(span.ended_at for span in week.spans) <= week.until + timedelta(seconds=1)
    assert all(span.started_at <= span.ended_at for span in week.spans)


def test_no_two_spans_share_an_id_and_every_parent_is_there(week: Week) -> None:
    ids = Counter((span.trace_id, span.span_id) for span in week.spans)
    assert max(ids.values()) == 1
    assert all((span.trace_id, span.parent_id) in ids for span in week.spans if span.parent_id is not None)


def test_the_ledger_names_every_span_of_a_model_call_and_no_other(week: Week) -> None:
    """Agents repeat the usage of their calls and are none; a refused request is one, without usage."""
    calls = {"chat", "embeddings"}
    telling = {
        f"{span.span_id:016x}"
        for span in week.spans
        if ("gen_ai.usage.input_tokens" in span.attributes and span.attributes["gen_ai.operation.name"] in calls)
        or "llm.token_count.prompt" in span.attributes
        or span.is_error
    }
    named = [span_id for call in week.calls for span_id in call.span_ids]
    assert set(named) == telling
    assert len(named) == len(set(named))


def test_every_hazard_is_in_the_story(week: Week) -> None:
    assert any(len(call.span_ids) == 2 for call in week.calls)
    assert any(call.cost_usd is None for call in week.calls)
    assert any(call.is_reported for call in week.calls)
    assert any(call.owner.customer is None for call in week.calls)
    assert any(span.is_error for span in week.spans)
    endings = Counter(span.trace_id for span in week.spans if span.name == "outcome")
    assert max(endings.values()) == 2
    began = {span.trace_id: span.started_at for span in week.spans if span.parent_id is None}
    late = [
        span for span in week.spans if span.name == "outcome" and span.started_at.date() > began[span.trace_id].date()
    ]
    assert late


def test_the_price_of_a_call_is_its_tokens_times_the_published_rates() -> None:
    """claude-sonnet-4-6: $3 in, $0.30 read from the cache, $3.75 written to it, $15 out, a million tokens."""
    sonnet = Model("anthropic", "claude-sonnet-4-6")
    expected = 1000 * Decimal(3) + 400 * Decimal("0.3") + 600 * Decimal("3.75") + 200 * Decimal(15)
    assert list_price(sonnet, Tokens(2000, 200, cache_read=400, cache_write=600), NOW) == expected * PER_MILLION


def test_a_model_nobody_lists_has_no_price_rather_than_another_models() -> None:
    assert list_price(Model("openai", "ft:gpt-4.1-mini-2025-04-14:brightdesk::b7Qx"), Tokens(1000, 10), NOW) is None


def test_the_cheap_model_is_dearer_where_it_counts(week: Week) -> None:
    def costs(agent: str) -> tuple[Decimal, Decimal]:
        answered = [call for call in week.calls if call.owner.agent == agent and not call.is_refused]
        spent = [call.cost_usd or Decimal(0) for call in answered]
        resolved = sum(outcome.succeeded for outcome in week.outcomes if outcome.owner.agent == agent)
        return sum(spent, Decimal(0)) / len(spent), sum(spent, Decimal(0)) / resolved

    cheap, dear = costs("refund-haiku"), costs("refund-sonnet")
    assert cheap[0] < dear[0]
    assert cheap[1] > 2 * dear[1]


A, B, TWO = Decimal("0.5"), Decimal("0.25"), Decimal(2)
KNOWN = [(frozenset({"a", "a2"}), A), (frozenset({"b"}), B), (frozenset({"c"}), None)]


def test_rows_that_tell_each_call_once_are_exact() -> None:
    rows = [
        CountedCall(frozenset({"a", "a2"}), A),
        CountedCall(frozenset({"b"}), B),
        CountedCall(frozenset({"c"}), None),
    ]
    accuracy = compare(KNOWN, rows)
    assert accuracy.is_exact
    assert (accuracy.once, accuracy.known_usd, accuracy.counted_unpriced) == (3, A + B, 1)


def test_twins_that_were_not_joined_are_counted_twice() -> None:
    rows = [CountedCall(frozenset({"a"}), A), CountedCall(frozenset({"a2"}), A), CountedCall(frozenset({"b"}), B)]
    accuracy = compare(KNOWN, rows)
    assert (accuracy.once, accuracy.twice, accuracy.missing, accuracy.invented) == (1, 1, 1, 0)
    assert accuracy.counted_usd - accuracy.known_usd == A
    assert not accuracy.is_exact


def test_two_calls_in_one_row_lose_one_and_a_row_of_strangers_is_invented() -> None:
    rows = [CountedCall(frozenset({"a", "b"}), A), CountedCall(frozenset({"z"}), TWO)]
    accuracy = compare(KNOWN, rows)
    assert (accuracy.once, accuracy.twice, accuracy.missing, accuracy.invented) == (1, 0, 2, 1)


def test_the_week_against_itself_is_exact(week: Week) -> None:
    rows = [CountedCall(call.span_ids, call.cost_usd) for call in week.calls]
    assert compare(of_ledger(week.calls), rows).is_exact
