"""`llmcost trace`: one trace as a tree."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import ConfigOption, LakeOption, open_warehouse


def trace(
    trace_id: Annotated[
        str,
        typer.Argument(metavar="TRACE_ID", help="32 hex digits; the first 8 or more are enough if they are unique."),
    ],
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Show one trace as a tree: what was billed, what not and why.

    \b
    Examples:
      llmcost trace 4bf92f3577b34da6a3ce929d0e0e4736
      llmcost trace 4bf92f35 --lake ./llmcost-demo-lake
    """
    from .trace_tree import print_trace  # noqa: PLC0415  start-up time

    print_trace(open_warehouse(lake, config).trace(trace_id))
