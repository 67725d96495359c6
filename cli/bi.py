"""`llmcost bi`: the lake for tools that come with a DuckDB driver."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ConfigOption, FormatOption, LakeOption, open_warehouse


def bi(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The database file.", show_default="llmcost.duckdb in the lake"
        ),
    ] = None,
    relative: Annotated[
        bool,
        typer.Option("--relative", help="Name files from the lake's folder on, for a lake that is seen elsewhere."),
    ] = False,
    format_: FormatOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Write a DuckDB database of views over the lake, for BI tools and DuckDB itself.

    It holds no rows: its views read the files of the lake whenever they are asked, so they see new days. They are as
    fresh as the last refresh; llmcost serve refreshes by itself, and this command does first. Run it again after an
    upgrade, or for a rollup of your own. The file is replaced whole: who has it open keeps the old one.

    \b
    Examples:
      llmcost bi
      llmcost bi --output ~/llmcost.duckdb
      duckdb -readonly llmcost-lake/llmcost.duckdb "from cost_per_outcome"
    """
    from .sheet import of_bi_database  # noqa: PLC0415  start-up time
    from .waiting import progress_bar  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    with progress_bar("deriving days") as progress:
        written = open_warehouse(lake, config).bi(output, relative=relative, progress=progress)
    deliver(of_bi_database(written), format_, None)
