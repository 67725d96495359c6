"""A sheet as a table for people: fitted to a terminal, plain and whole anywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from . import figures
from .sheet import Sheet

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console
    from rich.table import Table

_GAP = 2
_KEPT = 3
"""Columns shown however narrow the terminal is."""


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column as text: its name, its heading in lines, and its cells."""

    name: str
    heading: tuple[str, ...]
    cells: tuple[str, ...]
    is_number: bool
    is_empty: bool

    @property
    def width(self) -> int:
        """Characters it needs."""
        return max(map(len, (*self.heading, *self.cells)), default=0)


def text_columns(sheet: Sheet) -> list[TextColumn]:
    """Every column of the sheet as text, in order."""
    from ..models.schema import DIMENSIONS  # noqa: PLC0415  start-up time

    columns = []
    for name in sheet.table.column_names:
        values = sheet.table.column(name).to_pylist(maps_as_pydicts="lossy")
        unit = sheet.units.get(name, figures.unit_of(name))
        cells = figures.column_of(values, name=name, unit=unit, is_dimension=name in DIMENSIONS)
        columns.append(
            TextColumn(
                name=name,
                heading=_broken(_heading(name), max((10, *map(len, cells)))),
                cells=tuple(cells),
                is_number=_is_number(sheet.table.schema.field(name).type),
                is_empty=bool(values) and all(value is None for value in values) and name not in DIMENSIONS,
            )
        )
    return columns


def _heading(name: str) -> str:
    """The name in words; that it is dollars or percent, the cells say.

    >>> _heading("cost_per_success_usd"), _heading("share_percent"), _heading("agent_name")
    ('cost per success', 'share', 'agent name')
    """
    return figures.one_line(name).removesuffix("_usd").removesuffix("_percent").replace("_", " ")


def fitting(columns: list[TextColumn], width: int) -> list[TextColumn]:
    """As many of the first columns as fit in `width`; the first three always."""
    shown: list[TextColumn] = []
    used = 0
    for column in columns:
        used += column.width + _GAP
        if len(shown) >= _KEPT and used - _GAP > width:
            break
        shown.append(column)
    return shown


def print_table(sheet: Sheet, stream: TextIO) -> None:
    """Write the sheet: title, rows, notes. What is not shown is named below."""
    from rich.console import Console  # noqa: PLC0415  start-up time
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    is_terminal = stream.isatty()
    console = Console(file=stream, highlight=False, soft_wrap=not is_terminal, width=None if is_terminal else 10_000)
    every = text_columns(sheet)
    told = [column for column in every if not column.is_empty]
    shown = fitting(told, console.width)
    grid = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column in shown:
        heading = Text("\n".join(column.heading))
        grid.add_column(heading, justify="right" if column.is_number else "left", overflow="fold")
    for row in zip(*(column.cells for column in shown), strict=True):
        grid.add_row(*map(Text, row))
    if sheet.title:
        console.print(Text(figures.one_line(sheet.title), style="bold"), end="\n\n")
    if sheet.table.num_rows:
        print_grid(console, grid)
    else:
        console.print("no rows")
    notes = [*sheet.notes, *_left_out(every, told, shown)]
    if notes:
        console.print()
    for note in notes:
        console.print(Text(figures.one_line(note), style="dim"))


def print_grid(console: Console, grid: Table) -> None:
    """Print a grid without the blanks that fill its last column."""
    with console.capture() as capture:
        console.print(grid)
    console.file.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))


def _broken(heading: str, width: int) -> tuple[str, ...]:
    """A heading in lines of at most `width`, where its words allow.

    >>> _broken("cost per success", 10)
    ('cost per', 'success')
    """
    lines: list[str] = []
    for word in heading.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return tuple(lines)


def _left_out(every: list[TextColumn], told: list[TextColumn], shown: list[TextColumn]) -> list[str]:
    empty = [column.name for column in every if column.is_empty]
    too_wide = [column.name for column in told[len(shown) :]]
    lines = [f"empty in every row: {', '.join(empty)}"] if empty else []
    return lines + ([f"for a wider terminal, or --format csv: {', '.join(too_wide)}"] if too_wide else [])


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa  # noqa: PLC0415  start-up time

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
