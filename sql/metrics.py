"""What was spent, as Prometheus text: the sums of the `calls` marts as they stand, by provider and status.

Gauges, though they mostly grow: a late span or another price restates a sum, and to a counter's reader every
decrease is a restart from zero. Users and runs are never labels: there are too many of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from ..models.errors import LakeNotWritable
from ..models.lake import Lake
from .database import connect, rows
from .inventory import mart_days
from .steady import ask_steady

FILE = "cost.prom"

_SPENT = """
    select
        coalesce(provider, 'unknown') as provider,
        coalesce(status, 'unknown') as status,
        coalesce(sum(cost_usd), 0) as cost,
        count(*) as calls,
        count(*) filter (cost_usd is null) as unpriced
    from read_parquet($files)
    group by all
    order by all
"""
_METRICS = (
    ("llmcost_cost_total", "cost", "US dollars spent on LLM calls, as booked; use delta(), not rate()"),
    ("llmcost_calls_total", "calls", "LLM calls"),
    ("llmcost_unpriced_calls_total", "unpriced", "LLM calls whose cost is unknown, and not in llmcost_cost_total"),
)


def exposition(lake: Lake) -> str:
    """The lake's spend in Prometheus' text format; every digit of the money."""
    days = mart_days(lake, "calls")
    found = ask_steady(lake, days, lambda source: _spent(source, days), ("calls",)) if days else []
    lines = []
    for name, column, meaning in _METRICS:
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge"]
        lines += [
            f'{name}{{provider="{escaped(row["provider"])}",status="{escaped(row["status"])}"}} {row[column]}'
            for row in found
        ]
    return "\n".join([*lines, ""])


def _spent(lake: Lake, days: Sequence[date]) -> list[dict[str, Any]]:
    with connect() as con:
        return rows(con, _SPENT, {"files": [str(lake.mart_file("calls", day)) for day in days]})


def write_metrics(lake: Lake, folder: Path) -> Path:
    """Write FILE into `folder`, whole or not at all. Raises LakeNotWritable if it cannot be written."""
    return write_page(folder / FILE, exposition(lake))


def write_page(target: Path, text: str) -> Path:
    """Replace the file `target` of Prometheus text, whole or not at all. Raises LakeNotWritable."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    except OSError as error:
        raise LakeNotWritable(f'cannot write the metrics "{target}": {error.strerror or error}') from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def escaped(text: str) -> str:
    r"""A label's value.

    >>> print(escaped('a "b"'))
    a \"b\"
    """
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
