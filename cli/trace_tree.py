"""How a trace is drawn: spans indented under their parents, each with its cost or the reason it has none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from . import figures
from .tables import print_grid

if TYPE_CHECKING:
    from ..sql.answers import TraceSpan, TraceView

_VERDICTS = {True: "yes", False: "no", None: "told without a verdict"}


def print_trace(view: TraceView) -> None:
    """Write the tree to stdout."""
    from rich.console import Console  # noqa: PLC0415  start-up time
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    is_terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if is_terminal else 10_000)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    grid.add_column("span", no_wrap=True)
    for heading in ("took", "in", "out", "cost"):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("")
    priced = [span.cost_usd for span in view.spans if span.billed and span.cost_usd is not None]
    places = figures.money_places(priced)
    for span in view.spans:
        style = "red" if span.status == "ERROR" else ("" if span.billed else "dim")
        grid.add_row(*(Text(cell, style=style) for cell in _row(span, places)))
    print_grid(console, grid)
    console.print()
    for line in summary(view):
        console.print(Text(figures.one_line(line)))


def _row(span: TraceSpan, places: int) -> tuple[str, ...]:
    label = "  " * span.depth + figures.one_line(span.name)
    if span.model and span.model not in span.name:
        label += f" ({figures.one_line(span.model)})"
    return (
        label,
        figures.duration(span.duration_ms),
        "" if span.input_tokens is None else f"{span.input_tokens:,}",
        "" if span.output_tokens is None else f"{span.output_tokens:,}",
        _cost(span, places),
        figures.one_line(note(span)),
    )


def _cost(span: TraceSpan, places: int) -> str:
    if not span.billed:
        return ""
    return figures.UNKNOWN if span.cost_usd is None else figures.money(span.cost_usd, places)


def note(span: TraceSpan) -> str:
    """The words behind a span: how its cost is known, or why it has none."""
    parts = ["error"] if span.status == "ERROR" else []
    if span.billed:
        parts += [text for text in (span.cost_basis, span.reason) if text]
    elif span.reason:
        stand_in = f", counted as {span.represented_by}" if span.represented_by else ""
        parts.append(f"not billed: {span.reason}{stand_in}")
    return ", ".join(parts)


def summary(view: TraceView) -> list[str]:
    """The lines under the tree: total, what is unpriced, how it ended."""
    total = figures.UNKNOWN if view.cost_usd is None else figures.money(view.cost_usd)
    lines = [f"trace {view.trace_id}: {view.calls:,} calls, {total}"]
    if view.unpriced_calls:
        lines.append(f"no price known for {view.unpriced_calls:,} of them: they are not in that figure")
    if view.unexplained_usd:
        lines.append(
            f"unexplained: agents report {figures.money(view.unexplained_usd)} beyond these calls, not in that figure"
        )
    lines += [
        f"outcome {name}: {_VERDICTS[succeeded]}" + (f", worth {figures.money(value)}" if value is not None else "")
        for name, succeeded, value in view.outcomes
    ]
    return lines if view.outcomes else [*lines, "no outcome yet"]
