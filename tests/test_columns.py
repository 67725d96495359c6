"""Each rule of landing, by name. The decoder as a whole is compared with a plain loop elsewhere."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from llmcost.ingest.check import MalformedRequest, check_traces
from llmcost.ingest.columns import Decoded, Decoder
from llmcost.ingest.records import EVENTS_BY_DAY, SPANS_BY_DAY
from llmcost.ingest.wire import Form, Signal
from llmcost.models import conventions, schema
from llmcost.models.settings import Landing

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOW_US = int(NOW.timestamp() * 1_000_000)
TABLE = conventions.load()
DECODER = Decoder(TABLE, "drop", Landing())


@dataclass(frozen=True)
class Request:
    """As the journal hands it over."""

    signal: Signal
    received_at_us: int
    body: bytes
    forced: bytes = b""


def spans(*sent: dict[str, Any], resource: dict[str, Any] | None = None) -> ExportTraceServiceRequest:
    """A request with a span for each dictionary of attributes."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    fill(resource_spans.resource.attributes, resource or {})
    scope = resource_spans.scope_spans.add()
    for index, attributes in enumerate(sent):
        span = scope.spans.add(
            trace_id=(index + 1).to_bytes(16, "big"),
            span_id=(index + 1).to_bytes(8, "big"),
            start_time_unix_nano=NOW_US * 1000,
            end_time_unix_nano=NOW_US * 1000,
        )
        fill(span.attributes, attributes)
    return request


def fill(into: Any, attributes: dict[str, Any]) -> None:
    for key, value in attributes.items():
        held = into.add(key=key).value
        match value:
            case bool():
                held.bool_value = value
            case int():
                held.int_value = value
            case float():
                held.double_value = value
            case str():
                held.string_value = value
            case bytes():
                held.bytes_value = value
            case list():
                for item in value:
                    held.array_value.values.add(string_value=item)
            case AnyValue():
                held.CopyFrom(value)


def only(request: ExportTraceServiceRequest) -> Span:
    """The one span of a request, to be changed in place."""
    [span] = request.resource_spans[0].scope_spans[0].spans
    return span


def decode(*requests: Any, decoder: Decoder = DECODER) -> Decoded:
    bodies = [request if isinstance(request, bytes) else request.SerializeToString() for request in requests]
    decoded = decoder.decode([Request(Signal.TRACES, NOW_US, body) for body in bodies])
    decoded.spans.validate(full=True)
    decoded.events.validate(full=True)
    return decoded


def landed(*requests: Any, decoder: Decoder = DECODER) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = decode(*requests, decoder=decoder).spans.to_pylist()
    return rows


def column(name: str, *sent: dict[str, Any]) -> list[Any]:
    return [row[name] for row in landed(spans(*sent))]


def test_tables_have_the_landed_schema_and_the_day() -> None:
    decoded = decode(spans({}))
    assert SPANS_BY_DAY.equals(decoded.spans.schema, check_metadata=True)
    assert EVENTS_BY_DAY.equals(decoded.events.schema, check_metadata=True)
    assert [*schema.SPANS.names, "day"] == decoded.spans.schema.names


def test_no_requests_give_empty_tables() -> None:
    decoded = DECODER.decode([])
    assert (0, 0, [], {}) == (decoded.spans.num_rows, decoded.events.num_rows, decoded.undecodable, decoded.notes)


def test_a_span_without_anything_but_ids_lands() -> None:
    [row] = landed(spans({}))
    assert {
        "trace_id": f"{1:032x}",
        "span_id": f"{1:016x}",
        "status": "UNSET",
        "attributes": [],
        "day": NOW.date(),
    } | {
        "started_at": NOW,
        "ended_at": NOW,
        "received_at": NOW,
        "resource_attributes": [],
    } == {name: value for name, value in row.items() if value is not None}


# --- Precedence -------------------------------------------------------------------------------------------


def test_the_first_spelling_wins_and_the_loser_stays_an_attribute() -> None:
    [row] = landed(spans({"gen_ai.usage.prompt_tokens": 7, "gen_ai.usage.input_tokens": 5}))
    assert (5, "gen_ai.usage.input_tokens") == (row["input_tokens"], row["usage_source"])
    assert [("gen_ai.usage.prompt_tokens", "7")] == row["attributes"]


def test_precedence_is_decided_for_each_span_by_itself() -> None:
    rows = column("user_id", {"user.id": "a", "enduser.id": "b"}, {"enduser.id": "c"}, {}, {"user.id": "d"})
    assert ["a", "c", None, "d"] == rows


def test_a_path_spelling_keeps_its_place_in_the_order() -> None:
    usage = '{"prompt_tokens": 3}'
    rows = column(
        "input_tokens",
        {"langfuse.observation.usage_details": usage, "gen_ai.usage.input_tokens": 5},
        {"langfuse.observation.usage_details": usage, "input_tokens": 9},
    )
    assert [5, 3] == rows


def test_the_last_of_several_equal_keys_wins() -> None:
    request = spans({"user.id": "first", "x": "1"})
    fill(only(request).attributes, {"user.id": "last", "x": "2"})
    [row] = landed(request)
    assert ("last", [("x", "2")], "duplicate_key") == (row["user_id"], row["attributes"], row["landing_notes"])


@pytest.mark.parametrize("blank", ["", "None", "null"])
def test_a_blank_text_counts_as_absent(blank: str) -> None:
    [row] = landed(spans({"user.id": blank, "enduser.id": "u"}))
    assert ("u", [("user.id", blank)]) == (row["user_id"], row["attributes"])


def test_output_gives_the_usage_source_where_there_is_no_input() -> None:
    sources = column("usage_source", {"completion_tokens": 1}, {"prompt_tokens": 1, "completion_tokens": 1}, {})
    assert ["completion_tokens", "prompt_tokens", None] == sources


def test_the_cost_source_is_the_spelling_that_gave_the_cost() -> None:
    assert ["operation.cost"] == column("cost_source", {"operation.cost": 0.5, "gen_ai.usage.cost": 0.4})


# --- Numbers, truths, lists -------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [12, 12.0, "12", " 12 ", "12.0", "1.2e1"])
def test_a_count_may_be_an_int_a_double_or_a_numeric_text(sent: Any) -> None:
    assert [12] == column("input_tokens", {"input_tokens": sent})


BAD_COUNTS = [-1, -0.5, 1.5, float("nan"), float("inf"), 2.0**53, "many", "-3", "1e999", True, [], ["1"], b"1"]


@pytest.mark.parametrize("sent", BAD_COUNTS, ids=repr)
def test_a_bad_count_is_null_and_keeps_its_text(sent: Any) -> None:
    value = AnyValue() if sent == [] else sent
    if isinstance(value, AnyValue):
        value.array_value.SetInParent()
    [bad, good] = landed(spans({"input_tokens": value}, {"input_tokens": 4}))
    assert (None, "bad_input_tokens", None) == (bad["input_tokens"], bad["landing_notes"], bad["usage_source"])
    assert ["input_tokens"] == [key for key, _ in bad["attributes"]]
    assert (4, None) == (good["input_tokens"], good["landing_notes"])


def test_a_bad_count_leaves_the_row_to_the_next_spelling() -> None:
    [row] = landed(spans({"gen_ai.usage.input_tokens": -1, "prompt_tokens": 5}))
    assert (5, "prompt_tokens", "bad_input_tokens") == (
        row["input_tokens"],
        row["usage_source"],
        row["landing_notes"],
    )


def test_counts_are_exact_up_to_the_largest_integer() -> None:
    assert [2**63 - 1] == column("input_tokens", {"input_tokens": 2**63 - 1})


@pytest.mark.parametrize(("sent", "cost"), [(0, 0.0), (0.25, 0.25), ("0.25", 0.25), ("1e-6", 1e-6)])
def test_a_cost_may_be_an_int_a_double_or_a_numeric_text(sent: Any, cost: float) -> None:
    assert [cost] == column("reported_cost_usd", {"cost_usd": sent})


@pytest.mark.parametrize("sent", [-0.01, float("nan"), float("-inf"), "free"])
def test_a_bad_cost_is_null(sent: Any) -> None:
    [row] = landed(spans({"cost_usd": sent}))
    assert (None, None, "bad_reported_cost_usd") == (
        row["reported_cost_usd"],
        row["cost_source"],
        row["landing_notes"],
    )


@pytest.mark.parametrize(
    ("sent", "truth"),
    [
        *((True, True), ("true", True), ("True", True), (1, True), ("hit", True), ("HIT", True)),
        *((False, False), ("False", False), (0, False), ("miss", False)),
    ],
)
def test_a_truth_may_be_a_bool_a_digit_or_a_word(sent: Any, truth: bool) -> None:
    assert [truth] == column("cache_hit", {"cache.hit": sent})


def test_a_word_that_is_no_truth_is_null() -> None:
    [row] = landed(spans({"cache.hit": "perhaps"}))
    assert (None, "bad_cache_hit") == (row["cache_hit"], row["landing_notes"])


def test_a_number_may_name_a_version() -> None:
    assert ["3"] == column("prompt_version", {"prompt.version": 3})


@pytest.mark.parametrize("sent", [["a", "b"], '["a", "b"]', "a, b", "a,b,"])
def test_tags_are_a_list_a_json_list_or_words_between_commas(sent: Any) -> None:
    assert [["a", "b"]] == column("tags", {"tags": sent})


def test_outcome_attributes_lose_their_prefix_and_leave_the_rest() -> None:
    [row] = landed(spans({"outcome.resolved": True, "outcome.value_usd": 2.5, "x": "y"}))
    assert [("resolved", "true"), ("value_usd", "2.5")] == row["outcome_attributes"]
    assert [("x", "y")] == row["attributes"]


def test_attribute_values_are_kept_as_text() -> None:
    [row] = landed(spans({"i": -5, "d": 0.1, "t": True, "l": ["a", "é"], "b": b"\x00\xff", "n": AnyValue()}))
    assert [("i", "-5"), ("d", "0.1"), ("t", "true"), ("l", '["a","é"]'), ("b", "AP8="), ("n", None)] == row[
        "attributes"
    ]


# --- Carriers ---------------------------------------------------------------------------------------------


def test_a_value_in_a_python_dictionary_is_read() -> None:
    requester = "{'user_id': 'u-1', 'session_id': None, 'flags': [True, False], 'tenant': \"it's\"}"
    [row] = landed(spans({"metadata.requester_metadata": requester}))
    assert ("u-1", None, "it's") == (row["user_id"], row["session_id"], row["customer_id"])
    assert [("metadata.requester_metadata", requester)] == row["attributes"]


def test_every_python_dictionary_of_a_batch_is_read_however_many() -> None:
    rows = column("user_id", *({"metadata": f"{{'user_id': \"it's {n}\"}}"} for n in range(12_000)))
    assert [f"it's {n}" for n in range(12_000)] == rows


def test_words_inside_python_strings_are_not_taken_for_constants() -> None:
    texts = ["{'user_id': 'None, True', 'x': None}", "{'user_id': 'Truest'}", "{'user_id': 'is True'}"]
    assert ["None, True", "Truest", "is True"] == column("user_id", *({"metadata": text} for text in texts))


def test_an_attribute_that_is_one_json_value_is_unquoted() -> None:
    rows = landed(spans({"mlflow.spanType": '"CHAT_MODEL"'}, {"mlflow.spanType": "LLM"}))
    assert ["CHAT_MODEL", "LLM"] == [row["operation"] for row in rows]
    assert [[], []] == [row["attributes"] for row in rows]


def test_a_whole_object_names_nobody() -> None:
    assert [None, "[x]"] == column(
        "user_id", {"metadata": '{"user_id": {"a": 1}}'}, {"metadata": '{"user_id": "[x]"}'}
    )


def test_text_that_is_no_json_offers_nothing() -> None:
    rows = column(
        "response_id", {"output.value": "Hello {id}"}, {"output.value": '{"id": "r-1"'}, {"output.value": "{}"}
    )
    assert [None, None, None] == rows


def test_half_a_surrogate_pair_does_not_hide_the_rest_of_a_json_text() -> None:
    assert ["r-1", "r-2"] == column(
        "response_id",
        {"output.value": '{"id": "r-1", "t": "\\ud83d", "ok": true}'},
        {"output.value": '{"id": "r-2"}'},
    )


def test_deeply_nested_text_is_no_crash() -> None:
    assert [None, "r"] == column("response_id", {"output.value": "[" * 60_000}, {"output.value": '{"id": "r"}'})


# --- Content ----------------------------------------------------------------------------------------------


def test_content_is_dropped_after_it_was_read() -> None:
    [row] = landed(spans({"output.value": '{"id": "r-1"}', "gen_ai.prompt.0.content": "secret", "x": "y"}))
    assert ("r-1", [("x", "y")]) == (row["response_id"], row["attributes"])


def test_content_is_kept_on_request() -> None:
    keeping = Decoder(TABLE, "keep", Landing())
    [row] = landed(spans({"gen_ai.prompt.0.content": "text"}), decoder=keeping)
    assert [("gen_ai.prompt.0.content", "text")] == row["attributes"]


# --- Limits and doubts ------------------------------------------------------------------------------------


def test_attributes_beyond_the_limit_are_dropped() -> None:
    limited = Decoder(TABLE, "drop", Landing(max_attributes=16))
    many, few = {f"k{index}": "v" for index in range(20)}, {"user.id": "u"}
    [cut, whole] = landed(spans(many, few), decoder=limited)
    assert [f"k{index}" for index in range(16)] == [key for key, _ in cut["attributes"]]
    assert ("attributes_dropped", None, "u") == (cut["landing_notes"], whole["landing_notes"], whole["user_id"])


def test_a_long_value_is_cut_between_characters() -> None:
    limited = Decoder(TABLE, "drop", Landing(max_value_bytes=256))
    [row, neighbour] = landed(spans({"x": "a" + "é" * 200}, {"x": "b"}), decoder=limited)
    assert ([("x", "a" + "é" * 127)], "value_cut") == (row["attributes"], row["landing_notes"])
    assert ([("x", "b")], None) == (neighbour["attributes"], neighbour["landing_notes"])


def test_a_long_carrier_is_read_before_it_is_cut() -> None:
    limited = Decoder(TABLE, "drop", Landing(max_value_bytes=256))
    [row] = landed(spans({"metadata": '{"pad": "' + "x" * 300 + '", "user_id": "u-1"}'}), decoder=limited)
    assert ("u-1", "value_cut") == (row["user_id"], row["landing_notes"])


@pytest.mark.parametrize("place", ["key", "value", "nested", "name"])
def test_bytes_that_are_not_utf8_are_replaced(place: str) -> None:
    request = spans({"QQQ" if place == "key" else "k": ["QQQ"] if place == "nested" else "QQQ"}, {"k": "é"})
    request.resource_spans[0].scope_spans[0].spans[0].name = "QQQ" if place == "name" else "n"
    body = request.SerializeToString()
    if place != "value":
        keep = body.rfind(b"QQQ") if place == "key" else -1
        body = body.replace(b"QQQ", b"a\xffb") if keep < 0 else body.replace(b"QQQ", b"a\xffb", 1)
    else:
        body = body.replace(b"QQQ", b"a\xffb")
    [row, neighbour] = landed(body)
    shown = {"name": row["name"], **{word: str(row["attributes"]) for word in ("key", "value", "nested")}}[place]
    assert "a\ufffdb" in shown
    assert "invalid_utf8" == row["landing_notes"]
    assert ([("k", "é")], None) == (neighbour["attributes"], neighbour["landing_notes"])


def test_a_span_that_ends_before_it_starts_is_kept() -> None:
    request = spans({})
    only(request).end_time_unix_nano = NOW_US * 1000 - 5_000
    [row] = landed(request)
    assert (NOW - timedelta(microseconds=5), "ends_before_start") == (row["ended_at"], row["landing_notes"])


@pytest.mark.parametrize(
    ("away", "note"), [(1, None), (1.01, "implausible_time"), (-400, None), (-401, "implausible_time")]
)
def test_a_start_far_from_now_is_noted_and_kept_as_dated(away: float, note: str | None) -> None:
    started = NOW + timedelta(days=away)
    request = spans({})
    only(request).start_time_unix_nano = only(request).end_time_unix_nano = round(started.timestamp() * 1e6) * 1000
    [row] = landed(request)
    assert (started, started.date(), note) == (row["started_at"], row["day"], row["landing_notes"])


def test_every_timestamp_the_wire_can_hold_lands() -> None:
    request = spans({})
    only(request).end_time_unix_nano = 2**64 - 1
    [row] = landed(request)
    assert 2554 == row["ended_at"].year
    only(request).start_time_unix_nano = 0
    [row] = landed(request)
    assert (date(1970, 1, 1), "implausible_time") == (row["day"], row["landing_notes"])


@pytest.mark.parametrize(
    ("trace_id", "span_id"), [(b"", b"s" * 8), (bytes(16), b"s" * 8), (b"t" * 16, b"s"), (b"t" * 16, bytes(8))]
)
def test_a_span_with_invalid_ids_is_dropped_and_its_neighbours_land(trace_id: bytes, span_id: bytes) -> None:
    request = spans({"user.id": "a"}, {"user.id": "b"}, {"user.id": "c"})
    middle = request.resource_spans[0].scope_spans[0].spans[1]
    middle.trace_id, middle.span_id = trace_id, span_id
    middle.events.add(name="gone")
    decoded = decode(request)
    assert 1 == check_traces(request.SerializeToString()).rejected
    assert ["a", "c"] == decoded.spans["user_id"].to_pylist()
    assert (0, {"invalid_ids_dropped": 1}) == (decoded.events.num_rows, decoded.notes)


def test_a_signalling_nan_is_an_unknown_count_without_a_warning() -> None:
    """What libraries never send, but bytes can say: arithmetic on it is an invalid operation to the processor."""
    value = b"\x21" + (0x7FF0_0000_0000_0001).to_bytes(8, "little")
    request = spans({"gen_ai.usage.input_tokens": AnyValue.FromString(value)})
    assert value in request.SerializeToString()
    [row] = landed(request)
    assert (None, "bad_input_tokens") == (row["input_tokens"], row["landing_notes"])


def test_a_malformed_value_is_null_text_and_noted() -> None:
    request = spans({"user.id": "QQQQ", "x": "y"}, {"user.id": "v"})
    body = request.SerializeToString().replace(b"\x0a\x04QQQQ", b"\x0a\x7fQQQQ")
    [row, neighbour] = landed(body)
    assert ([("user.id", None), ("x", "y")], "bad_value") == (row["attributes"], row["landing_notes"])
    assert (None, "v") == (row["user_id"], neighbour["user_id"])


def test_a_value_sent_twice_in_one_any_value_takes_the_last() -> None:
    request = spans({"user.id": "Q" * 6})
    twice = b"\x0a\x01a\x0a\x01b\x18"  # string "a", string "b", and then an int: 0x18 and one more byte
    body = request.SerializeToString().replace(b"\x0a\x06QQQQQQ", twice + b"\x05")
    [row] = landed(body)
    assert "5" == row["user_id"]


def test_notes_are_counted_by_rows() -> None:
    decoded = decode(spans({"input_tokens": -1}, {"input_tokens": -1, "output_tokens": "x"}, {}))
    assert {"bad_input_tokens": 2, "bad_output_tokens": 1} == decoded.notes
    notes = ["bad_input_tokens", "bad_input_tokens,bad_output_tokens", None]
    assert notes == decoded.spans["landing_notes"].to_pylist()


# --- Requests ---------------------------------------------------------------------------------------------


def test_an_undecodable_request_is_named_and_its_neighbours_land() -> None:
    decoded = decode(spans({"user.id": "a"}), b"\xff\xff\xff", spans({"user.id": "b"}))
    assert ([1], ["a", "b"]) == (decoded.undecodable, decoded.spans["user_id"].to_pylist())


@pytest.mark.parametrize("number", [1, 5, 9])
def test_a_length_beyond_all_memory_is_undecodable_and_its_neighbours_land(number: int) -> None:
    """The Rust decoder panics there, which is no Exception: the worker ended, and the segment with it."""
    request = spans({"user.id": "a"})
    lie = bytes([number << 3 | 2]) + b"\xff" * 9 + b"\x01"
    body = only(request).SerializeToString() + lie
    for tag in (b"\x12", b"\x12", b"\x0a"):
        body = tag + bytes([len(body)]) + body
    decoded = decode(request, body, request)
    assert ([1], ["a", "a"]) == (decoded.undecodable, decoded.spans["user_id"].to_pylist())


def test_a_field_of_the_wrong_wire_type_is_skipped() -> None:
    request = spans({"user.id": "a"})
    only(request).name = "chat"
    strange = request.SerializeToString().replace(b"\x2a\x04chat", b"\x28\xff\xff\xff\xff\x01")
    decoded = decode(strange)
    assert ([], ["a"], [None]) == (
        decoded.undecodable,
        decoded.spans["user_id"].to_pylist(),
        decoded.spans["name"].to_pylist(),
    )


def test_kind_and_status_become_words() -> None:
    request = spans({}, {}, {})
    for span, kind, code in zip(request.resource_spans[0].scope_spans[0].spans, (3, 0, 99), (2, 1, 99), strict=True):
        span.kind, span.status.code = kind, code
    rows = landed(request)
    assert [("CLIENT", "ERROR"), (None, "OK"), (None, None)] == [(row["kind"], row["status"]) for row in rows]


def test_resource_and_scope_stand_on_every_row() -> None:
    request = spans({}, {}, resource={"service.name": "api", "gen_ai.prompt": "not content here"})
    scope = request.resource_spans[0].scope_spans[0].scope
    scope.name, scope.version = "openai", "1.0"
    only_resource = [("service.name", "api"), ("gen_ai.prompt", "not content here")]
    for row in landed(request):
        assert ("api", "openai", "1.0") == (row["service_name"], row["scope_name"], row["scope_version"])
        assert only_resource == row["resource_attributes"]


def test_a_large_resource_on_many_spans_does_not_fill_the_memory() -> None:
    resource = {"service.name": "api", "long": "x" * 60_000, "last": "y"}
    decoded = decode(spans(*[{}] * 20_000, resource=resource))
    assert decoded.spans.nbytes < 300_000_000
    assert {"attributes_dropped": 20_000} == decoded.notes
    [row] = decoded.spans.slice(19_999).to_pylist()
    assert ("api", [("service.name", "api")]) == (row["service_name"], row["resource_attributes"])


def test_dimensions_are_not_taken_from_the_resource() -> None:
    [row] = landed(spans({}, resource={"team.id": "core"}))
    assert (None, [("team.id", "core")]) == (row["team"], row["resource_attributes"])


def test_a_parent_id_of_the_wrong_size_is_no_parent() -> None:
    request = spans({}, {}, {})
    for span, parent in zip(request.resource_spans[0].scope_spans[0].spans, (b"p" * 8, b"p", bytes(8)), strict=True):
        span.parent_span_id = parent
    assert [b"pppppppp".hex(), None, None] == [row["parent_span_id"] for row in landed(request)]


# --- Events and logs --------------------------------------------------------------------------------------


def test_a_span_event_lands_with_the_ids_and_origin_of_its_span() -> None:
    request = spans({}, {}, resource={"service.name": "api"})
    span = request.resource_spans[0].scope_spans[0].spans[1]
    event = span.events.add(name="gen_ai.evaluation.result", time_unix_nano=(NOW_US + 7) * 1000)
    fill(event.attributes, {"gen_ai.evaluation.score.value": 0.5, "x": "y"})
    [row] = decode(request).events.to_pylist()
    assert (f"{2:032x}", f"{2:016x}", "span_event") == (row["trace_id"], row["span_id"], row["carrier"])
    assert ("api", "0.5", [("x", "y")]) == (row["service_name"], row["evaluation_score"], row["attributes"])
    assert (NOW + timedelta(microseconds=7), NOW.date()) == (row["occurred_at"], row["day"])


def logs(*records: dict[str, Any]) -> list[dict[str, Any]]:
    request = ExportLogsServiceRequest()
    for record in records:
        attributes = record.pop("attributes", {})
        fill(request.resource_logs.add().scope_logs.add().log_records.add(**record).attributes, attributes)
    decoded = DECODER.decode([Request(Signal.LOGS, NOW_US, request.SerializeToString())])
    decoded.events.validate(full=True)
    rows: list[dict[str, Any]] = decoded.events.to_pylist()
    return rows


def test_a_log_record_lands_as_an_event() -> None:
    [row] = logs(
        {"event_name": "e", "severity_text": "INFO", "trace_id": b"t" * 16, "span_id": b"s" * 8}
        | {"time_unix_nano": NOW_US * 1000, "attributes": {"cost_usd": 0.5}}
    )
    assert ("log", "e", "INFO", 0.5) == (row["carrier"], row["name"], row["severity"], row["reported_cost_usd"])
    assert ((b"t" * 16).hex(), (b"s" * 8).hex()) == (row["trace_id"], row["span_id"])


def test_a_log_record_without_trace_context_lands() -> None:
    [without, wrong] = logs({}, {"trace_id": b"short", "span_id": bytes(8)})
    assert [None] * 4 == [without["trace_id"], without["span_id"], wrong["trace_id"], wrong["span_id"]]


def test_a_log_record_without_a_time_happened_when_observed_or_received() -> None:
    [observed, received] = logs({"observed_time_unix_nano": (NOW_US - 9) * 1000}, {})
    assert (NOW - timedelta(microseconds=9), NOW) == (observed["occurred_at"], received["occurred_at"])


def test_the_event_name_may_be_an_attribute() -> None:
    assert ["old", "new"] == [
        row["name"]
        for row in logs(
            {"attributes": {"event.name": "old"}}, {"event_name": "new", "attributes": {"event.name": "old"}}
        )
    ]


def test_a_log_body_is_content() -> None:
    record = {"body": AnyValue(string_value="what was asked"), "attributes": {"x": "y"}}
    assert [("x", "y")] == logs(dict(record))[0]["attributes"]


def test_an_unreadable_request_is_found_by_halving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among 256 it costs a score of calls, not 256: anybody may send one."""
    calls: list[int] = []
    original = Form.to_arrow

    def counted(form: Form, bodies: list[bytes]) -> object:
        calls.append(len(bodies))
        return original(form, bodies)

    monkeypatch.setattr(Form, "to_arrow", counted)
    good = spans({"a": 1}).SerializeToString()
    decoded = decode(*[good] * 100, b"\xff", *[good] * 155)
    assert ([100], 255) == (decoded.undecodable, len(decoded.spans))
    assert len(calls) < 20


# --- Fuzz -------------------------------------------------------------------------------------------------


def test_mutated_requests_never_raise_and_never_cost_a_neighbour() -> None:
    chance = random.Random(20261122)  # noqa: S311 - a seed makes a failure repeatable
    captures = sorted((Path(__file__).parents[1] / "data/fixtures/captures").glob("*.bin"))
    neighbour = spans({"user.id": "neighbour"}).SerializeToString()
    whole = [spans({"a": 1, "b": [str(n)], "c": 0.5, "user.id": "u" * n}).SerializeToString() for n in range(40)]
    whole += [path.read_bytes()[3:3000] for path in captures if ".logs." not in path.name]
    for _ in range(150):
        batch = []
        for body in chance.choices(whole, k=20):
            mutated = bytearray(body)
            for _ in range(chance.randrange(1, 6)):
                at = chance.randrange(len(mutated))
                mutated[at] = chance.randrange(256)
            batch.append(
                bytes(mutated[: chance.choice((len(mutated), len(mutated), chance.randrange(len(mutated))))])
            )
        decoded = decode(neighbour, *batch, neighbour)
        users = decoded.spans["user_id"].to_pylist()
        assert ("neighbour", "neighbour") == (users[0], users[-1])
        assert not {0, len(batch) + 1} & set(decoded.undecodable)
        for body in batch:
            try:
                check_traces(body)
            except MalformedRequest:
                continue


def _nested(depth: int) -> bytes:
    """An AnyValue of arrays in arrays, by hand: the protobuf library refuses to write it."""
    value = b"\x0a\x01x"
    for _ in range(depth):
        for field in (b"\x0a", b"\x2a"):
            value = field + _varint(len(value)) + value
    return value


def _varint(number: int) -> bytes:
    digits = b""
    while number > 127:
        digits += bytes([number & 127 | 128])
        number >>= 7
    return digits + bytes([number])


@pytest.mark.parametrize(("depth", "is_kept"), [(40, True), (100, False), (10_000, False)])
@pytest.mark.parametrize("key", ["x", "tags", "metadata", "user", "braintrust.scores"])
def test_values_nested_without_end_are_no_values(key: str, depth: int, is_kept: bool) -> None:
    """Protobuf reads a hundred messages deep; what is deeper lands as NULL with a note, and harms nobody."""
    value = _nested(depth)
    entry = b"\x0a" + _varint(len(key)) + key.encode() + b"\x12" + _varint(len(value)) + value
    body = only(spans({})).SerializeToString() + b"\x4a" + _varint(len(entry)) + entry
    for field in (b"\x12", b"\x12", b"\x0a"):
        body = field + _varint(len(body)) + body
    [row] = landed(body)
    assert (None if is_kept else "bad_value") == row["landing_notes"]


@pytest.mark.parametrize("depth", [100, 10_000, 100_000])
@pytest.mark.parametrize("text", ["[{}]", '{{"a":{}}}', "{{'a':{}}}", '{{"user_id":{}}}', "[{}"])
def test_json_nested_without_end_harms_nobody(text: str, depth: int) -> None:
    """In attributes that are opened, valid or cut off, as JSON or as Python."""
    before, _, after = text.format("|").partition("|")
    deep = before * depth + "1" + after * depth
    keys = ("metadata", "tags", "user", "braintrust.scores", "output.value")
    [row] = landed(spans(dict.fromkeys(keys, deep)))
    assert f"{1:016x}" == row["span_id"]
