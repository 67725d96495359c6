"""What is looked at before a request is acknowledged: is it OTLP, and how many spans have valid ids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from .ids import SPAN_ID_BYTES, TRACE_ID_BYTES, valid_ids
from .wire import CHECKED, METRICS, SPAN_IDS, Form, Signal

ROW_BYTES, ATTRIBUTE_BYTES = 16, 8
"""Fewer bytes of a request for each row or attribute, on average, and it is no honest one.

An empty record is 2 bytes on the wire and hundreds once it is a row, an empty attribute nearly a hundred. A log
record of a time and one letter is 18, an attribute of one letter and a small number 9. So what a request takes in
memory when it lands stays in proportion to its bytes, of which so many are decoded at once.
"""

FREE = 1_000
"""Rows and attributes that any request may hold."""

MOST_ROWS = 1_000_000
"""Rows of one request, which are decoded together; exporters send some hundreds."""

QUICK_BYTES = 1024 * 1024
"""Requests up to here are first tried without columns; beyond, looking at every byte leaves the cache."""

# ScopeSpans.spans (tag 0x12), 28 bytes each: trace_id (0x0a), span_id (0x12), neither all zero.
_VALID_SPAN_BYTES = 2 + 2 + TRACE_ID_BYTES + 2 + SPAN_ID_BYTES
_VALID_SPANS = re.compile(rb"(?:\x12\x1c\x0a\x10(?!\0{16}).{16}\x12\x08(?!\0{8}).{8})*+", re.DOTALL)


class MalformedRequest(ValueError):
    """The bytes are no OTLP export request, or one that holds nothing but husks; nothing of it can land."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Spans (log records, data points) in a request, how many will not land, and why, for partial success."""

    spans: int
    rejected: int = 0
    message: str = ""


def check_traces(request: bytes) -> Checked:
    """Count the spans of a serialised ExportTraceServiceRequest and those whose ids are invalid.

    A span needs a trace id of 16 bytes and a span id of 8, neither all zero
    (opentelemetry-proto trace.proto). What is inside attributes' values is not looked at: a request damaged
    there can pass here and be found undecodable when it lands. Raises MalformedRequest.
    """
    return (len(request) <= QUICK_BYTES and _all_valid(request)) or _judged(request)


def _all_valid(request: bytes) -> Checked | None:
    """The answer if all ids are valid and the request cannot hold too many husks, as nearly every one; else None.

    Columns would cost 0.1 ms before the first span, more than the rest of a small request's receipt.
    """
    _parse("trace", CHECKED[Signal.TRACES], request)  # the frames of all that is in spans, or it could not land
    message = _parse("trace", SPAN_IDS, request)
    message.DiscardUnknownFields()
    # Written again, spans with valid ids are one pattern of bytes.
    scopes = [scope.SerializeToString() for resource in message.resources for scope in resource.scopes]
    if not all(map(_VALID_SPANS.fullmatch, scopes)):
        return None
    spans = sum(map(len, scopes)) // _VALID_SPAN_BYTES
    rows = len(message.resources) + len(scopes) + spans
    # An attribute begins with one of the tags 0x0a (of a resource), 0x1a (event) and 0x4a (span), an event with
    # 0x5a, each with the high bit set if it is spelled longer than need be. So there are at most as many of
    # either as there are such bytes.
    octets = np.frombuffer(request, np.uint8)
    attributes = np.count_nonzero((octets & 0x2F) == 0x0A)
    events = np.count_nonzero((octets & 0x7F) == 0x5A)
    fits = rows + events <= min(MOST_ROWS, FREE + len(request) // ROW_BYTES)
    return Checked(spans) if fits and attributes <= FREE + len(request) // ATTRIBUTE_BYTES else None


def _judged(request: bytes) -> Checked:
    spans = _records(Signal.TRACES, request)
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
    return Checked(len(_records(Signal.LOGS, request)))


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


def _records(signal: Signal, request: bytes) -> pa.StructArray:
    """Ids and nesting of the spans or log records of a request."""
    form = CHECKED[signal]
    try:
        batch = form.to_arrow([request])
    except Exception:
        # ptars refuses a known field of another wire type and has no exception of its own; upb decides.
        _parse("trace" if signal is Signal.TRACES else "logs", form, request)
        batch = form.to_arrow([form.repair(request)])
    resources = batch.column(0).values
    scopes = resources.field("scopes").values
    records = scopes.field("records").values
    _refuse_husks(request, resources, scopes, records)
    return records


def _refuse_husks(request: bytes, resources: pa.StructArray, scopes: pa.StructArray, records: pa.StructArray) -> None:
    names = [field.name for field in records.type]
    holders = [resources.field("resource"), records]
    rows = len(resources) + len(scopes) + len(records)
    if "events" in names:
        events = records.field("events").values
        rows += len(events)
        holders.append(events)
    attributes = sum(len(holder.field("attributes").values) for holder in holders)
    if rows > MOST_ROWS:
        raise MalformedRequest(f"{rows} rows in one request: {MOST_ROWS} are taken, send fewer at once")
    for count, what, size in ((rows, "rows", ROW_BYTES), (attributes, "attributes", ATTRIBUTE_BYTES)):
        if count > FREE + len(request) // size:
            raise MalformedRequest(
                f"{count} {what} in {len(request)} bytes: with fewer than {size} each they are empty"
            )


def _parse(kind: str, form: Form, request: bytes) -> Any:
    try:
        return form.parse(request)
    except DecodeError as error:
        raise MalformedRequest(
            f"not an OTLP {kind} export request: its {len(request)} bytes are not the protobuf message"
        ) from error
