"""The options several commands share, and how a command opens the warehouse.

Imported by every command at start-up, so nothing here imports DuckDB, Arrow or the settings at its top.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..models.errors import UsageError

if TYPE_CHECKING:
    from ..sql.warehouse import Warehouse


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    MD = "md"


class Grain(StrEnum):
    """Time buckets of a rollup."""

    DAY = "day"
    HOUR = "hour"


LakeOption = Annotated[
    Path | None,
    typer.Option(
        "--lake", envvar="LLMCOST_LAKE", metavar="DIR", help="Folder of the lake.", show_default="./llmcost-lake"
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file.", show_default="./llmcost.toml, if it is there"),
]
SinceOption = Annotated[
    str,
    typer.Option("--since", metavar="WHEN", help="Start of the window: 90m, 24h, 7d, 4w, today, a date or a time."),
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", metavar="WHEN", help="End of the window, not itself in it.", show_default="now"),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="DIM=VALUE", help="Only calls with this value; may be repeated."),
]
TzOption = Annotated[
    str, typer.Option("--tz", metavar="ZONE", help="Time zone of days, hours and bare dates, such as Europe/Berlin.")
]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format", help="How to write the rows.", show_default="table, or what the extension of --output says"
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write to this file, whole or not at all.", show_default="stdout"
    ),
]


def open_warehouse(lake: Path | None, config: Path | None) -> Warehouse:
    """The warehouse over the lake these options and the settings name."""
    from ..models.settings import load  # noqa: PLC0415  start-up time
    from ..sql.warehouse import Warehouse  # noqa: PLC0415

    settings = load(config, lake=lake)
    return Warehouse(settings.lake, settings)


def parse_where(conditions: Sequence[str], option: str = "--where") -> dict[str, str]:
    """Read repeated `--where DIM=VALUE`, or another `option` that is written so.

    >>> parse_where(["feature=refund-bot", "team=a=b"])
    {'feature': 'refund-bot', 'team': 'a=b'}
    """
    parsed: dict[str, str] = {}
    for condition in conditions:
        name, equals, value = condition.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(
                f'cannot read {option} "{condition}": write DIM=VALUE, such as {option} feature=refund-bot'
            )
        if parsed.setdefault(name, value) != value:
            raise UsageError(
                f'{option} names "{name}" twice, as "{parsed[name]}" and as "{value}": ask once for each'
            )
    return parsed
