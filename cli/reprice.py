"""`llmcost reprice`: what booked calls cost under another price book."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from ..models.errors import UsageError
from .options import ConfigOption, FormatOption, LakeOption, OutputOption, SinceOption, UntilOption, open_warehouse


def reprice(
    *,
    since: SinceOption = "7d",
    until: UntilOption = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", metavar="DATE", help="Price every call as on this UTC day.", show_default="its own time"
        ),
    ] = None,
    book: Annotated[
        Path | None,
        typer.Option(
            "--book", metavar="FILE|DIR", help="Price files to take instead of the lake's.", show_default="the lake's"
        ),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Book the new costs, and record the restatement.")] = False,
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Price calls again, and show the difference by day and model.

    A booked cost keeps its price book: upgrading the price list changes no day that is derived already. This shows
    what the current list and your price files would make of the days that the window touches, whole UTC days.
    Nothing is written without --apply.

    \b
    Examples:
      llmcost reprice --since 30d                        under the current price book
      llmcost reprice --since 30d --apply                and book it
      llmcost reprice --since 90d --as-of 2026-01-01     what would we pay at January's prices
      llmcost reprice --since 30d --book contract.toml   what would this contract save
    """
    from . import sheet  # noqa: PLC0415  start-up time
    from .waiting import progress_bar  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    day = _day(as_of)
    with progress_bar("pricing days") as progress:
        repricing = open_warehouse(lake, config).reprice(
            since=since, until=until, as_of=day, book=book, apply=apply, progress=progress
        )
    deliver(sheet.of_repricing(repricing), format_, output)
    if repricing.restated is not None:
        told = sheet.restatement_line(repricing.restated) if repricing.restated else "no booked cost changed"
        typer.echo(told, err=True)


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise UsageError(f'--as-of "{text}" is not a day such as 2026-11-22') from None
