"""`llmcost outcomes`: how work ended, told by a file."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..models.errors import UsageError
from .figures import one_line
from .options import ConfigOption, LakeOption

app = typer.Typer(name="outcomes", rich_markup_mode=None)


class FileFormat(StrEnum):
    """What an import can read."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


@app.callback(invoke_without_command=True)
def _outcomes(context: typer.Context) -> None:
    """Tell the lake how work ended, where no span says it.

    \b
    Examples:
      llmcost outcomes import tickets.csv
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(name="import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV with a header, JSON lines or Parquet; - reads stdin.")
    ],
    *,
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="THEIRS=OURS", help="Which column of the file stands for which of ours."),
    ] = None,
    format_: Annotated[
        FileFormat | None,
        typer.Option("--format", help="What the file is.", show_default="what its extension says"),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Import the good rows and say how many were left out, and why.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, change nothing.")] = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Import outcomes from a file: all of its rows, or none.

    A row has `outcome` (resolved, accepted, …), `succeeded` (true, false or pending), at least one of
    `trace_id`, `session_id` and `response_id`, and may have `value_usd` and `observed_at` (now, if it is empty).
    The latest word on an outcome holds, whether a span, a log or a file told it. A file that was imported
    before changes nothing.

    \b
    Examples:
      llmcost outcomes import tickets.csv
      llmcost outcomes import tickets.csv --map ticket_trace=trace_id --map solved=succeeded --dry-run
      llmcost outcomes import - --format jsonl < outcomes.jsonl
    """
    from .outcome_report import import_file  # noqa: PLC0415  start-up time

    for line in import_file(
        file,
        parse_map(columns or ()),
        format_.value if format_ else None,
        skip_bad=skip_bad,
        dry_run=dry_run,
        lake=lake,
        config=config,
    ):
        typer.echo(one_line(line))


def parse_map(pairs: Sequence[str]) -> dict[str, str]:
    """Read repeated `--map THEIRS=OURS`.

    >>> parse_map(["Ticket = trace_id"])
    {'Ticket': 'trace_id'}
    """
    parsed: dict[str, str] = {}
    for pair in pairs:
        theirs, equals, ours = (part.strip() for part in pair.rpartition("="))
        if not equals or not theirs or not ours:
            raise UsageError(f'cannot read --map "{pair}": write THEIRS=OURS, such as --map ticket_trace=trace_id')
        if parsed.setdefault(theirs, ours) != ours:
            raise UsageError(f'--map names "{theirs}" twice, as "{parsed[theirs]}" and as "{ours}": choose one')
    return parsed
