"""The demo's senders: the week through the OpenTelemetry SDK's gRPC exporter, recorded exports as they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from ..models.errors import LandingError
from .demo_trace import Span

BATCH = 512
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_SECONDS = 20
_KINDS = {"CLIENT": trace.SpanKind.CLIENT, "SERVER": trace.SpanKind.SERVER, "INTERNAL": trace.SpanKind.INTERNAL}


def send_week(spans: Sequence[Span], endpoint: str, progress: Callable[[int, int], None] | None = None) -> int:
    """Export the story as an application would; returns how many spans the receiver acknowledged.

    Raises LandingError if it refuses a batch.
    """
    finished = _through_the_sdk(spans)
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=True, timeout=_SECONDS)
    try:
        for start in range(0, len(finished), BATCH):
            batch = finished[start : start + BATCH]
            if exporter.export(batch) is not SpanExportResult.SUCCESS:
                raise LandingError(
                    f"the receiver at {endpoint} refused spans {start + 1:,} to {start + len(batch):,}"
                )
            if progress:
                progress(start + len(batch), len(finished))
    finally:
        exporter.shutdown()
    return len(finished)


class _ScriptedIds(IdGenerator):
    """Gives each span the id the story gave it, so that the ledger can name it."""

    span_id = trace_id = 0

    def generate_span_id(self) -> int:
        """The span's id in the story."""
        return self.span_id

    def generate_trace_id(self) -> int:
        """The trace's id in the story."""
        return self.trace_id


class _Pile(SpanProcessor):
    """Keeps finished spans, in order, for the exporter."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keep it."""
        self.spans.append(span)


def _through_the_sdk(spans: Sequence[Span]) -> list[ReadableSpan]:
    ids, pile = _ScriptedIds(), _Pile()
    providers: dict[str, TracerProvider] = {}
    for span in spans:
        if span.service not in providers:
            # Resource(...) and not Resource.create(...): the caller's OTEL_* environment is not part of the story.
            resource = Resource({"service.name": span.service, "service.version": "1.4.2"})
            provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False, id_generator=ids)
            provider.add_span_processor(pile)
            providers[span.service] = provider
        ids.span_id, ids.trace_id = span.span_id, span.trace_id
        live = (
            providers[span.service]
            .get_tracer(span.scope, "1.0.0")
            .start_span(
                span.name,
                context=_parent(span),
                kind=_KINDS[span.kind],
                attributes=span.attributes,
                start_time=_nanoseconds(span.started_at),
            )
        )
        for event in span.events:
            live.add_event(event.name, event.attributes, timestamp=_nanoseconds(event.at))
        if span.is_error:
            live.set_status(trace.Status(trace.StatusCode.ERROR, "429: rate limit exceeded"))
        live.end(end_time=_nanoseconds(span.ended_at))
    return pile.spans


def _parent(span: Span) -> Context | None:
    if span.parent_id is None:
        return Context()
    parent = trace.SpanContext(
        span.trace_id, span.parent_id, is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED)
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())


def _nanoseconds(at: datetime) -> int:
    """Whole microseconds since 1970 as nanoseconds; float seconds would lose the last digits."""
    gap = at - datetime(1970, 1, 1, tzinfo=UTC)
    return ((gap.days * 86_400 + gap.seconds) * 1_000_000 + gap.microseconds) * 1000


@dataclass(frozen=True, slots=True)
class Recording:
    """One library's recorded export: the gRPC bodies as they were sent, and the spans in them."""

    name: str
    requests: tuple[bytes, ...]
    span_ids: frozenset[tuple[bytes, bytes]]
    oldest: datetime


def read_recordings(folder: Path) -> list[Recording]:
    """The recorded trace exports in `folder`; none if it is not there."""
    files = sorted(path for path in folder.glob("*.bin") if "." not in path.stem)
    return [_read_recording(path) for path in files]


def _read_recording(path: Path) -> Recording:
    requests = tuple(delimited(path.read_bytes()))
    spans = [
        span
        for body in requests
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    starts = [span.start_time_unix_nano for span in spans]
    return Recording(
        name=path.stem,
        requests=requests,
        span_ids=frozenset((span.trace_id, span.span_id) for span in spans),
        oldest=datetime.fromtimestamp(min(starts) / 1e9, UTC),
    )


def delimited(content: bytes) -> Iterator[bytes]:
    """Messages with their length before them, as a protobuf varint."""
    at = 0
    while at < len(content):
        size = shift = 0
        while True:
            byte = content[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield content[at : at + size]
        at += size


def send_recordings(recordings: Sequence[Recording], endpoint: str) -> int:
    """Send every recorded body unchanged; returns how many distinct spans were acknowledged.

    Raises LandingError if the receiver refuses one.
    """
    with grpc.insecure_channel(endpoint.removeprefix("http://")) as channel:
        export = channel.unary_unary(_EXPORT, response_deserializer=ExportTraceServiceResponse.FromString)
        for recording in recordings:
            for body in recording.requests:
                try:
                    response = export(body, timeout=_SECONDS)
                except grpc.RpcError as error:
                    raise LandingError(f'the receiver refused the recording "{recording.name}": {error}') from error
                if response.partial_success.rejected_spans:
                    raise LandingError(f'"{recording.name}": {response.partial_success.error_message}')
    return len(frozenset().union(*(recording.span_ids for recording in recordings))) if recordings else 0
