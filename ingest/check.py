"""What is looked at before a request is acknowledged: is it OTLP, and how many spans have valid ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from .ids import SPAN_ID_BYTES, TRACE_ID_BYTES, valid_ids
from .wire import CHECKED, METRICS, Form, Signal


class MalformedRequest(ValueError):
    """The bytes are no OTLP export request; nothing of it can land."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Spans (log records, data points) in a request, how many will not land, and why, for partial success."""

    spans: int
    rejected: int = 0
    message: str = ""


def check_traces(request: bytes) -> Checked:
    """Count the spans of a serialised ExportTraceServiceRequest and those whose ids are invalid.

    A span needs a trace id of 16 bytes and a span id of 8, neither all zero
    (opentelemetry-proto trace.proto). Ids and nesting are all that is read: a request damaged inside a leaf
    can pass here and be found undecodable when it lands. Raises MalformedRequest.
    """
    spans = _spans(request)
    trace_ok = valid_ids(spans.field("trace_id"), TRACE_ID_BYTES)
    span_ok = valid_ids(spans.field("span_id"), SPAN_ID_BYTES)
    rejected, bad_trace_ids, bad_span_ids = (
        len(spans) - int(np.count_nonzero(good)) for good in (trace_ok & span_ok, trace_ok, span_ok)
    )
    if not rejected:
        return Checked(len(spans))
    reasons = [
        f"{count} with an invalid {name} (it must be {size} bytes, not all zero)"
        for name, count, size in (
            ("trace_id", bad_trace_ids, TRACE_ID_BYTES),
            ("span_id", bad_span_ids, SPAN_ID_BYTES),
        )
        if count
    ]
    return Checked(len(spans), rejected, f"{rejected} of {len(spans)} spans rejected: {', '.join(reasons)}")


def check_logs(request: bytes) -> Checked:
    """Count the records of a serialised ExportLogsServiceRequest; none is rejected, ids are optional in logs.

    Raises MalformedRequest.
    """
    message = _parse("logs", CHECKED[Signal.LOGS], request)
    return Checked(sum(len(scope.records) for resource in message.resources for scope in resource.scopes))


def check_metrics(request: bytes) -> Checked:
    """Count the data points of a serialised ExportMetricsServiceRequest; all are rejected, none can land.

    Raises MalformedRequest.
    """
    message = _parse("metrics", METRICS, request)
    points = sum(
        len(getattr(metric, kind.name).data_points)
        for resource in message.resources
        for scope in resource.scopes
        for metric in scope.metrics
        for kind, _ in metric.ListFields()
    )
    return Checked(
        points,
        points,
        f"llmcost does not store metrics: {points} data points dropped; send it traces and logs only"
        if points
        else "",
    )


def _spans(request: bytes) -> pa.StructArray:
    form = CHECKED[Signal.TRACES]
    try:
        batch = form.to_arrow([request])
    except Exception:
        # ptars refuses a known field of another wire type and has no exception of its own; upb decides.
        _parse("trace", form, request)
        batch = form.to_arrow([form.repair(request)])
    return batch.column(0).values.field("scopes").values.field("records").values


def _parse(kind: str, form: Form, request: bytes) -> Any:
    try:
        return form.parse(request)
    except DecodeError as error:
        raise MalformedRequest(
            f"not an OTLP {kind} export request: its {len(request)} bytes are not the protobuf message"
        ) from error
