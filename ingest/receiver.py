"""OTLP/gRPC: an OK means that the request is on disk, fsynced.

The handler sees raw bytes: nothing is parsed beyond what must be known before the answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ..models.errors import LakeError, SettingsError
from .check import Checked, MalformedRequest, check_traces
from .group_commit import GroupCommit, JournalFull
from .journal import Request
from .wire import Signal

log = logging.getLogger(__name__)

TRACE_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
RETRY_SECONDS = 5
"""When a refused sender should try again."""

_DRAIN_SECONDS = 5.0
_ALL_ACCEPTED: bytes = ExportTraceServiceResponse().SerializeToString()


class Receiver:
    """A gRPC server that puts what it is sent into a journal."""

    def __init__(self, journal: GroupCommit, *, max_message_bytes: int, share_port: bool = False) -> None:
        """`share_port` lets other receivers that ask for it too listen on the same port."""
        self._journal = journal
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.so_reuseport", int(share_port)),
            ]
        )
        self._server.add_generic_rpc_handlers((_Service(f"/{TRACE_SERVICE}/Export", self._export_traces),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self, address: str) -> int:
        """Listen on `address` (HOST:PORT); returns the port. Raises SettingsError if that cannot be."""
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise SettingsError(
                f'cannot listen on "{address}": is the port taken? Choose another with --grpc HOST:PORT'
            ) from error
        await self._server.start()
        await self._health.set(TRACE_SERVICE, health_pb2.HealthCheckResponse.SERVING)
        return int(port)

    async def stop(self) -> None:
        """Tell health checks, refuse new requests, answer those that are under way."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(_DRAIN_SECONDS)

    async def _export_traces(self, body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        received_at_us = time.time_ns() // 1000
        try:
            checked = check_traces(body)
        except MalformedRequest as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if checked.spans > checked.rejected:
            try:
                await self._journal.append(Request(Signal.TRACES, received_at_us, body))
            except LakeError as error:
                await _refuse(context, error)
        return _answer(checked)


class _Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
    """One unary method whose request and response stay bytes."""

    def __init__(self, method: str, export: Callable[[bytes, Any], Coroutine[Any, Any, bytes]]) -> None:
        self._method = method
        self._handler = grpc.unary_unary_rpc_method_handler(export)

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler, for this method only."""
        return self._handler if call.method == self._method else None


def _answer(checked: Checked) -> bytes:
    """OTLP partial success when spans were rejected, else the empty message."""
    if not checked.rejected:
        return _ALL_ACCEPTED
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = checked.rejected
    response.partial_success.error_message = checked.message
    return response.SerializeToString()  # type: ignore[no-any-return]  # generated code is untyped


async def _refuse(context: grpc.aio.ServicerContext[bytes, bytes], error: LakeError) -> None:
    """Abort with a status an exporter retries, and RetryInfo as OTLP asks for with RESOURCE_EXHAUSTED."""
    code = grpc.StatusCode.RESOURCE_EXHAUSTED if isinstance(error, JournalFull) else grpc.StatusCode.UNAVAILABLE
    retry = AnyMessage()
    retry.Pack(RetryInfo(retry_delay=Duration(seconds=RETRY_SECONDS)))
    status = Status(code=code.value[0], message=str(error), details=[retry])
    await context.abort(code, str(error), (("grpc-status-details-bin", status.SerializeToString()),))
