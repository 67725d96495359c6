"""`llmcost serve`: receive OTLP and land it in the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..models import settings as settings_module


def serve(
    lake: Annotated[
        Path | None, typer.Option(envvar="LLMCOST_LAKE", help="Folder of the lake; made if it is missing.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file; ./llmcost.toml if it is there.")] = None,
    grpc: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Address of OTLP/gRPC; 127.0.0.1:4317 if not set.")
    ] = None,
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="Log lines on stderr: key=value text, or JSON.")
    ] = "text",
) -> None:
    """Receive OTLP traces over gRPC and land them in the lake, until Ctrl-C or SIGTERM.

    A request is answered OK once it is on disk; it can be queried some two seconds later. A stop lands
    what was received, for at most server.stop_seconds; the rest is landed by the next start.

    Example:
        llmcost serve --lake ./llmcost-lake

        OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 python your_agent.py

    """
    from ..ingest.serve import serve as run  # noqa: PLC0415  (the other commands start faster without gRPC)

    settings = settings_module.load(config, lake=lake)
    if grpc is not None:
        settings = settings.model_copy(update={"server": settings.server.model_copy(update={"grpc": grpc})})
    run(settings, lake=settings.lake, log_format=log_format)
