"""`llmcost demo`: the whole product on a made-up week."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEMO_LAKE = Path("llmcost-demo-lake")


def demo(
    lake: Annotated[
        Path, typer.Option("--lake", metavar="DIR", help="Folder for the demo's lake; an earlier demo's is replaced.")
    ] = DEMO_LAKE,
) -> None:
    """Try it on a made-up week, sent to a real receiver.

    Starts `llmcost serve` on a free port, sends a week of a support product through the OpenTelemetry SDK's gRPC
    exporter together with recorded exports of real libraries, and compares what was counted with what is known
    to have happened. Needs no network and no key. The lake stays, to look around in.

    \b
    Examples:
      llmcost demo
      llmcost demo --lake /tmp/llmcost-demo
    """
    from .demo_run import run  # noqa: PLC0415  start-up time, and the SDK is an extra

    if not run(lake):
        raise typer.Exit(1)
