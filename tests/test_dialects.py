"""How instrumentations spell one request, written out small: those that no recording here covers.

Each case is a trace as the library sends it; expected are the calls, once each, with what they cost the product.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.lakes import SmallLake
from support.spans import NOON, SpanOf, span_id

Lands = Callable[..., list[dict[str, Any]]]
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens")


@pytest.fixture
def lands(tmp_path: Path) -> Lands:
    """Land spans; return the calls in order of start."""

    def land(*spans: SpanOf) -> list[dict[str, Any]]:
        lake = SmallLake(tmp_path / "lake").land(*spans)
        return lake.warehouse.sql("from calls order by started_at, span_id").to_pylist()

    return land


def tokens(call: dict[str, Any]) -> tuple[int | None, ...]:
    """Input, output, cache read, reasoning."""
    return tuple(call[name] for name in TOKENS)


def usage(input_tokens: int, output_tokens: int) -> dict[str, Any]:
    """Usage as the GenAI conventions spell it."""
    return {"gen_ai.usage.input_tokens": input_tokens, "gen_ai.usage.output_tokens": output_tokens}


def gen_ai(operation: str, model: str = "gpt-4o-mini", provider: str = "openai", **more: Any) -> dict[str, Any]:
    """A GenAI span's marks."""
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": model,
        "gen_ai.provider.name": provider,
        **more,
    }


@pytest.mark.parametrize("below", [True, False], ids=["below", "beside"])
def test_logfire_tells_a_streams_usage_on_a_span_of_its_own(lands: Lands, below: bool) -> None:
    """The request's span has no usage; an instant span of the same scope has it."""
    told = {**gen_ai("chat"), "gen_ai.response.model": "gpt-4o-mini", **usage(900, 80), "logfire.span_type": "log"}
    (only,) = lands(
        SpanOf("t", "root"),
        SpanOf("t", "request", "Chat Completion", "root", scope="logfire.openai", attributes=gen_ai("chat")),
        SpanOf(
            "t", "log", "streaming response from 'gpt-4o-mini' took 1.20s", "request" if below else "root",
            at=NOON + timedelta(seconds=1), seconds=0, scope="logfire.openai", attributes=told,
        ),
    )  # fmt: skip

    assert tokens(only)[:2] == (900, 80)


def test_logfire_raw_usage_is_read_where_nothing_else_tells(lands: Lands) -> None:
    """gen_ai.usage.raw is the provider's object verbatim: Anthropic's input excludes the cache."""
    raw = {
        "input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 300, "cache_creation_input_tokens": 50,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
    }  # fmt: skip
    attributes = {**gen_ai("chat", "claude-sonnet-4-5", "anthropic"), "gen_ai.usage.raw": json.dumps(raw)}
    (only,) = lands(SpanOf("t", "llm", scope="logfire.anthropic", attributes=attributes))

    assert tokens(only)[:3] == (450, 20, 300)
    assert (only["cache_write_5m_tokens"], only["cache_write_1h_tokens"]) == (20, 30)


def test_litellm_2_proxy_knows_the_true_vendor(lands: Lands) -> None:
    """The client's span says openai and an alias; the proxy's tells model, vendor, cost and cache."""
    proxy = {
        **gen_ai("chat", "smart"), "gen_ai.response.model": "smart", **usage(1000, 50),
        "gen_ai.usage.cache_read.input_tokens": 400, "litellm.provider.model": "anthropic/claude-sonnet-4-5",
        "litellm.cost.total": 0.0042, "gen_ai.response.id": "chatcmpl-9f1",
        "litellm.metadata.user_api_key_end_user_id": "ann",
    }  # fmt: skip
    client = {
        **gen_ai("chat", "smart"),
        "gen_ai.response.model": "smart",
        **usage(1000, 50),
        "gen_ai.response.id": "chatcmpl-9f1",
    }
    (only,) = lands(
        SpanOf("t", "client", scope="opentelemetry.instrumentation.genai.openai", attributes=client, seconds=3),
        SpanOf("t", "server", "POST /v1/chat/completions", "client", scope="fastapi", seconds=2.5),
        SpanOf("t", "auth", "auth /v1/chat", "server", scope="litellm", attributes={"gen_ai.request.model": "smart"}),
        SpanOf("t", "proxy", "chat smart", "server", scope="litellm", attributes=proxy, seconds=2),
    )

    assert (only["provider"], only["model"], only["user_id"]) == ("anthropic", "claude-sonnet-4-5", "ann")
    assert (only["cost_usd"], only["cost_basis"], only["cache_read_tokens"]) == (Decimal("0.0042"), "reported", 400)


def test_litellm_dumps_tell_the_requests_that_were_written_over(lands: Lands) -> None:
    """Below an application's span the last call's usage stands on it; the others stand in dumps alone."""

    def dump(span: str, at: int, provider: str, usage: dict[str, Any], **more: str) -> SpanOf:
        attributes = {
            f"llm.{provider}.usage": str(usage),
            **{f"llm.{provider}.{key}": word for key, word in more.items()},
        }
        start = NOON + timedelta(seconds=at)
        return SpanOf("t", span, "raw_gen_ai_request", "app", at=start, scope="litellm", attributes=attributes)

    last = {
        **gen_ai("chat"),
        **usage(300, 30),
        "gen_ai.response.model": "gpt-4o-mini",
        "gen_ai.response.id": "chatcmpl-3",
    }
    anthropic = {
        "input_tokens": 100,
        "cache_read_input_tokens": 400,
        "cache_creation_input_tokens": 0,
        "output_tokens": 7,
    }
    calls = lands(
        SpanOf("t", "app", "POST /chat", seconds=20, attributes={**last, "user.id": "ann"}),
        dump(
            "1",
            1,
            "openai",
            {"prompt_tokens": 100, "completion_tokens": 10, "details": None},
            id="chatcmpl-1",
            model="gpt-4o-mini",
        ),
        dump("2", 2, "anthropic", anthropic, id="msg_2", model="claude-haiku-4-5"),
        dump("3", 3, "openai", {"prompt_tokens": 300, "completion_tokens": 30}, id="chatcmpl-3", model="gpt-4o-mini"),
    )

    assert sorted((call["model"], *tokens(call)[:3], call["user_id"]) for call in calls) == [
        ("claude-haiku-4-5", 500, 7, 400, "ann"),
        ("gpt-4o-mini", 100, 10, None, "ann"),
        ("gpt-4o-mini", 300, 30, None, "ann"),
    ]


def test_a_broken_count_in_a_dump_leaves_its_neighbours_whole(lands: Lands) -> None:
    """Neither a number that overflows nor text that is no dictionary stops a day."""
    texts = [
        str({"prompt_tokens": 2**63 - 1, "completion_tokens": 2**63 - 1}),
        "{'prompt_tokens': ",
        "ModelResponse(1)",
    ]
    dumps = [
        SpanOf("t", f"raw {n}", "raw_gen_ai_request", "app", scope="litellm", attributes={"llm.openai.usage": text})
        for n, text in enumerate([*texts, str({"prompt_tokens": 5, "completion_tokens": 5})])
    ]
    calls = lands(SpanOf("t", "app", attributes={**gen_ai("chat"), **usage(5, 5)}), *dumps)

    assert sorted(call["unpriced_reason"] or "priced" for call in calls) == ["priced", "usage_implausible"]


def test_a_lone_litellm_dump_is_told_by_its_parent(lands: Lands) -> None:
    """The usual shape: a request's span with its own dump below it."""
    usage_text = str({"prompt_tokens": 999, "completion_tokens": 9})
    (only,) = lands(
        SpanOf(
            "t", "request", "litellm_request", scope="litellm", attributes={**gen_ai("acompletion"), **usage(100, 10)}
        ),
        SpanOf(
            "t", "raw", "raw_gen_ai_request", "request", scope="litellm", attributes={"llm.openai.usage": usage_text}
        ),
    )

    assert tokens(only)[:2] == (100, 10)


def test_pydantic_ai_1_sub_agents_repeat_their_parents_calls(lands: Lands) -> None:
    """`agent run` has no operation name and carries cumulative usage: never a call."""
    scope = "pydantic-ai"
    calls = lands(
        SpanOf("t", "outer", "agent run", scope=scope, attributes={"agent_name": "boss", **usage(300, 30)}),
        SpanOf("t", "1", "chat gpt-4o-mini", "outer", scope=scope, attributes={**gen_ai("chat"), **usage(100, 10)}),
        SpanOf("t", "tool", "running tool", "outer", scope=scope, at=NOON + timedelta(seconds=2), seconds=5),
        SpanOf(
            "t", "inner", "agent run", "tool", scope=scope, at=NOON + timedelta(seconds=2),
            attributes={"agent_name": "helper", **usage(300, 30)},
        ),
        SpanOf(
            "t", "2", "chat gpt-4o-mini", "inner", scope=scope, at=NOON + timedelta(seconds=3),
            attributes={**gen_ai("chat"), **usage(200, 20)},
        ),
    )  # fmt: skip

    assert [tokens(call)[:2] for call in calls] == [(100, 10), (200, 20)]
    assert {(call["agent_name"], call["agent_run_id"]) for call in calls} == {("boss", span_id("t", "outer"))}


def test_langfuse_nests_two_generations_of_one_scope(lands: Lands) -> None:
    """The LangChain handler's disjoint keys and the OpenAI wrapper's raw usage tell one request."""
    disjoint = {"input": 600, "input_cache_read": 400, "output": 40, "output_reasoning": 60, "total": 1100}
    raw = {
        "prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400},
        "completion_tokens_details": {"reasoning_tokens": 60},
    }  # fmt: skip

    def generation(span: str, details: dict[str, Any], parent: str | None = None) -> SpanOf:
        attributes = {
            "langfuse.observation.type": "generation",
            "langfuse.observation.model.name": "gpt-5-mini",
            "langfuse.observation.usage_details": json.dumps(details),
        }
        return SpanOf("t", span, parent=parent, scope="langfuse-sdk", attributes=attributes)

    (only,) = lands(generation("chain", disjoint), generation("sdk", raw, "chain"))

    assert tokens(only) == (1000, 100, 400, 60)


def test_mlflow_in_semconv_mode(lands: Lands) -> None:
    """Its chains say `CHAIN` as their operation."""
    (only,) = lands(
        SpanOf(
            "t",
            "chain",
            scope="mlflow.tracing.provider",
            attributes={"gen_ai.operation.name": "CHAIN", **usage(100, 10)},
        ),
        SpanOf(
            "t",
            "llm",
            parent="chain",
            scope="mlflow.tracing.provider",
            attributes={**gen_ai("chat"), **usage(100, 10)},
        ),
    )

    assert only["span_id"] == span_id("t", "llm")


def test_vercel_ai_calls_inside_a_tool_are_calls(lands: Lands) -> None:
    """ai.generateText is the sum of its steps; a sub-agent's call stands below a tool of the outer one."""

    def vercel(span: str, operation: str, parent: str | None, at: int, **more: Any) -> SpanOf:
        attributes = {
            "ai.operationId": operation,
            "ai.model.id": "gpt-4o-mini",
            "ai.model.provider": "openai.chat",
            **more,
        }
        return SpanOf(
            "t", span, operation, parent, at=NOON + timedelta(seconds=at), scope="ai", attributes=attributes
        )

    calls = lands(
        vercel("outer", "ai.generateText", None, 0, **{"ai.usage.inputTokens": 100, "ai.usage.outputTokens": 10}),
        vercel(
            "step",
            "ai.generateText.doGenerate",
            "outer",
            0,
            **usage(100, 10),
            **{"ai.telemetry.metadata.userId": "u"},
        ),
        vercel("tool", "ai.toolCall", "outer", 1),
        vercel("inner", "ai.generateText", "tool", 1, **{"ai.usage.inputTokens": 50, "ai.usage.outputTokens": 5}),
        vercel("deep", "ai.generateText.doGenerate", "inner", 2, **usage(50, 5)),
    )

    assert [(call["provider"], *tokens(call)[:2]) for call in calls] == [("openai", 100, 10), ("openai", 50, 5)]


def test_vercel_7_nests_an_embedding_in_itself(lands: Lands) -> None:
    """Two spans of one scope, one inside the other, equal usage: one request."""
    attributes = {**gen_ai("embeddings", "text-embedding-3-small"), "gen_ai.usage.input_tokens": 33}
    (only,) = lands(
        SpanOf("t", "outer", scope="gen_ai", attributes=attributes, seconds=2),
        SpanOf("t", "inner", parent="outer", scope="gen_ai", attributes=attributes),
    )

    assert only["input_tokens"] == 33


def test_openlit_agents_that_repeat_usage_without_a_child_are_no_calls(lands: Lands) -> None:
    """Three invoke_agent siblings beside the call."""
    scope = "openlit.instrumentation.langchain"
    agents = [
        SpanOf("t", f"agent {n}", parent="root", scope=scope, attributes={**gen_ai("invoke_agent"), **usage(100, 10)})
        for n in range(3)
    ]
    calls = lands(
        SpanOf("t", "root"),
        *agents,
        SpanOf("t", "llm", parent="root", scope=scope, attributes={**gen_ai("chat"), **usage(100, 10)}),
    )

    assert len(calls) == 1


def test_traceai_twins_on_two_branches(lands: Lands) -> None:
    """LangChain's span and the SDK's are siblings without ids: equal usage at the same time."""

    def traceai(span: str, scope: str, parent: str, at: float) -> SpanOf:
        attributes = {"gen_ai.span.kind": "LLM", "gen_ai.request.model": "gpt-4o-mini", **usage(100, 10)}
        return SpanOf("t", span, parent=parent, at=NOON + timedelta(seconds=at), scope=scope, attributes=attributes)

    chains = [
        SpanOf("t", f"chain {n}", parent="root", attributes={"gen_ai.span.kind": "CHAIN"}, seconds=9)
        for n in range(3)
    ]
    twins = [
        traceai(f"{scope} {n}", scope, f"chain {n}" if scope == "traceai_langchain" else "root", n * 0.1)
        for n in range(3)
        for scope in ("traceai_langchain", "traceai_openai")
    ]
    calls = lands(SpanOf("t", "root", seconds=9), *chains, *twins)

    assert [tokens(call)[:2] for call in calls] == [(100, 10)] * 3


def test_openinference_may_wrap_a_call_in_a_bare_llm_span(lands: Lands) -> None:
    """An LLM span without tokens stands around the one that has them."""
    told = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o-mini",
        "llm.token_count.prompt": 70,
        "llm.token_count.completion": 7,
    }
    (only,) = lands(
        SpanOf(
            "t",
            "object",
            "LLM.generate_object",
            scope="openinference.instrumentation.x",
            attributes={"openinference.span.kind": "LLM"},
            seconds=2,
        ),
        SpanOf("t", "llm", "ChatCompletion", "object", scope="openinference.instrumentation.openai", attributes=told),
    )

    assert tokens(only)[:2] == (70, 7)


def test_judges_below_an_evaluator_are_eval_traffic(lands: Lands) -> None:
    """Phoenix evaluators and pydantic-evals cases mark what runs below them."""
    judge = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o-mini",
        "llm.token_count.prompt": 70,
        "llm.token_count.completion": 7,
    }
    calls = lands(
        SpanOf(
            "t",
            "evaluator",
            "Relevance.evaluate",
            scope="phoenix.evals.tracing",
            attributes={"openinference.span.kind": "EVALUATOR"},
        ),
        SpanOf("t", "judge", parent="evaluator", scope="openinference.instrumentation.openai", attributes=judge),
        SpanOf("u", "case", "case: refund"),
        SpanOf(
            "u",
            "task",
            "chat gpt-4o-mini",
            "case",
            scope="pydantic-ai",
            attributes={**gen_ai("chat"), **usage(10, 1)},
        ),
        SpanOf("v", "llm", scope="x", attributes={**gen_ai("chat"), **usage(10, 1)}),
    )

    assert sorted(call["traffic_type"] for call in calls) == ["eval", "eval", "inference"]


def test_claude_code_counts_without_prefix_and_without_cache(lands: Lands) -> None:
    """llm_request spans carry input_tokens that exclude the cache; the interaction above is no call."""
    scope = "com.anthropic.claude_code.tracing"
    request = {
        "span.type": "llm_request", "model": "claude-sonnet-4-5", "input_tokens": 100, "output_tokens": 20,
        "cache_read_tokens": 300, "cache_creation_tokens": 50, "team.id": "platform",
    }  # fmt: skip
    (only,) = lands(
        SpanOf(
            "t",
            "interaction",
            scope=scope,
            attributes={"span.type": "interaction", "gen_ai.operation.name": "invoke_agent"},
        ),
        SpanOf("t", "llm", "claude_code.llm_request", "interaction", scope=scope, attributes=request),
    )

    assert tokens(only)[:3] == (450, 20, 300)
    assert (only["provider"], only["team"]) == ("anthropic", "platform")


def test_braintrust_manual_spans(lands: Lands) -> None:
    """Type, model, usage and owner stand in JSON attributes."""
    attributes = {
        "braintrust.span_attributes": '{"type": "llm"}',
        "braintrust.metrics": '{"prompt_tokens": 321, "completion_tokens": 45, "prompt_cached_tokens": 100}',
        "braintrust.metadata": '{"user_id": "ann", "tenant": "acme", "model": "gpt-4o-mini"}',
        "braintrust.tags": ["prod", "chat"],
    }
    (only,) = lands(SpanOf("t", "llm", "custom llm", attributes=attributes))

    assert tokens(only)[:3] == (321, 45, 100)
    assert (only["model"], only["user_id"], only["customer_id"], only["tags"]) == (
        "gpt-4o-mini",
        "ann",
        "acme",
        ["prod", "chat"],
    )


def test_a_gateways_response_headers_copied_to_attributes(lands: Lands) -> None:
    """Cost, vendor, model and owner by header name, with or without the HTTP prefix."""
    prefix = "http.response.header."
    headers = {
        f"{prefix}x-agentcc-cost": "0.0031", f"{prefix}x-agentcc-model-used": "claude-haiku-4-5",
        f"{prefix}x-agentcc-provider": "anthropic", f"{prefix}x-agentcc-cache": "miss",
        "x-agentcc-tag-feature": "search",
        "x-agentcc-tag-user": "ann", "x-agentcc-tag-tenant": "acme", "prompt_tokens": 18, "prompt_cached_tokens": 10,
        "prompt_cache_creation_tokens": 5, "completion_tokens": 7,
    }  # fmt: skip
    (only,) = lands(SpanOf("t", "llm", "POST", attributes=headers))

    assert tokens(only)[:3] == (18, 7, 10)
    assert only["cache_write_5m_tokens"] == 5
    assert (only["cost_usd"], only["model"], only["provider"]) == (Decimal("0.0031"), "claude-haiku-4-5", "anthropic")
    assert (only["user_id"], only["customer_id"], only["feature"]) == ("ann", "acme", "search")


def test_cost_spellings(lands: Lands) -> None:
    """Every spelling of the mission's vocabulary is a reported cost; 0 is not."""
    spellings = [
        "cost.usd",
        "gen_ai.cost.total",
        "estimated_cost",
        "gen_ai.cost.total_cost",
        "operation.cost",
        "llm.cost.total",
    ]
    calls = lands(
        *(
            SpanOf(
                f"t{n}",
                "llm",
                at=NOON + timedelta(minutes=n),
                attributes={**gen_ai("chat"), **usage(10, 1), spelling: 0.5},
            )
            for n, spelling in enumerate(spellings)
        ),
        SpanOf(
            "zero",
            "llm",
            at=NOON + timedelta(hours=1),
            attributes={**gen_ai("chat", "acme"), **usage(10, 1), "cost.usd": 0.0},
        ),
    )

    assert [call["reported_cost_usd"] for call in calls] == [Decimal("0.5")] * len(spellings) + [None]
    assert (calls[-1]["cost_usd"], calls[-1]["unpriced_reason"]) == (None, "model_not_in_price_book")
