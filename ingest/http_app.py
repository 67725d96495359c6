"""OTLP/HTTP as an ASGI application, with the pages by which the server is watched.

    POST …/v1/traces  …/v1/logs  …/v1/metrics     protobuf or JSON, plain or compressed
    POST /v1/budget/…                             may a request be made (budget_routes.py)
    GET  /healthz                                 the process lives
    GET  /readyz                                  it takes requests, or why not
    GET  /metrics                                 for Prometheus

https://opentelemetry.io/docs/specs/otlp/#otlphttp. Any path before /v1 is accepted: vendors' SDKs have one of
their own (Langfuse: /api/public/otel/v1/traces) and let their users set the host only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from .access import CHALLENGE
from .budget_line import BudgetLine
from .budget_routes import budget_routes
from .check import MalformedRequest
from .intake import Intake, Place, too_large
from .otlp_json import to_protobuf
from .refusals import (
    MALFORMED,
    NO_SUCH_PATH,
    NOT_ADMITTED,
    RETRY_SECONDS,
    TOO_SLOW,
    UNSUPPORTED,
    WRONG_METHOD,
    Reason,
    Refused,
)
from .scrape import CONTENT_TYPE, page
from .services import SERVICES, Service
from .unpack import unpack

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

_AT_ONCE_BYTES = 16 * 1024
"""Bodies up to this size are unpacked and converted in the event loop; a thread would cost more."""

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def application(
    intake: Intake,
    *,
    request_seconds: float,
    cors_origins: Sequence[str] = (),
    journal: Path | None = None,
    more_metrics: Path | None = None,
    budgets: BudgetLine | None = None,
) -> Starlette:
    """The application over `intake`, and over `budgets`, if anybody decides on them.

    /metrics tells of the segments below the folder `journal`, and adds the `*.prom` files of `more_metrics`. It
    tells what is spent, so it asks for a token where sending does, one that is not limited to a tenant.
    """

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        trouble = intake.trouble()
        return PlainTextResponse(f"{trouble or 'ready'}\n", 503 if trouble else 200)

    async def scrape(request: Request) -> Response:
        try:
            sender = intake.sender(request.headers.get("authorization"))
            if sender.forced:
                raise Refused(NOT_ADMITTED, f'the token "{sender.name}" forces attributes: it may send, and not read')
        except Refused as refused:
            return _refusal(request, refused)
        text = await asyncio.to_thread(page, journal, more_metrics)
        return Response(text, headers={"content-type": CONTENT_TYPE})

    body = _Bodies(intake, request_seconds)
    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", scrape)]
    for service in SERVICES:
        export = _exporter(intake, service, body)
        routes += [
            Route(f"{prefix}/v1/{service.name}", export, methods=["POST"]) for prefix in ("", "/{prefix:path}")
        ]
    if budgets is not None:
        routes += budget_routes(intake, budgets, _refusal, request_seconds)
    cors = Middleware(CORSMiddleware, allow_origins=cors_origins, allow_methods=["POST"], allow_headers=["*"])
    app = Starlette(
        routes=routes,
        middleware=[cors] if cors_origins else [],
        exception_handlers={HTTPException: _not_here},
    )
    app.router.redirect_slashes = False  # exporters do not follow redirects
    return app


def _exporter(intake: Intake, service: Service, bodies: _Bodies) -> _Handler:
    async def export(request: Request) -> Response:
        try:
            with intake.admit(service, "http", request.headers.get("authorization")) as place:
                form = _form(request)
                body = await bodies.read(request, place, service, form)
                answer = await intake.export(service, body, place)
        except Refused as refused:
            return _refusal(request, refused)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        return _render(form, service.response.FromString(answer))

    return export


class _Bodies:
    """Reads bodies: within their bounds, within their time, as protobuf."""

    def __init__(self, intake: Intake, seconds: float) -> None:
        self._limit = intake.max_message_bytes
        self._json_limit = intake.max_json_bytes
        self._seconds = seconds
        self._unpacking = asyncio.Semaphore(2)  # each may take twice the bound
        self._converting = asyncio.Semaphore(1)  # its memory is many times the body

    async def read(self, request: Request, place: Place, service: Service, form: str) -> bytes:
        """The request's message as protobuf. Raises Refused."""
        encoding = request.headers.get("content-encoding", "").strip().lower()
        limit = self._json_limit if form == JSON else self._limit
        setting = "server.max_json_mib" if form == JSON else "server.max_message_mib"
        sent = await self._received(request, place, limit, setting)
        if encoding not in ("", "identity"):
            if len(sent) <= _AT_ONCE_BYTES:
                sent = unpack(encoding, sent, limit)
            else:
                async with self._unpacking:
                    sent = await asyncio.to_thread(unpack, encoding, sent, limit)
            place.hold(len(sent))
        if form != JSON:
            return sent
        try:
            if len(sent) <= _AT_ONCE_BYTES:
                return to_protobuf(service, sent)
            async with self._converting:
                return await asyncio.to_thread(to_protobuf, service, sent)
        except MalformedRequest as error:
            raise Refused(MALFORMED, str(error)) from error

    async def _received(self, request: Request, place: Place, limit: int, setting: str) -> bytes:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise too_large(limit, setting=setting)
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > limit:
                        raise too_large(limit, setting=setting)
                    place.hold(len(chunk))
                    body += chunk
        except TimeoutError as error:
            raise Refused(
                TOO_SLOW, f"the request did not arrive within {self._seconds:g} s (setting server.request_seconds)"
            ) from error
        return bytes(body)


def _form(request: Request) -> str:
    """The request's content type, PROTOBUF or JSON, without parameters. Raises Refused."""
    sent = request.headers.get("content-type", "")
    form = sent.partition(";")[0].strip().lower()
    if form not in (PROTOBUF, JSON):
        raise Refused(UNSUPPORTED, f'Content-Type "{sent[:60]}" is not OTLP: send {PROTOBUF} or {JSON}')
    return form


def _render(form: str, message: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    content = message.SerializeToString() if form == PROTOBUF else json_format.MessageToJson(message, indent=None)
    return Response(content, status, headers, media_type=form)


def _refusal(request: Request, refused: Refused, more_headers: dict[str, str] | None = None) -> Response:
    """A google.rpc.Status in the request's own content type; JSON where that is neither of the two."""
    headers = dict(more_headers or {})
    if refused.reason.retry:
        headers["retry-after"] = str(RETRY_SECONDS)
    if refused.reason is NOT_ADMITTED:
        headers["www-authenticate"] = CHALLENGE
    form = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return _render(form if form == PROTOBUF else JSON, refused.status(), refused.reason.http, headers)


async def _not_here(request: Request, error: Exception) -> Response:
    """Starlette's own refusals in OTLP's words: no such path, another method."""
    assert isinstance(error, HTTPException)  # noqa: S101  it is registered for these
    method, path = request.method[:20], request.url.path[:80]
    reasons: dict[int, tuple[Reason, str]] = {
        404: (NO_SUCH_PATH, f'nothing is at "{path}": send to /v1/traces, /v1/logs or /v1/metrics'),
        405: (WRONG_METHOD, f'"{path}" does not take {method}'),
    }
    reason, message = reasons.get(error.status_code, (MALFORMED, str(error.detail)))
    return _refusal(request, Refused(reason, message), dict(error.headers or {}))
