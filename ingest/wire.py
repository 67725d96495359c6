"""OTLP's wire format, trimmed to what landing reads.

Arrow cannot hold OTLP's recursive AnyValue, and most of an OTLP message need not be opened to be stored.
These descriptors keep OTLP's field numbers and wire types, so they read the same bytes, but leave every
AnyValue shut (`bytes`), leave out what is never read (protobuf skips unknown fields), and declare text as
`bytes`, so that a name that is not UTF-8 cannot fail the request it travels in.

Field numbers: https://github.com/open-telemetry/opentelemetry-proto (common, trace, logs; v1).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from ptars import HandlerPool

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "llmcost.wire"

_SCALARS = {
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int64": _Field.TYPE_INT64,
    "double": _Field.TYPE_DOUBLE,
    "fixed64": _Field.TYPE_FIXED64,
    "uint32": _Field.TYPE_UINT32,
    "int32": _Field.TYPE_INT32,
}


class Signal(IntEnum):
    """Which OTLP service a request came through."""

    TRACES = 1
    LOGS = 2


# message -> field number -> (name, type); a trailing * means repeated. A type that is no scalar is a message.
_Messages = dict[str, dict[int, tuple[str, str]]]

_KEY_VALUE = {1: ("key", "bytes"), 2: ("value", "bytes")}
_ORIGIN: _Messages = {
    "KeyValue": _KEY_VALUE,
    "Resource": {1: ("attributes", "KeyValue*")},
    "Scope": {1: ("name", "bytes"), 2: ("version", "bytes")},
}

_LANDED_TRACES: _Messages = {
    **_ORIGIN,
    "Request": {1: ("resources", "ResourceSpans*")},
    "ResourceSpans": {1: ("resource", "Resource"), 2: ("scopes", "ScopeSpans*")},
    "ScopeSpans": {1: ("scope", "Scope"), 2: ("records", "Span*")},
    "Span": {
        1: ("trace_id", "bytes"),
        2: ("span_id", "bytes"),
        4: ("parent_span_id", "bytes"),
        5: ("name", "bytes"),
        6: ("kind", "int32"),
        7: ("start_unix_nano", "fixed64"),
        8: ("end_unix_nano", "fixed64"),
        9: ("attributes", "KeyValue*"),
        11: ("events", "Event*"),
        15: ("status", "Status"),
    },
    "Event": {1: ("time_unix_nano", "fixed64"), 2: ("name", "bytes"), 3: ("attributes", "KeyValue*")},
    "Status": {2: ("message", "bytes"), 3: ("code", "int32")},
}

_LANDED_LOGS: _Messages = {
    **_ORIGIN,
    "Request": {1: ("resources", "ResourceLogs*")},
    "ResourceLogs": {1: ("resource", "Resource"), 2: ("scopes", "ScopeLogs*")},
    "ScopeLogs": {1: ("scope", "Scope"), 2: ("records", "LogRecord*")},
    "LogRecord": {
        1: ("time_unix_nano", "fixed64"),
        3: ("severity_text", "bytes"),
        5: ("body", "bytes"),
        6: ("attributes", "KeyValue*"),
        9: ("trace_id", "bytes"),
        10: ("span_id", "bytes"),
        11: ("observed_unix_nano", "fixed64"),
        12: ("event_name", "bytes"),
    },
}

_ANY_VALUE: _Messages = {
    "AnyValue": {
        1: ("string_value", "bytes"),
        2: ("bool_value", "bool"),
        3: ("int_value", "int64"),
        4: ("double_value", "double"),
        5: ("array_value", "ArrayValue"),
        6: ("kvlist_value", "KeyValueList"),
        7: ("bytes_value", "bytes"),
    },
    "ArrayValue": {1: ("values", "AnyValue*")},
    "KeyValueList": {1: ("values", "NestedKeyValue*")},
    "NestedKeyValue": {1: ("key", "bytes"), 2: ("value", "AnyValue")},
}


def _ids_only(landed: _Messages) -> _Messages:
    """The landing messages without their leaves, except ids: the same nesting, hardly a buffer to fill."""
    return {
        name: {
            number: (field, kind)
            for number, (field, kind) in fields.items()
            if kind not in _SCALARS or field in ("trace_id", "span_id")
        }
        for name, fields in landed.items()
    }


def _file(name: str, messages: _Messages, oneof: str | None = None) -> Any:
    """A file descriptor holding `messages`, in a pool of its own; the fields of message `oneof` share one."""
    proto = descriptor_pb2.FileDescriptorProto(
        name=f"{_PACKAGE}/{name}.proto", package=f"{_PACKAGE}.{name}", syntax="proto3"
    )
    for message_name, fields in messages.items():
        message = proto.message_type.add(name=message_name)
        if message_name == oneof:
            message.oneof_decl.add(name="value")
        for number, (field_name, kind) in sorted(fields.items()):
            base = kind.removesuffix("*")
            field = message.field.add(
                name=field_name,
                number=number,
                label=_Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL,
            )
            if base in _SCALARS:
                field.type = _SCALARS[base]
            else:
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{name}.{base}"
            if message_name == oneof:
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    return pool.FindFileByName(proto.name)


class Form:
    """One trimmed form of a request: a ptars handler and the upb class of the same descriptor."""

    def __init__(self, name: str, messages: _Messages) -> None:
        file = _file(name, messages)
        request = file.message_types_by_name["Request"]
        self._handler = HandlerPool([file]).get_for_message(request)
        self._lenient: type[Message] = message_factory.GetMessageClass(request)

    def to_arrow(self, bodies: list[bytes]) -> Any:
        """The requests as one RecordBatch, a row each; raises some Exception if one is malformed."""
        try:
            return self._handler.list_to_record_batch(bodies)
        except BaseException as error:
            # A panic in Rust (a length near 2**64) is no Exception, and has no class that could be imported.
            if type(error).__name__ == "PanicException":
                raise ValueError(f"no request: {error}") from None
            raise

    def parse(self, body: bytes) -> Any:
        """The request as a upb message; raises google.protobuf.message.DecodeError."""
        message = self._lenient()
        message.ParseFromString(body)
        return message

    def repair(self, body: bytes) -> bytes:
        """The same request as upb understands it: fields of the wrong wire type are dropped as unknown.

        Raises google.protobuf.message.DecodeError if it is not protobuf at all.
        """
        message = self.parse(body)
        message.DiscardUnknownFields()
        repaired: bytes = message.SerializeToString()
        return repaired


LANDED = {
    Signal.TRACES: Form("landed_traces", _LANDED_TRACES),
    Signal.LOGS: Form("landed_logs", _LANDED_LOGS),
}
"""What landing reads, by signal."""

CHECKED = {
    Signal.TRACES: Form("checked_traces", _ids_only(_LANDED_TRACES)),
    Signal.LOGS: Form("checked_logs", _ids_only(_LANDED_LOGS)),
}
"""What is looked at before a request is acknowledged, by signal."""

SPAN_IDS = Form(
    "ids_of_spans",
    {
        "Request": {1: ("resources", "ResourceSpans*")},
        "ResourceSpans": {2: ("scopes", "ScopeSpans*")},
        "ScopeSpans": {2: ("records", "Span*")},
        "Span": {number: _LANDED_TRACES["Span"][number] for number in (1, 2)},
    },
)
"""The ids of spans and the nesting down to them: enough to check a request of valid spans."""

_POINTS = {1: ("data_points", "bytes*")}
METRICS = Form(
    "counted_metrics",
    {
        "Request": {1: ("resources", "ResourceMetrics*")},
        "ResourceMetrics": {2: ("scopes", "ScopeMetrics*")},
        "ScopeMetrics": {2: ("metrics", "Metric*")},
        "Metric": {
            5: ("gauge", "Points"),
            7: ("sum", "Points"),
            9: ("histogram", "Points"),
            10: ("exponential_histogram", "Points"),
            11: ("summary", "Points"),
        },
        "Points": _POINTS,
    },
)
"""Metrics, as far as their data points can be counted: none is kept."""

AnyValue: type[Message] = message_factory.GetMessageClass(
    _file("any_value", _ANY_VALUE, oneof="AnyValue").message_types_by_name["AnyValue"]
)
"""A whole AnyValue, for the few that must be opened one by one; its strings are bytes."""
