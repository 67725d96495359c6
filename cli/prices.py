"""`llmcost prices`: the price book."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..models.errors import PriceBookError
from .options import ConfigOption, FormatOption, LakeOption, OutputOption, open_warehouse

app = typer.Typer(name="prices", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _prices(context: typer.Context) -> None:
    """Show what models cost, where that is written, and what a price file changes.

    \b
    Examples:
      llmcost prices show gpt-5-mini
      llmcost prices unmatched
      llmcost prices check contract.toml
      llmcost prices diff contract.toml
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


@app.command()
def unmatched(
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """List the models without a price, the most tokens first, and why they have none.

    \b
    Examples:
      llmcost prices unmatched
      llmcost prices unmatched --format json | jq -r '.rows[].model'
    """
    from . import sheet  # noqa: PLC0415  start-up time
    from .writers import deliver  # noqa: PLC0415

    deliver(sheet.of_unpriced(open_warehouse(lake, config).unpriced_models()), format_, output)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="Price file, or a folder of them.")],
    *,
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Check a price file before it is the lake's: every mistake, and the models and calls each entry is about.

    Exits with 2 if an entry has a problem. Writes nothing to the lake.

    \b
    Examples:
      llmcost prices check contract.toml
      llmcost prices check contract.toml && cp contract.toml llmcost-lake/prices/
    """
    from . import sheet  # noqa: PLC0415  start-up time
    from .writers import deliver  # noqa: PLC0415

    checked = open_warehouse(lake, config).check_prices(file)
    deliver(sheet.of_price_check(checked), format_, output)
    if checked.problems:
        wrong = f"{checked.problems} of {checked.entries.num_rows} entries"
        raise PriceBookError(f'price file "{file}": {wrong} cannot be used: see the column problem')


@app.command()
def diff(
    old: Annotated[
        Path, typer.Argument(metavar="A", help="Price file or folder; alone, it is compared with the list.")
    ],
    new: Annotated[
        Path | None, typer.Argument(metavar="[B]", help="Price file or folder.", show_default=False)
    ] = None,
    *,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="MODEL", help="Only this model; may be repeated.", show_default="those of the lake"
        ),
    ] = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Compare what models cost today under two price files or folders, or under one and the pinned list.

    A contract or an override for some customer or key has rows of its own where it differs.

    \b
    Examples:
      llmcost prices diff llmcost-lake/prices
      llmcost prices diff contract-2026.toml contract-2027.toml
      llmcost prices diff contract.toml --model gpt-5-mini --model claude-haiku-4-5
    """
    from . import sheet  # noqa: PLC0415  start-up time
    from .writers import deliver  # noqa: PLC0415

    before, after = (None, old) if new is None else (old, new)
    rows = open_warehouse(lake, config).diff_prices(before, after, tuple(models or ()))
    deliver(sheet.of_price_diff(rows, before, after), format_, output)
