"""What the receiver learns about a request before it is acknowledged."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from support.otlp import metrics_request

from llmcost.ingest import check
from llmcost.ingest.check import (
    ATTRIBUTE_BYTES,
    FREE,
    ROW_BYTES,
    Checked,
    MalformedRequest,
    check_logs,
    check_metrics,
    check_traces,
)

GOOD = (b"t" * 16, b"s" * 8)


def _request(ids: list[tuple[bytes, bytes]], padding: int = 0) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for trace_id, span_id in ids:
        scope.spans.add(trace_id=trace_id, span_id=span_id, name="x" * padding)
    return request.SerializeToString()


SIZES = pytest.mark.parametrize("padding", [0, 200_000], ids=["small", "large"])


@SIZES
def test_valid_spans_are_counted(padding: int) -> None:
    assert Checked(3) == check_traces(_request([GOOD] * 3, padding))


@SIZES
@pytest.mark.parametrize("trace_id", [b"", b"t" * 15, b"t" * 17, bytes(16)], ids=["absent", "short", "long", "zero"])
def test_a_span_with_an_invalid_trace_id_is_rejected(trace_id: bytes, padding: int) -> None:
    checked = check_traces(_request([GOOD, (trace_id, b"s" * 8), GOOD], padding))
    message = "1 of 3 spans rejected: 1 with an invalid trace_id (it must be 16 bytes, not all zero)"
    assert Checked(3, 1, message) == checked


@SIZES
@pytest.mark.parametrize("span_id", [b"", b"s" * 7, b"s" * 16, bytes(8)], ids=["absent", "short", "long", "zero"])
def test_a_span_with_an_invalid_span_id_is_rejected(span_id: bytes, padding: int) -> None:
    checked = check_traces(_request([(b"t" * 16, span_id)], padding))
    message = "1 of 1 spans rejected: 1 with an invalid span_id (it must be 8 bytes, not all zero)"
    assert Checked(1, 1, message) == checked


@SIZES
def test_a_span_with_two_invalid_ids_is_rejected_once(padding: int) -> None:
    checked = check_traces(_request([(b"", b""), GOOD, (b"", b"s" * 8)], padding))
    assert (3, 2) == (checked.spans, checked.rejected)
    assert "2 with an invalid trace_id" in checked.message
    assert "1 with an invalid span_id" in checked.message


@SIZES
def test_an_id_with_some_zero_bytes_is_valid(padding: int) -> None:
    assert check_traces(_request([(bytes(15) + b"\x01", b"\x01" + bytes(7))], padding)).rejected == 0


def test_spans_of_several_resources_and_scopes_are_counted_together() -> None:
    request = ExportTraceServiceRequest()
    for spans in (3, 0, 2):
        resource = request.resource_spans.add()
        resource.resource.attributes.add(key="service.name").value.string_value = "a"
        for _ in range(2):
            scope = resource.scope_spans.add()
            scope.scope.name = "s"
            for _ in range(spans):
                scope.spans.add(trace_id=GOOD[0], span_id=GOOD[1]).attributes.add(key="k")
    request.resource_spans.add()
    assert Checked(10) == check_traces(request.SerializeToString())


def test_of_an_id_sent_twice_the_last_counts() -> None:
    """As protobuf has it, and so as it lands."""
    span = b"\x0a\x10" + b"t" * 16 + b"\x12\x08" + b"s" * 8
    assert Checked(1) == check_traces(_nested(b"\x12\x03bad" + span))
    assert check_traces(_nested(span + b"\x12\x03bad")).rejected == 1


def test_an_id_of_another_wire_type_is_no_id() -> None:
    checked = check_traces(_nested(b"\x08\x01\x12\x08" + b"s" * 8))
    assert "1 of 1 spans rejected: 1 with an invalid trace_id (it must be 16 bytes, not all zero)" == checked.message


def _nested(span: bytes) -> bytes:
    """A request with one span, given as it stands on the wire."""
    for tag in (b"\x12", b"\x12", b"\x0a"):
        span = tag + bytes([len(span)]) + span
    return span


def test_an_empty_request_holds_no_spans() -> None:
    assert Checked(0) == check_traces(b"")
    assert Checked(0) == check_logs(b"")
    assert Checked(0) == check_metrics(b"")


@pytest.mark.parametrize("request_", [b"\xff\xff", b"hello world", b"\x0a\x05ab", b"\x0a\x04\x12\x02\x12\x05"])
@pytest.mark.parametrize("check", [check_traces, check_logs, check_metrics])
def test_bytes_that_are_no_request_are_malformed(check: object, request_: bytes) -> None:
    with pytest.raises(MalformedRequest, match=f"{len(request_)} bytes"):
        check(request_)  # type: ignore[operator]


def test_a_large_request_that_is_cut_short_is_malformed() -> None:
    with pytest.raises(MalformedRequest):
        check_traces(_request([GOOD], 200_000)[:-1])


def test_logs_need_no_ids() -> None:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(trace_id=b"short")
    request.resource_logs.add().scope_logs.add().log_records.add()
    assert Checked(2) == check_logs(request.SerializeToString())


def test_data_points_of_metrics_are_counted_and_rejected() -> None:
    """Whatever kind of metric they belong to; the message says what to do."""
    checked = check_metrics(metrics_request())
    assert (3, 3) == (checked.spans, checked.rejected)
    assert "does not store metrics: 3 data points dropped" in checked.message


def _flood(kind: str, count: int) -> bytes:
    """A request of `count` empty things of a kind, two bytes each on the wire."""
    request = ExportLogsServiceRequest() if kind.startswith("log") else ExportTraceServiceRequest()
    if isinstance(request, ExportLogsServiceRequest):
        record = request.resource_logs.add().scope_logs.add().log_records
        below = record if kind == "log records" else record.add().attributes
    else:
        resource = request.resource_spans.add()
        span = resource.scope_spans.add().spans.add(trace_id=GOOD[0], span_id=GOOD[1])
        event = span.events.add()
        below = {
            "resources": request.resource_spans,
            "scopes": resource.scope_spans,
            "spans": resource.scope_spans[0].spans,
            "span events": span.events,
            "attributes": span.attributes,
            "event attributes": event.attributes,
            "resource attributes": resource.resource.attributes,
        }[kind]
    for _ in range(count):
        below.add()
    return request.SerializeToString()


FLOODS = (
    "resources", "scopes", "spans", "span events", "attributes", "event attributes", "resource attributes",
    "log records", "log attributes",
)  # fmt: skip


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_empty_things_is_refused_before_it_is_kept(kind: str) -> None:
    """Each would be hundreds of bytes in memory when it lands; a few of them are fine."""
    check_one = check_logs if kind.startswith("log") else check_traces
    check_one(_flood(kind, FREE - 10))
    with pytest.raises(MalformedRequest, match="they are empty"):
        check_one(_flood(kind, 2 * FREE))


def test_the_smallest_honest_things_are_taken() -> None:
    """A record of a time and a letter, an event of a time and a name, an attribute of a letter and a digit."""
    logs, traces = ExportLogsServiceRequest(), ExportTraceServiceRequest()
    records = logs.resource_logs.add().scope_logs.add().log_records
    span = traces.resource_spans.add().scope_spans.add().spans.add(trace_id=GOOD[0], span_id=GOOD[1])
    for at in range(10 * FREE):
        records.add(time_unix_nano=1).body.string_value = "x"
        span.events.add(time_unix_nano=1, name="delta")
        span.attributes.add(key="k").value.int_value = at % 10
    assert Checked(10 * FREE) == check_logs(logs.SerializeToString())
    assert Checked(1) == check_traces(traces.SerializeToString())
    assert (ROW_BYTES, ATTRIBUTE_BYTES) == (16, 8)


def test_a_request_of_too_many_rows_is_told_to_be_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "MOST_ROWS", 4)
    assert Checked(2) == check_traces(_request([GOOD] * 2))
    with pytest.raises(MalformedRequest, match="send fewer at once"):
        check_traces(_request([GOOD] * 3))


def test_a_request_damaged_inside_a_span_is_malformed() -> None:
    """Its outer frames are whole and its ids valid; but it could not land, so it must not be acknowledged."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=GOOD[0], span_id=GOOD[1])
    span.attributes.add(key="gen_ai.system").value.string_value = "openai"
    body = request.SerializeToString()
    assert Checked(1) == check_traces(body)
    with pytest.raises(MalformedRequest):
        check_traces(body.replace(b"\x0a\x0dgen_ai", b"\x0a\x7fgen_ai"))
