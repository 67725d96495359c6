"""Budgets as a sheet: bars and pace for people, every figure for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from . import figures
from .sheet import Sheet

if TYPE_CHECKING:
    import pyarrow as pa

    from ..models.verdicts import Asked, Standing, Verdict
    from ..sql.spending import Spent

_BAR = 20
_COLUMNS = {
    "text": ("budget", "level", "entity", "period", "bar", "state"),
    "money": ("limit_usd", "spent_usd", "unpriced_bound_usd", "left_usd", "daily_burn_usd", "projected_usd"),
    "instant": ("period_start", "period_end", "runs_out_at"),
    "count": ("notice_percent", "unpriced_calls"),
    "share": ("used_percent",),
    "flag": ("hard",),
}

_ORDER = (
    *("budget", "period", "hard", "bar", "used_percent", "limit_usd", "spent_usd", "left_usd", "daily_burn_usd"),
    *("projected_usd", "state", "period_end", "runs_out_at", "unpriced_bound_usd", "unpriced_calls"),
    *("notice_percent", "level", "entity", "period_start"),
)


def of_standings(spent: Spent, now: datetime) -> Sheet:
    """Every budget with its bar, pace and projected end, the most used first within each level's order."""
    from ..sql.budgets import standings  # noqa: PLC0415  start-up time

    found = standings(spent, now)
    notes = [] if found else ["no budget is set"]
    if not spent.budgets.enabled:
        notes.append("budgets are not enabled: everything is allowed")
    over = [each for each in found if each.left <= 0]
    warned = [each for each in found if each.is_warning and each.left > 0]
    if over or warned:
        notes.append(f"{len(over)} used up, {len(warned)} at their warning threshold")
    unpriced = max((each.spend.unpriced_calls for each in found), default=0)
    if unpriced:
        notes.append(f"up to {unpriced:,} calls in a budget have no price and count by the unpriced bound")
    notes.append(f"as of {figures.moment(spent.as_of)}, in {spent.budgets.tz.key}; reservations are not in it")
    return Sheet(
        _table(found, now),
        facts={"as_of": spent.as_of, "enabled": spent.budgets.enabled, "time_zone": spent.budgets.tz.key},
        notes=tuple(notes),
        title="Budgets",
    )


def of_verdict(verdict: Verdict, found: Sequence[Standing], asked: Asked, spent: Spent, now: datetime) -> Sheet:
    """Whether a request may be made, and the budgets that it is under."""
    from ..models.decisions import told  # noqa: PLC0415  start-up time

    answer = told(verdict, asked.estimate, now, spent.as_of)
    retry = f"; try again at {answer['retry_at']}" if "retry_at" in answer else ""
    return Sheet(
        _table(found, now),
        facts=answer,
        notes=(f"{answer['decision']}: {answer['message']}{retry}",),
    )


def _table(found: Iterable[Standing], now: datetime) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415  start-up time

    kinds = {
        "text": pa.string(),
        "money": pa.decimal128(18, 9),
        "instant": pa.timestamp("us", "UTC"),
        "count": pa.int64(),
        "share": pa.float64(),
        "flag": pa.bool_(),
    }
    types = {column: kinds[kind] for kind, columns in _COLUMNS.items() for column in columns}
    return pa.Table.from_pylist(
        [_row(each, now) for each in found], pa.schema([(name, types[name]) for name in _ORDER])
    )


def _row(standing: Standing, now: datetime) -> dict[str, object]:
    from ..models.money import usd  # noqa: PLC0415  start-up time
    from ..sql.budgets import pace  # noqa: PLC0415

    ceiling, entity = standing.counter.ceiling, standing.counter.entity
    going = pace(standing, now)
    share = standing.spend.total / standing.limit if standing.limit else float(standing.spend.total > 0)
    return {
        "budget": f"{ceiling.level} {entity}".strip(),
        "level": ceiling.level,
        "entity": entity or None,
        "period": ceiling.period.value,
        "hard": ceiling.hard,
        "bar": bar(share),
        "used_percent": round(100 * share, 2),
        "limit_usd": usd(standing.limit),
        "spent_usd": usd(standing.spend.total),
        "unpriced_bound_usd": usd(standing.spend.unpriced),
        "left_usd": usd(standing.left),
        "daily_burn_usd": going.daily_burn_usd,
        "projected_usd": going.projected_usd,
        "state": state_of(standing),
        "notice_percent": standing.notice,
        "period_start": standing.window.since,
        "period_end": standing.window.until,
        "runs_out_at": going.runs_out_at,
        "unpriced_calls": standing.spend.unpriced_calls,
    }


def state_of(standing: Standing) -> str:
    """`ok`, `warn`, `over` (a soft one that is used up) or `blocked`."""
    if standing.left <= 0:
        return "blocked" if standing.counter.ceiling.hard else "over"
    return "warn" if standing.is_warning else "ok"


def bar(share: float) -> str:
    """How much of a whole is used, as a picture.

    >>> bar(0.3), bar(0.001), bar(2)
    ('######..............', '#...................', '####################')
    """
    filled = min(_BAR, max(round(share * _BAR), int(share > 0)))
    return "#" * filled + "." * (_BAR - filled)
