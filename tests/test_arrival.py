"""However the recorded captures arrive and whenever they were made, they are the same calls and the same money."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from support import captures
from support.captures import RawRequest

from llmcost.ingest.wire import Signal

MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
MIDNIGHT_NS = int(MIDNIGHT.timestamp()) * 10**9
OF_TIME = {"day", "started_at", "ended_at", "duration_ms"}
"""Columns that a shift in time changes."""

FOLDERS = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
}
"""Where a request of each signal keeps its records."""

Calls = list[dict[str, Any]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """The calls of all captures, landed in one batch as they were recorded."""
    return calls(tmp_path_factory.mktemp("whole"), [recorded()])


def recorded() -> list[RawRequest]:
    """Every request of every capture, in order."""
    return [request for name in captures.names() for request in captures.requests(name)]


def calls(folder: Path, batches: list[list[RawRequest]]) -> Calls:
    """The calls of some batches, in an order that does not depend on when they happened."""
    found = captures.derive(folder, captures.land(folder, batches))["calls"].to_pylist()
    return sorted(found, key=lambda call: (call["trace_id"], call["span_id"]))


def untimed(call: dict[str, Any]) -> dict[str, Any]:
    """A call but for when it was."""
    return {name: value for name, value in call.items() if name not in OF_TIME}


def single_spans(requests: list[RawRequest]) -> Iterator[RawRequest]:
    """Each span, and each log record, as a request of its own."""
    for request in requests:
        message: Any = parsed(request)
        resources, scopes, records = FOLDERS[request.signal]
        for resource in getattr(message, resources):
            for scope in getattr(resource, scopes):
                for record in getattr(scope, records):
                    alone = type(message)()
                    holder = getattr(alone, resources).add(resource=resource.resource, schema_url=resource.schema_url)
                    getattr(holder, scopes).add(scope=scope.scope, **{records: [record]})
                    yield RawRequest(request.signal, request.received_at_us, alone.SerializeToString())


def moved(requests: list[RawRequest], by: int) -> list[RawRequest]:
    """The requests with every instant shifted by so many nanoseconds."""
    found = []
    for request in requests:
        message = parsed(request)
        for record in records(message):
            if isinstance(record, LogRecord):
                record.time_unix_nano += by if record.time_unix_nano else 0
                record.observed_time_unix_nano += by
                continue
            record.start_time_unix_nano += by
            record.end_time_unix_nano += by
            for event in record.events:
                event.time_unix_nano += by
        found.append(RawRequest(request.signal, request.received_at_us, message.SerializeToString()))
    return found


def parsed(request: RawRequest) -> ExportTraceServiceRequest | ExportLogsServiceRequest:
    """A request's message."""
    kind = ExportTraceServiceRequest if request.signal == Signal.TRACES else ExportLogsServiceRequest
    return kind.FromString(request.body)


def records(message: ExportTraceServiceRequest | ExportLogsServiceRequest) -> Iterator[Span | LogRecord]:
    """Every span or log record of a request."""
    if isinstance(message, ExportLogsServiceRequest):
        for of_logs in message.resource_logs:
            for logs in of_logs.scope_logs:
                yield from logs.log_records
    else:
        for of_spans in message.resource_spans:
            for spans in of_spans.scope_spans:
                yield from spans.spans


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_order_batches_and_repeats_change_nothing(whole: Calls, tmp_path: Path, seed: int) -> None:
    """One span a request, shuffled, a third of them sent twice, landed in files of three batches."""
    source = random.Random(seed)  # noqa: S311  (an order for tests)
    requests = list(single_spans(recorded()))
    requests += source.sample(requests, len(requests) // 3)
    source.shuffle(requests)
    cuts = sorted(source.randrange(len(requests)) for _ in range(2))
    batches = [requests[: cuts[0]], requests[cuts[0] : cuts[1]], requests[cuts[1] :]]

    assert whole == calls(tmp_path, batches)


@pytest.fixture(scope="module")
def recordings() -> list[list[RawRequest]]:
    """Every capture's requests with ids of its own.

    Their provider repeats its response ids from one recording to the next, and at the same time equal ids are
    the same answer.
    """
    return [with_own_ids(captures.requests(name), name) for name in captures.names()]


@pytest.fixture(scope="module")
def unmoved(recordings: list[list[RawRequest]], tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """The calls of the recordings when they were made."""
    return calls(tmp_path_factory.mktemp("unmoved"), [[request for each in recordings for request in each]])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_midnight_inside_every_capture_changes_nothing(
    recordings: list[list[RawRequest]], unmoved: Calls, tmp_path: Path, share: float
) -> None:
    """Recordings moved so that midnight UTC falls inside: spans of a trace, and of a request, on two days."""
    requests: list[RawRequest] = []
    for recording in recordings:
        starts = sorted(
            record.start_time_unix_nano
            for request in recording
            for record in records(parsed(request))
            if isinstance(record, Span)
        )
        requests += moved(recording, MIDNIGHT_NS - starts[int(len(starts) * share)])
    found = calls(tmp_path, [requests[::2], requests[1::2]])

    assert [untimed(call) for call in unmoved] == [untimed(call) for call in found]
    assert {MIDNIGHT.date(), MIDNIGHT.date() - timedelta(days=1)} == {call["day"] for call in found}


def with_own_ids(requests: list[RawRequest], name: str) -> list[RawRequest]:
    """The requests with every response id's digits replaced by others: what is equal stays equal."""

    def replaced(found: re.Match[bytes]) -> bytes:
        return hashlib.sha256(name.encode() + found[0]).hexdigest()[: len(found[0])].encode()

    return [
        RawRequest(
            request.signal, request.received_at_us, re.sub(rb"[0-9a-f]{24}|gem[0-9]{4}resp", replaced, request.body)
        )
        for request in requests
    ]
