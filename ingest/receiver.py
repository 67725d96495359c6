"""OTLP/gRPC: an OK means that the request is on disk, fsynced.

The handlers see raw bytes: nothing is parsed beyond what must be known before the answer. The core unpacks
gzip and deflate by itself, and stops at the same bound as for what is sent plain; it refuses every other
encoding, zstd among them, before a handler is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ..models.errors import SettingsError
from .intake import Intake
from .refusals import Refused, retry_info
from .services import SERVICES, Service

log = logging.getLogger(__name__)

_DRAIN_SECONDS = 5.0
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Receiver:
    """A gRPC server that puts what it is sent through an intake."""

    def __init__(
        self,
        intake: Intake,
        *,
        max_message_bytes: int,
        share_port: bool = False,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        """With `share_port` other processes may listen on the same port, and the kernel spreads the senders.

        Without it a second server on the same port is a mistake, and an error. Without `credentials` senders
        speak plain text.
        """
        self._credentials = credentials
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.so_reuseport", int(share_port)),
            ]
        )
        self._server.add_generic_rpc_handlers(
            tuple(_Service(f"/{service.grpc}/Export", _exporter(intake, service)) for service in SERVICES)
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self, address: str) -> int:
        """Listen on `address` (HOST:PORT); returns the port. Raises SettingsError if that cannot be."""
        try:
            if self._credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise SettingsError(
                f'cannot listen on "{address}": is the port taken? Choose another with --grpc HOST:PORT'
            ) from error
        await self._server.start()
        for service in SERVICES:
            await self._health.set(service.grpc, health_pb2.HealthCheckResponse.SERVING)
        return int(port)

    async def stop(self) -> None:
        """Tell health checks, refuse new requests, answer those that are under way."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(_DRAIN_SECONDS)


_Context: TypeAlias = Any  # grpc.aio.ServicerContext; grpc is untyped
_Export = Callable[[Any, _Context], Coroutine[Any, Any, bytes]]


def _exporter(intake: Intake, service: Service) -> _Export:
    async def export(_: object, context: _Context) -> bytes:
        try:
            with intake.admit(service, "grpc", _authorization(context)) as place:
                body = await context.read()
                if body is grpc.aio.EOF:
                    body = b""
                place.hold(len(body))
                return await intake.export(service, body, place)
        except Refused as refused:
            await _abort(context, refused)
            raise

    return export


def _authorization(context: _Context) -> str | None:
    shown = (value for key, value in context.invocation_metadata() or () if key == "authorization")
    return next((value for value in shown if isinstance(value, str)), None)


class _Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
    """One method whose request and response stay bytes."""

    def __init__(self, method: str, export: _Export) -> None:
        self._method = method
        # On the wire the same as a unary method; but here the handler runs before the message is read, so
        # that one too many is turned away without it.
        self._handler = grpc.stream_unary_rpc_method_handler(export)

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler, for this method only."""
        return self._handler if call.method == self._method else None


async def _abort(context: _Context, refused: Refused) -> None:
    """End the call with the refusal's code, its status in the details, as OTLP asks for."""
    metadata = [("grpc-status-details-bin", refused.status().SerializeToString())]
    if refused.reason.retry:  # the Python SDK reads RetryInfo here only
        metadata.append(("google.rpc.retryinfo-bin", retry_info().SerializeToString()))
    await context.abort(_CODES[refused.reason.code], str(refused), tuple(metadata))
