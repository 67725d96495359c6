"""`llmcost why`: what changed a cost."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import (
    ConfigOption,
    FormatOption,
    LakeOption,
    OutputOption,
    SinceOption,
    TzOption,
    UntilOption,
    WhereOption,
    open_warehouse,
    parse_where,
)


def why(
    name: Annotated[str, typer.Argument(help="What to explain: cost-per-outcome.")],
    *,
    since: SinceOption = "7d",
    until: UntilOption = None,
    compare: Annotated[
        str,
        typer.Option(
            "--compare", metavar="WHEN", help="With what: previous, the window just before, or the start of another."
        ),
    ] = "previous",
    outcome: Annotated[
        str | None,
        typer.Option("--outcome", metavar="NAME", help="Which outcome is a success.", show_default="the most told"),
    ] = None,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            "--group-by",
            metavar="DIM",
            help="Say which values of this dimension drive it; may be repeated.",
            show_default="feature, model, prompt_version, agent_name",
        ),
    ] = None,
    where: WhereOption = None,
    tz: TzOption = "UTC",
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Say why a cost changed: which drivers, by how many dollars, and where.

    It takes the change between two windows of the same length apart: volume, success rate, calls per request, model
    mix, tokens, cache, unit prices and eval traffic. The parts sum to the change exactly. With each stand the segment
    that drives it and traces to look at. --format json holds all of it.

    \b
    Examples:
      llmcost why cost-per-outcome --since 7d
      llmcost why cost-per-outcome --since 7d --compare 28d --outcome resolved
      llmcost why cost-per-outcome --since 2026-11-01 --until 2026-12-01 --compare 2026-10-01 --group-by team
      llmcost why cost-per-outcome --where feature=refund-bot --format json | jq -r .sentence
    """
    from . import sheet  # noqa: PLC0415  start-up time
    from .waiting import progress_bar  # noqa: PLC0415
    from .why_report import of_change  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    conditions = parse_where(where or ())
    with progress_bar("deriving days") as progress:
        change = open_warehouse(lake, config).why(
            name,
            since=since,
            until=until,
            compare=compare,
            outcome=outcome,
            group_by=tuple(group_by or ()),
            where=conditions,
            tz=tz,
            progress=progress,
        )
    deliver(of_change(change), format_, output)
    if change.restated:
        typer.echo(sheet.restatement_line(change.restated), err=True)
