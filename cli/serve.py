"""`llmcost serve`: receive OTLP and land it in the lake."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import typer

from .options import ConfigOption, LakeOption


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


def serve(
    lake: LakeOption = None,
    config: ConfigOption = None,
    *,
    grpc: Annotated[
        str | None,
        typer.Option(
            "--grpc",
            metavar="HOST:PORT",
            help="Address of OTLP/gRPC; port 0 takes a free one.",
            show_default="127.0.0.1:4317",
        ),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(
            "--http",
            metavar="HOST:PORT",
            help="Address of OTLP/HTTP; port 0 takes a free one, an empty text turns it off.",
            show_default="127.0.0.1:4318",
        ),
    ] = None,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Let anybody send who reaches the address, without a token.")
    ] = False,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="Log lines on stderr: key=value text, or JSON.")
    ] = LogFormat.TEXT,
) -> None:
    """Receive OTLP traces and logs and land them in the lake.

    A request is answered OK once it is on disk; it can be queried some two seconds later. Ctrl-C or SIGTERM lands
    what was received, for at most server.stop_seconds; the next start lands the rest.

    On an address that other machines reach, senders show a token (llmcost tokens create) or a certificate
    (server.tls_client_ca).

    \b
    Examples:
      llmcost serve --lake ./llmcost-lake
      llmcost serve --lake /srv/llmcost --grpc 0.0.0.0:4317 --log-format json
      OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 python your_agent.py
    """
    from ..ingest.serve import serve as receive  # noqa: PLC0415  start-up time
    from ..models.settings import load  # noqa: PLC0415
    from . import desk_order, keeper_order  # noqa: PLC0415

    settings = load(config, lake=lake)
    said = {"grpc": grpc, "http": http, "allow_anonymous": allow_anonymous or None}
    chosen = {name: value for name, value in said.items() if value is not None}
    settings = settings.model_copy(update={"server": settings.server.model_copy(update=chosen)})
    form: Literal["json", "text"] = "json" if log_format is LogFormat.JSON else "text"
    beside = [keeper_order.companion(settings, form), desk_order.companion(settings, form)]
    receive(settings, lake=settings.lake, companions=beside, log_format=form)
