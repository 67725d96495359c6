"""What the warehouse answers with: plain, immutable, typed; rendering is the caller's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pyarrow as pa

from ..models.windows import Window
from .relations import Column

__all__ = [
    "Answer",
    "Audited",
    "BiDatabase",
    "BiRelation",
    "Column",
    "Compared",
    "Coverage",
    "Finding",
    "PriceCheck",
    "PriceView",
    "RefreshReport",
    "Repricing",
    "Restatement",
    "RollupInfo",
    "TraceSpan",
    "TraceView",
]


@dataclass(frozen=True, slots=True)
class RollupInfo:
    """One rollup: what it answers, its grain, its columns, and what it can be grouped by.

    `key` are the columns that name a row and `headline` is the money it is asked for, where its header says them;
    `where` are the only filters it takes, None for all. `problem` is why a user's file cannot be asked.
    """

    name: str
    sentence: str
    grain: str
    reads: tuple[str, ...]
    columns: tuple[Column, ...]
    group_by: tuple[str, ...]
    path: Path
    key: tuple[str, ...] = ()
    headline: str | None = None
    where: tuple[str, ...] | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the window's spend an answer rests on.

    `unattributed` is the share of cost, 0 to 1, that has no value of a dimension.
    """

    calls: int
    cost_usd: Decimal
    unpriced_calls: int
    unpriced_tokens: int
    unattributed: dict[str, float]
    newest_span_at: datetime | None


@dataclass(frozen=True, slots=True)
class Restatement:
    """A booked day whose calls have another cost under another price book.

    Over the calls that were booked before and still are: what arrived since is no restatement.
    """

    day: date
    restated_at: datetime
    book_before: str
    book_after: str
    calls: int
    cost_before: Decimal
    cost_after: Decimal
    unpriced_before: int
    unpriced_after: int


@dataclass(frozen=True, slots=True)
class Compared:
    """The earlier window whose figures an answer's `previous_…` columns are, and what they cover."""

    window: Window
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class Answer:
    """A rollup's rows over a window, what they cover, and the dimensions they are split by.

    `restated` are the days that the question found under another price book, and made again; `notes` say what of
    the user's own was not there.
    """

    info: RollupInfo
    window: Window
    table: pa.Table
    coverage: Coverage
    dimensions: tuple[str, ...] = ()
    restated: tuple[Restatement, ...] = ()
    notes: tuple[str, ...] = ()
    compared: Compared | None = None


@dataclass(frozen=True, slots=True)
class Audited:
    """What one audit found: how many offenders, the first of them, and what to do; `problem` is why it is broken."""

    audit: str
    sentence: str
    result: Literal["ok", "fail", "broken", "not checked"]
    offenders: int = 0
    examples: pa.Table | None = None
    next_step: str | None = None
    problem: str | None = None

    @property
    def has_failed(self) -> bool:
        """Whether there are offenders, or it could not look for them."""
        return self.result in ("fail", "broken")


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of `doctor`."""

    check: str
    status: Literal["ok", "warn", "fail"]
    message: str
    next_step: str | None = None


@dataclass(frozen=True, slots=True)
class TraceSpan:
    """One span of a trace in tree order, with what it was billed or why it was not."""

    span_id: str
    parent_span_id: str | None
    depth: int
    name: str
    kind_class: str
    scope_name: str | None
    started_at: datetime
    duration_ms: float
    status: str
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Decimal | None
    cost_basis: str | None
    billed: bool
    reason: str | None
    represented_by: str | None


@dataclass(frozen=True, slots=True)
class TraceView:
    """One trace as a tree with money on it."""

    trace_id: str
    spans: tuple[TraceSpan, ...]
    cost_usd: Decimal | None
    calls: int
    unpriced_calls: int
    outcomes: tuple[tuple[str, bool | None, Decimal | None], ...]
    unexplained_usd: Decimal | None = None
    """What agent spans report beyond the calls below them; not in `cost_usd`, NULL where they report nothing."""


@dataclass(frozen=True, slots=True)
class PriceView:
    """What a model costs: one row per period, time of day and tier, in USD per million tokens."""

    provider: str | None
    model: str
    source: str
    price_book: str
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class PriceCheck:
    """The entries of price files: one row each with its problem, or the models and calls it is about."""

    path: Path
    entries: pa.Table
    problems: int


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What a refresh did."""

    days: int
    refreshed: tuple[date, ...]
    calls: int
    cost_usd: Decimal
    seconds: float
    restated: tuple[Restatement, ...] = ()


@dataclass(frozen=True, slots=True)
class Repricing:
    """What a window's calls cost under another price book: the days and models where that differs.

    `table` has a row for each (day, provider, model) with a difference, `models` one for each model,
    `total` one for the window. Each has calls, changed_calls, cost_before_usd, cost_after_usd,
    change_usd, unpriced_before, unpriced_after; calls without a difference are in `total` only.
    """

    window: Window
    books_before: tuple[str, ...]
    book_after: str
    table: pa.Table
    models: pa.Table
    total: dict[str, int | Decimal]
    restated: tuple[Restatement, ...] | None


@dataclass(frozen=True, slots=True)
class BiRelation:
    """One view of the database for BI tools."""

    name: str
    kind: Literal["mart", "report", "view", "rollup"]
    columns: int
    sentence: str


@dataclass(frozen=True, slots=True)
class BiDatabase:
    """The database of views that was written, and the user's rollups that are not in it, with the reason.

    `is_fresh` says whether the marts it reads were derived first; they could not be where the lake is read-only.
    """

    path: Path
    relations: tuple[BiRelation, ...]
    left_out: tuple[str, ...]
    is_relative: bool
    is_fresh: bool = True
