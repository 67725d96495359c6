"""The HTTP server: sockets, time limits and a clean stop around the application, inside a running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio import TimerHandle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..models.errors import SettingsError
from .addresses import Address, bound_sockets
from .budget_line import BudgetLine
from .http_app import application
from .intake import Intake
from .tls import Renewal, Tls

_KEEP_ALIVE_SECONDS = 75
"""SDKs send every five seconds by default: a connection closed after five is closed while they send."""

_BACKLOG = 2048
_DRAIN_SECONDS = 5
_RENEWAL_SECONDS = 5
_HEAD_BYTES = 64 * 1024
_GRACE_SECONDS = 5.0
"""Between the refusal of a slow request and the end of its connection."""


class HttpReceiver:
    """An HTTP server that puts what it is sent through an intake."""

    def __init__(
        self,
        intake: Intake,
        *,
        request_seconds: float = 30.0,
        cors_origins: Sequence[str] = (),
        journal: Path | None = None,
        more_metrics: Path | None = None,
        budgets: BudgetLine | None = None,
        share_port: bool = False,
        tls: Tls | None = None,
    ) -> None:
        """`journal` and `more_metrics` are what /metrics shows beside the counters: see http_app.application.

        `budgets` is who decides on them; without it nothing is at their paths.

        With `share_port` other processes may listen on the same port. Without `tls` senders speak plain text.
        """
        self._tls = tls
        self._budgets = budgets
        self._renewing: asyncio.Task[None] | None = None
        self._share_port = share_port
        app = application(
            intake,
            request_seconds=request_seconds,
            cors_origins=cors_origins,
            journal=journal,
            more_metrics=more_metrics,
            budgets=budgets,
        )

        class Protocol(_Timed):
            seconds = request_seconds + _GRACE_SECONDS

        self._server = _Server(
            uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                lifespan="off",
                loop="none",
                log_config=None,
                log_level="error",  # what strangers send wrong is answered, not logged
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_DRAIN_SECONDS,
                **({} if tls is None else tls.uvicorn_options()),
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self, address: str) -> int:
        """Listen on `address` (HOST:PORT); returns the port. Raises SettingsError."""
        sockets = _listening(address, share_port=self._share_port)
        port: int = sockets[0].getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve(sockets))
        started = asyncio.create_task(self._server.is_started.wait())
        await asyncio.wait([self._serving, started], return_when=asyncio.FIRST_COMPLETED)
        if not self._server.started:
            started.cancel()
            await self._serving  # raises why
        if self._tls is not None:
            self._renewing = asyncio.create_task(self._renew(self._tls))
        return port

    async def _renew(self, tls: Tls) -> None:
        """Use certificates that were renewed for connections made from then on."""
        renewal = Renewal(tls)
        while True:
            await asyncio.sleep(_RENEWAL_SECONDS)
            if renewal.is_due() and self._server.config.ssl is not None:
                tls.renew(self._server.config.ssl)

    async def stop(self) -> None:
        """Refuse new requests, answer those that are under way, for at most a few seconds."""
        if self._renewing is not None:
            self._renewing.cancel()
        if self._serving is not None:
            self._server.should_exit = True
            await self._serving
        if self._budgets is not None:
            await self._budgets.close()


class _Server(uvicorn.Server):
    """Uvicorn as a guest: signals are the host's, and its start can be awaited."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_started = asyncio.Event()

    def capture_signals(self) -> Any:
        """Leave the signal handlers alone."""
        return contextlib.nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when it listens."""
        await super().startup(sockets)
        self.is_started.set()


class _Timed(HttpToolsProtocol):
    """Uvicorn bounds neither the time nor the length of a request's head, and discards an endless body for ever.

    A connection ends when a request has not arrived whole `seconds` after the connection or the request began.
    """

    seconds: float
    _deadline: TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """The first request is due."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bound what is sent before a body begins."""
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._in_head else 0
        if self._head_bytes > _HEAD_BYTES:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        self._expect()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its body follows."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """It is there."""
        self._forget()
        super().on_message_complete()

    def _expect(self) -> None:
        self._forget()
        self._deadline = self.loop.call_later(self.seconds, self.transport.close)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _listening(text: str, *, share_port: bool) -> list[socket.socket]:
    try:
        sockets = bound_sockets(Address.parse("server.http", text), share_port=share_port)
        for opened in sockets:
            opened.listen(_BACKLOG)
    except OSError as error:
        raise SettingsError(
            f'cannot listen on "{text}": is the port taken? Choose another with --http HOST:PORT'
        ) from error
    return sockets
