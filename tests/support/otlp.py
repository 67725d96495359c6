"""OTLP trace requests, made by hand: spans with known ids."""

from __future__ import annotations

import random
from collections.abc import Sequence

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

STARTED_AT_NS = 1_795_356_000_000_000_000
"""2026-11-22T14:00:00Z."""


def trace_request(
    span_ids: Sequence[bytes], *, started_at_ns: int = STARTED_AT_NS, event: str | None = None
) -> bytes:
    """A request with one chat span for each id, in traces of the same number."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add()
    spans.scope.name = "tests"
    for span_id in span_ids:
        span = spans.spans.add(
            trace_id=span_id * 2,
            span_id=span_id,
            name="chat",
            start_time_unix_nano=started_at_ns,
            end_time_unix_nano=started_at_ns + 1_000_000,
        )
        for key, value in (("gen_ai.operation.name", "chat"), ("gen_ai.request.model", "gpt-5")):
            span.attributes.add(key=key).value.string_value = value
        span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 100
        if event is not None:
            span.events.add(name=event, time_unix_nano=started_at_ns)
    serialised: bytes = request.SerializeToString()
    return serialised


def logs_request(names: Sequence[str]) -> bytes:
    """A request with one log record for each event name."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for name in names:
        record = records.add(time_unix_nano=STARTED_AT_NS, event_name=name, trace_id=b"t" * 16, span_id=b"s" * 8)
        record.body.string_value = "said"
    serialised: bytes = request.SerializeToString()
    return serialised


def metrics_request() -> bytes:
    """A request with three data points of three kinds."""
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    metrics.add(name="a").gauge.data_points.add(as_int=1)
    metrics.add(name="b").sum.data_points.add(as_double=1.5)
    metrics.add(name="c").histogram.data_points.add(count=1)
    metrics.add(name="d").summary.SetInParent()
    serialised: bytes = request.SerializeToString()
    return serialised


def span_ids(count: int, seed: int = 0) -> list[bytes]:
    """`count` valid span ids, other ones for another seed."""
    source = random.Random(seed)  # noqa: S311  (ids for tests)
    return [b"\x01" + source.randbytes(7) for _ in range(count)]
