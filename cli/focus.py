"""`llmcost focus`: export cost and usage as FOCUS, for tools of finance."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..models.errors import UsageError
from .options import (
    ConfigOption,
    Grain,
    LakeOption,
    SinceOption,
    UntilOption,
    WhereOption,
    open_warehouse,
    parse_where,
)


class Billed(StrEnum):
    """What BilledCost holds."""

    ZERO = "zero"
    BOOKED = "booked"


def focus(
    *,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Write to this .csv or .parquet, whole or not at all."),
    ],
    since: SinceOption = "7d",
    until: UntilOption = None,
    by: Annotated[Grain, typer.Option("--by", help="Charge periods: days or hours, in UTC.")] = Grain.DAY,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            "--group-by",
            metavar="DIM",
            help="Split charges by this dimension: a tag and a column x_…; may be repeated.",
            show_default="team, customer_id, feature, agent_name",
        ),
    ] = None,
    sub_account: Annotated[
        str, typer.Option("--sub-account", metavar="DIM", help="The dimension that SubAccountId holds.")
    ] = "team",
    billing_account: Annotated[
        str | None,
        typer.Option("--billing-account", metavar="ID", help="BillingAccountId.", show_default="the provider's name"),
    ] = None,
    billed_cost: Annotated[
        Billed,
        typer.Option("--billed-cost", help="BilledCost: 0, as we invoice nothing, or what is booked, an estimate."),
    ] = Billed.ZERO,
    where: WhereOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Export cost and usage in FOCUS 1.4, the FinOps Open Cost and Usage Specification.

    One row a charge: a day or hour, an owner, a model and a kind of token (input, cache reads and writes, audio,
    output, reasoning), with tokens, list and contracted prices. EffectiveCost sums to the ledger. BilledCost is 0,
    because only who issues an invoice may fill it: the file can stand beside the provider's own without counting
    twice. Calls of unknown cost are in no row; they are counted on stderr and in FILE.metadata.json.

    \b
    Examples:
      llmcost focus --since 2026-10-01 --until 2026-11-01 --output october.csv
      llmcost focus --since 2026-10-01 --until 2026-11-01 --by hour --output october.parquet
      llmcost focus --since 7d --sub-account customer_id --group-by feature --group-by prompt_version -o week.csv
      llmcost focus --since 7d --billed-cost booked --billing-account acme-llm --output for-a-dashboard.csv
    """
    from . import focus_files, sheet  # noqa: PLC0415  start-up time
    from .waiting import progress_bar  # noqa: PLC0415

    if output.suffix.lower() not in focus_files.SUFFIXES:
        raise UsageError(f'cannot tell the format of "{output}": end it in {" or ".join(focus_files.SUFFIXES)}')
    conditions = parse_where(where or ())
    with progress_bar("deriving days") as progress:
        export = open_warehouse(lake, config).focus(
            since=since,
            until=until,
            by=by.value,
            dimensions=tuple(group_by) if group_by else None,
            sub_account=sub_account,
            billing_account=billing_account,
            billed_cost=billed_cost.value,
            where=conditions,
            progress=progress,
        )
    focus_files.write(export, output)
    if export.restated:
        typer.echo(sheet.restatement_line(export.restated), err=True)
    if export.difference_usd:
        raise typer.Exit(1)
