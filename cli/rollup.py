"""`llmcost rollup`: ask a rollup."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import Annotated

import typer

from .options import (
    ConfigOption,
    FormatOption,
    Grain,
    LakeOption,
    OutputOption,
    SinceOption,
    TzOption,
    UntilOption,
    WhereOption,
    open_warehouse,
    parse_where,
)


def rollup(
    name: Annotated[str | None, typer.Argument(help="Which rollup; --list names them.", show_default=False)] = None,
    *,
    list_: Annotated[bool, typer.Option("--list", help="List the rollups; with NAME, its columns.")] = False,
    new: Annotated[
        str | None, typer.Option("--new", metavar="NAME", help="Write the start of a rollup of your own to the lake.")
    ] = None,
    since: SinceOption = "7d",
    until: UntilOption = None,
    by: Annotated[Grain | None, typer.Option("--by", help="One row for each day or hour.")] = None,
    group_by: Annotated[
        list[str] | None, typer.Option("--group-by", metavar="DIM", help="Split by this dimension; may be repeated.")
    ] = None,
    where: WhereOption = None,
    tz: TzOption = "UTC",
    top: Annotated[int | None, typer.Option("--top", min=1, metavar="N", help="Only the first N rows.")] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="WHEN",
            help="Beside an earlier window as long: previous, or when it starts, as --since takes it.",
        ),
    ] = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Ask a rollup: what did it cost, and for whom.

    Without NAME it lists the rollups. Under the rows stands what to know about them: the window, the total, calls
    without a known price, cost without an owner, and how fresh the lake is. --compare sets previous figures beside:
    rows are matched by what names them, days and hours by their place in the window; a row of one window only is
    empty on the other's side.

    \b
    Examples:
      llmcost rollup cost-per-outcome --since 7d
      llmcost rollup cost-per-outcome --group-by feature --group-by agent_name
      llmcost rollup cost-per-customer --since 2026-11-01 --until 2026-12-01 --tz Europe/Berlin
      llmcost rollup cost-per-feature --by day --where team=support --output november.csv
      llmcost rollup eval-vs-inference --format json | jq .coverage
      llmcost rollup cost-per-outcome --since 7d --compare previous
      llmcost rollup --new cost-per-region
    """
    from . import sheet  # noqa: PLC0415  start-up time
    from .waiting import progress_bar  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    conditions = parse_where(where or ())
    warehouse = open_warehouse(lake, config)
    if new is not None:
        path = warehouse.new_rollup(new)
        typer.echo(path)
        there = f" --lake {shlex.quote(str(lake))}" if lake else ""
        typer.echo(f"edit it as you ask it: llmcost rollup {path.stem.replace('_', '-')} --since 7d{there}", err=True)
        return
    if list_ or name is None:
        deliver(sheet.of_rollups(warehouse.rollups(), name), format_, output)
        return
    with progress_bar("deriving days") as progress:
        answer = warehouse.ask(
            name,
            since=since,
            until=until,
            by=by.value if by else None,
            group_by=tuple(group_by or ()),
            where=conditions,
            tz=tz,
            top=top,
            compare=compare,
            progress=progress,
        )
    deliver(sheet.of_answer(answer, datetime.now(UTC)), format_, output)
    if answer.restated:
        typer.echo(sheet.restatement_line(answer.restated), err=True)
