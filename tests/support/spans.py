"""Small OTLP requests written out in a test: spans by what they say, nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
Value = str | int | float | bool | Sequence[str]


@dataclass(frozen=True)
class SpanOf:
    """One span; ids are words, made into proper ids by hashing."""

    trace: str
    span: str
    name: str = "work"
    parent: str | None = None
    at: datetime = NOON
    seconds: float = 1.0
    scope: str = "app"
    failed: bool = False
    attributes: Mapping[str, Value] = field(default_factory=dict)
    events: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    resource: Mapping[str, Value] = field(default_factory=dict)


def trace_id(word: str) -> str:
    """The trace id a word stands for."""
    return hashlib.sha256(f"trace {word}".encode()).hexdigest()[:32]


def span_id(trace: str, word: str) -> str:
    """The span id a word stands for, within its trace."""
    return hashlib.sha256(f"span {trace} {word}".encode()).hexdigest()[:16]


def call(trace: str, span: str, model: str = "gpt-4o-mini-2024-07-18", **options: object) -> SpanOf:
    """A model call as the official conventions spell it; tokens and the rest by keyword."""
    names = {
        "input": "gen_ai.usage.input_tokens",
        "output": "gen_ai.usage.output_tokens",
        "cache_read": "gen_ai.usage.cache_read.input_tokens",
        "response_id": "gen_ai.response.id",
        "provider": "gen_ai.provider.name",
    }
    attributes: dict[str, object] = {"gen_ai.operation.name": "chat", "gen_ai.response.model": model}
    attributes |= {"gen_ai.provider.name": "openai"}
    attributes |= {names[key]: options.pop(key) for key in list(options) if key in names}
    attributes |= options.pop("attributes", {})  # type: ignore[call-overload]
    scope = options.pop("scope", "opentelemetry.instrumentation.genai.openai")
    return SpanOf(trace, span, f"chat {model}", scope=scope, attributes=attributes, **options)  # type: ignore[arg-type]


def request(spans: Iterable[SpanOf]) -> bytes:
    """The spans as one serialised export request, grouped by resource and scope."""
    message = ExportTraceServiceRequest()
    for spoken in spans:
        resource = message.resource_spans.add()
        resource.resource.attributes.extend(attributes_of(spoken.resource))
        scope = resource.scope_spans.add()
        scope.scope.name = spoken.scope
        scope.spans.append(_span(spoken))
    return bytes(message.SerializeToString())


def _span(spoken: SpanOf) -> Span:
    begin = int(spoken.at.timestamp() * 1_000_000) * 1000
    end = int((spoken.at + timedelta(seconds=spoken.seconds)).timestamp() * 1_000_000) * 1000
    span = Span(
        trace_id=bytes.fromhex(trace_id(spoken.trace)),
        span_id=bytes.fromhex(span_id(spoken.trace, spoken.span)),
        parent_span_id=bytes.fromhex(span_id(spoken.trace, spoken.parent)) if spoken.parent else b"",
        name=spoken.name,
        start_time_unix_nano=begin,
        end_time_unix_nano=end,
        attributes=attributes_of(spoken.attributes),
        status=Status(code=Status.STATUS_CODE_ERROR if spoken.failed else Status.STATUS_CODE_UNSET),
    )
    for name, attributes in spoken.events.items():
        span.events.add(name=name, time_unix_nano=end, attributes=attributes_of(attributes))
    return span


def attributes_of(values: Mapping[str, Value]) -> list[KeyValue]:
    """Attributes as OTLP has them."""
    return [KeyValue(key=key, value=_any(value)) for key, value in values.items()]


def _any(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    message = AnyValue()
    message.array_value.values.extend(AnyValue(string_value=word) for word in value)
    return message
