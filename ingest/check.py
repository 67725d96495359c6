"""What is looked at before a request is acknowledged: is it OTLP, and how many spans have valid ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from .ids import SPAN_ID_BYTES, TRACE_ID_BYTES, valid_ids
from .wire import CHECKED, Signal


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
    (https://opentelemetry.io/docs/specs/otlp/, "invalid" per W3C trace context).
    Raises MalformedRequest.
    """
    spans = _records(Signal.TRACES, request)
    if not len(spans):
        return Checked(0)
    trace_ok = valid_ids(spans.field("trace_id"), TRACE_ID_BYTES)
    span_ok = valid_ids(spans.field("span_id"), SPAN_ID_BYTES)
    rejected = len(spans) - int(np.count_nonzero(trace_ok & span_ok))
    if not rejected:
        return Checked(len(spans))
    reasons = [
        f"{len(ok) - int(np.count_nonzero(ok))} with an invalid {name} (it must be {size} bytes, not all zero)"
        for ok, name, size in ((trace_ok, "trace_id", TRACE_ID_BYTES), (span_ok, "span_id", SPAN_ID_BYTES))
        if not ok.all()
    ]
    return Checked(len(spans), rejected, f"{rejected} of {len(spans)} spans rejected: {', '.join(reasons)}")


def check_logs(request: bytes) -> Checked:
    """Count the records of a serialised ExportLogsServiceRequest; none is rejected, ids are optional in logs.

    Raises MalformedRequest.
    """
    return Checked(len(_records(Signal.LOGS, request)))


def _records(signal: Signal, request: bytes) -> pa.StructArray:
    """All spans or log records of the request, ids only."""
    form = CHECKED[signal]
    try:
        try:
            batch = form.to_arrow([request])
        except Exception:
            # ptars refuses a known field of another wire type, upb skips it, and so do we.
            batch = form.to_arrow([form.repair(request)])
    except Exception as error:
        # ptars has no exception of its own, and a panic in Rust is no Exception but is not seen on this path.
        kind = "trace" if signal is Signal.TRACES else "logs"
        detail = "the bytes are not valid protobuf" if isinstance(error, DecodeError) else str(error)
        raise MalformedRequest(f"not an OTLP {kind} export request of {len(request)} bytes: {detail}") from error
    return batch.column(0).values.field("scopes").values.field("records").values
