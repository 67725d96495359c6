"""OTLP/gRPC answers: what a sender is told, and when."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from support.otlp import logs_request, metrics_request, span_ids, trace_request
from support.server import intake

from llmcost.ingest.group_commit import PENDING_MAX_BYTES, Bounds, GroupCommit
from llmcost.ingest.journal import Reading
from llmcost.ingest.receiver import Receiver
from llmcost.ingest.receiver_folder import ReceiverFolder
from llmcost.ingest.refusals import RETRY_SECONDS, Refused
from llmcost.ingest.services import LOGS, METRICS, SERVICES, TRACES, Service
from llmcost.models.errors import SettingsError

MIB = 1 << 20
Use = Callable[[grpc.aio.Channel, Receiver], Awaitable[None]]


def run(folder: Path, use: Use, *, backlog_bytes: int = 1 << 30, **limits: int) -> list[bytes]:
    """Run `use` against a receiver; returns the bodies in the journal afterwards."""

    async def body() -> None:
        bounds = Bounds(segment_seconds=60, segment_bytes=64 * MIB, backlog_bytes=backlog_bytes)
        journal = GroupCommit(ReceiverFolder(folder), bounds, next_number=1)
        receiver = Receiver(intake(journal, **limits), max_message_bytes=MIB)
        port = await receiver.start("127.0.0.1:0")
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await use(channel, receiver)
        finally:
            await receiver.stop()
            await journal.close()

    asyncio.run(body())
    bodies: list[bytes] = []
    for segment in ReceiverFolder(folder).waiting():
        with Reading(segment.path) as reading:
            bodies += [request.body for request in reading]
    return bodies


async def export(
    channel: grpc.aio.Channel,
    body: bytes,
    compression: grpc.Compression | None = None,
    service: Service = TRACES,
) -> bytes:
    method = channel.unary_unary(f"/{service.grpc}/Export")
    answer: bytes = await method(body, compression=compression, timeout=30)
    return answer


async def refusal(channel: grpc.aio.Channel, body: bytes) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await export(channel, body)
    return raised.value


def retry_info(error: grpc.aio.AioRpcError) -> RetryInfo:
    """The RetryInfo in the status details, as an exporter reads it."""
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = Status.FromString(details)
    assert (error.code().value[0], error.details()) == (status.code, status.message)
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    # The Python SDK looks here instead.
    assert info == RetryInfo.FromString(dict(error.trailing_metadata())["google.rpc.retryinfo-bin"])
    return info


def test_an_accepted_request_is_in_the_journal_as_it_came(tmp_path: Path) -> None:
    """The answer is the empty message, and the bytes on disk are the sender's."""
    body = trace_request(span_ids(5))

    async def use(channel: grpc.aio.Channel, _: Receiver) -> None:
        assert b"" == await export(channel, body)

    assert [body] == run(tmp_path, use)


def test_a_gzipped_request_is_unpacked(tmp_path: Path) -> None:
    """Exporters compress by setting; the journal holds the plain message."""
    body = trace_request(span_ids(5))

    async def use(channel: grpc.aio.Channel, _: Receiver) -> None:
        assert b"" == await export(channel, body, grpc.Compression.Gzip)

    assert [body] == run(tmp_path, use)


def test_a_small_gzip_of_a_huge_request_is_refused(tmp_path: Path) -> None:
    """The bound on a message's size is one on what it unpacks to."""
    body = bytes(20 * MIB)
    assert len(gzip.compress(body)) < MIB

    async def use(channel: grpc.aio.Channel, _: Receiver) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await export(channel, body, grpc.Compression.Gzip)
        assert grpc.StatusCode.RESOURCE_EXHAUSTED == raised.value.code()

    assert [] == run(tmp_path, use)


def test_logs_are_put_into_the_journal_too(tmp_path: Path) -> None:
    """Over the logs service."""
    body = logs_request(["outcome"])

    async def use(channel: grpc.aio.Channel, _: Receiver) -> None:
        assert b"" == await export(channel, body, service=LOGS)

    assert [body] == run(tmp_path, use)


def test_metrics_are_answered_and_dropped(tmp_path: Path) -> None:
    """An SDK that sends all three signals to one place is told so, and is not made to send again."""

    async def use(channel: grpc.aio.Channel, _: Receiver) -> None:
        answer = await export(channel, metrics_request(), service=METRICS)
        told = ExportMetricsServiceResponse.FromString(answer).partial_success
        assert 3 == told.rejected_data_points
        assert "llmcost does not store metrics" in told.error_message
        assert b"" == await export(channel, b"", service=METRICS)

    assert [] == run(tmp_path, use)


def test_one_request_too_many_is_told_to_come_again(tmp_path: Path) -> None:
    """The bound is on requests under way at once; the next one finds room."""
    body = trace_request(span_ids(1))

    async def use(channel: grpc.aio.Channel, _: Receiver) -> None:
        open_call = channel.stream_unary(f"/{TRACES.grpc}/Export")()  # has its place, and sends nothing yet
        await open_call.wait_for_connection()
        error = None
        while error is None:  # until the server has seen the open call
            try:
                await export(channel, body)
            except grpc.aio.AioRpcError as refused:
                error = refused
        assert grpc.StatusCode.UNAVAILABLE == error.code()
        assert "server.max_concurrent_requests" in str(error.details())
        assert RETRY_SECONDS == retry_info(error).retry_delay.seconds
        await open_call.write(body)
        await open_call.done_writing()
        await open_call
        assert b"" == await export(channel, body)

    assert {body} == set(run(tmp_path, use, max_requests=1))


def test_requests_may_hold_only_so_much_memory() -> None:
    """Many large ones at once are told to come again."""
    limits = intake(None)  # type: ignore[arg-type]  # nothing reaches the journal
    with limits.admit(TRACES, "grpc", None) as first, pytest.raises(Refused, match="bytes"):
        first.hold(PENDING_MAX_BYTES)
        with limits.admit(TRACES, "grpc", None) as second:
            second.hold(1)
    with limits.admit(TRACES, "grpc", None) as third:
        third.hold(PENDING_MAX_BYTES)


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"\x0a" + b"\xff" * 9 + b"\x01 a length beyond all memory"])
def test_a_malformed_request_is_an_invalid_argument(tmp_path: Path, body: bytes) -> None:
    """With the reason; nothing of it is kept."""

    async def use(channel: grpc.aio.Channel, _: Receiver) -> None:
        error = await refusal(channel, body)
        assert grpc.StatusCode.INVALID_ARGUMENT == error.code()
        assert "not an OTLP trace export request" in str(error.details())

    assert [] == run(tmp_path, use)


def test_spans_with_invalid_ids_are_a_partial_success(tmp_path: Path) -> None:
    """The sender learns how many and why; a request with none that is valid is not kept."""
    some, none = trace_request([*span_ids(3), bytes(8)]), trace_request([bytes(8)])

    async def use(channel: grpc.aio.Channel, _: Receiver) -> None:
        answer = ExportTraceServiceResponse.FromString(await export(channel, some)).partial_success
        assert 1 == answer.rejected_spans
        assert "1 of 4 spans rejected" in answer.error_message
        answer = ExportTraceServiceResponse.FromString(await export(channel, none)).partial_success
        assert 1 == answer.rejected_spans

    assert [some] == run(tmp_path, use)


def test_an_empty_request_is_fine(tmp_path: Path) -> None:
    """OTLP: the server should answer it with success."""

    async def use(channel: grpc.aio.Channel, _: Receiver) -> None:
        assert b"" == await export(channel, b"")

    assert [] == run(tmp_path, use)


def test_a_full_journal_tells_when_to_try_again(tmp_path: Path) -> None:
    """RESOURCE_EXHAUSTED is retried by exporters only with RetryInfo."""
    first, second = trace_request(span_ids(10)), trace_request(span_ids(10, seed=1))

    async def use(channel: grpc.aio.Channel, _: Receiver) -> None:
        await export(channel, first)
        error = await refusal(channel, second)
        assert grpc.StatusCode.RESOURCE_EXHAUSTED == error.code()
        assert RETRY_SECONDS == retry_info(error).retry_delay.seconds

    assert [first] == run(tmp_path, use, backlog_bytes=len(first) + 100)


def test_a_disk_that_fails_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No OK without an fsync."""

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    async def use(channel: grpc.aio.Channel, _: Receiver) -> None:
        monkeypatch.setattr("os.fdatasync", fail)
        error = await refusal(channel, trace_request(span_ids(1)))
        assert grpc.StatusCode.UNAVAILABLE == error.code()
        assert "Input/output error" in str(error.details())
        assert RETRY_SECONDS == retry_info(error).retry_delay.seconds

    assert [] == run(tmp_path, use)


def test_health_is_told_until_the_drain(tmp_path: Path) -> None:
    """SERVING for the server and each service, NOT_SERVING to whoever watches when it stops."""

    async def use(channel: grpc.aio.Channel, receiver: Receiver) -> None:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", *(service.grpc for service in SERVICES)):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert health_pb2.HealthCheckResponse.SERVING == answer.status
        watch = health.Watch(health_pb2.HealthCheckRequest(service=""))
        assert health_pb2.HealthCheckResponse.SERVING == (await watch.read()).status
        stopping = asyncio.create_task(receiver.stop())
        assert health_pb2.HealthCheckResponse.NOT_SERVING == (await watch.read()).status
        watch.cancel()
        await stopping

    run(tmp_path, use)


def test_a_port_that_is_taken_is_one_clear_error(tmp_path: Path) -> None:
    """Two servers never share a port in silence."""

    async def body() -> None:
        journal = GroupCommit(ReceiverFolder(tmp_path), Bounds(1, MIB, MIB), next_number=1)
        one, other = (Receiver(intake(journal), max_message_bytes=MIB) for _ in range(2))
        port = await one.start("127.0.0.1:0")
        with pytest.raises(SettingsError, match=f'cannot listen on "127.0.0.1:{port}"'):
            await other.start(f"127.0.0.1:{port}")
        await one.stop()
        await journal.close()

    asyncio.run(body())


def test_processes_may_share_a_port_when_told_to(tmp_path: Path) -> None:
    """The kernel spreads the senders over them."""

    async def body() -> None:
        journal = GroupCommit(ReceiverFolder(tmp_path), Bounds(1, MIB, MIB), next_number=1)
        one, other = (Receiver(intake(journal), max_message_bytes=MIB, share_port=True) for _ in range(2))
        port = await one.start("127.0.0.1:0")
        assert port == await other.start(f"127.0.0.1:{port}")
        await one.stop()
        await other.stop()
        await journal.close()

    asyncio.run(body())
