"""How far an answer may be trusted: what of its spend has a price and an owner.

Asked under every rollup, and it reads most columns of `calls`; so each day's figures stand in the metadata of the
day's file, replaced with it. They are sums, so whole days add up; a day that the window cuts is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from ..models.lake import Lake
from ..models.schema import DIMENSIONS
from ..models.windows import Window
from .answers import Coverage
from .database import rows

METADATA = "llmcost.coverage"
_FORM = 1
"""Raised when the figures change their meaning: those of older files are then read anew."""
_UNOWNED = "".join(f", coalesce(sum(cost_usd) filter ({name} is null), 0) as {name}" for name in DIMENSIONS)
_FIGURES = f"""
    select
        count(*) as calls,
        coalesce(sum(cost_usd), 0) as cost_usd,
        count(*) filter (cost_usd is null) as unpriced_calls,
        coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)) filter (cost_usd is null), 0)
            ::bigint as unpriced_tokens,
        max(started_at) as newest_span_at
        {_UNOWNED}
    from
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over some calls; `unowned` is the cost, in USD, of those without a value of each dimension."""

    calls: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced_calls: int = 0
    unpriced_tokens: int = 0
    newest_span_at: datetime | None = None
    unowned: Mapping[str, Decimal] = field(default_factory=lambda: dict.fromkeys(DIMENSIONS, Decimal(0)))

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.calls + other.calls,
            self.cost_usd + other.cost_usd,
            self.unpriced_calls + other.unpriced_calls,
            self.unpriced_tokens + other.unpriced_tokens,
            max(filter(None, (self.newest_span_at, other.newest_span_at)), default=None),
            {name: self.unowned[name] + other.unowned[name] for name in DIMENSIONS},
        )

    def coverage(self) -> Coverage:
        """The same as shares of the cost."""
        cost = self.cost_usd
        shares = {name: float(part / cost) if cost else 0.0 for name, part in self.unowned.items()}
        return Coverage(self.calls, cost, self.unpriced_calls, self.unpriced_tokens, shares, self.newest_span_at)

    def metadata(self) -> str:
        """The figures as text for a file's metadata."""
        return json.dumps({"form": _FORM, **_plain(self)})


def figures(con: duckdb.DuckDBPyConnection, relation: str, bound: Mapping[str, Any] | None = None) -> Figures:
    """The figures of the calls in `relation`, SQL that stands behind from."""
    row = rows(con, _FIGURES + relation, bound)[0]
    unowned = {name: row.pop(name) for name in DIMENSIONS}
    return Figures(**row, unowned=unowned)


def of_window(
    con: duckdb.DuckDBPyConnection, lake: Lake, days: Sequence[date], asked: Window | None, *, whole: bool
) -> Coverage:
    """The coverage of the session's `calls`; where they are all the calls of their window (`whole`), from metadata.

    `days` are those whose files the session reads; without a window all of their calls are meant.
    """
    if not whole:
        return figures(con, "calls").coverage()
    told, untold = Figures(), list[date]()
    for day in days:
        path = lake.mart_file("calls", day)
        if (asked is None or asked.first_day <= day <= asked.last_day) and path.exists():
            known = _read(path) if asked is None or _holds(asked, day) else None
            if known is None:
                untold.append(day)
            else:
                told += known
    if untold:
        any_of_them = " or ".join(f"day = date '{day}'" for day in untold)
        told += figures(con, f"calls where {any_of_them}")
    return told.coverage()


def _holds(asked: Window, day: date) -> bool:
    begins = datetime.combine(day, time(), UTC)
    return asked.since <= begins and begins + timedelta(days=1) <= asked.until


def _read(path: Path) -> Figures | None:
    found = (pq.read_metadata(path).metadata or {}).get(METADATA.encode())
    said = json.loads(found) if found else {}
    if said.pop("form", None) != _FORM or set(said["unowned"]) != set(DIMENSIONS):
        return None
    newest = said["newest_span_at"]
    return Figures(
        said["calls"],
        Decimal(said["cost_usd"]),
        said["unpriced_calls"],
        said["unpriced_tokens"],
        datetime.fromisoformat(newest) if newest else None,
        {name: Decimal(value) for name, value in said["unowned"].items()},
    )


def _plain(of: Figures) -> dict[str, Any]:
    return {
        "calls": of.calls,
        "cost_usd": str(of.cost_usd),
        "unpriced_calls": of.unpriced_calls,
        "unpriced_tokens": of.unpriced_tokens,
        "newest_span_at": of.newest_span_at.isoformat() if of.newest_span_at else None,
        "unowned": {name: str(value) for name, value in of.unowned.items()},
    }
