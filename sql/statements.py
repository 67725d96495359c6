"""Statements of a month: what each owner used, what it has of shared cost, and that all of it sums to the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from ..models.errors import UsageError
from ..models.lake import Lake
from ..models.schema import DIMENSIONS
from ..models.windows import Window
from . import catalogue
from .answers import Coverage, Restatement
from .database import rows
from .files import open_files
from .relations import CHARGEBACK, read
from .shared_cost import KEYS, Key, split

COST_CENTER = "cost_center"
OWNERS = (*DIMENSIONS, COST_CENTER)
"""What a statement can be for."""

_LINES = CHARGEBACK / "statement_lines.sql"
_UNMAPPED_SHOWN = 5
_Who = tuple[str | None, str | None]
"""An owner, or None, and a shared feature, or None."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used directly. `cost_usd` is None where it is known of no call; it leaves out the unpriced calls."""

    calls: int = 0
    cost_usd: Decimal | None = None
    unpriced_calls: int = 0
    unpriced_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Sent and generated."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Line:
    """A part of a statement's direct use: of one feature, model or day; `item` is None where that is unknown."""

    kind: Literal["feature", "model", "day"]
    item: str | None
    usage: Usage


@dataclass(frozen=True, slots=True)
class Pool:
    """Cost that is nobody's own: of a shared feature, or without an owner where `feature` is None."""

    feature: str | None
    usage: Usage
    is_split: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """An owner's part of a pool, USD; `percent` is its weight in all weights, 0 to 100."""

    feature: str | None
    cost_usd: Decimal
    percent: float


@dataclass(frozen=True, slots=True)
class Statement:
    """One owner's month. Work without an owner, and pools that are not split, stand in statements of their own.

    `kind` is owner, unattributed (then `owner` is None) or shared (then `owner` is the feature).
    """

    kind: Literal["owner", "unattributed", "shared"]
    owner: str | None
    usage: Usage
    shares: tuple[Share, ...] = ()
    lines: tuple[Line, ...] = ()

    @property
    def shared_usd(self) -> Decimal:
        """All parts of shared cost, USD."""
        return sum((share.cost_usd for share in self.shares), Decimal(0))

    @property
    def total_usd(self) -> Decimal | None:
        """Direct and shared cost, USD; None where neither is known. Calls without a price are in neither."""
        if self.usage.cost_usd is None and not self.shared_usd:
            return None
        return (self.usage.cost_usd or Decimal(0)) + self.shared_usd


@dataclass(frozen=True, slots=True)
class Statements:
    """All statements of a month, the dearest first; what is nobody's last.

    `coverage` is the ledger of the month, summed on its own: `difference_usd` is 0. `pools` are what was shared,
    split or not. `notes` say what of the user's files is not there, and which work they do not name.
    """

    month: str
    window: Window
    tz: str
    by: str
    key: Key | None
    statements: tuple[Statement, ...]
    pools: tuple[Pool, ...]
    coverage: Coverage
    notes: tuple[str, ...] = ()
    restated: tuple[Restatement, ...] = ()

    @property
    def total_usd(self) -> Decimal:
        """The sum of all statements, USD."""
        return sum((each.total_usd or Decimal(0) for each in self.statements), Decimal(0))

    @property
    def difference_usd(self) -> Decimal:
        """What the statements sum to beyond the ledger, USD."""
        return self.total_usd - self.coverage.cost_usd


@dataclass(frozen=True, slots=True)
class Question:
    """What statements are asked for. Raises UsageError for what cannot be."""

    month: str
    window: Window
    tz: ZoneInfo
    by: str
    key: Key | None
    shared_features: tuple[str, ...]
    split_unattributed: bool

    def __post_init__(self) -> None:
        if self.by not in OWNERS:
            raise UsageError(f'--by "{self.by}": accepted are {", ".join(OWNERS)}')
        if self.key is not None and self.key not in KEYS:
            raise UsageError(f'--split-shared "{self.key}": accepted are {", ".join(KEYS)}')
        if self.key and not (self.shared_features or self.split_unattributed):
            raise UsageError(
                f"--split-shared {self.key}: say what is shared: --shared-feature NAME, or --split-unattributed"
            )
        if self.split_unattributed and not self.key:
            raise UsageError(f"--split-unattributed: say by what, with --split-shared {'|'.join(KEYS)}")


def answer(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    question: Question,
    coverage: Coverage,
    restated: tuple[Restatement, ...],
) -> Statements:
    """The statements over a session whose `calls` are those of the month; see Warehouse.statements."""
    notes = list(_open(con, lake, question))
    usages, lines = _read(con, question)
    owners = sorted({owner for owner, feature in usages if owner is not None and feature is None})
    given = _weights(con, question, {owner: usages[owner, None] for owner in owners})
    pools: list[Pool] = []
    shares: dict[str, list[Share]] = defaultdict(list)
    apart: list[Statement] = []
    for feature in [*dict.fromkeys(question.shared_features), None]:
        usage = usages.get((None, feature))
        is_shared = feature is not None or question.split_unattributed
        if usage is None:
            notes += [] if feature is None else [f'no call of this month is of the shared feature "{feature}"']
            continue
        parts = _parts(feature, usage, given) if question.key and is_shared else []
        if is_shared:
            pools.append(Pool(feature, usage, is_split=bool(parts)))
            notes += _pool_notes(pools[-1], question)
        if not parts:
            kind: Literal["shared", "unattributed"] = "unattributed" if feature is None else "shared"
            apart.append(Statement(kind, feature, usage, lines=tuple(lines[None, feature])))
        for owner, share in parts:
            shares[owner].append(share)
    owned = [
        Statement("owner", owner, usages.get((owner, None), Usage()), tuple(shares[owner]), tuple(lines[owner, None]))
        for owner in sorted({*owners, *shares})
    ]
    owned.sort(key=lambda each: -(each.total_usd if each.total_usd is not None else Decimal(-1)))
    if question.by == COST_CENTER:
        notes += _unmapped(con)
    return Statements(
        question.month,
        question.window,
        question.tz.key,
        question.by,
        question.key,
        (*owned, *apart),
        tuple(pools),
        coverage,
        tuple(notes),
        restated,
    )


def _open(con: duckdb.DuckDBPyConnection, lake: Lake, question: Question) -> tuple[str, ...]:
    """Make the relations read beside `calls`; what to say where a file of the user's is missing."""
    shared = pa.table({"feature": pa.array(dict.fromkeys(question.shared_features), pa.string())})
    con.register("shared_features", shared)
    wanted = ["cost_centers"] if question.by == COST_CENTER else []
    wanted += ["shared_weights"] if question.key == "weights" else []
    opened = open_files(con, lake, wanted, Path("llmcost statement"))
    if question.by == COST_CENTER:
        con.execute(f"create temp table mapped_work as {read(CHARGEBACK / 'mapped_work.sql').text}")
    return opened.notes


def _read(con: duckdb.DuckDBPyConnection, question: Question) -> tuple[dict[_Who, Usage], dict[_Who, list[Line]]]:
    """Totals and lines by (owner, shared feature)."""
    text = catalogue.render(catalogue.info_of(read(_LINES)), group_by=[question.by])
    usages: dict[_Who, Usage] = {}
    lines: dict[_Who, list[Line]] = defaultdict(list)
    for row in rows(con, text):
        who, kind, item = (row.pop("owner"), row.pop("shared_feature")), row.pop("kind"), row.pop("item")
        usage = Usage(**row)
        if kind == "total":
            usages[who] = usage
        else:
            lines[who].append(Line(kind, item, usage))
    return usages, lines


def _weights(con: duckdb.DuckDBPyConnection, question: Question, usages: Mapping[str, Usage]) -> dict[str, Fraction]:
    """What each owner weighs by the key; without a key nothing."""
    match question.key:
        case "even":
            return {owner: Fraction(1) for owner in usages}
        case "cost":
            return {owner: max(Fraction(usage.cost_usd or 0), Fraction(0)) for owner, usage in usages.items()}
        case "calls":
            return {owner: Fraction(usage.calls) for owner, usage in usages.items()}
        case "tokens":
            return {owner: Fraction(usage.tokens) for owner, usage in usages.items()}
        case "weights":
            listed = rows(
                con, "select owner, sum(weight) as weight from shared_weights group by owner order by owner"
            )
            return {row["owner"]: Fraction(row["weight"]) for row in listed}
        case None:
            return {}


def _unmapped(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Which work no line of the cost centers' file fits, the dearest first."""
    found = rows(con, read(CHARGEBACK / "unmapped_work.sql").text)
    said = []
    for row in found[:_UNMAPPED_SHOWN]:
        names = ", ".join(f"{name} {row[name] or 'unknown'}" for name in ("team", "customer_id", "feature"))
        cost = "cost unknown" if row["cost_usd"] is None else f"${row['cost_usd']:f}"
        said.append(f"no cost center for {row['calls']:,} calls, {cost}: {names}")
    rest = found[_UNMAPPED_SHOWN:]
    return said + ([f"nor for {sum(row['calls'] for row in rest):,} calls of other work"] if rest else [])


def _parts(feature: str | None, usage: Usage, weights: Mapping[str, Fraction]) -> list[tuple[str, Share]]:
    """Who has which part of a pool; nobody of one whose cost is unknown, or where nobody has a weight."""
    if usage.cost_usd is None:
        return []
    whole = sum(weights.values(), Fraction(0))
    return [
        (owner, Share(feature, cost, float(100 * weights[owner] / whole)))
        for owner, cost in (split(usage.cost_usd, weights) or {}).items()
        if weights[owner]
    ]


def _pool_notes(pool: Pool, question: Question) -> list[str]:
    """That a pool was not split though it was asked for, and what of it has no known price."""
    name, usage, notes = _pool_name(pool.feature), pool.usage, []
    if question.key and not pool.is_split and usage.cost_usd is not None:
        notes.append(f"{name} is not split: no owner has a weight by {question.key}")
    if usage.unpriced_calls:
        notes.append(
            f"of {name} {usage.unpriced_calls:,} calls with {usage.unpriced_tokens:,} tokens have no known price: "
            "they are in nobody's part"
        )
    return notes


def _pool_name(feature: str | None) -> str:
    return "work without an owner" if feature is None else f'the shared feature "{feature}"'
