"""The demo's check: what the warehouse counted against what is known to have happened.

Each known request has the ids of all the spans that tell of it; each row of `calls` has the ids of the spans
it was made from. A request whose ids meet one row is counted once, two rows twice, none missing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from .demo_trace import TrueCall
from .demo_week import TrueOutcome


@dataclass(frozen=True, slots=True)
class CountedCall:
    """A row of `calls`: the spans it stands for and its booked cost."""

    span_ids: frozenset[str]
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Known against counted; `twice` and `missing` are requests, `invented` rows of `calls`."""

    known: int
    once: int
    twice: int
    missing: int
    invented: int
    known_usd: Decimal
    counted_usd: Decimal
    known_unpriced: int
    counted_unpriced: int

    @property
    def is_exact(self) -> bool:
        """Every request once, every dollar once, and nothing priced that has no price."""
        counts_agree = self.once == self.known and self.twice == self.missing == self.invented == 0
        return counts_agree and self.known_usd == self.counted_usd and self.known_unpriced == self.counted_unpriced


def compare(known: Sequence[tuple[frozenset[str], Decimal | None]], counted: Sequence[CountedCall]) -> Accuracy:
    """Match requests and rows through the spans they share."""
    owner = {span_id: number for number, (span_ids, _) in enumerate(known) for span_id in span_ids}
    rows: Counter[int] = Counter()
    invented = 0
    for row in counted:
        told = {owner[span_id] for span_id in row.span_ids if span_id in owner}
        if told:
            rows[min(told)] += 1  # a row that stands for two requests counts for one; the other is missing
        else:
            invented += 1
    once = sum(count == 1 for count in rows.values())
    twice = len(rows) - once
    return Accuracy(
        known=len(known),
        once=once,
        twice=twice,
        missing=len(known) - len(rows),
        invented=invented,
        known_usd=_total(cost for _, cost in known),
        counted_usd=_total(row.cost_usd for row in counted),
        known_unpriced=sum(cost is None for _, cost in known),
        counted_unpriced=sum(row.cost_usd is None for row in counted),
    )


def _total(costs: Iterable[Decimal | None]) -> Decimal:
    return sum((cost for cost in costs if cost is not None), Decimal(0))


def of_ledger(calls: Sequence[TrueCall]) -> list[tuple[frozenset[str], Decimal | None]]:
    """The ledger as `compare` takes it."""
    return [(call.span_ids, call.cost_usd) for call in calls]


def outcomes_as_told(told: Iterable[TrueOutcome], rows: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """How many of the told outcomes cost-per-outcome has by their latest word, and how many it has in all.

    `rows` are grouped by feature; outcomes of other names and features are not looked at.
    """
    known = Counter((outcome.owner.feature, outcome.name, outcome.succeeded) for outcome in told)
    named = {(feature, name) for feature, name, _ in known}
    counted: Counter[tuple[str, str, bool]] = Counter()
    for row in rows:
        if (row["feature"], row["outcome"]) in named:
            counted[row["feature"], row["outcome"], True] += row["successes"]
            counted[row["feature"], row["outcome"], False] += row["failures"]
    return (known & counted).total(), counted.total()


@dataclass(frozen=True, slots=True)
class RecordedTruth:
    """What the vendors' answers said while one recording was made, for what its telemetry carries at all."""

    calls: tuple[frozenset[str], ...]
    never_reported: int


def read_recorded_truth(folder: Path, name: str) -> RecordedTruth:
    """Truth of one recording from its `.expected.json`."""
    rows = json.loads((folder / f"{name}.expected.json").read_text(encoding="utf-8"))["calls"]
    seen = tuple(frozenset(row["span_ids"]) for row in rows if row["status"] == "observed")
    return RecordedTruth(seen, len(rows) - len(seen))
