"""The rows of a reconciliation: cells summed to what is asked for, with their causes, and a report in all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa

from ..models.schema import MONEY
from .compared_cell import Cell, Part
from .reconciliation import Cause, CauseAmount, Totals
from .usage_rates import UsageRates, worth
from .usage_sides import Sides
from .variance import Explainer

GROUPS = {"provider": "provider", "model": "model", "service_tier": "service_tier", "project": "project_id",
          "key_id": "key_id"}  # fmt: skip
"""What rows can be split by, and the column that holds it."""

_ROW = pa.schema(
    [
        ("found_in", pa.string()),
        ("calls", pa.int64()),
        ("requests", pa.int64()),
        ("cost_usd", MONEY),
        ("billed_cost_usd", MONEY),
        ("estimated_cost_usd", MONEY),
        ("variance_usd", MONEY),
        ("variance_percent", pa.float64()),
        ("tokens", pa.int64()),
        ("report_tokens", pa.int64()),
        ("variance_tokens", pa.int64()),
        ("tokens_variance_percent", pa.float64()),
        ("token_coverage_percent", pa.float64()),
        ("cost_coverage_percent", pa.float64()),
        ("unpriced_calls", pa.int64()),
        ("cause", pa.string()),
        ("cause_usd", MONEY),
        ("unexplained_usd", MONEY),
    ]
)
_CAUSE = pa.schema(
    [("cause", pa.string()), ("amount_usd", MONEY), ("tokens", pa.int64()), ("factor", pa.decimal128(18, 6))]
)
_ZERO = Decimal(0)


@dataclass
class _Line:
    """One row of the answer as it is summed; `parts` are what explains it."""

    calls: int = 0
    requests: int | None = None
    unpriced_calls: int = 0
    cost: Decimal = _ZERO
    told_cost: Decimal | None = None
    cost_beside: Decimal = _ZERO
    tokens: int = 0
    told_tokens: int | None = None
    tokens_beside: int = 0
    covered_tokens: int = 0
    covered_cost: Decimal = _ZERO
    gross_usd: Decimal = _ZERO
    seen: bool = False
    told: bool = False
    parts: list[CauseAmount] = field(default_factory=list)

    @property
    def variance_usd(self) -> Decimal | None:
        return None if self.told_cost is None else self.cost_beside - self.told_cost

    @property
    def variance_tokens(self) -> int | None:
        return None if self.told_tokens is None else self.tokens_beside - self.told_tokens

    def causes(self) -> list[CauseAmount]:
        """Each cause once, the largest amount first."""
        sums: dict[Cause, list[CauseAmount]] = defaultdict(list)
        for part in self.parts:
            sums[part.cause].append(part)
        together = [
            CauseAmount(
                cause,
                sum((part.amount_usd for part in alike), _ZERO),
                sum(part.tokens for part in alike),
                alike[0].factor if len({part.factor for part in alike}) == 1 else None,
            )
            for cause, alike in sums.items()
        ]
        return sorted(together, key=lambda each: (-abs(each.amount_usd), -each.tokens, each.cause))

    @property
    def unexplained(self) -> Decimal | None:
        if self.variance_usd is None:
            return None
        return self.variance_usd - sum((part.amount_usd for part in self.parts), _ZERO)


@dataclass(frozen=True)
class Compared:
    """One report: its rows, the causes in each, and the whole; `vendors` are those that either side tells."""

    table: pa.Table
    causes: pa.Table
    totals: Totals
    vendors: frozenset[str | None]


def compared(sides: Sides, by: str | None, group_by: Sequence[str], rates: UsageRates) -> Compared:
    """Sum a report's cells to rows of `group_by`, as far as the report tells it, and of days where `by` is day."""
    explainer = Explainer(rates, _booked_over_list(sides, rates))
    shown = [name for name in group_by if GROUPS[name] in sides.coarse]
    lines: dict[tuple[Any, ...], _Line] = defaultdict(_Line)
    whole = _Line()
    for (period, lane), cell in sorted(sides.cells.items(), key=lambda item: repr(item[0])):
        parts = explainer.parts(cell)
        _add_cell(whole, cell, parts)
        for tier, piece, its_parts in _pieces(cell, parts) if "service_tier" in shown else [(None, cell, parts)]:
            named = lane._replace(service_tier=tier)
            key = (period.since.date() if by else None, *(getattr(named, GROUPS[name]) for name in shown))
            _add_cell(lines[key], piece, its_parts)
    for line in lines.values():
        whole.gross_usd += abs(line.variance_usd or _ZERO)
    table, causes = _tables(sides, by, group_by, shown, lines)
    gross = sum(abs(line.variance_tokens or 0) for line in lines.values())
    totals = Totals(
        report=sides.report,
        is_billed=sides.is_billed,
        calls=whole.calls,
        tokens=whole.tokens,
        cost_usd=whole.cost,
        unpriced_calls=whole.unpriced_calls,
        report_tokens=whole.told_tokens,
        report_cost_usd=whole.told_cost,
        variance_tokens=whole.variance_tokens,
        variance_usd=whole.variance_usd,
        gross_tokens=None if whole.told_tokens is None else gross,
        gross_usd=None if whole.told_cost is None else whole.gross_usd,
        token_coverage=_share(whole.covered_tokens, whole.told_tokens),
        cost_coverage=_share(whole.covered_cost, whole.told_cost),
        unexplained_usd=whole.unexplained,
        outside_calls=sides.outside_calls,
        outside_cost_usd=sides.outside_cost,
        causes=tuple(whole.causes()),
    )
    vendors = frozenset(lane.provider for cell in sides.cells.values() for lane in cell.lanes())
    return Compared(table, causes, totals, vendors)


def _pieces(cell: Cell, parts: Sequence[Part]) -> Iterator[tuple[str | None, Cell, list[Part]]]:
    """A cell tier by tier, with the causes in each."""
    tiers = {lane.service_tier for lane in cell.lanes()} | set(cell.billed or ())
    tiers |= {None} if cell.for_no_tokens else set()
    for tier in sorted(tiers, key=str):
        yield tier, cell.at_tier(tier), [part for part in parts if part.lane.service_tier == tier]


def _booked_over_list(sides: Sides, rates: UsageRates) -> dict[str | None, Decimal]:
    """What telemetry booked over what the price book makes of the same tokens, model by model."""
    booked: dict[str | None, Decimal] = defaultdict(Decimal)
    listed: dict[str | None, Decimal] = defaultdict(Decimal)
    for cell in sides.cells.values():
        for lane, seen in cell.seen.items():
            price = rates.at(cell.spellings.get(lane.model, ()), lane.service_tier, cell.moment)
            if price is not None:
                booked[lane.model] += seen.cost
                listed[lane.model] += worth(price, seen.priced)
    return {model: booked[model] / amount for model, amount in listed.items() if amount > 0}


def _add_cell(line: _Line, cell: Cell, parts: Sequence[Part]) -> None:
    tokens = sum(seen.tokens["input_tokens"] + seen.tokens["output_tokens"] for seen in cell.seen.values())
    line.calls += sum(seen.calls for seen in cell.seen.values())
    line.unpriced_calls += sum(seen.unpriced_calls for seen in cell.seen.values())
    line.cost += cell.booked
    line.tokens += tokens
    line.seen |= any(seen.calls for seen in cell.seen.values())
    bill = cell.bill
    line.told |= bool(cell.told) or bool(bill)
    if cell.told is not None:
        told = {
            lane: (each.tokens["input_tokens"] or 0) + (each.tokens["output_tokens"] or 0)
            for lane, each in cell.told.items()
        }
        line.told_tokens = (line.told_tokens or 0) + sum(told.values())
        line.tokens_beside += tokens
        line.covered_tokens += min(tokens, sum(told.values()))
        requests = [each.requests for each in cell.told.values() if each.requests is not None]
        if requests:
            line.requests = (line.requests or 0) + sum(requests)
    if bill is not None:
        line.told_cost = (line.told_cost or _ZERO) + bill
        line.cost_beside += cell.booked
        line.covered_cost += max(_ZERO, min(cell.booked, bill))
    line.parts += [part.amount for part in parts]


def _tables(
    sides: Sides,
    by: str | None,
    group_by: Sequence[str],
    shown: Sequence[str],
    lines: Mapping[tuple[Any, ...], _Line],
) -> tuple[pa.Table, pa.Table]:
    names = [("report", pa.string())] + ([("day", pa.date32())] if by else [])
    names += [(name, pa.string()) for name in group_by]
    found, causes = [], []
    order = sorted(lines.items(), key=lambda item: (item[0][0] or date.min, -abs(_size(item[1])), repr(item[0])))
    for (day, *values), line in order:
        called: dict[str, Any] = {"report": sides.report, "day": day, **dict(zip(shown, values, strict=True))}
        ranked = line.causes()
        found.append(called | _row(line, ranked, is_billed=sides.is_billed))
        causes += [
            called
            | {"cause": each.cause.value, "amount_usd": each.amount_usd, "tokens": each.tokens, "factor": each.factor}
            for each in ranked
        ]
    return (
        pa.Table.from_pylist(found, pa.schema([*names, *_ROW])),
        pa.Table.from_pylist(causes, pa.schema([*names, *_CAUSE])),
    )


def _size(line: _Line) -> Decimal:
    return max(line.cost, line.told_cost or _ZERO)


def _row(line: _Line, ranked: Sequence[CauseAmount], *, is_billed: bool) -> dict[str, Any]:
    covered_tokens, covered_cost = (
        _share(line.covered_tokens, line.told_tokens),
        _share(line.covered_cost, line.told_cost),
    )
    return {
        "found_in": "both" if line.seen and line.told else "telemetry" if line.seen else "report",
        "calls": line.calls,
        "requests": line.requests,
        "cost_usd": line.cost,
        "billed_cost_usd" if is_billed else "estimated_cost_usd": line.told_cost,
        "variance_usd": line.variance_usd,
        "variance_percent": _percent(line.variance_usd, line.told_cost),
        "tokens": line.tokens,
        "report_tokens": line.told_tokens,
        "variance_tokens": line.variance_tokens,
        "tokens_variance_percent": _percent(line.variance_tokens, line.told_tokens),
        "token_coverage_percent": None if covered_tokens is None else covered_tokens * 100,
        "cost_coverage_percent": None if covered_cost is None else covered_cost * 100,
        "unpriced_calls": line.unpriced_calls,
        "cause": ranked[0].cause.value if ranked else None,
        "cause_usd": ranked[0].amount_usd if ranked else None,
        "unexplained_usd": line.unexplained,
    }


def _percent(variance: Decimal | int | None, whole: Decimal | int | None) -> float | None:
    return float(Decimal(variance) * 100 / Decimal(whole)) if variance is not None and whole else None


def _share(part: Decimal | int, whole: Decimal | int | None) -> float | None:
    return float(Decimal(part) / Decimal(whole)) if whole is not None and whole > 0 else None
