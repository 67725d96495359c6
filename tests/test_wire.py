"""The trimmed descriptors read what OTLP's own classes write."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue as OtlpAnyValue

from llmcost.ingest.wire import CHECKED, LANDED, SPAN_IDS, AnyValue, Signal


def _trace_request() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add(schema_url="https://opentelemetry.io/schemas/1.30.0")
    resource.resource.attributes.add(key="service.name").value.string_value = "api"
    scope = resource.scope_spans.add()
    scope.scope.name, scope.scope.version = "scope", "1"
    span = scope.spans.add(
        trace_id=b"t" * 16,
        span_id=b"s" * 8,
        parent_span_id=b"p" * 8,
        trace_state="a=b",
        name="chat",
        kind=3,
        start_time_unix_nano=1_000,
        end_time_unix_nano=2_000,
        flags=257,
        dropped_attributes_count=4,
    )
    span.attributes.add(key="n").value.int_value = 5
    span.links.add(trace_id=b"l" * 16, span_id=b"k" * 8)
    event = span.events.add(time_unix_nano=1_500, name="exception")
    event.attributes.add(key="exception.type").value.string_value = "ValueError"
    span.status.message, span.status.code = "no", 2
    return request


def test_a_span_keeps_every_field_that_is_read() -> None:
    batch = LANDED[Signal.TRACES].to_arrow([_trace_request().SerializeToString()])
    [[resource]] = batch.column(0).to_pylist()
    name = OtlpAnyValue(string_value="api").SerializeToString()
    assert {"attributes": [{"key": b"service.name", "value": name}]} == resource["resource"]
    [scope] = resource["scopes"]
    assert scope["scope"] == {"name": b"scope", "version": b"1"}
    error = OtlpAnyValue(string_value="ValueError").SerializeToString()
    assert [
        {
            "trace_id": b"t" * 16,
            "span_id": b"s" * 8,
            "parent_span_id": b"p" * 8,
            "name": b"chat",
            "kind": 3,
            "start_unix_nano": 1_000,
            "end_unix_nano": 2_000,
            "attributes": [{"key": b"n", "value": OtlpAnyValue(int_value=5).SerializeToString()}],
            "events": [
                {
                    "time_unix_nano": 1_500,
                    "name": b"exception",
                    "attributes": [{"key": b"exception.type", "value": error}],
                }
            ],
            "status": {"message": b"no", "code": 2},
        }
    ] == scope["records"]


def test_a_log_record_keeps_every_field_that_is_read() -> None:
    request = ExportLogsServiceRequest()
    record = (
        request.resource_logs.add()
        .scope_logs.add()
        .log_records.add(
            time_unix_nano=1,
            observed_time_unix_nano=2,
            severity_number=9,
            severity_text="INFO",
            trace_id=b"t" * 16,
            span_id=b"s" * 8,
            event_name="gen_ai.evaluation.result",
            flags=1,
        )
    )
    record.body.string_value = "text"
    record.attributes.add(key="k").value.bool_value = True
    batch = LANDED[Signal.LOGS].to_arrow([request.SerializeToString()])
    [[resource]] = batch.column(0).to_pylist()
    assert [
        {
            "time_unix_nano": 1,
            "severity_text": b"INFO",
            "body": OtlpAnyValue(string_value="text").SerializeToString(),
            "attributes": [{"key": b"k", "value": OtlpAnyValue(bool_value=True).SerializeToString()}],
            "trace_id": b"t" * 16,
            "span_id": b"s" * 8,
            "observed_unix_nano": 2,
            "event_name": b"gen_ai.evaluation.result",
        }
    ] == resource["scopes"][0]["records"]


def test_the_check_reads_ids_and_no_other_leaf() -> None:
    batch = CHECKED[Signal.TRACES].to_arrow([_trace_request().SerializeToString()])
    [[resource]] = batch.column(0).to_pylist()
    [span] = resource["scopes"][0]["records"]
    assert (span["trace_id"], span["span_id"], span["attributes"]) == (b"t" * 16, b"s" * 8, [{}])
    assert {"trace_id", "span_id", "attributes", "events", "status"} == span.keys()


def test_ids_of_spans_read_nothing_else() -> None:
    batch = SPAN_IDS.to_arrow([_trace_request().SerializeToString()])
    assert [{"scopes": [{"records": [{"trace_id": b"t" * 16, "span_id": b"s" * 8}]}]}] == batch.column(0).to_pylist()[
        0
    ]


def test_bytes_that_are_not_utf8_do_not_fail_the_request() -> None:
    body = _trace_request().SerializeToString().replace(b"chat", b"ch\xfft")
    [[resource]] = LANDED[Signal.TRACES].to_arrow([body]).column(0).to_pylist()
    assert resource["scopes"][0]["records"][0]["name"] == b"ch\xfft"


def test_repair_drops_a_field_of_the_wrong_wire_type_and_nothing_else() -> None:
    body = _trace_request().SerializeToString()
    # Span.name (field 5) as a varint instead of bytes: tag 0x28.
    strange = body.replace(b"\x2a\x04chat", b"\x28\xff\xff\xff\xff\x01")
    assert len(strange) == len(body)
    [[resource]] = LANDED[Signal.TRACES].to_arrow([LANDED[Signal.TRACES].repair(strange)]).column(0).to_pylist()
    [span] = resource["scopes"][0]["records"]
    assert (span["name"], span["trace_id"], span["end_unix_nano"]) == (b"", b"t" * 16, 2_000)


def test_repair_raises_for_what_is_no_protobuf() -> None:
    with pytest.raises(DecodeError):
        LANDED[Signal.TRACES].repair(b"\xff\xff")


def test_an_any_value_opens_with_bytes_for_text() -> None:
    value = OtlpAnyValue()
    value.kvlist_value.values.add(key="a").value.array_value.values.add(string_value="é")
    opened = AnyValue.FromString(value.SerializeToString())
    [pair] = opened.kvlist_value.values  # type: ignore[attr-defined]
    assert (b"a", "é".encode()) == (pair.key, pair.value.array_value.values[0].string_value)
