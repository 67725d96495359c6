"""Seeded GenAI traces as serialised OTLP requests: the load every bench here runs on.

A trace is one product request: a root span, an agent, model calls and tools below it. `lean` spans carry
16.5 attributes on average and no prompt text; `content` adds it to the model calls.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

MODELS = (
    ("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-4.1", "gpt-4.1-2025-04-14"),
    ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ("gcp.gemini", "gemini-2.5-flash", "gemini-2.5-flash"),
)
FEATURES = ("chat", "search", "summarise", "triage", "draft-reply", "code-review")
ROUTES = ("/v1/chat", "/v1/search", "/v1/tickets/{id}/reply", "/v1/reviews")
TOOLS = ("search_docs", "get_ticket", "run_tests", "lookup_order")
WORDS = ("please", "refund", "the", "order", "that", "arrived", "late", "and", "broken", "as", "agreed", "twice")
START_NS = 1_795_000_000_000_000_000


class Generator:
    """Endless traces; the same seed gives the same bytes."""

    def __init__(self, seed: int = 7, *, content: bool = False, judged: bool = False) -> None:
        """`judged` adds to each trace an agent's span, for most an outcome, and for some a score."""
        self._random = random.Random(seed)
        self._content = content
        self._judged = judged
        self._now = START_NS

    def requests(self, spans: int, per_request: int) -> Iterator[bytes]:
        """Serialised ExportTraceServiceRequests holding `spans` spans in all."""
        waiting: list[Span] = []
        while spans > 0:
            while len(waiting) < min(per_request, spans):
                waiting += self._trace()
            count = min(per_request, spans)
            yield self._request(waiting[:count])
            waiting, spans = waiting[count:], spans - count

    def _request(self, spans: list[Span]) -> bytes:
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        resource.resource.attributes.extend(
            _attributes(
                {
                    "service.name": "assistant-api",
                    "service.version": "2.14.0",
                    "deployment.environment.name": "prod",
                    "telemetry.sdk.language": "python",
                    "telemetry.sdk.name": "opentelemetry",
                    "telemetry.sdk.version": "1.45.2",
                }
            )
        )
        scope = resource.scope_spans.add()
        scope.scope.name, scope.scope.version = "opentelemetry.instrumentation.genai.openai", "1.3b0"
        scope.spans.extend(spans)
        return bytes(request.SerializeToString())

    def _trace(self) -> list[Span]:
        pick = self._random
        self._now += pick.randrange(1_000_000, 50_000_000)
        trace_id = pick.randbytes(16)
        who: dict[str, object] = {
            "user.id": f"user-{pick.randrange(5000)}",
            "tenant.id": f"tenant-{pick.randrange(200)}",
            "session.id": f"sess-{pick.randrange(20000):08x}",
            "app.feature": pick.choice(FEATURES),
            "gen_ai.agent.name": "support-agent",
            "gen_ai.conversation.id": f"conv-{pick.randrange(20000):08x}",
            "llm.prompt_template.version": "v12",
        }
        root = self._span(trace_id, b"", "POST /v1/chat", Span.SPAN_KIND_SERVER)
        root.attributes.extend(
            _attributes(
                {**who, "http.route": pick.choice(ROUTES), "http.request.method": "POST", "url.scheme": "https"}
                | {"http.response.status_code": 200, "server.port": 8080, "server.address": "api.internal"}
            )
        )
        spans = [root]
        if self._judged:
            spans.append(self._agent(trace_id, root.span_id, who))
        above = spans[-1].span_id
        for _ in range(pick.randrange(2, 6)):
            spans.append(self._call(trace_id, above, who))
            if pick.random() < 0.35:
                spans.append(self._tool(trace_id, root.span_id, who))
        if self._judged and pick.random() < 0.9:
            spans.append(self._outcome(trace_id, root.span_id))
        return spans

    def _agent(self, trace_id: bytes, parent: bytes, who: dict[str, object]) -> Span:
        span = self._span(trace_id, parent, "invoke_agent support-agent", Span.SPAN_KIND_INTERNAL)
        agent = f"{who['app.feature']}-agent"
        span.attributes.extend(
            _attributes({"gen_ai.operation.name": "invoke_agent", **who, "gen_ai.agent.name": agent})
        )
        return span

    def _outcome(self, trace_id: bytes, parent: bytes) -> Span:
        span = self._span(trace_id, parent, "outcome", Span.SPAN_KIND_INTERNAL)
        span.attributes.extend(_attributes({"outcome.resolved": self._random.random() < 0.6}))
        if self._random.random() < 0.1:
            score = {"gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.value": self._random.random()}
            span.attributes.extend(_attributes(score))
        return span

    def _call(self, trace_id: bytes, parent: bytes, who: dict[str, object]) -> Span:
        pick = self._random
        provider, requested, answered = pick.choice(MODELS)
        span = self._span(trace_id, parent, f"chat {requested}", Span.SPAN_KIND_CLIENT)
        values: dict[str, object] = {
            **who,
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": requested,
            "gen_ai.response.model": answered,
            "gen_ai.response.id": f"chatcmpl-{pick.randbytes(12).hex()}",
            "gen_ai.usage.input_tokens": pick.randrange(50, 12000),
            "gen_ai.usage.output_tokens": pick.randrange(5, 1500),
            "gen_ai.usage.cache_read.input_tokens": pick.randrange(0, 50),
            "gen_ai.request.temperature": pick.choice((0.0, 0.2, 0.7)),
            "gen_ai.request.max_tokens": 1024,
            "gen_ai.response.finish_reasons": [pick.choice(("stop", "tool_calls"))],
            "server.address": f"api.{provider}.com",
        }
        if self._content:
            question, answer = (" ".join(pick.choices(WORDS, k=80)) for _ in range(2))
            values["gen_ai.input.messages"] = json.dumps([{"role": "user", "content": question}])
            values["gen_ai.output.messages"] = json.dumps([{"role": "assistant", "content": answer}])
        span.attributes.extend(_attributes(values))
        return span

    def _tool(self, trace_id: bytes, parent: bytes, who: dict[str, object]) -> Span:
        tool = self._random.choice(TOOLS)
        span = self._span(trace_id, parent, f"execute_tool {tool}", Span.SPAN_KIND_INTERNAL)
        span.attributes.extend(
            _attributes({**who, "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool})
        )
        return span

    def _span(self, trace_id: bytes, parent: bytes, name: str, kind: Span.SpanKind.ValueType) -> Span:
        start = self._now + self._random.randrange(1_000_000)
        return Span(
            trace_id=trace_id,
            span_id=self._random.randbytes(8),
            parent_span_id=parent,
            name=name,
            kind=kind,
            start_time_unix_nano=start,
            end_time_unix_nano=start + self._random.randrange(20_000_000, 4_000_000_000),
        )


def _attributes(values: dict[str, object]) -> Iterator[KeyValue]:
    for key, value in values.items():
        attribute = KeyValue(key=key)
        match value:
            case bool():
                attribute.value.bool_value = value
            case int():
                attribute.value.int_value = value
            case float():
                attribute.value.double_value = value
            case list():
                for item in value:
                    attribute.value.array_value.values.add(string_value=item)
            case _:
                attribute.value.string_value = str(value)
        yield attribute
