"""Log records that tell of model requests: coding agents without spans, and content events beside spans."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.lakes import SmallLake
from support.logs import CLAUDE_EVENTS, CLAUDE_SPANS, LogOf, api_request, codex_completed
from support.spans import NOON, SpanOf, call, span_id, trace_id

ROLLUPS = {
    "cost-per-agent-run": "cost_usd",
    "cost-per-customer": "cost_usd",
    "cost-per-feature": "cost_usd",
    "cost-per-outcome": "ledger_cost_usd",
    "cost-per-successful-eval": "ledger_cost_usd",
    "cost-per-user-day": "cost_usd",
    "eval-vs-inference": "cost_usd",
}
SECOND = timedelta(seconds=1)
USAGE: dict[str, Any] = {
    "input_tokens": 133, "output_tokens": 150, "cache_read_tokens": 256, "cache_creation_tokens": 257,
    "cache_creation_5m_tokens": 200, "cache_creation_1h_tokens": 57, "cost_usd": 0.0040585050000000004,
}  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    """An empty lake."""
    return SmallLake(tmp_path / "lake")


def calls(lake: SmallLake) -> list[dict[str, Any]]:
    """The calls by start."""
    return lake.warehouse.sql("from calls order by started_at, log_id").to_pylist()


def unbilled(lake: SmallLake) -> list[dict[str, Any]]:
    """What was not billed."""
    return lake.warehouse.sql("from unbilled_spans").to_pylist()


def claude(**options: Any) -> LogOf:
    """A record with full usage."""
    return api_request(attributes=USAGE | options.pop("attributes", {}), **options)


def llm_request(span: str = "llm", *, session: str = "s", request_id: str | None = None, **options: Any) -> SpanOf:
    """Claude Code's span about the same request: no cost, no lifetimes of cache writes, an alias for a model."""
    attributes = {
        "span.type": "llm_request", "gen_ai.system": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5",
        "input_tokens": 133, "output_tokens": 150, "cache_read_tokens": 256, "cache_creation_tokens": 257,
        "session.id": session,
    }  # fmt: skip
    attributes |= {"gen_ai.response.id": request_id} if request_id else {}
    name = "claude_code.llm_request"
    options = {"at": NOON - 0.8 * SECOND, "seconds": 0.8} | options
    return SpanOf(
        "t", span, name, scope=CLAUDE_SPANS, attributes=attributes | options.pop("attributes", {}), **options
    )


def test_a_claude_code_session_without_spans_is_counted_from_its_logs(lake: SmallLake) -> None:
    """Each request is a call without a trace, with its tokens brought to one meaning and its cost as reported."""
    resource = {"service.name": "claude-code", "team.id": "platform", "cost_center": "eng-123"}
    who = {"user.email": "ann@example.com", "user.account_uuid": "uuid", "prompt.id": "p1"}
    first = claude(request_id="req_1", resource=resource, attributes=who)
    second = claude(request_id="req_2", at=NOON + SECOND, resource=resource, attributes=who)
    lake.land_logs(first, second)
    one, other = calls(lake)

    assert (one["input_tokens"], one["output_tokens"], one["cache_read_tokens"]) == (133 + 256 + 257, 150, 256)
    assert (one["cache_write_5m_tokens"], one["cache_write_1h_tokens"], one["is_cache_ttl_assumed"]) == (
        200,
        57,
        False,
    )
    assert (one["cost_usd"], one["cost_basis"]) == (Decimal("0.004058505"), "reported")
    assert (one["provider"], one["model"]) == ("anthropic", "claude-sonnet-4-5-20250929")
    assert (one["trace_id"], one["span_id"], one["span_ids"]) == (None, None, [])
    assert (one["session_id"], one["response_id"], one["agent_name"], one["agent_run_id"]) == (
        "s",
        "req_1",
        "claude-code",
        "p1",
    )
    assert (one["developer"], one["team"], one["service_name"]) == ("ann@example.com", "platform", "claude-code")
    assert (one["started_at"], one["ended_at"]) == (NOON - 0.8 * SECOND, NOON)
    assert len({one["log_id"], other["log_id"]}) == 2


@pytest.mark.parametrize("event", ["claude_code.api_request", "api_request"])
@pytest.mark.parametrize("place", ["event name", "attribute"])
def test_an_event_is_known_by_either_name_in_either_place(lake: SmallLake, event: str, place: str) -> None:
    """Versions differ in the prefix, and in whether the record or an attribute has the name."""
    record = claude(request_id="req_1")
    attributes = {key: value for key, value in record.attributes.items() if key != "event.name"}
    attributes |= {"event.name": event} if place == "attribute" else {}
    lake.land_logs(replace(record, attributes=attributes, event_name=event if place == "event name" else ""))

    assert len(calls(lake)) == 1


def test_what_is_no_answered_request_is_no_call(lake: SmallLake) -> None:
    """Errors, prompts, tools and other senders' records that repeat usage tell no request."""
    lake.land_logs(
        api_request(attributes={"event.name": "api_error", "status_code": "529", "attempt": 1}),
        api_request(attributes={"event.name": "user_prompt", "prompt_length": "17"}),
        api_request(attributes={"event.name": "tool_result", "duration_ms": 3, "input_tokens": 5}),
        claude(scope="an.app.logger", request_id="req_1"),
        codex_completed(10, 1, attributes={"event.kind": "response.created"}),
    )

    assert calls(lake) == []


def test_a_cost_in_millionths_counts_where_no_other_is_told(lake: SmallLake) -> None:
    """cost_usd_micros is read, and gives way to the exacter cost_usd."""
    tokens = {"input_tokens": 10, "output_tokens": 5, "cost_usd_micros": 4059}
    lake.land_logs(api_request("req_1", attributes=tokens))

    assert [row["cost_usd"] for row in calls(lake)] == [Decimal("0.004059")]


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
@pytest.mark.parametrize("known", ["id", "trace", "session"])
def test_a_request_told_by_span_and_log_is_one_call_with_the_best_of_both(
    lake: SmallLake, known: str, order: tuple[int, int]
) -> None:
    """By the request's id, else the trace, else session, usage and time; whichever came first."""
    root = SpanOf("t", "root", attributes={"app.feature": "review", "user.id": "ann"}, at=NOON - SECOND, seconds=2)
    interaction = SpanOf("t", "turn", "claude_code.interaction", "root", at=NOON - SECOND, seconds=1.5,
                         scope=CLAUDE_SPANS, attributes={"span.type": "interaction"})  # fmt: skip
    request_id = "req_1" if known == "id" else None
    span = llm_request(parent="turn", request_id=request_id)
    place = {"trace": "t", "span": "turn"} if known == "trace" else {}
    record = claude(request_id=request_id, session=None if known == "trace" else "s", **place)
    for step in order:
        if step:
            lake.land_logs(record)
        else:
            lake.land(root, interaction, span)
    (only,) = calls(lake)

    assert (only["trace_id"], only["span_ids"]) == (trace_id("t"), [span_id("t", "llm")])
    assert (only["span_id"], only["log_id"]) == (span_id("t", "llm"), None)
    assert (only["cost_usd"], only["cost_basis"]) == (Decimal("0.004058505"), "reported")
    assert (only["cache_write_5m_tokens"], only["cache_write_1h_tokens"]) == (200, 57)
    assert (only["model"], only["request_model"]) == ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5")
    assert (only["user_id"], only["feature"], only["agent_run_id"]) == ("ann", "review", span_id("t", "turn"))
    reasons = {"id": "same_response_id", "trace": "overlapping_twin", "session": "log_twin"}
    (lost,) = unbilled(lake)
    assert (lost["reason"], lost["call_span_id"]) == (reasons[known], span_id("t", "llm"))
    assert (lost["span_id"], lost["log_id"] is not None) == (None, True)


def test_a_record_that_no_span_tells_joins_the_run_around_it(lake: SmallLake) -> None:
    """Partly both: the second request's span is lost; its record has the trace, and so the run and the owner."""
    root = SpanOf("t", "root", attributes={"app.feature": "review"}, at=NOON - SECOND, seconds=9)
    turn = SpanOf("t", "turn", "claude_code.interaction", "root", at=NOON - SECOND, seconds=9, scope=CLAUDE_SPANS,
                  attributes={"span.type": "interaction"})  # fmt: skip
    lake.land(root, turn, llm_request(parent="turn", request_id="req_1"))
    lake.land_logs(
        claude(request_id="req_1", trace="t", span="turn"),
        claude(request_id="req_2", trace="t", span="turn", at=NOON + 4 * SECOND),
    )
    one, other = calls(lake)

    assert [one["log_id"], other["span_id"]] == [None, None]
    assert one["agent_run_id"] == other["agent_run_id"] == span_id("t", "turn")
    assert (other["trace_id"], other["feature"]) == (trace_id("t"), "review")
    (run,) = lake.warehouse.sql("from agent_runs").to_pylist()
    assert (run["calls"], run["cost_usd"]) == (2, 2 * Decimal("0.004058505"))
    view = lake.warehouse.trace(trace_id("t"))
    assert (view.calls, view.cost_usd) == (2, 2 * Decimal("0.004058505"))
    told = [
        (span.name, span.billed, span.depth, span.reason) for span in view.spans if span.scope_name == CLAUDE_EVENTS
    ]
    assert told == [("api_request", False, 2, "same_response_id"), ("api_request", True, 2, None)]


def test_equal_requests_at_once_stay_apart(lake: SmallLake) -> None:
    """Three parallel requests with equal usage, each told twice without an id, are three."""
    spans = [llm_request(f"llm {n}", at=NOON - (0.8 + 0.01 * n) * SECOND) for n in range(3)]
    records = [claude(at=NOON - 0.01 * n * SECOND, attributes={"event.sequence": n}) for n in range(3)]
    lake.land(*spans).land_logs(*records)

    assert len(calls(lake)) == 3
    assert [row["reason"] for row in unbilled(lake)] == ["log_twin"] * 3


def test_a_record_that_a_span_tells_speaks_for_no_other_trace(lake: SmallLake) -> None:
    """Two traces of one session that do equal things at once, one of them with records, are two requests."""
    session = {"session.id": "s"}
    lake.land(
        call("t", "1", input=100, output=10, attributes=session, at=NOON + SECOND),
        call("u", "2", input=100, output=10, attributes=session, at=NOON + SECOND, scope="openinference.x"),
    )
    lake.land_logs(
        details(span="1", **counted(100, 10), **session), details(span="gone", **counted(100, 10), **session)
    )

    assert sorted(len(row["span_ids"]) for row in calls(lake)) == [0, 1, 1]


def test_a_record_sent_again_is_one_call(lake: SmallLake) -> None:
    """With a request's id by session and id, the last of them; without one by time, sequence and figures."""
    lake.land_logs(claude(request_id="req_1", attributes={"output_tokens": 7}))
    lake.land_logs(claude(request_id="req_1", at=NOON + SECOND), claude(attributes={"event.sequence": 4}, at=NOON))
    lake.land_logs(claude(request_id="req_1", at=NOON + SECOND), claude(attributes={"event.sequence": 4}, at=NOON))
    lake.land_logs(claude(attributes={"event.sequence": 5}, at=NOON))

    assert [row["output_tokens"] for row in calls(lake)] == [150] * 3
    assert [row["reason"] for row in unbilled(lake)] == ["sent_again"] * 3


@pytest.mark.parametrize("known", ["id", "session"])
def test_a_request_over_midnight_is_one_call_on_the_day_it_started(lake: SmallLake, known: str) -> None:
    """Span and record land on two days; a record alone belongs to the day its request started on."""
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    request_id = "req_1" if known == "id" else None
    lake.land(llm_request(request_id=request_id, at=midnight - 0.5 * SECOND))
    lake.land_logs(claude(request_id=request_id, at=midnight + 0.3 * SECOND, attributes={"duration_ms": 790}))
    lake.land_logs(claude(request_id="req_9", at=midnight + 0.4 * SECOND, session="other"))
    found = calls(lake)

    assert [str(row["day"]) for row in found] == ["2026-11-20"] * 2
    assert [row["span_ids"] for row in found] == [[span_id("t", "llm")], []]
    assert len(unbilled(lake)) == 1


def test_a_record_alone_is_found_on_a_day_on_which_nothing_landed(lake: SmallLake) -> None:
    """Its request started before midnight; everything that landed is of the day after."""
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    lake.land_logs(claude(request_id="req_1", at=midnight + 0.3 * SECOND))

    assert [str(row["day"]) for row in calls(lake)] == ["2026-11-20"]
    assert lake.warehouse.ask("cost-per-feature").coverage.calls == 1


def test_a_late_record_reopens_the_day_its_request_started_on(lake: SmallLake) -> None:
    """It lands on the next day, and changes the marts of the one before."""
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    lake.land(llm_request(request_id="req_1", at=midnight - 0.5 * SECOND))
    assert [row["cost_basis"] for row in calls(lake)] == ["list"]
    lake.land_logs(claude(request_id="req_1", at=midnight + 0.3 * SECOND))

    assert [row["cost_basis"] for row in calls(lake)] == ["reported"]


def test_a_codex_session_is_counted_from_its_logs(lake: SmallLake) -> None:
    """Input includes the cache, output the reasoning; the total under a tool's name is nothing more."""
    parts = {"cached_token_count": 600, "reasoning_token_count": 40, "user.email": "bob@example.com"}
    lake.land_logs(
        codex_completed(1000, 100, attributes=parts, resource={"service.name": "codex_cli_rs"}),
        codex_completed(2000, 50, at=NOON + SECOND),
        LogOf(scope="codex", attributes={"event.name": "codex.api_request", "duration_ms": "50"}),
    )
    one, other = calls(lake)

    assert (one["input_tokens"], one["output_tokens"]) == (1000, 100)
    assert (one["cache_read_tokens"], one["reasoning_tokens"]) == (600, 40)
    assert (one["provider"], one["model"], one["cost_basis"]) == ("openai", "gpt-5.1-codex", "list")
    assert one["cost_usd"] == (Decimal("1.25") * 400 + Decimal("0.125") * 600 + Decimal(10) * 100) / 1_000_000
    assert (one["session_id"], one["agent_name"], one["agent_run_id"], one["developer"]) == (
        "c",
        "codex",
        "c",
        "bob@example.com",
    )
    assert (one["started_at"], other["input_tokens"]) == (NOON, 2000)


def details(*, span: str, scope: str = "opentelemetry.instrumentation.genai.openai", **attributes: Any) -> LogOf:
    """The content event of the GenAI conventions, written inside the span of its request."""
    name = "gen_ai.client.inference.operation.details"
    known = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", **attributes}
    return LogOf(scope=scope, event_name=name, trace="t", span=span, at=NOON + SECOND, attributes=known)


def counted(input_tokens: int, output_tokens: int) -> dict[str, Any]:
    """Usage as the GenAI conventions spell it."""
    return {"gen_ai.usage.input_tokens": input_tokens, "gen_ai.usage.output_tokens": output_tokens}


def test_a_content_event_is_its_spans_request(lake: SmallLake) -> None:
    """Whatever it counts; the span's figures hold."""
    lake.land(call("t", "1", input=100, output=10), call("t", "2", input=100, output=10))
    lake.land_logs(details(span="1", **counted(100, 10)), details(span="2", **counted(80, 12)))

    assert [(row["input_tokens"], row["span_ids"]) for row in calls(lake)] == [
        (100, [span_id("t", number)]) for number in sorted("12", key=lambda number: span_id("t", number))
    ]


def test_a_content_event_beside_its_span_is_its_spans_request(lake: SmallLake) -> None:
    """OpenLIT writes a stream's event inside the span around it; without an id, usage and time tell."""
    lake.land(SpanOf("t", "root", seconds=9), *[call("t", n, parent="root", input=100, output=10) for n in "12"])
    lake.land_logs(*[details(span="root", **counted(100, 10), **{"event.sequence": n}) for n in range(2)])

    assert [len(row["span_ids"]) for row in calls(lake)] == [1, 1]


def test_a_content_event_tells_the_usage_that_its_span_does_not(lake: SmallLake) -> None:
    """The span stays the call's span; the event's counts are its counts."""
    lake.land(call("t", "1", "gpt-4o-mini"))
    lake.land_logs(details(span="1", **counted(100, 10)))
    (only,) = calls(lake)

    assert (only["span_id"], only["input_tokens"]) == (span_id("t", "1"), 100)
    assert only["cost_usd"] == (Decimal("0.15") * 100 + Decimal("0.60") * 10) / 1_000_000


def test_an_estimate_told_again_is_still_an_estimate(lake: SmallLake) -> None:
    """OpenLIT counts a stream by its own tokenizer; its event, written beside the span, repeats that."""
    scope = "openlit.instrumentation.openai"
    stream = {"gen_ai.request.is_stream": True, "gen_ai.request.stream": True, **counted(20, 21)}
    lake.land(
        SpanOf("t", "root", seconds=3),
        call("t", "1", "gpt-4o-mini", parent="root", scope=scope, response_id="chatcmpl-1", attributes=stream),
    )
    lake.land_logs(details(span="root", scope=scope, **counted(20, 21), **{"gen_ai.response.id": "chatcmpl-1"}))
    (only,) = calls(lake)

    assert (only["input_tokens"], only["unpriced_reason"]) == (None, "usage_estimated_by_library")
    assert [row["reason"] for row in unbilled(lake)] == ["same_response_id"]


def test_rollups_sum_to_the_calls_and_outcomes_reach_a_session(lake: SmallLake) -> None:
    """Without a trace the session is the work: outcomes told for it divide its cost; nothing is lost or lumped."""
    lake.land_logs(
        claude(request_id="req_1", session="one", attributes={"prompt.id": "p1"}),
        claude(request_id="req_2", session="one", at=NOON + SECOND, attributes={"prompt.id": "p2"}),
        claude(request_id="req_3", session="two", at=NOON + 2 * SECOND),
        claude(request_id="req_4", session=None, at=NOON + 3 * SECOND),
        codex_completed(1000, 100, at=NOON + 4 * SECOND),
        LogOf(scope="ci", attributes={"outcome.merged": True, "session.id": "one"}),
        LogOf(scope="ci", attributes={"outcome.merged": False, "session.id": "two"}),
    )
    lake.land(call("u", "1", input=1000, output=100, at=NOON))
    each, codex = Decimal("0.004058505"), (Decimal("1.25") * 1000 + Decimal(10) * 100) / 1_000_000
    other = (Decimal("0.15") * 1000 + Decimal("0.60") * 100) / 1_000_000
    answers = {name: lake.warehouse.ask(name) for name in ROLLUPS}

    for name, column in ROLLUPS.items():
        rows = answers[name].table.to_pylist()
        assert sum(row[column] for row in rows if row[column] is not None) == 4 * each + codex + other, name
        assert answers[name].coverage.calls == 6
    merged, none = answers["cost-per-outcome"].table.to_pylist()
    assert (merged["outcome"], merged["successes"], merged["failures"]) == ("merged", 1, 1)
    assert (merged["total_cost_usd"], merged["cost_per_success_usd"]) == (3 * each, 3 * each)
    assert (none["pending"], none["total_cost_usd"]) == (3, each + codex + other)
    (customers,) = answers["cost-per-customer"].table.to_pylist()
    assert (customers["customer_id"], customers["requests"]) == ("(unattributed)", 5)


def test_a_trace_of_log_records_alone_can_be_looked_at(lake: SmallLake) -> None:
    """Its spans went elsewhere; the records name it."""
    lake.land_logs(claude(request_id="req_1", trace="t", span="turn"))
    view = lake.warehouse.trace(trace_id("t")[:8])

    assert (view.calls, view.cost_usd, [span.billed for span in view.spans]) == (1, Decimal("0.004058505"), [True])
    assert lake.warehouse.sql("select spans, calls from traces").to_pylist() == [{"spans": 0, "calls": 1}]


@pytest.mark.parametrize("seed", range(4))
def test_each_request_is_counted_once_however_it_is_told(lake: SmallLake, seed: int) -> None:
    """Requests around midnight, each told by a span, by a record or by both, in any order and often again.

    Usage repeats only where the request's id is told, or where both tell it: else nothing says that they are two.
    """
    source = random.Random(seed)  # noqa: S311  (requests for tests)
    start = datetime(2026, 11, 20, 23, 50, tzinfo=UTC)
    spans: list[SpanOf] = []
    records: list[LogOf] = []
    truth: list[tuple[int, int, Decimal]] = []
    for number in range(200):
        told = source.choice(("span", "log", "both"))
        request_id = f"req_{seed}_{number}" if source.random() < 0.5 else None
        unlike = request_id is None and told != "both"
        tokens = {"input_tokens": 5_000 + number if unlike else source.choice((120, 300)), "output_tokens": 10}
        session = f"s{source.randrange(9)}"
        at, seconds = start + source.randrange(1_200) * SECOND, source.randrange(1, 40) / 10
        cost = Decimal(source.randrange(1, 10**7)).scaleb(-9)
        in_trace = source.random() < 0.3
        if told != "log":
            model = {"gen_ai.request.model": "claude-haiku-4-5", "cache_read_tokens": 0, "cache_creation_tokens": 0}
            spans.append(
                replace(
                    llm_request(f"{number}", session=session, request_id=request_id, at=at, seconds=seconds,
                                attributes=model | tokens),
                    trace=f"t{number if source.random() < 0.5 else session}",
                )
            )  # fmt: skip
        if told != "span":
            figures = {**tokens, "cost_usd": float(cost), "duration_ms": seconds * 1000, "event.sequence": number}
            place = {"trace": spans[-1].trace, "span": "turn"} if in_trace and told == "both" else {}
            records.append(
                api_request(request_id, session=session, at=at + seconds * SECOND, attributes=figures, **place)
            )
        listed = (Decimal(1) * tokens["input_tokens"] + Decimal(5) * tokens["output_tokens"]) / 1_000_000
        truth.append((tokens["input_tokens"], 10, listed if told == "span" else cost))
    everything: list[SpanOf | LogOf] = [*spans, *records]
    everything += source.sample(everything, len(everything) // 3)
    source.shuffle(everything)
    for cut in range(0, len(everything), 150):
        part = everything[cut : cut + 150]
        lake.land(*[told for told in part if isinstance(told, SpanOf)])
        lake.land_logs(*[told for told in part if isinstance(told, LogOf)])
    found = [(row["input_tokens"], row["output_tokens"], row["cost_usd"]) for row in calls(lake)]

    assert sorted(truth) == sorted(found)
