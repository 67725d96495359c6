"""Decoding by columns gives what a plain Python loop over every span and attribute gives.

The loop below is written for reading, straight from the rules; it is compared with the decoder on random
OTLP and on every recorded capture. A rule that matters by itself has a test of its own in test_columns.py.
"""

from __future__ import annotations

import ast
import base64
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import isfinite, isnan
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from llmcost.cli.demo_send import delimited
from llmcost.ingest.columns import Decoded, Decoder
from llmcost.ingest.wire import Signal
from llmcost.models import conventions, schema
from llmcost.models.conventions import Spelling
from llmcost.models.settings import Landing

CAPTURES = sorted((Path(__file__).parents[1] / "data/fixtures/captures").glob("*.bin"))
RECEIVED_US = 1_795_300_000_000_000
TABLE = conventions.load()
DECODER = Decoder(TABLE, "drop", Landing())
NOT_UTF8 = "\ue000"
"""Stands for three bytes that are not UTF-8 until the request is serialised."""


@dataclass(frozen=True)
class Request:
    """As the journal hands it over."""

    signal: Signal
    received_at_us: int
    body: bytes
    forced: bytes = b""


# --- The plain loop ---------------------------------------------------------------------------------------


def text_of(value: Any) -> str | None:
    """An attribute value as the `attributes` map shows it."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return str(pa.scalar(value).cast(pa.string()).as_py())
        case bytes():
            return base64.b64encode(value).decode()
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))


def plain(value: Any) -> Any:
    """A nested value as JSON can hold it."""
    match value:
        case list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case bytes():
            return base64.b64encode(value).decode()
        case float() if not isfinite(value):
            return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def opened(text: str) -> Any:
    """What a JSON or Python text holds, None if it is neither."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return None


def offered(values: dict[str, Any], spelling: Spelling) -> tuple[Any, bool] | None:
    """What a spelling finds, and whether that is the whole attribute."""
    if spelling.key not in values:
        return None
    value = values[spelling.key]
    if spelling.path is None:
        return value, True
    text = text_of(value)
    if text is None:
        return None
    if spelling.path == "$":
        if text.startswith('"'):
            with suppress(ValueError):
                text = json.loads(text)
        return text, True
    found = opened(text)
    for step in re.findall(r"[^.\[\]]+", spelling.path.removeprefix("$")):
        if isinstance(found, list):
            found = found[int(step)] if step.isdigit() and int(step) < len(found) else None
        else:
            found = found.get(step) if isinstance(found, dict) else None
    return None if found is None else (text_of(found), False)


def is_composite(text: str) -> bool:
    if text[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


NUMBER = re.compile(r"[\t\n\f\r ]*-?[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,2})?[\t\n\f\r ]*")
"""Blanks around a number are those of RE2: neither other scripts' nor control characters."""


def as_number(value: Any) -> float | int | None:
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        return None
    return value


def as_count(value: Any) -> int | None:
    number = as_number(value)
    if isinstance(number, float) and (number >= 2**53 or not number.is_integer()):
        return None
    return None if number is None else int(number)


def as_truth(value: Any) -> bool | None:
    word = (text_of(value) or "").lower()
    return True if word in ("true", "hit", "1") else False if word in ("false", "miss", "0") else None


def as_words(value: Any) -> list[str]:
    text = text_of(value) or ""
    try:
        listed = json.loads(text) if text.lstrip().startswith("[") else None
    except ValueError:
        listed = None
    if listed is None:
        return [word.strip() for word in text.split(",") if word.strip()]
    return [item if isinstance(item, str) else json.dumps(item) for item in listed if item is not None]


def as_scores(values: dict[str, Any], operation: str | None) -> str | None:
    """The scores of Braintrust and Phoenix that the captures hold; the other shapes have tests of their own."""
    found = []
    for key, name in (("braintrust.scores", None), ("output.value", "name")):
        try:
            told = json.loads(text_of(values.get(key)) or "null")
        except ValueError:
            continue
        if name is None and isinstance(told, dict):
            found += [
                {"name": key, "score": json.dumps(value), "label": None}
                for key, value in told.items()
                if key and isinstance(value, int | float)
            ]
        elif isinstance(told, list) and (operation or "").lower() == "evaluator":
            found += [{"name": one["name"], "score": json.dumps(one["score"]), "label": one["label"]} for one in told]
    return json.dumps(found, separators=(",", ":")) if found else None


READERS = {pa.int64(): as_count, pa.float64(): as_number, pa.bool_(): as_truth}


def promoted(attributes: list[tuple[str, Any]]) -> tuple[dict[str, Any], list[tuple[str, str | None]], set[str]]:
    """Promoted columns, what is left, and the notes, for one span."""
    values = dict(attributes)
    notes = {"duplicate_key"} if len(values) < len(attributes) else set()
    row: dict[str, Any] = {}
    taken: set[str] = set()
    sources: dict[str, str] = {}
    for column in schema.PROMOTED:
        row[column.name] = None
        for spelling in TABLE.spellings.get(column.name, ()):
            if spelling.prefix is not None:
                below = [key for key in values if key.startswith(spelling.prefix)]
                if below and row[column.name] is None:
                    row[column.name] = {key.removeprefix(spelling.prefix): text_of(values[key]) for key in below}
                    taken |= set(below)
                continue
            found = offered(values, spelling)
            if found is None or text_of(found[0]) in (None, "", "None", "null"):
                continue
            value, whole = found
            if column.type in READERS:
                read = READERS[column.type](value)
                if read is None:
                    notes.add(f"bad_{column.name}")
                    continue
            elif pa.types.is_list(column.type):
                read = as_words(value)
            else:
                read = text_of(value)
                if spelling.path is not None and is_composite(str(read)):
                    continue
            row[column.name] = read
            sources[column.name] = str(spelling)
            if whole:
                taken.add(spelling.key)
            break
    row["evaluation_scores"] = as_scores(values, row["operation"])
    row["usage_source"] = sources.get("input_tokens", sources.get("output_tokens"))
    row["cost_source"] = sources.get("reported_cost_usd")
    last = {key: index for index, (key, _) in enumerate(attributes)}
    rest = [
        (key, text_of(value))
        for index, (key, value) in enumerate(attributes)
        if last[key] == index and key not in taken and not is_content(key)
    ]
    return row, rest, notes


def is_content(key: str) -> bool:
    return any(fnmatchcase(key, glob) for glob in TABLE.content_keys)


# --- What is compared -------------------------------------------------------------------------------------


@dataclass
class Sent:
    """A span, span event or log record as the sender meant it."""

    trace_id: str | None
    span_id: str | None
    name: str | None
    at_us: int
    attributes: list[tuple[str, Any]]
    service: str | None
    scope: str | None
    notes: set[str] = field(default_factory=set)


def compare(sent: list[Sent], table: pa.Table, moment: str) -> None:
    table.validate(full=True)
    rows = table.to_pylist()
    assert len(sent) == len(rows)
    for one, row in zip(sent, rows, strict=True):
        expected, rest, notes = promoted(one.attributes)
        assert {
            "trace_id": one.trace_id,
            "span_id": one.span_id,
            "name": one.name,
            "service_name": one.service,
            "scope_name": one.scope,
            moment: one.at_us,
            "received_at": RECEIVED_US,
            "day": one.at_us // 86_400_000_000,
        } == {
            **{name: row[name] for name in ("trace_id", "span_id", "name", "service_name", "scope_name")},
            **{name: round(row[name].timestamp() * 1e6) for name in (moment, "received_at")},
            "day": (row["day"] - row["day"].fromordinal(719163)).days,
        }
        shown = {column.name: row[column.name] for column in schema.PROMOTED}
        if shown["outcome_attributes"] is not None:
            shown["outcome_attributes"] = dict(shown["outcome_attributes"])
        assert expected == shown
        assert rest == row["attributes"]
        assert notes | one.notes == set((row["landing_notes"] or "").split(",")) - {""}


def decode(*bodies: tuple[Signal, bytes]) -> Decoded:
    return DECODER.decode([Request(signal, RECEIVED_US, body) for signal, body in bodies])


# --- Captures ---------------------------------------------------------------------------------------------


def python_value(value: AnyValue) -> Any:
    held = value.WhichOneof("value")
    if held == "array_value":
        return [python_value(item) for item in value.array_value.values]
    if held == "kvlist_value":
        return {pair.key: python_value(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, held) if held else None


def pairs(attributes: Any) -> list[tuple[str, Any]]:
    return [(attribute.key, python_value(attribute.value)) for attribute in attributes]


def sent_spans(bodies: list[bytes]) -> tuple[list[Sent], list[Sent]]:
    spans, events = [], []
    for body in bodies:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = dict(pairs(resource.resource.attributes)).get("service.name")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    ids = (span.trace_id.hex(), span.span_id.hex())
                    origin = {"service": service, "scope": scope.scope.name or None}
                    at = span.start_time_unix_nano // 1000
                    spans.append(Sent(*ids, span.name or None, at, pairs(span.attributes), **origin))
                    for event in span.events:
                        at = event.time_unix_nano // 1000
                        events.append(Sent(*ids, event.name or None, at, pairs(event.attributes), **origin))
    return spans, events


def sent_logs(bodies: list[bytes]) -> list[Sent]:
    logs = []
    for body in bodies:
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
            service = dict(pairs(resource.resource.attributes)).get("service.name")
            for scope in resource.scope_logs:
                for log in scope.log_records:
                    attributes = pairs(log.attributes)
                    name = log.event_name or dict(attributes).get("event.name")
                    if log.HasField("body"):
                        attributes.append(("body", python_value(log.body)))
                    at = (log.time_unix_nano or log.observed_time_unix_nano) // 1000
                    ids = (log.trace_id.hex() or None, log.span_id.hex() or None)
                    logs.append(Sent(*ids, name, at, attributes, service, scope.scope.name or None))
    return logs


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name.removesuffix(".bin"))
def test_every_capture_decodes_as_the_plain_loop_does(path: Path) -> None:
    bodies = list(delimited(path.read_bytes()))
    signal = Signal.LOGS if path.name.endswith(".logs.bin") else Signal.TRACES
    decoded = decode(*((signal, body) for body in bodies))
    assert decoded.undecodable == []
    if signal is Signal.LOGS:
        compare(sent_logs(bodies), decoded.events, "occurred_at")
    else:
        spans, events = sent_spans(bodies)
        compare(spans, decoded.spans, "started_at")
        compare(events, decoded.events, "occurred_at")


# --- Random OTLP ------------------------------------------------------------------------------------------

READ_KEYS = sorted(TABLE.keys)
PATHS: dict[str, list[str]] = {}
for _spelling in (spelling for found in TABLE.spellings.values() for spelling in found if spelling.path):
    if "[" in str(_spelling.path):
        continue  # lists inside carriers are covered by the captures
    PATHS.setdefault(_spelling.key, []).append(str(_spelling.path))

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    st.sampled_from(
        ["", "None", "null", "12", "3.5", " 7 ", "-1", "1e3", "nan", "True", "hit", NOT_UTF8, f"a{NOT_UTF8}é"]
    ),
    st.integers(100, 300).map(lambda size: "é" * size),
)
numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.integers(0, 5000), st.floats(), st.sampled_from([0.0, 12.0, 0.5])
)
scalars = st.one_of(texts, st.booleans(), numbers, st.binary(max_size=6), st.none())
nested = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
json_scalars = st.one_of(
    st.integers(-5, 5000),
    st.booleans(),
    st.none(),
    st.text("ab'\"\\ é", max_size=4),
    st.sampled_from(["None", "a, True"]),
)


@st.composite
def carried(draw: st.DrawFn) -> tuple[str, Any]:
    """A carrier with some of its paths, as JSON or as Python writes it."""
    key = draw(st.sampled_from(sorted(PATHS)))
    tree: dict[str, Any] = {}
    for path in draw(st.lists(st.sampled_from(PATHS[key]), max_size=3)):
        at = tree
        steps = path.removeprefix("$").removeprefix(".").split(".")
        for step in steps[:-1]:
            inner = at.setdefault(step, {})
            at = inner if isinstance(inner, dict) else at
        at[steps[-1]] = draw(json_scalars)
    written = draw(st.sampled_from([json.dumps, str, lambda value: value, lambda value: json.dumps(str(value))]))
    return key, written(tree)


attributes = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(READ_KEYS), nested),
        st.tuples(st.sampled_from(READ_KEYS), st.one_of(texts, st.integers(0, 5000))),
        carried(),
        st.tuples(
            st.sampled_from(["outcome.a", "outcome.b", "tags", "gen_ai.prompt.0.content", "other", ""]), nested
        ),
        st.tuples(texts, nested),
    ),
    max_size=12,
)


def write(value: Any, into: AnyValue) -> None:
    match value:
        case None:
            pass
        case bool():
            into.bool_value = value
        case int():
            into.int_value = value
        case float():
            into.double_value = value
        case bytes():
            into.bytes_value = value
        case str():
            into.string_value = value
        case list():
            into.array_value.SetInParent()
            for item in value:
                write(item, into.array_value.values.add())
        case dict():
            into.kvlist_value.SetInParent()
            for key, item in value.items():
                write(item, into.kvlist_value.values.add(key=key).value)


def as_landed(value: Any) -> Any:
    """The value with its bad bytes replaced, as landing must show it."""
    match value:
        case str():
            return value.replace(NOT_UTF8, "\ufffd" * 3)
        case list():
            return [as_landed(item) for item in value]
        case dict():
            return {as_landed(key): as_landed(item) for key, item in value.items()}
    return value


def is_read(key: str) -> bool:
    return not is_content(key) or key in TABLE.keys


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@example(spans=[], last=[("cache_creation_1h_tokens", "0\x1f"), ("input_tokens", "\x0b1"), ("output_tokens", "\f1 ")])
@given(st.lists(st.tuples(texts, attributes), min_size=1, max_size=4), attributes)
def test_random_spans_decode_as_the_plain_loop_does(
    spans: list[tuple[str, Any]], last: list[tuple[str, Any]]
) -> None:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    expected_spans, expected_events = [], []
    for index, (name, given_attributes) in enumerate([*spans, ("last", last)]):
        at = RECEIVED_US + index
        ids = (f"{index + 1:032x}", f"{index + 1:016x}")
        span = scope.spans.add(name=name, start_time_unix_nano=at * 1000, end_time_unix_nano=at * 1000)
        span.trace_id, span.span_id = map(bytes.fromhex, ids)
        event = span.events.add(name=name, time_unix_nano=at * 1000)
        # The event carries them in the opposite order, so that another of each duplicate wins.
        for holder, order, expected in ((span, 1, expected_spans), (event, -1, expected_events)):
            for key, value in given_attributes[::order]:
                write(value, holder.attributes.add(key=key).value)
            landed = [(as_landed(key), as_landed(value)) for key, value in given_attributes[::order]]
            winners = dict(given_attributes[::order])
            bad = any(NOT_UTF8 in key or (is_read(key) and contains_bad(value)) for key, value in winners.items())
            notes = {"invalid_utf8"} if bad or NOT_UTF8 in name else set()
            expected.append(Sent(*ids, as_landed(name) or None, at, landed, None, None, notes))
    body = request.SerializeToString().replace(NOT_UTF8.encode(), b"\xff\xfe\xfd")
    decoded = decode((Signal.TRACES, body))
    assert decoded.undecodable == []
    compare(expected_spans, decoded.spans, "started_at")
    compare(expected_events, decoded.events, "occurred_at")


def contains_bad(value: Any) -> bool:
    match value:
        case str():
            return NOT_UTF8 in value
        case list():
            return any(map(contains_bad, value))
        case dict():
            return any(contains_bad(key) or contains_bad(item) for key, item in value.items())
    return False
