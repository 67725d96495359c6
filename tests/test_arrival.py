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
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from support import captures
from support.captures import RawRequest

MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
MIDNIGHT_NS = int(MIDNIGHT.timestamp()) * 10**9
OF_TIME = {"day", "started_at", "ended_at", "duration_ms"}
"""Columns that a shift in time changes."""

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
    """Each span as a request of its own."""
    for request in requests:
        for resource in parsed(request).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    alone = ExportTraceServiceRequest()
                    alone.resource_spans.add(resource=resource.resource, schema_url=resource.schema_url)
                    alone.resource_spans[0].scope_spans.add(scope=scope.scope, spans=[span])
                    yield RawRequest(request.signal, request.received_at_us, alone.SerializeToString())


def moved(requests: list[RawRequest], by: int) -> list[RawRequest]:
    """The requests with every instant shifted by so many nanoseconds."""
    found = []
    for request in requests:
        message = parsed(request)
        for span in spans(message):
            span.start_time_unix_nano += by
            span.end_time_unix_nano += by
            for event in span.events:
                event.time_unix_nano += by
        found.append(RawRequest(request.signal, request.received_at_us, message.SerializeToString()))
    return found


def parsed(request: RawRequest) -> ExportTraceServiceRequest:
    """A request's message."""
    return ExportTraceServiceRequest.FromString(request.body)


def spans(message: ExportTraceServiceRequest) -> Iterator[Span]:
    """Every span of a request."""
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


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


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_midnight_inside_every_capture_changes_nothing(tmp_path: Path, share: float) -> None:
    """Recordings moved so that midnight UTC falls inside: spans of a trace, and of a request, on two days.

    Their provider repeats its response ids from one recording to the next, and at the same time equal ids are
    the same answer: each recording gets ids of its own.
    """
    unmoved: list[RawRequest] = []
    requests: list[RawRequest] = []
    for name in captures.names():
        recording = with_own_ids(captures.requests(name), name)
        unmoved += recording
        starts = sorted(span.start_time_unix_nano for request in recording for span in spans(parsed(request)))
        requests += moved(recording, MIDNIGHT_NS - starts[int(len(starts) * share)])
    whole = calls(tmp_path / "whole", [unmoved])
    found = calls(tmp_path / "moved", [requests[::2], requests[1::2]])

    assert [untimed(call) for call in whole] == [untimed(call) for call in found]
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
