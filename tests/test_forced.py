"""Forced attributes: what a token says stands on every row of its requests, whatever the sender says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from support.captures import RawRequest
from support.lakes import NOW, SmallLake
from support.spans import SpanOf, call, request

from llmcost.ingest.columns import Decoded, Decoder
from llmcost.ingest.delta import landed_tables
from llmcost.ingest.forced import packed
from llmcost.ingest.wire import Signal
from llmcost.models import conventions
from llmcost.models.settings import Landing

DECODER = Decoder(conventions.load(), "drop", Landing())
ACME = packed({"customer_id": "acme", "team": "search"})


def sent(*spans: SpanOf, forced: bytes = b"") -> RawRequest:
    return RawRequest(Signal.TRACES, int(NOW.timestamp() * 1e6), request(spans), forced)


def decode(*requests: RawRequest) -> Decoded:
    decoded = DECODER.decode(requests)
    decoded.spans.validate(full=True)
    decoded.events.validate(full=True)
    return decoded


def values(decoded: Decoded, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in decoded.spans.select(names).to_pylist()]


def test_the_forced_value_wins_over_every_spelling_and_the_resource() -> None:
    """Attribute, namesake, JSON inside an attribute, resource: none of them is believed, and a note says so."""
    lies = (
        {"customer.id": "rival"},
        {"tenant.id": "rival"},
        {"metadata": '{"customer_id": "rival"}'},
        {"customer.id": "acme"},
        {},
    )
    spans = [SpanOf("t", f"s{i}", attributes=lie, resource={"customer.id": "rival"}) for i, lie in enumerate(lies)]
    decoded = decode(sent(*spans, forced=ACME))
    overruled = ("acme", "search", "overruled_customer_id")
    true = ("acme", "search", None)
    assert [overruled, overruled, overruled, true, true] == values(decoded, "customer_id", "team", "landing_notes")
    assert 3 == decoded.notes["overruled_customer_id"]


def test_each_request_of_a_batch_has_its_own_sender() -> None:
    """Requests of several tokens and of none are decoded together."""
    own = {"customer.id": "own"}
    decoded = decode(
        sent(SpanOf("t", "a", attributes=own), SpanOf("t", "b", attributes=own), forced=ACME),
        sent(SpanOf("t", "c", attributes=own)),
        sent(SpanOf("t", "d", attributes=own), forced=packed({"org": "globex"})),
        sent(SpanOf("t", "e"), forced=ACME),
    )
    assert [
        ("acme", "search", None),
        ("acme", "search", None),
        ("own", None, None),
        ("own", None, "globex"),
        ("acme", "search", None),
    ] == values(decoded, "customer_id", "team", "org")


def test_a_request_that_cannot_be_read_leaves_the_others_their_senders() -> None:
    """Places are counted among the requests that were read."""
    decoded = decode(
        sent(SpanOf("t", "a"), forced=packed({"team": "first"})),
        RawRequest(Signal.TRACES, 0, b"\xff\xff", packed({"team": "broken"})),
        sent(SpanOf("t", "b"), forced=packed({"team": "last"})),
    )
    assert ([1], [("first",), ("last",)]) == (decoded.undecodable, values(decoded, "team"))


def test_span_events_and_log_records_are_forced_too() -> None:
    """An outcome told as an event or a log belongs to the sender's customer as well."""
    span = SpanOf("t", "a", events={"outcome": {"customer.id": "rival"}})
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add(event_name="outcome")
    record.attributes.add(key="tenant.id").value.string_value = "rival"
    log = RawRequest(Signal.LOGS, int(NOW.timestamp() * 1e6), logs.SerializeToString(), ACME)
    events = decode(sent(span, forced=ACME), log).events.to_pylist()
    assert [("span_event", "acme", "search"), ("log", "acme", "search")] == [
        (row["carrier"], row["customer_id"], row["team"]) for row in events
    ]


def test_the_bill_goes_to_the_forced_customer(tmp_path: Path) -> None:
    """From the journal's request to `calls`: parents, the trace and the resource cannot move it."""
    lake = SmallLake(tmp_path / "lake")
    rival = {"customer.id": "rival"}
    spans = (
        SpanOf("t", "root", attributes=rival, resource=rival),
        call("t", "call", parent="root", input=100, output=10, attributes=rival, resource=rival),
    )
    decoded = DECODER.decode([sent(*spans, forced=ACME)])
    for table, rows in zip(landed_tables(lake.lake), (decoded.spans, decoded.events), strict=True):
        table.commit(table.write(rows), receiver_id="test", number=1)
    rows = lake.warehouse.sql("select customer_id, team, cost_usd > 0 as is_priced from calls").to_pylist()
    assert [{"customer_id": "acme", "team": "search", "is_priced": True}] == rows
