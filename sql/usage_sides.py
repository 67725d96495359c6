"""Both sides of a reconciliation: what telemetry and what a report tell, under names that both know, cell by cell.

A report is compared as finely as it tells. Its tokens may be told under more names than its money (usage by model and
tier, costs by project): lanes are as fine as the tokens, cells as fine as both.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ..models.prices import PriceBook
from ..models.schema import TOKEN_COLUMNS
from .compared_cell import Cell, Lane, Seen, Told
from .usage_rates import NO_TOKENS

DIMENSIONS = ("provider", "model", "service_tier", "project_id", "key_id")
"""What lanes and cells can be told under, in the order of `Lane`."""

Row = Mapping[str, Any]
Spelling = tuple[str | None, str]
_BEDROCK = re.compile(
    r"^(regional|global|us|eu|apac|jp|au|ca)\.|^(anthropic|meta|amazon|mistral|cohere|ai21|deepseek)\."
)
_VERSION = re.compile(r"(-\d{8})?(-v\d+)?(:\d+)*$")
_STANDARD = ("default", "standard", "on_demand", "auto", "standard_only")


@dataclass(frozen=True, slots=True)
class Period:
    """A time that a report speaks of at once, [since, until)."""

    since: datetime
    until: datetime


@dataclass
class Names:
    """One name for each model, whoever spells it; `spellings` are those that were met, telemetry's first."""

    book: PriceBook
    spellings: dict[str | None, list[Spelling]] = field(default_factory=lambda: defaultdict(list))
    _known: dict[tuple[str | None, str | None], tuple[str | None, str | None]] = field(default_factory=dict)

    def of(self, provider: str | None, model: str | None) -> tuple[str | None, str | None]:
        """Vendor and model as both sides are matched by."""
        key = (provider, model)
        if key not in self._known:
            self._known[key] = self._named(provider, model)
            name = self._known[key][1]
            if model is not None and (provider, model) not in self.spellings[name]:
                self.spellings[name].append((provider, model))
        return self._known[key]

    def _named(self, provider: str | None, model: str | None) -> tuple[str | None, str | None]:
        vendor = provider.lower() if provider else None
        if model is None:
            return vendor, None
        known = self.book.known_as(provider, model)
        vendor, name = known or (vendor, model.strip().lower())
        return vendor, bedrock_name(name) if vendor == "aws" else name


def bedrock_name(name: str) -> str:
    """A Bedrock model by what its id and its line on the bill share.

    >>> bedrock_name("us.anthropic.claude-sonnet-4-5-20250929-v1:0"), bedrock_name("Claude Sonnet 4.5")
    ('claudesonnet45', 'claudesonnet45')
    """
    plain = name.strip().lower()
    while (shorter := _BEDROCK.sub("", plain)) != plain:
        plain = shorter
    return re.sub(r"[^a-z0-9]|instruct", "", _VERSION.sub("", plain))


@dataclass
class Sides:
    """One report beside the telemetry of its periods and vendors.

    `fine` are the dimensions of lanes, `coarse` those of cells; a cell holds all tiers of its other names, whether or
    not `coarse` has them. `outside` is telemetry of the window, of the same
    vendors, on days of which the report does not speak.
    """

    report: str
    is_billed: bool
    fine: tuple[str, ...]
    coarse: tuple[str, ...]
    tells_tokens: bool
    tells_money: bool
    cells: dict[tuple[Period, Lane], Cell]
    hours: list[tuple[datetime, Lane, Row]]
    periods: tuple[Period, ...]
    outside_calls: int = 0
    outside_cost: Decimal = Decimal(0)

    def coarse_lane(self, lane: Lane) -> Lane:
        """The cell's names of a lane."""
        return _kept(lane, self.coarse)._replace(service_tier=None)


def sides_of(
    report: str,
    reported: Sequence[Row],
    telemetry: Sequence[Row],
    names: Names,
    *,
    window: Period,
    dimensions: Iterable[str],
    own_names: Mapping[str, str],
) -> Sides:
    """Set the rows of one report beside telemetry. `dimensions` are those that telemetry can be split by."""
    token_rows = [row for row in reported if row["input_tokens"] is not None or row["output_tokens"] is not None]
    money_rows = [row for row in reported if _cost(row) is not None]
    theirs = [_named(row, names, own_names) for row in reported]
    can = [name for name in DIMENSIONS if name in dimensions]
    tells = {name: _sources_telling(reported, theirs, name) for name in DIMENSIONS}
    of_tokens, of_money = ({row["source"] for row in rows} for rows in (token_rows, money_rows))
    fine = tuple(name for name in can if (of_tokens or of_money) <= tells[name])
    coarse = tuple(name for name in fine if of_money <= tells[name])
    sides = Sides(
        report,
        any(row["billed_cost_usd"] is not None for row in money_rows) or not money_rows,
        fine,
        coarse,
        bool(token_rows),
        bool(money_rows),
        {},
        [],
        tuple(_merged(reported)),
    )
    vendors = {
        lane.provider for row, lane in zip(reported, theirs, strict=True) if not _is_quiet(row) or lane.provider
    }
    for row in telemetry:
        lane = _telemetry_lane(row, names)
        if vendors and None not in vendors and lane.provider not in vendors:
            continue
        kept = _kept(lane, fine)
        sides.hours.append((row["hour"], kept, row))
        period = _period_of(sides.periods, row["hour"])
        if period is None:
            if window.since <= row["hour"] < window.until:
                sides.outside_calls += row["calls"]
                sides.outside_cost += row["cost_usd"] or 0
            continue
        cell = _cell(sides, period, kept, names)
        _see(cell.seen.setdefault(kept, Seen()), row)
    _tell(sides, reported, theirs, names)
    return sides


def _named(row: Row, names: Names, own_names: Mapping[str, str]) -> Lane:
    provider, model = names.of(row["provider"], row["model"])
    project, key = (own_names.get(row[name], row[name]) for name in ("project_id", "key_id"))
    return Lane(provider, model, row["service_tier"], project, key)


def _telemetry_lane(row: Row, names: Names) -> Lane:
    provider, model = names.of(row["provider"], row["model"])
    word = (row["service_tier"] or "").lower().removeprefix("on_demand_").removeprefix("service_tier_")
    tier = "batch" if row["is_batch"] else "standard" if not word or word in _STANDARD else word
    return Lane(provider, model, tier, row["project_id"], row["key_id"])


def _sources_telling(reported: Sequence[Row], lanes: Sequence[Lane], name: str) -> set[str]:
    """The sources that tell a dimension: those with a value of it, and those that tell that nothing was used."""
    told = {row["source"] for row, lane in zip(reported, lanes, strict=True) if getattr(lane, name) is not None}
    busy = {row["source"] for row in reported if not _is_quiet(row)}
    return told | ({row["source"] for row in reported} - busy)


def _kept(lane: Lane, names: Sequence[str]) -> Lane:
    return Lane(*(value if name in names else None for name, value in zip(DIMENSIONS, lane, strict=True)))


def _cost(row: Row) -> Decimal | None:
    cost: Decimal | None = row["billed_cost_usd"]
    return row["estimated_cost_usd"] if cost is None else cost


def _is_quiet(row: Row) -> bool:
    """Whether it says that nothing was used."""
    return row["model"] is None and not (row["input_tokens"] or row["output_tokens"] or _cost(row))


def _is_no_tokens(row: Row) -> bool:
    """Whether it bills what is no token."""
    is_named = row["model"] is None and row["line_item"] is not None
    return is_named and not (row["input_tokens"] or row["output_tokens"])


def _merged(reported: Sequence[Row]) -> list[Period]:
    """The report's periods in order, those that overlap as one."""
    found: list[Period] = []
    for since, until in sorted({(row["since"], row["until"]) for row in reported}):
        if found and since < found[-1].until:
            found[-1] = Period(found[-1].since, max(until, found[-1].until))
        else:
            found.append(Period(since, until))
    return found


def _period_of(periods: Sequence[Period], moment: datetime) -> Period | None:
    low, high = 0, len(periods)
    while low < high:
        middle = (low + high) // 2
        if periods[middle].until <= moment:
            low = middle + 1
        else:
            high = middle
    return periods[low] if low < len(periods) and periods[low].since <= moment else None


def _cell(sides: Sides, period: Period, lane: Lane, names: Names) -> Cell:
    key = (period, sides.coarse_lane(lane))
    if key not in sides.cells:
        sides.cells[key] = Cell(period.since + timedelta(hours=12), spellings=names.spellings)
    return sides.cells[key]


def _see(seen: Seen, row: Row) -> None:
    seen.calls += row["calls"]
    seen.untold_calls += row["untold_calls"]
    counts = seen.priced if row["is_priced"] else seen.unpriced
    if row["is_priced"]:
        seen.cost += row["cost_usd"]
    else:
        seen.unpriced_calls += row["calls"]
    for name in TOKEN_COLUMNS:
        counts[name] += int(row[name])
    for side in ("input", "output"):
        seen.repeated[f"{side}_tokens"] += int(row[f"repeated_{side}_tokens"])


def _tell(sides: Sides, reported: Sequence[Row], lanes: Sequence[Lane], names: Names) -> None:
    """Put the report's rows into the cells; what a told period does not name is told to be nothing."""
    token_periods: set[Period] = set()
    money_periods: set[Period] = set()
    taken_at: dict[Period, datetime] = {}
    for row, told_as in zip(reported, lanes, strict=True):
        period = _period_of(sides.periods, row["since"])
        assert period is not None  # noqa: S101  (they are made of these rows)
        if row["partial_at"]:
            taken_at[period] = max(row["partial_at"], taken_at.get(period, row["partial_at"]))
        has_tokens = row["input_tokens"] is not None or row["output_tokens"] is not None
        cost = _cost(row)
        token_periods |= {period} if has_tokens else set()
        money_periods |= {period} if cost is not None else set()
        if _is_quiet(row):
            continue
        tier = told_as.service_tier or ("standard" if told_as.model else None)
        lane = _kept(told_as._replace(service_tier=tier), sides.fine)
        cell = _cell(sides, period, lane, names)
        if cost is not None:
            cell.billed = cell.billed or {}
            if _is_no_tokens(row):
                cell.for_no_tokens += cost
                continue
            money_tier = lane.service_tier if "service_tier" in sides.coarse else None
            cell.billed[money_tier] = cell.billed.get(money_tier, Decimal(0)) + cost
        if has_tokens:
            cell.told = cell.told or {}
            _add(cell.told.setdefault(lane, Told()), row)
    for (period, _), cell in sides.cells.items():
        if period in token_periods and cell.told is None:
            cell.told = {}
        if period in money_periods:
            tiers = {lane.service_tier for lane in cell.lanes()} if "service_tier" in sides.coarse else {None}
            cell.billed = dict.fromkeys(sorted(tiers, key=str), Decimal(0)) | (cell.billed or {})
    for moment, lane, row in sides.hours:
        period = _period_of(sides.periods, moment)
        if period in taken_at and moment >= taken_at[period]:
            seen = sides.cells[period, sides.coarse_lane(lane)].seen[lane]
            for name in TOKEN_COLUMNS:
                seen.later[name] += int(row[name])


def _add(told: Told, row: Row) -> None:
    if row["requests"] is not None:
        told.requests = (told.requests or 0) + int(row["requests"])
    for name in TOKEN_COLUMNS:
        if row[name] is not None:
            told.tokens[name] = (told.tokens[name] or 0) + int(row[name])


def shift_days(sides: Sides) -> timedelta | None:
    """Find the hour at which the report's days begin, from the counts, and tell the cells what they hold then.

    Another hour than UTC's is taken where more lanes agree to the token, or less than half of the difference is left.
    """
    days = [period for period in sides.periods if period.until - period.since == timedelta(days=1)]
    if len(days) < 2 or len(days) != len(sides.periods) or not sides.tells_tokens:
        return None
    reported = {
        (period, lane): (told.tokens["input_tokens"] or 0, told.tokens["output_tokens"] or 0)
        for (period, _), cell in sides.cells.items()
        for lane, told in (cell.told or {}).items()
    }
    hourly: dict[tuple[datetime, Lane], list[int]] = defaultdict(lambda: [0, 0])
    for moment, lane, row in sides.hours:
        hourly[moment, lane][0] += int(row["input_tokens"])
        hourly[moment, lane][1] += int(row["output_tokens"])

    def judged(offset: timedelta) -> tuple[int, int]:
        """(lanes that agree, tokens that do not) when days begin `offset` after UTC's."""
        ours: dict[tuple[Period, Lane], list[int]] = defaultdict(lambda: [0, 0])
        for (moment, lane), counts in hourly.items():
            if (period := _period_of(sides.periods, moment - offset)) is not None:
                for side in (0, 1):
                    ours[period, lane][side] += counts[side]
        keys = {*ours, *reported}
        gaps = [
            sum(abs(one - other) for one, other in zip(ours.get(key, (0, 0)), reported.get(key, (0, 0)), strict=True))
            for key in keys
        ]
        return sum(not gap for gap in gaps), sum(gaps)

    exact, gap = judged(timedelta(0))
    if not gap:
        return None
    tried = {hours: judged(timedelta(hours=hours)) for hours in range(-14, 15) if hours}
    best = max(tried, key=lambda hours: (tried[hours][0], -tried[hours][1], -abs(hours)))
    if not (tried[best][0] > exact and tried[best][1] < gap) and not tried[best][1] * 2 < gap:
        return None
    _tell_shifted(sides, timedelta(hours=best))
    return timedelta(hours=best)


def _tell_shifted(sides: Sides, offset: timedelta) -> None:
    shifted: dict[tuple[Period, Lane], dict[str, int]] = defaultdict(lambda: dict(NO_TOKENS))
    for moment, lane, row in sides.hours:
        if (period := _period_of(sides.periods, moment - offset)) is not None:
            for name in TOKEN_COLUMNS:
                shifted[period, lane][name] += int(row[name])
    for period, lane in shifted:
        cell = sides.cells.get((period, sides.coarse_lane(lane)))
        if cell is not None:
            cell.seen.setdefault(lane, Seen())
    for (period, _), cell in sides.cells.items():
        for lane, seen in cell.seen.items():
            seen.shifted = shifted.get((period, lane), dict(NO_TOKENS))
