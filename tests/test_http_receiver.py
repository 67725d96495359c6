"""OTLP/HTTP answers: what a sender is told, and when."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import socket
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from prometheus_client.parser import text_string_to_metric_families
from support.otlp import logs_request, metrics_request, span_ids, trace_request
from support.server import intake
from test_otlp_json import otlp_json
from test_unpack import make_bomb, zstd

from llmcost.ingest.access import Access
from llmcost.ingest.group_commit import Bounds, GroupCommit
from llmcost.ingest.http_receiver import HttpReceiver
from llmcost.ingest.journal import Reading
from llmcost.ingest.receiver_folder import ReceiverFolder
from llmcost.ingest.refusals import RETRY_SECONDS
from llmcost.models.errors import SettingsError

MIB = 1 << 20
PROTOBUF, JSON = "application/x-protobuf", "application/json"


@dataclass(frozen=True)
class Answer:
    """A response, read whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> Any:
        """The google.rpc.Status it holds, by its own content type."""
        if self.headers["content-type"] == PROTOBUF:
            return Status.FromString(self.body)
        return json_format.Parse(self.body, Status())


def ask(
    port: int,
    path: str = "/v1/traces",
    body: Any = None,
    form: str | None = PROTOBUF,
    method: str | None = None,
    **headers: str,
) -> Answer:
    """One request over a connection of its own; an iterable body is sent in chunks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if form is not None and body is not None:
        named["content-type"] = form
    connection.request(method or ("GET" if body is None else "POST"), path, body, named)
    response = connection.getresponse()
    answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    connection.close()
    return answer


def run(
    folder: Path,
    use: Callable[[int], None],
    *,
    backlog_bytes: int = 1 << 30,
    limits: dict[str, int] | None = None,
    access: Access | None = None,
    **options: Any,
) -> list[bytes]:
    """Run `use` in a thread against a receiver's port; returns the bodies in the journal afterwards."""

    async def body() -> None:
        bounds = Bounds(segment_seconds=60, segment_bytes=64 * MIB, backlog_bytes=backlog_bytes)
        journal = GroupCommit(ReceiverFolder(folder), bounds, next_number=1)
        receiver = HttpReceiver(intake(journal, access, **(limits or {})), **options)
        port = await receiver.start("127.0.0.1:0")
        try:
            await asyncio.to_thread(use, port)
        finally:
            await receiver.stop()
            await journal.close()

    asyncio.run(body())
    bodies: list[bytes] = []
    for segment in ReceiverFolder(folder).waiting():
        with Reading(segment.path) as reading:
            bodies += [request.body for request in reading]
    return bodies


TRACES, LOGS = trace_request(span_ids(5)), logs_request(["outcome"])
TRACES_JSON = otlp_json(ExportTraceServiceRequest.FromString(TRACES))
LOGS_JSON = otlp_json(ExportLogsServiceRequest.FromString(LOGS))


@pytest.mark.parametrize(("path", "body"), [("/v1/traces", TRACES), ("/v1/logs", LOGS)])
def test_an_accepted_request_is_in_the_journal_as_it_came(tmp_path: Path, path: str, body: bytes) -> None:
    """The answer is the empty message, in the request's content type."""

    def use(port: int) -> None:
        answer = ask(port, path, body)
        assert (200, PROTOBUF, b"") == (answer.status, answer.headers["content-type"], answer.body)

    assert [body] == run(tmp_path, use)


@pytest.mark.parametrize(
    ("path", "body", "kept"), [("/v1/traces", TRACES_JSON, TRACES), ("/v1/logs", LOGS_JSON, LOGS)]
)
def test_json_is_in_the_journal_as_protobuf(tmp_path: Path, path: str, body: bytes, kept: bytes) -> None:
    def use(port: int) -> None:
        answer = ask(port, path, body, f"{JSON}; charset=utf-8")
        assert (200, JSON, {}) == (answer.status, answer.headers["content-type"], json.loads(answer.body))

    assert [kept] == run(tmp_path, use)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd), ("identity", bytes)],
)
def test_a_packed_request_is_unpacked(tmp_path: Path, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """Small ones and such as are handed to a thread, in both forms."""
    large = trace_request(span_ids(5000))
    large_json = otlp_json(ExportTraceServiceRequest.FromString(large))

    def use(port: int) -> None:
        for body, form in ((TRACES, PROTOBUF), (TRACES_JSON, JSON), (large, PROTOBUF), (large_json, JSON)):
            assert 200 == ask(port, body=pack(body), form=form, content_encoding=encoding).status

    limits = {"max_message_bytes": 8 * MIB, "max_json_bytes": 8 * MIB}
    assert [TRACES, TRACES, large, large] == run(tmp_path, use, limits=limits)


def test_a_request_in_chunks_is_one_request(tmp_path: Path) -> None:
    """No Content-Length is needed."""

    def use(port: int) -> None:
        assert 200 == ask(port, body=iter([TRACES[:100], TRACES[100:]])).status

    assert [TRACES] == run(tmp_path, use)


def test_the_path_of_a_vendors_sdk_is_taken(tmp_path: Path) -> None:
    """Langfuse's, LangSmith's and others' SDKs put one of their own before /v1."""

    def use(port: int) -> None:
        assert 200 == ask(port, "/api/public/otel/v1/traces", TRACES).status

    assert [TRACES] == run(tmp_path, use)


@pytest.mark.parametrize("form", [PROTOBUF, JSON])
def test_spans_with_invalid_ids_are_a_partial_success(tmp_path: Path, form: str) -> None:
    """Their neighbours are kept; the sender learns how many and why."""
    body = trace_request([*span_ids(3), bytes(8)])
    sent = body if form == PROTOBUF else otlp_json(ExportTraceServiceRequest.FromString(body))

    def use(port: int) -> None:
        answer = ask(port, body=sent, form=form)
        response = ExportTraceServiceResponse()
        (response.ParseFromString if form == PROTOBUF else lambda text: json_format.Parse(text, response))(
            answer.body
        )
        assert (200, 1) == (answer.status, response.partial_success.rejected_spans)
        assert "1 of 4 spans rejected" in response.partial_success.error_message

    assert [body] == run(tmp_path, use)


def test_metrics_are_answered_and_dropped(tmp_path: Path) -> None:
    def use(port: int) -> None:
        answer = ask(port, "/v1/metrics", metrics_request())
        assert 200 == answer.status
        assert b"llmcost does not store metrics: 3 data points" in answer.body
        in_json = ask(
            port,
            "/v1/metrics",
            b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{}]}}]}]}]}',
            JSON,
        )
        assert "1" == json.loads(in_json.body)["partialSuccess"]["rejectedDataPoints"]

    assert [] == run(tmp_path, use)


@pytest.mark.parametrize(
    ("sent", "status", "says"),
    [
        ((b"\xff\xff\xff", PROTOBUF, {}), 400, "not an OTLP trace export request"),
        ((b"{", JSON, {}), 400, "not an OTLP traces export request in JSON"),
        ((b"", JSON, {}), 400, "not an OTLP traces export request in JSON"),
        ((b"[" * 100_000, JSON, {}), 400, "recursion limit"),
        ((TRACES, PROTOBUF, {"content_encoding": "gzip"}), 400, "the body is not gzip"),
        ((TRACES, PROTOBUF, {"content_encoding": "br"}), 415, 'Content-Encoding "br" is not known'),
        ((TRACES, "text/plain", {}), 415, 'Content-Type "text/plain" is not OTLP'),
        ((TRACES, None, {}), 415, "application/x-protobuf"),
        ((bytes(MIB + 1), PROTOBUF, {}), 413, "larger than 1048576 bytes (setting server.max_message_mib)"),
        ((iter([bytes(MIB), b"1"]), PROTOBUF, {}), 413, "larger than 1048576 bytes"),
        ((b" " * (MIB // 2 + 1), JSON, {}), 413, "server.max_json_mib"),
        ((make_bomb("gzip", 64), PROTOBUF, {"content_encoding": "gzip"}), 413, "the unpacked request is larger"),
        ((make_bomb("zstd", 64), JSON, {"content_encoding": "zstd"}), 413, "the unpacked request is larger"),
    ],
)
def test_a_request_that_will_never_do_is_told_why(
    tmp_path: Path, sent: tuple[Any, str | None, dict[str, str]], status: int, says: str
) -> None:
    """A google.rpc.Status in the request's content type, and no word of coming again."""

    def use(port: int) -> None:
        body, form, headers = sent
        answer = ask(port, body=body, form=form, **headers)
        assert status == answer.status
        assert (form if form in (PROTOBUF, JSON) else JSON) == answer.headers["content-type"]
        assert says in answer.error.message
        assert "retry-after" not in answer.headers

    assert [] == run(tmp_path, use, limits={"max_json_bytes": MIB // 2})


@pytest.mark.parametrize("form", [PROTOBUF, JSON])
def test_a_full_journal_tells_when_to_try_again(tmp_path: Path, form: str) -> None:
    """By header and by RetryInfo; nor is the server ready."""
    body = TRACES if form == PROTOBUF else TRACES_JSON

    def use(port: int) -> None:
        assert (200, b"ready\n") == ((ready := ask(port, "/readyz")).status, ready.body)
        assert 200 == ask(port, body=body, form=form).status
        answer = ask(port, body=body, form=form)
        assert (429, str(RETRY_SECONDS)) == (answer.status, answer.headers["retry-after"])
        info = RetryInfo()
        assert answer.error.details[0].Unpack(info)
        assert RETRY_SECONDS == info.retry_delay.seconds

    assert [TRACES] == run(tmp_path, use, backlog_bytes=len(TRACES) + 100)


def test_a_disk_that_fails_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No 200 without an fsync; readiness says so, and comes back by itself."""

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    def use(port: int) -> None:
        with monkeypatch.context() as patched:
            patched.setattr("os.fdatasync", fail)
            answer = ask(port, body=TRACES)
            assert (503, str(RETRY_SECONDS)) == (answer.status, answer.headers["retry-after"])
            assert "Input/output error" in answer.error.message
            ready = ask(port, "/readyz")
            assert (503, True) == (ready.status, b"could not be written" in ready.body)
            patched.setattr("llmcost.ingest.group_commit._TROUBLE_SECONDS", 0)
            assert 200 == ask(port, "/readyz").status
        assert 200 == ask(port, body=TRACES).status
        assert 200 == ask(port, "/readyz").status

    assert [TRACES] == run(tmp_path, use)


def test_one_request_too_many_is_told_to_come_again(tmp_path: Path) -> None:
    """While a slow one is under way."""

    def use(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n")
            slow.sendall(b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(TRACES))
            assert slow.recv(100).startswith(b"HTTP/1.1 100 ")  # it has its place now
            answer = ask(port, body=TRACES)
            assert (503, str(RETRY_SECONDS)) == (answer.status, answer.headers["retry-after"])
            assert "server.max_concurrent_requests" in answer.error.message
            slow.sendall(TRACES)
            assert slow.recv(100).startswith(b"HTTP/1.1 200 ")
        assert 200 == ask(port, body=TRACES).status

    assert [TRACES, TRACES] == run(tmp_path, use, limits={"max_requests": 1})


def test_a_body_that_does_not_arrive_in_time_is_refused(tmp_path: Path) -> None:
    def use(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n")
            slow.sendall(b"content-length: 1000\r\n\r\n{")
            response = http.client.HTTPResponse(slow)
            response.begin()
            assert 408 == response.status
            assert b"server.request_seconds" in response.read()

    assert [] == run(tmp_path, use, request_seconds=0.2)


@pytest.mark.parametrize("sent", [b"", b"POST /v1/traces HT", b"GET /healthz HTTP/1.1\r\nx: "])
def test_a_connection_that_says_too_little_is_closed(
    tmp_path: Path, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little of a request it has sent."""
    monkeypatch.setattr("llmcost.ingest.http_receiver._GRACE_SECONDS", 0.1)

    def use(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as idle:
            idle.sendall(sent)
            idle.settimeout(30)
            assert b"" == idle.recv(100)

    run(tmp_path, use, request_seconds=0.1)


def test_a_head_without_end_is_cut_off(tmp_path: Path) -> None:
    def use(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as endless:
            endless.settimeout(30)
            with pytest.raises(ConnectionError):
                endless.sendall(b"GET /healthz HTTP/1.1\r\nx: ")
                while True:
                    endless.sendall(b"x" * 4096)

    run(tmp_path, use)


def test_other_paths_and_methods_are_refused_in_otlps_words(tmp_path: Path) -> None:
    def use(port: int) -> None:
        missing = ask(port, "/v1/profiles", TRACES)
        assert (404, PROTOBUF) == (missing.status, missing.headers["content-type"])
        assert "/v1/traces" in missing.error.message
        wrong = ask(port, "/v1/traces")
        assert (405, "POST") == (wrong.status, wrong.headers["allow"])
        assert "does not take GET" in wrong.error.message
        assert 405 == ask(port, "/metrics", TRACES).status

    run(tmp_path, use)


def test_no_page_of_another_origin_may_send_unless_it_is_named(tmp_path: Path) -> None:
    """CORS is off by default."""
    asked = {"Origin": "https://shop.example", "Access_Control_Request_Method": "POST"}

    def closed(port: int) -> None:
        assert "access-control-allow-origin" not in ask(port, method="OPTIONS", **asked).headers

    def opened(port: int) -> None:
        answer = ask(port, method="OPTIONS", **asked)
        assert "https://shop.example" == answer.headers["access-control-allow-origin"]
        assert (
            "access-control-allow-origin"
            not in ask(port, method="OPTIONS", **{**asked, "Origin": "https://b"}).headers
        )

    run(tmp_path, closed)
    run(tmp_path, opened, cors_origins=["https://shop.example"])


def test_prometheus_can_read_what_was_counted(tmp_path: Path) -> None:
    """With the journal's gauges and what other processes left in *.prom files; no sender's word is a label."""
    journal, more = tmp_path / "journal", tmp_path / "more"
    folder = journal / "0123456789ab"
    folder.mkdir(parents=True)
    more.mkdir()
    (more / "cost.prom").write_text('# TYPE llmcost_cost_usd counter\nllmcost_cost_usd_total{provider="openai"} 1.5')

    def use(port: int) -> None:
        before = told(port)
        ask(port, body=trace_request([*span_ids(3), bytes(8)]))
        ask(port, "/v1/metrics", metrics_request())
        ask(port, body=b"{", form=JSON)
        after = told(port)

        def grown(name: str, **labels: str) -> float:
            key = (name, *sorted(labels.items()))
            return after[key] - before.get(key, 0)

        assert 3 == grown("llmcost_records_total", signal="traces", transport="http", result="accepted")
        assert 1 == grown("llmcost_records_total", signal="traces", transport="http", result="invalid_id")
        assert 3 == grown("llmcost_records_total", signal="metrics", transport="http", result="not_stored")
        assert 1 == grown("llmcost_requests_total", signal="traces", transport="http", result="malformed")
        assert 1 == grown("llmcost_requests_total", signal="traces", transport="http", result="accepted")
        assert 1 == grown("llmcost_journal_fsync_seconds_count")
        assert after["llmcost_journal_bytes",] > before["llmcost_journal_bytes",] == 0
        assert 1.5 == after["llmcost_cost_usd_total", ("provider", "openai")]

    run(folder, use, journal=journal, more_metrics=more)


def told(port: int) -> dict[tuple[Any, ...], float]:
    """Every sample of /metrics by name and labels."""
    answer = ask(port, "/metrics")
    assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["content-type"]
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def test_a_stop_answers_what_is_under_way_and_refuses_the_rest(tmp_path: Path) -> None:
    async def body() -> None:
        journal = GroupCommit(ReceiverFolder(tmp_path), Bounds(60, MIB, MIB), next_number=1)
        receiver = HttpReceiver(intake(journal))
        port = await receiver.start("127.0.0.1:0")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\ncontent-length: {len(TRACES)}\r\n"
        writer.write(head.encode() + b"expect: 100-continue\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")
        stopping = asyncio.create_task(receiver.stop())
        while not await _refused(port):
            await asyncio.sleep(0.01)
        writer.write(TRACES)
        await reader.readline()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        await stopping
        writer.close()
        await journal.close()

    asyncio.run(body())
    assert 1 == len(ReceiverFolder(tmp_path).waiting())


async def _refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (ConnectionRefusedError, ConnectionResetError):  # closed while it was waiting to be accepted
        return True
    writer.close()
    return False


def test_a_port_that_is_taken_is_one_clear_error(tmp_path: Path) -> None:
    def use(port: int) -> None:
        async def again() -> None:
            await HttpReceiver(intake(None)).start(f"127.0.0.1:{port}")  # type: ignore[arg-type]

        with pytest.raises(SettingsError, match=f'cannot listen on "127.0.0.1:{port}".*--http'):
            asyncio.run(again())

    run(tmp_path, use)
