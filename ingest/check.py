"""What is looked at before a request is acknowledged: is it OTLP, and how many spans have valid ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from .ids import SPAN_ID_BYTES, TRACE_ID_BYTES, valid_ids
from .wire import CHECKED, Signal

# ptars is the cheaper per span, upb per call (50 us against 5): small requests are looped over.
_SMALL_REQUEST = 96 * 1024
_NO_TRACE_ID, _NO_SPAN_ID = bytes(TRACE_ID_BYTES), bytes(SPAN_ID_BYTES)


class MalformedRequest(ValueError):
    """The bytes are no OTLP export request; nothing of it can land."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Spans (or log records) in a request, how many of them will not land, and why, for partial success."""

    spans: int
    rejected: int = 0
    message: str = ""


def check_traces(request: bytes) -> Checked:
    """Count the spans of a serialised ExportTraceServiceRequest and those whose ids are invalid.

    A span needs a trace id of 16 bytes and a span id of 8, neither all zero
    (opentelemetry-proto trace.proto). Ids and nesting are all that is read: a request damaged inside a leaf
    can pass here and be found undecodable when it lands. Raises MalformedRequest.
    """
    small = len(request) <= _SMALL_REQUEST
    spans, rejected, bad_trace_ids, bad_span_ids = _count_singly(request) if small else _count_by_columns(request)
    if not rejected:
        return Checked(spans)
    reasons = [
        f"{count} with an invalid {name} (it must be {size} bytes, not all zero)"
        for name, count, size in (
            ("trace_id", bad_trace_ids, TRACE_ID_BYTES),
            ("span_id", bad_span_ids, SPAN_ID_BYTES),
        )
        if count
    ]
    return Checked(spans, rejected, f"{rejected} of {spans} spans rejected: {', '.join(reasons)}")


def check_logs(request: bytes) -> Checked:
    """Count the records of a serialised ExportLogsServiceRequest; none is rejected, ids are optional in logs.

    Raises MalformedRequest.
    """
    message = _parse(Signal.LOGS, request)
    return Checked(sum(len(scope.records) for resource in message.resources for scope in resource.scopes))


def _count_singly(request: bytes) -> tuple[int, int, int, int]:
    """Spans, rejected, invalid trace ids, invalid span ids; span by span."""
    spans = rejected = bad_trace_ids = bad_span_ids = 0
    for resource in _parse(Signal.TRACES, request).resources:
        for scope in resource.scopes:
            spans += len(scope.records)
            for span in scope.records:
                trace_id, span_id = span.trace_id, span.span_id
                bad_trace_id = len(trace_id) != TRACE_ID_BYTES or trace_id == _NO_TRACE_ID
                bad_span_id = len(span_id) != SPAN_ID_BYTES or span_id == _NO_SPAN_ID
                if bad_trace_id or bad_span_id:
                    rejected += 1
                    bad_trace_ids += bad_trace_id
                    bad_span_ids += bad_span_id
    return spans, rejected, bad_trace_ids, bad_span_ids


def _count_by_columns(request: bytes) -> tuple[int, int, int, int]:
    """Spans, rejected, invalid trace ids, invalid span ids; all spans at once."""
    spans = _spans(request)
    trace_ok = valid_ids(spans.field("trace_id"), TRACE_ID_BYTES)
    span_ok = valid_ids(spans.field("span_id"), SPAN_ID_BYTES)
    good, good_trace_ids, good_span_ids = map(int, map(np.count_nonzero, (trace_ok & span_ok, trace_ok, span_ok)))
    return len(spans), len(spans) - good, len(spans) - good_trace_ids, len(spans) - good_span_ids


def _spans(request: bytes) -> pa.StructArray:
    form = CHECKED[Signal.TRACES]
    try:
        batch = form.to_arrow([request])
    except Exception:
        # ptars refuses a known field of another wire type and has no exception of its own; upb decides.
        _parse(Signal.TRACES, request)
        batch = form.to_arrow([form.repair(request)])
    return batch.column(0).values.field("scopes").values.field("records").values


def _parse(signal: Signal, request: bytes) -> Any:
    try:
        return CHECKED[signal].parse(request)
    except DecodeError as error:
        kind = "trace" if signal is Signal.TRACES else "logs"
        raise MalformedRequest(
            f"not an OTLP {kind} export request: its {len(request)} bytes are not the protobuf message"
        ) from error
