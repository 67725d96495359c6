"""Small OTLP log requests written out in a test: records by what they say, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from .spans import NOON, Value, attributes_of, span_id, trace_id

CLAUDE_EVENTS = "com.anthropic.claude_code.events"
CLAUDE_SPANS = "com.anthropic.claude_code.tracing"
CODEX = "codex_otel.log_only"


@dataclass(frozen=True)
class LogOf:
    """One log record; `trace` and `span` are words, hashed into ids as those of spans are."""

    scope: str = CLAUDE_EVENTS
    at: datetime = NOON
    trace: str | None = None
    span: str | None = None
    event_name: str = ""
    observed_only: bool = False
    body: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)
    resource: Mapping[str, Value] = field(default_factory=dict)


def api_request(request_id: str | None = None, *, session: str | None = "s", **options: Any) -> LogOf:
    """Claude Code's event about one request, as its current versions write it."""
    known: dict[str, Value] = {"event.name": "api_request", "model": "claude-sonnet-4-5-20250929", "duration_ms": 800}
    known |= {"session.id": session} if session else {}
    known |= {"request_id": request_id} if request_id else {}
    return LogOf(body="claude_code.api_request", attributes=known | options.pop("attributes", {}), **options)


def codex_completed(input_tokens: int, output_tokens: int, **options: Any) -> LogOf:
    """Codex' event about one answer: its counts are text, its total goes by a tool's name."""
    known: dict[str, Value] = {
        "event.name": "codex.sse_event", "event.kind": "response.completed", "conversation.id": "c",
        "input_token_count": str(input_tokens), "output_token_count": str(output_tokens),
        "tool_token_count": str(input_tokens + output_tokens), "model": "gpt-5.1-codex", "slug": "gpt-5.1-codex",
    }  # fmt: skip
    return LogOf(
        scope=CODEX,
        event_name="event otel/src/events/session_telemetry.rs:925",
        observed_only=True,
        attributes=known | options.pop("attributes", {}),
        **options,
    )


def log_request(logs: Iterable[LogOf]) -> bytes:
    """The records as one serialised export request."""
    message = ExportLogsServiceRequest()
    for spoken in logs:
        resource = message.resource_logs.add()
        resource.resource.attributes.extend(attributes_of(spoken.resource))
        scope = resource.scope_logs.add()
        scope.scope.name = spoken.scope
        instant = round(spoken.at.timestamp() * 1_000_000) * 1000
        record = LogRecord(
            time_unix_nano=0 if spoken.observed_only else instant,
            observed_time_unix_nano=instant,
            event_name=spoken.event_name,
            trace_id=bytes.fromhex(trace_id(spoken.trace)) if spoken.trace else b"",
            span_id=bytes.fromhex(span_id(spoken.trace, spoken.span)) if spoken.trace and spoken.span else b"",
            attributes=attributes_of(spoken.attributes),
        )
        if spoken.body:
            record.body.string_value = spoken.body
        scope.log_records.append(record)
    return bytes(message.SerializeToString())
