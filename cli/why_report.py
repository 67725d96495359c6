"""Why a cost changed, for people: one sentence, a row a driver, and what to know about both windows."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING

from . import figures
from .sheet import Sheet

if TYPE_CHECKING:
    from ..sql.cost_change import CostChange, DriverChange, SegmentPart, WindowFigures

_NAMED = 4
"""Drivers that the sentence names at most; what is below one percent is in its rest."""


def of_change(change: CostChange) -> Sheet:
    """A row a driver, the one that moved most first; JSON holds segments, factors and both windows too."""
    import pyarrow as pa  # noqa: PLC0415  start-up time

    money = pa.decimal128(18, 9)
    drivers = change.drivers
    table = pa.table(
        {
            "driver": pa.array([str(each.driver) for each in drivers], pa.string()),
            "before": pa.array([each.figure.before for each in drivers], pa.float64()),
            "after": pa.array([each.figure.after for each in drivers], pa.float64()),
            "unit": pa.array([_unit(each) for each in drivers], pa.string()),
            "part_per_success_usd": pa.array([each.part_per_success_usd for each in drivers], money),
            "part_percent": pa.array([each.per_success_percent for each in drivers], pa.float64()),
            "part_total_usd": pa.array([each.part_total_usd for each in drivers], money),
            "part_total_percent": pa.array([each.total_percent for each in drivers], pa.float64()),
            "leading_segment": pa.array([_segment(each.leading) for each in drivers], pa.string()),
            "example_traces": pa.array([list(each.examples) for each in drivers], pa.list_(pa.string())),
        }
    )
    said = sentence(change)
    return Sheet(
        table,
        facts={
            "why": change.name,
            "sentence": said,
            "outcome": change.outcome,
            "before": _window_facts(change.before),
            "after": _window_facts(change.after),
            "change_per_success_usd": _change_per_success(change),
            "change_total_usd": change.after.cost_usd - change.before.cost_usd,
            "drivers": [_driver_facts(each) for each in drivers],
            "models": [_listed(asdict(each)) for each in change.models],
        },
        notes=notes(change),
        title=said,
    )


def sentence(change: CostChange) -> str:
    """The change and its drivers in one plain sentence; percentages are parts of the figure before."""
    before, after = change.before, change.after
    known = before.cost_per_success_usd is not None and after.cost_per_success_usd is not None
    told = f"cost per {change.outcome}" if known else "total cost"
    figure = (
        _moved(told, before.cost_per_success_usd, after.cost_per_success_usd)
        if known
        else _moved(told, before.cost_usd, after.cost_usd)
    )
    largest = [each for each in change.drivers if _size(each) >= 1][:_NAMED]
    if not largest and change.drivers:
        largest = [each for each in change.drivers[:1] if each.part_total_usd or each.part_per_success_usd]
    phrases = [f"{_phrase(each, change)} ({_parts(each, known)})" for each in largest]
    percents = [_percent(each, known) for each in change.drivers if each not in largest]
    rest = sum(each for each in percents if each is not None)
    if abs(rest) >= 0.5:
        phrases.append(f"the rest {_signed(rest)}")
    unknown = "" if known else f"; {_why_unknown(change)}"
    return figure + (f": {', '.join(phrases)}" if phrases else "") + unknown


def notes(change: CostChange) -> tuple[str, ...]:
    """Both windows, the sums, and how far to trust them."""
    lines = [
        _window_line("before", change.before, change.outcome),
        _window_line("after", change.after, change.outcome),
    ]
    total = sum((each.part_total_usd for each in change.drivers), Decimal(0))
    success = [each.part_per_success_usd for each in change.drivers if each.part_per_success_usd is not None]
    per_success = f"${sum(success, Decimal(0)):f} per {change.outcome}, " if success else ""
    lines.append(f"the parts sum to the change exactly: {per_success}${total:f} in all")
    if change.before.unpriced_calls or change.after.unpriced_calls:
        lines.append(
            f"no price known for {change.before.unpriced_calls:,} calls before and {change.after.unpriced_calls:,} "
            f"after, with {change.before.unpriced_tokens:,} and {change.after.unpriced_tokens:,} tokens: they are in "
            "no figure above"
        )
    if change.before.unsplit_calls or change.after.unsplit_calls:
        lines.append(
            f"the cost of {change.before.unsplit_calls:,} calls before and {change.after.unsplit_calls:,} after is "
            "not split by any price: their input and output tokens are taken at one price, without a cache"
        )
    if change.outcome is not None and (change.before.undecided or change.after.undecided):
        lines.append(
            f"nobody has said yet whether {change.outcome}: {_undecided(change.before)} before, "
            f"{_undecided(change.after)} after; the success rate may still rise"
        )
    return tuple(lines)


def _window_line(name: str, side: WindowFigures, outcome: str | None) -> str:
    line = (
        f"{name}: {figures.moment(side.window.since)} to {figures.moment(side.window.until)}: "
        f"{side.requests:,} requests, {side.calls:,} calls, {figures.money(side.cost_usd)} in all"
    )
    if outcome is None:
        return line
    each = f", {_money(side.cost_per_success_usd)} each" if side.cost_per_success_usd is not None else ""
    return f"{line}, {side.successes:,} {outcome}{each}"


def _undecided(side: WindowFigures) -> str:
    part = f" ({figures.share(side.undecided / side.requests)})" if side.requests else ""
    return f"{side.undecided:,} requests{part}"


def _moved(told: str, before: Decimal | None, after: Decimal | None) -> str:
    if before is None or after is None or before == after:
        return f"{told} did not change: {_money(after)}"
    verb = "rose" if after > before else "fell"
    change = f" {_rounded(abs(float(100 * (after - before) / before)))}%," if before else ""
    return f"{told} {verb}{change} from {_money(before)} to {_money(after)}"


def _why_unknown(change: CostChange) -> str:
    if change.outcome is None:
        return "cost per outcome is unknown: no outcome was told"
    empty = [
        f"{name} ({figures.moment(side.window.since)} to {figures.moment(side.window.until)})"
        for name, side in (("before", change.before), ("after", change.after))
        if not side.successes
    ]
    return f"cost per {change.outcome} is unknown: no request was {change.outcome} {' and '.join(empty)}"


def _phrase(each: DriverChange, change: CostChange) -> str:
    """A driver's own figures before and after, and the segment that carries most of it."""
    figure = each.figure
    old, new = figure.before, figure.after
    name = str(each.driver)
    if old is None or new is None:
        return f"{name} changed{_mostly(each)}"
    verb = "rose" if new > old else "fell" if new < old else "stayed"
    match name:
        case "volume":
            said = f"volume {verb} from {old:,.0f} to {new:,.0f} requests"
        case "success rate":
            said = f"success rate ({figures.one_line(change.outcome or 'outcome')}) {verb} {_from_to(old, new, '%')}"
        case "model mix":
            said = (
                f"model mix: {figures.one_line(figure.subject or 'no model')} went {_from_to(old, new, '%')} of calls"
            )
        case "cache":
            said = f"cache: what it saves of the input's price {verb} {_from_to(old, new, '%')}"
        case "unit prices" | "eval traffic":
            per = figure.unit.removeprefix("USD per ")
            said = f"{name} {verb} from {_money(_dollars(old))} to {_money(_dollars(new))} per {per}"
        case "calls per request":
            said = f"calls per request {verb} {_from_to(old, new)}"
        case _:
            said = f"{name} per call {verb} {_from_to(old, new)}"
    return said + _mostly(each)


def _mostly(each: DriverChange) -> str:
    return (
        f", most of it {_segment(each.leading)}" if each.leading and each.leading.value != each.figure.subject else ""
    )


def _segment(segment: SegmentPart | None) -> str | None:
    return None if segment is None else figures.one_line(f"{segment.dimension} {segment.value}")


def _unit(each: DriverChange) -> str:
    return each.figure.unit + (f" by {each.figure.subject}" if each.figure.subject else "")


def _from_to(old: float, new: float, sign: str = "") -> str:
    """Two figures with as many places as it takes to tell them apart.

    >>> _from_to(4200.2, 6301.9), _from_to(64.0, 58.25, "%"), _from_to(2.01, 2.04)
    ('from 4,200 to 6,302', 'from 64% to 58%', 'from 2.01 to 2.04')
    """
    size = max(abs(old), abs(new))
    places = 0 if size >= 100 else 1 if size >= 10 else 2
    if sign and size >= 10:
        places = 0
    while places < 4 and f"{old:.{places}f}" == f"{new:.{places}f}" and old != new:
        places += 1
    return f"from {old:,.{places}f}{sign} to {new:,.{places}f}{sign}"


def _size(each: DriverChange) -> float:
    return max(abs(each.per_success_percent or 0.0), abs(each.total_percent or 0.0))


def _percent(each: DriverChange, known: bool) -> float | None:
    return each.per_success_percent if known else each.total_percent


def _parts(each: DriverChange, known: bool) -> str:
    own = _percent(each, known)
    if own is None:
        return f"{figures.money(each.part_total_usd)} in all"
    if known and not each.part_per_success_usd:
        return f"total cost {_signed(each.total_percent or 0.0)}"
    return _signed(own)


def _signed(percent: float) -> str:
    """A percentage with its sign.

    >>> _signed(31.4), _signed(-3.0), _signed(0.4)
    ('+31%', '-3%', '+0.4%')
    """
    return f"{'+' if percent >= 0 else '-'}{_rounded(abs(percent))}%"


def _rounded(percent: float) -> str:
    return f"{percent:,.0f}" if percent >= 0.95 else f"{percent:.1f}" if percent >= 0.05 else "under 0.1"


def _dollars(amount: float) -> Decimal:
    return Decimal(f"{amount:.9f}")


def _money(amount: Decimal | None) -> str:
    """Dollars to three significant digits at least, so that two of them can be told apart.

    >>> _money(Decimal("0.0423")), _money(Decimal("12.3456")), _money(None)
    ('$0.0423', '$12.35', 'unknown')
    """
    if amount is None:
        return figures.UNKNOWN
    return figures.money(amount, min(9, max(2, 2 - amount.adjusted())) if amount else 2)


def _change_per_success(change: CostChange) -> Decimal | None:
    before, after = change.before.cost_per_success_usd, change.after.cost_per_success_usd
    return None if before is None or after is None else after - before


def _window_facts(side: WindowFigures) -> dict[str, object]:
    facts: dict[str, object] = asdict(side)
    return facts | {"window": {"since": side.window.since, "until": side.window.until}}


def _driver_facts(each: DriverChange) -> dict[str, object]:
    facts: dict[str, object] = asdict(each)
    leading = asdict(each.leading) if each.leading else None
    segments = [asdict(segment) for segment in each.segments]
    return facts | {
        "driver": str(each.driver),
        "leading": leading,
        "segments": segments,
        "examples": list(each.examples),
    }


def _listed(facts: dict[str, object]) -> dict[str, object]:
    return {
        name: {"before": value[0], "after": value[1]} if isinstance(value, tuple) else value
        for name, value in facts.items()
    }
