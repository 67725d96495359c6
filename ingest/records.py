"""A batch of requests into rows: spans, span events and log records with all their columns.

Resources and scopes are read once each and taken by the rows below them; the columns that spans, events
and logs share are filled in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..models import schema
from ..models.conventions import Conventions
from ..models.settings import Landing
from .attributes import Attributes, Encoded, KeyRules
from .coded import coded_schema, with_coded_items
from .forced import Forced
from .ids import SPAN_ID_BYTES, TRACE_ID_BYTES, hex_ids, valid_ids
from .notes import Notes
from .privacy import Hasher, Privacy
from .promote import Promoter
from .ragged import Integers, as_text, cut_texts, list_offsets, offsets_and_bytes, row_of_each, take
from .requests import Request
from .wire import Signal

_RESOURCE_BYTES = 256 * 1024 * 1024
_US_PER_DAY = 86_400_000_000
_EARLIEST_US = -400 * _US_PER_DAY
_LATEST_US = _US_PER_DAY
_KINDS = pa.array([None, "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"], pa.string()).dictionary_encode()
_STATUSES = pa.array(["UNSET", "OK", "ERROR"]).dictionary_encode()

SPANS_BY_DAY = schema.SPANS.append(schema.DAY)
EVENTS_BY_DAY = schema.EVENTS.append(schema.DAY)
CODED_SPANS, CODED_EVENTS = coded_schema(SPANS_BY_DAY), coded_schema(EVENTS_BY_DAY)


@dataclass
class Landed:
    """Rows found so far, in the schema of coded.py."""

    spans: list[pa.RecordBatch] = field(default_factory=list)
    events: list[pa.RecordBatch] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)

    def count(self, note: str, rows: int) -> None:
        """So many more rows have this note."""
        self.notes[note] = self.notes.get(note, 0) + rows

    def add(self, other: Landed) -> None:
        """Take over everything another batch has landed."""
        self.spans += other.spans
        self.events += other.events
        for note, rows in other.notes.items():
            self.count(note, rows)


@dataclass(frozen=True)
class _Origins:
    """Where each of some rows comes from: indices into the requests, resources and scopes of a batch."""

    requests: Integers
    resources: Integers
    scopes: Integers

    def take(self, rows: Integers) -> _Origins:
        return _Origins(self.requests[rows], self.resources[rows], self.scopes[rows])


class Rulebook:
    """How attributes and names are read: the conventions, the content policy and the limits of landing."""

    def __init__(self, conventions: Conventions, content_policy: str, landing: Landing, privacy: Privacy) -> None:
        self._landing = landing
        self._rules = KeyRules(conventions, content_policy, privacy.allow, privacy.deny)
        self._resource_rules = KeyRules(conventions, "keep", deny=privacy.deny)
        hasher = Hasher(conventions, privacy)
        self._promoter = Promoter(conventions, hasher)
        self.hidden = hasher.hidden

    def attributes(self, encoded: Encoded, height: int, notes: Notes) -> Attributes:
        """Attributes of spans, events or log records."""
        return Attributes(encoded, height, self._rules, self._landing, notes)

    def resource_attributes(self, encoded: Encoded, height: int, notes: Notes) -> Attributes:
        """Attributes of resources, of which nothing is content."""
        attributes = Attributes(encoded, height, self._resource_rules, self._landing, notes)
        self._promoter.hide(attributes, notes)
        return attributes

    def promote(self, attributes: Attributes, notes: Notes) -> dict[str, pa.Array]:
        """The promoted columns by name."""
        return self._promoter.promote(attributes, notes)

    def text(self, values: pa.BinaryArray, notes: Notes) -> pa.StringArray:
        """Names and messages as text, NULL where empty; one a row of `notes`."""
        texts, invalid = as_text(values)
        texts, long = cut_texts(texts, self._landing.max_value_bytes)
        notes.add("invalid_utf8", invalid)
        notes.add("value_cut", long)
        empty = np.diff(offsets_and_bytes(texts)[0]) == 0
        if not empty.any():  # names as a rule
            return texts
        if empty.all():  # status messages as a rule
            return pa.nulls(len(texts), pa.string())
        return pc.if_else(pa.array(empty), None, texts)


class Batch:
    """One batch of requests of one signal being landed."""

    def __init__(
        self, rulebook: Rulebook, signal: Signal, batch: pa.RecordBatch, requests: Sequence[Request], landed: Landed
    ) -> None:
        """`batch` has a row for each of `requests`."""
        self._rulebook = rulebook
        self._signal = signal
        self._received = np.array([request.received_at_us for request in requests], np.int64)
        self._forced = Forced.of([request.forced for request in requests], rulebook.hidden)
        self._landed = landed
        by_request = batch.column(0)
        by_resource = by_request.values.field("scopes")
        by_scope = by_resource.values.field("records")
        self._resources, self._scopes, self._records = by_request.values, by_resource.values, by_scope.values
        scopes = row_of_each(list_offsets(by_scope))
        resources = row_of_each(list_offsets(by_resource))[scopes]
        self._origins = _Origins(row_of_each(list_offsets(by_request))[resources], resources, scopes)

    def land(self) -> None:
        """Put all its rows, and the count of their notes, into `landed`."""
        self._read_origins()
        if self._signal is Signal.TRACES:
            self._land_spans()
        else:
            self._land_logs()

    def _read_origins(self) -> None:
        """Resource and scope columns, once for each resource and scope."""
        count = len(self._resources)
        self._resource_notes = Notes(count)
        lists = self._resources.field("resource").field("attributes")
        encoded = Encoded.of(lists.values, list_offsets(lists))
        attributes = self._rulebook.resource_attributes(encoded, count, self._resource_notes)
        attributes.cut_long_values()
        at = attributes.find("service.name")
        service_at = np.full(count, -1, np.int64)
        service_at[attributes.rows[at]] = attributes.values.text_at[at]
        self._services = attributes.texts(service_at).dictionary_encode()
        attributes.keep_within(_RESOURCE_BYTES, self._rows_of_each_resource(count))
        self._resource_maps = with_coded_items(attributes.rest())
        self._scope_notes = Notes(len(self._scopes))
        scope = self._scopes.field("scope")
        self._scope_names = self._rulebook.text(scope.field("name"), self._scope_notes).dictionary_encode()
        self._scope_versions = self._rulebook.text(scope.field("version"), self._scope_notes).dictionary_encode()

    def _rows_of_each_resource(self, count: int) -> Integers:
        """Spans and their events, or log records, by resource."""
        rows = np.bincount(self._origins.resources, minlength=count)
        if self._signal is Signal.TRACES:
            events = np.diff(list_offsets(self._records.field("events")))
            rows += np.bincount(self._origins.resources, events, count).astype(np.int64)
        return rows

    def _land_spans(self) -> None:
        spans, origins = self._records, self._origins
        valid = valid_ids(spans.field("trace_id"), TRACE_ID_BYTES) & valid_ids(spans.field("span_id"), SPAN_ID_BYTES)
        if not valid.all():
            dropped = len(spans) - int(np.count_nonzero(valid))
            self._landed.count("invalid_ids_dropped", dropped)
            kept = np.flatnonzero(valid)
            spans, origins = spans.take(pa.array(kept)), origins.take(kept)
        if not len(spans):
            return
        every = np.ones(len(spans), np.bool_)
        parent = spans.field("parent_span_id")
        notes = self._notes(origins, len(spans))
        started, ended = _microseconds(spans.field("start_unix_nano")), _microseconds(spans.field("end_unix_nano"))
        notes.add("ends_before_start", ended < started)
        status = spans.field("status")
        columns = {
            "trace_id": hex_ids(spans.field("trace_id"), TRACE_ID_BYTES, every),
            "span_id": hex_ids(spans.field("span_id"), SPAN_ID_BYTES, every),
            "parent_span_id": hex_ids(parent, SPAN_ID_BYTES, valid_ids(parent, SPAN_ID_BYTES)),
            "name": self._rulebook.text(spans.field("name"), notes),
            "kind": _word(_KINDS, spans.field("kind")),
            "started_at": _instants(started),
            "ended_at": _instants(ended),
            "status": _word(_STATUSES, status.field("code")),
            "status_message": self._rulebook.text(status.field("message"), notes),
        }
        lists = spans.field("attributes")
        encoded = Encoded.of(lists.values, list_offsets(lists))
        self._finish(columns, encoded, origins, started, notes)
        self._land_span_events(spans.field("events"), columns, origins)

    def _land_span_events(self, lists: pa.ListArray, spans: dict[str, Any], origins: _Origins) -> None:
        offsets = list_offsets(lists)
        span_of = row_of_each(offsets)
        if not len(span_of):
            return
        events = lists.values
        origins = origins.take(span_of)
        notes = self._notes(origins, len(events))
        occurred = _microseconds(events.field("time_unix_nano"))
        columns = {
            "trace_id": spans["trace_id"].take(pa.array(span_of)),
            "span_id": spans["span_id"].take(pa.array(span_of)),
            "carrier": pa.repeat("span_event", len(events)),
            "name": self._rulebook.text(events.field("name"), notes),
            "occurred_at": _instants(occurred),
            "severity": pa.nulls(len(events), pa.string()),
        }
        attributes = events.field("attributes")
        encoded = Encoded.of(attributes.values, list_offsets(attributes))
        self._finish(columns, encoded, origins, occurred, notes)

    def _land_logs(self) -> None:
        """Log records; one without a time happened when it was observed, else when it was received."""
        logs, origins = self._records, self._origins
        if not len(logs):
            return
        notes = self._notes(origins, len(logs))
        occurred, observed = (
            _microseconds(logs.field("time_unix_nano")),
            _microseconds(logs.field("observed_unix_nano")),
        )
        occurred = np.where(occurred == 0, observed, occurred)
        occurred = np.where(occurred == 0, self._received[origins.requests], occurred)
        lists = logs.field("attributes")
        bodies = np.flatnonzero(np.asarray(pc.binary_length(logs.field("body"))))
        encoded = Encoded.of(lists.values, list_offsets(lists)).and_also(
            "body", logs.field("body").take(pa.array(bodies)), bodies
        )
        trace_ids, span_ids = logs.field("trace_id"), logs.field("span_id")
        columns = {
            "trace_id": hex_ids(trace_ids, TRACE_ID_BYTES, valid_ids(trace_ids, TRACE_ID_BYTES)),
            "span_id": hex_ids(span_ids, SPAN_ID_BYTES, valid_ids(span_ids, SPAN_ID_BYTES)),
            "carrier": pa.repeat("log", len(logs)),
            "name": self._rulebook.text(logs.field("event_name"), notes),
            "occurred_at": _instants(occurred),
            "severity": self._rulebook.text(logs.field("severity_text"), notes),
        }
        self._finish(columns, encoded, origins, occurred, notes)

    def _notes(self, origins: _Origins, height: int) -> Notes:
        notes = Notes(height)
        notes.inherit(self._resource_notes, origins.resources)
        notes.inherit(self._scope_notes, origins.scopes)
        return notes

    def _finish(
        self,
        columns: dict[str, Any],
        encoded: Encoded,
        origins: _Origins,
        moments: Integers,
        notes: Notes,
    ) -> None:
        """Add the columns that spans, span events and log records share, and land the rows."""
        height = len(moments)
        received = self._received[origins.requests]
        notes.add("implausible_time", (moments - received > _LATEST_US) | (moments - received < _EARLIEST_US))
        attributes = self._rulebook.attributes(encoded, height, notes)
        columns |= self._rulebook.promote(attributes, notes)
        if self._forced is not None:
            columns |= self._forced.over(columns, origins.requests, notes)
        if self._signal is Signal.LOGS:
            # Before LogRecord.event_name there was the attribute, and most senders still use it.
            at = attributes.find("event.name")
            text_at = np.full(height, -1, np.int64)
            text_at[attributes.rows[at]] = attributes.values.text_at[at]
            columns["name"] = pc.coalesce(columns["name"], attributes.texts(text_at))
        columns |= {
            "scope_name": take(self._scope_names, origins.scopes),
            "scope_version": take(self._scope_versions, origins.scopes),
            "service_name": take(self._services, origins.resources),
            "attributes": attributes.rest(),
            "resource_attributes": take(self._resource_maps, origins.resources),
            "landing_notes": notes.column(),
            "received_at": _instants(received),
            "day": pa.array((moments // _US_PER_DAY).astype(np.int32)).cast(pa.date32()),
        }
        into = CODED_SPANS if "started_at" in columns else CODED_EVENTS
        batches = self._landed.spans if into is CODED_SPANS else self._landed.events
        batches.append(pa.RecordBatch.from_arrays([columns[name] for name in into.names], schema=into))
        for note, rows in notes.counts().items():
            self._landed.count(note, rows)


def _microseconds(nanoseconds: pa.Array) -> Integers:
    """Since 1970. The largest fixed64, in the year 2554, is well inside timestamp[us]."""
    return (np.asarray(nanoseconds) // np.uint64(1000)).astype(np.int64)


def _instants(microseconds: Integers) -> pa.Array:
    return pa.array(microseconds).cast(schema.TIMESTAMP)


def _word(words: pa.DictionaryArray, codes: pa.Array) -> pa.DictionaryArray:
    """The word for each code; NULL for a code OTLP does not define, the first for no code at all."""
    numbers = np.asarray(pc.fill_null(codes, 0)).astype(np.int64)
    return take(words, np.where((numbers >= 0) & (numbers < len(words)), numbers, -1))
