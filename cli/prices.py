"""`llmcost prices`: the price book."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import ConfigOption, FormatOption, LakeOption, OutputOption, open_warehouse

app = typer.Typer(name="prices", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _prices(context: typer.Context) -> None:
    """Show what models cost, and where that is written.

    \b
    Examples:
      llmcost prices show gpt-5-mini
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model as spans name it.")],
    *,
    provider: Annotated[
        str | None,
        typer.Option("--provider", metavar="NAME", help="Vendor as spans name it.", show_default="inferred"),
    ] = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what a model costs, since when, and which price file says so.

    \b
    Examples:
      llmcost prices show gpt-5-mini
      llmcost prices show claude-sonnet-4-5 --provider anthropic --format json
    """
    from . import sheet  # noqa: PLC0415  start-up time
    from .writers import deliver  # noqa: PLC0415

    deliver(sheet.of_prices(open_warehouse(lake, config).prices(model, provider)), format_, output)
