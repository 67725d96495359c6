"""`llmcost statement`: what each owner pays for a month."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..models.errors import UsageError
from .options import ConfigOption, Format, LakeOption, TzOption, open_warehouse


class StatementFormat(StrEnum):
    """How statements are written."""

    HTML = "html"
    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    MD = "md"


class SharedBy(StrEnum):
    """What shared cost is split by."""

    EVEN = "even"
    COST = "cost"
    CALLS = "calls"
    TOKENS = "tokens"
    WEIGHTS = "weights"


def statement(
    *,
    month: Annotated[
        str, typer.Option("--month", metavar="MONTH", help="Which month: 2026-10, last or this.")
    ] = "last",
    by: Annotated[
        str, typer.Option("--by", metavar="OWNER", help="Whose statements: a dimension such as team, or cost_center.")
    ] = "team",
    split_shared: Annotated[
        SharedBy | None,
        typer.Option("--split-shared", help="Split shared cost over the owners by this.", show_default="not split"),
    ] = None,
    shared_feature: Annotated[
        list[str] | None,
        typer.Option("--shared-feature", metavar="NAME", help="A feature whose cost is shared; may be repeated."),
    ] = None,
    split_unattributed: Annotated[
        bool, typer.Option("--split-unattributed", help="Share the cost of work without an owner too.")
    ] = False,
    tz: TzOption = "UTC",
    format_: Annotated[
        StatementFormat | None,
        typer.Option("--format", help="How to write them.", show_default="table; html into the folder of --output"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write to this folder, made if need be; FILE.csv, .json, .md or .parquet gets the statements alone.",
            show_default="stdout",
        ),
    ] = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Write a statement for each owner of a month, for showback or chargeback.

    Each has its direct cost by feature, model and day, its part of shared cost, and what of it has no known price.
    All statements sum to the month's ledger, to the nano-dollar. Work without an owner, and shared features, stand in
    statements of their own unless you have them split. Cost centers are yours: LAKE/rollups/cost_centers.csv maps
    team, customer_id and feature to them; LAKE/rollups/shared_weights.csv holds fixed weights.

    \b
    Examples:
      llmcost statement --month 2026-10
      llmcost statement --month 2026-10 --by customer_id --tz Europe/Berlin --output october
      llmcost statement --by cost_center --output last-month --format csv
      llmcost statement --shared-feature gateway --split-shared cost --split-unattributed
      llmcost statement --month 2026-10 --split-unattributed --split-shared even --format json
    """
    from . import sheet, statement_report  # noqa: PLC0415  start-up time
    from .waiting import progress_bar  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    with progress_bar("deriving days") as progress:
        statements = open_warehouse(lake, config).statements(
            month,
            by=by,
            split_shared=split_shared.value if split_shared else None,
            shared_features=tuple(shared_feature or ()),
            split_unattributed=split_unattributed,
            tz=tz,
            progress=progress,
        )
    is_html = format_ is StatementFormat.HTML
    if output is None and is_html:
        raise UsageError("HTML is a page for each statement: name a folder for them with --output DIR")
    if output is None or (output.suffix and not is_html and not output.is_dir()):
        deliver(statement_report.of_statements(statements), Format(format_.value) if format_ else None, output)
    else:
        statement_report.write(statements, output, format_ or StatementFormat.HTML)
    if statements.restated:
        typer.echo(sheet.restatement_line(statements.restated), err=True)
    if statements.difference_usd:
        raise typer.Exit(1)
