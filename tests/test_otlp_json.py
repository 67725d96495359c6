"""OTLP/JSON becomes the protobuf that another sender would have sent."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from support import captures

from llmcost.ingest.check import MalformedRequest, check_traces
from llmcost.ingest.otlp_json import to_protobuf
from llmcost.ingest.services import LOGS, SERVICES, TRACES, Service
from llmcost.ingest.wire import Signal

TRACE_ID, SPAN_ID = bytes(range(1, 17)), bytes(range(1, 9))
ID_FIELDS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")


def otlp_json(message: Message, *, numbers: bool = False, snake: bool = False) -> bytes:
    """The message as an OTLP/JSON sender writes it; with `numbers`, 64-bit integers as such, not as strings."""

    def as_otlp(value: Any) -> Any:
        if isinstance(value, list):
            return [as_otlp(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {name: changed(name, each) for name, each in value.items()}

    def changed(name: str, value: Any) -> Any:
        if name in ID_FIELDS:
            return b64decode(value).hex()
        if numbers and name.lower().replace("_", "").endswith(("unixnano", "intvalue")):
            return int(value)
        return as_otlp(value)

    told = json_format.MessageToDict(message, use_integers_for_enums=True, preserving_proto_field_name=snake)
    return json.dumps(as_otlp(told)).encode()


def spans_json(*spans: dict[str, Any]) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


def converted(*spans: dict[str, Any]) -> Any:
    """The spans of a request with these in JSON."""
    request = ExportTraceServiceRequest.FromString(to_protobuf(TRACES, spans_json(*spans)))
    return request.resource_spans[0].scope_spans[0].spans


def value_of(value: dict[str, Any]) -> Any:
    """The AnyValue of an attribute with this JSON."""
    return converted({"attributes": [{"key": "k", "value": value}]})[0].attributes[0].value


# Any request at all, made of OTLP's own messages.

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
IDS = st.sampled_from([b"", TRACE_ID, SPAN_ID, b"odd"])
INT64 = st.integers(-(2**63), 2**63 - 1)
FIXED64 = st.integers(0, 2**64 - 1)


def any_value(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    pair = st.fixed_dictionaries({"key": TEXT, "value": inner})
    return st.one_of(
        st.builds(lambda values: {"array_value": {"values": values}}, st.lists(inner, max_size=3)),
        st.builds(lambda values: {"kvlist_value": {"values": values}}, st.lists(pair, max_size=3)),
    )


SCALAR = st.one_of(
    st.just({}),
    st.builds(lambda value: {"string_value": value}, TEXT),
    st.builds(lambda value: {"bool_value": value}, st.booleans()),
    st.builds(lambda value: {"int_value": value}, INT64),
    st.builds(lambda value: {"double_value": value}, st.floats(allow_nan=False)),
    st.builds(lambda value: {"bytes_value": value}, st.binary(max_size=8)),
)
VALUE = st.recursive(SCALAR, any_value, max_leaves=6)
ATTRIBUTES = st.lists(st.fixed_dictionaries({"key": TEXT, "value": VALUE}), max_size=3)
SPAN = st.fixed_dictionaries(
    {},
    optional={
        "trace_id": IDS,
        "span_id": IDS,
        "parent_span_id": IDS,
        "name": TEXT,
        "kind": st.integers(0, 5),
        "start_time_unix_nano": FIXED64,
        "end_time_unix_nano": FIXED64,
        "attributes": ATTRIBUTES,
        "dropped_attributes_count": st.integers(0, 2**32 - 1),
        "flags": st.integers(0, 2**32 - 1),
        "trace_state": TEXT,
        "events": st.lists(
            st.fixed_dictionaries({"name": TEXT, "time_unix_nano": FIXED64, "attributes": ATTRIBUTES}), max_size=2
        ),
        "links": st.lists(st.fixed_dictionaries({"trace_id": IDS, "span_id": IDS}), max_size=2),
        "status": st.fixed_dictionaries({"code": st.integers(0, 2), "message": TEXT}),
    },
)
RECORD = st.fixed_dictionaries(
    {},
    optional={
        "time_unix_nano": FIXED64,
        "observed_time_unix_nano": FIXED64,
        "severity_number": st.integers(0, 24),
        "severity_text": TEXT,
        "body": VALUE,
        "attributes": ATTRIBUTES,
        "trace_id": IDS,
        "span_id": IDS,
        "event_name": TEXT,
    },
)
RESOURCE = st.fixed_dictionaries({"attributes": ATTRIBUTES})
SCOPE = st.fixed_dictionaries({"name": TEXT, "version": TEXT})


@given(RESOURCE, SCOPE, st.lists(SPAN, max_size=3), st.booleans(), st.booleans())
def test_a_trace_request_is_the_same_in_json(
    resource: dict[str, Any], scope: dict[str, Any], spans: list[dict[str, Any]], numbers: bool, snake: bool
) -> None:
    """Whatever it holds, however 64-bit integers and names are written."""
    told = {"resource": resource, "scope_spans": [{"scope": scope, "spans": spans}]}
    request = ExportTraceServiceRequest(resource_spans=[told])
    assert request == ExportTraceServiceRequest.FromString(
        to_protobuf(TRACES, otlp_json(request, numbers=numbers, snake=snake))
    )


@given(RESOURCE, SCOPE, st.lists(RECORD, max_size=3), st.booleans(), st.booleans())
def test_a_logs_request_is_the_same_in_json(
    resource: dict[str, Any], scope: dict[str, Any], records: list[dict[str, Any]], numbers: bool, snake: bool
) -> None:
    told = {"resource": resource, "scope_logs": [{"scope": scope, "log_records": records}]}
    request = ExportLogsServiceRequest(resource_logs=[told])
    assert request == ExportLogsServiceRequest.FromString(
        to_protobuf(LOGS, otlp_json(request, numbers=numbers, snake=snake))
    )


@pytest.mark.parametrize("name", captures.names())
def test_a_recording_is_the_same_in_json(name: str) -> None:
    """What 35 libraries really sent, byte for byte once both are written by one hand."""
    for recorded in captures.requests(name, logs=True):
        service = TRACES if recorded.signal == Signal.TRACES else LOGS
        request = service.request.FromString(recorded.body)
        assert request.SerializeToString() == to_protobuf(service, otlp_json(request))


def test_an_id_that_is_no_hex_costs_its_own_span_only() -> None:
    """It becomes an invalid id, which the check rejects and counts."""
    good = {"traceId": TRACE_ID.hex(), "spanId": SPAN_ID.hex().upper()}
    body = to_protobuf(TRACES, spans_json(good, {**good, "traceId": "zz" * 16}, {**good, "spanId": 7}, good))
    checked = check_traces(body)
    assert (4, 2) == (checked.spans, checked.rejected)


def test_names_of_enums_are_understood() -> None:
    """Protobuf's own JSON writers send them; one that is unknown is unspecified."""
    spans = converted(
        {"kind": "SPAN_KIND_CLIENT", "status": {"code": "STATUS_CODE_ERROR"}}, {"kind": "SPAN_KIND_NEW"}
    )
    assert (3, 2, 0) == (spans[0].kind, spans[0].status.code, spans[1].kind)


def test_unknown_fields_and_nulls_are_skipped() -> None:
    span = converted({"name": "x", "brandNew": {"deep": [1, 2]}, "kind": None, "attributes": None})[0]
    assert ("x", 0, 0) == (span.name, span.kind, len(span.attributes))


def test_a_character_cut_in_two_becomes_a_replacement_character() -> None:
    """JavaScript's slice() leaves half of an emoji; the text around it, and whole emojis, stay."""
    body = (
        rb'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a\ud83d"},{"name":"\\ud83d \ud83d\ude00 \ude00"}]}]}]}'
    )
    spans = ExportTraceServiceRequest.FromString(to_protobuf(TRACES, body)).resource_spans[0].scope_spans[0].spans
    assert ["a\ufffd", "\\ud83d \U0001f600 \ufffd"] == [span.name for span in spans]


def test_text_that_is_no_utf8_is_replaced_as_in_protobuf() -> None:
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a\xff"}]}]}]}'
    request = ExportTraceServiceRequest.FromString(to_protobuf(TRACES, body))
    assert "a\ufffd" == request.resource_spans[0].scope_spans[0].spans[0].name


def test_a_byte_order_mark_is_no_error() -> None:
    assert b"" == to_protobuf(TRACES, b"\xef\xbb\xbf{}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"intValue": 5}, {"int_value": 5}),
        ({"intValue": "-5"}, {"int_value": -5}),
        ({"intValue": 1e300}, {}),
        ({"intValue": 2**63}, {}),
        ({"doubleValue": "NaN"}, {"double_value": "nan"}),
        ({"doubleValue": "-Infinity"}, {"double_value": "-inf"}),
        ({"doubleValue": None}, {}),
        ({"bytesValue": "+/+/"}, {"bytes_value": b"\xfb\xff\xbf"}),
        ({"bytesValue": "-_-_"}, {"bytes_value": b"\xfb\xff\xbf"}),
    ],
)
def test_values_as_senders_write_them(value: dict[str, Any], expected: dict[str, Any]) -> None:
    """1e300 is what JavaScript's SDK calls an integer: its value is unknown, its batch is taken."""
    got = value_of(value)
    assert {name: str(each) for name, each in expected.items()} == {
        field.name: str(each) for field, each in got.ListFields()
    }


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "EOF"),
        (b"[]", "Input should be an object"),
        (b"null", "Input should be an object"),
        (b'{"resourceSpans":{}}', "resourceSpans: Input should be a valid array"),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":5}]}]}]}', r"spans\.0\.name: .*string .it is 5"),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":-1}]}]}]}', "out of range"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "recursion limit"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(body: bytes, says: str) -> None:
    with pytest.raises(MalformedRequest, match=says):
        to_protobuf(TRACES, body)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_an_empty_object_is_an_empty_request(service: Service) -> None:
    assert b"" == to_protobuf(service, b"{}")


@pytest.mark.parametrize("depth", [1, 10, 60, 70, 1000])
def test_values_within_values_are_taken_to_a_depth_of_sixty(depth: int) -> None:
    """Deeper ones are refused; no depth is a crash."""
    value: dict[str, Any] = {"stringValue": "x"}
    text = '{"arrayValue":{"values":[' * depth + json.dumps(value) + "]}}" * depth
    body = (
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"k","value":'
        + text.encode()
        + b"}]}]}]}]}"
    )
    if depth <= 60:
        assert to_protobuf(TRACES, body)
    else:
        with pytest.raises(MalformedRequest):
            to_protobuf(TRACES, body)
