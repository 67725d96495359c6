"""A driver's part with where it comes from: percentages, segments in order, and the one that leads. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from .cost_change import DriverChange, SegmentPart
from .decomposition import Decomposition, Driver, WindowSums
from .driver_figures import Figure
from .segments import SegmentParts, Sides

SHOWN_SEGMENTS = 20
"""Segments of a dimension told one by one, for each driver; the others are told together."""

_MOST = 0.5
_CLEARLY = 0.15
"""A segment leads where its share of the part is at least _MOST, and its weight less than that by _CLEARLY."""


def usd(nano: int) -> Decimal:
    """Nano-dollars as dollars."""
    return Decimal(nano).scaleb(-9)


def _percent(part: int, before: int) -> float | None:
    return 100 * part / before if before else None


def moved_share(whole: Decomposition, driver: Driver) -> float:
    """How much of either figure a driver moved: what the drivers are ordered by."""
    measures = [whole.cost, *([whole.per_success] if whole.per_success else [])]
    return max(abs(each.parts[driver]) / (each.before or each.after or 1) for each in measures)


def driver_change(
    driver: Driver, figure: Figure, whole: Decomposition, segments: Sequence[SegmentPart]
) -> DriverChange:
    """One driver with its segments, without examples."""
    success, part = whole.per_success, whole.cost.parts[driver]
    part_per_success = success.parts[driver] if success else None
    moved = part_per_success or part
    leading = _leading(moved, bool(part_per_success), segments)
    return DriverChange(
        driver,
        figure,
        None if part_per_success is None else usd(part_per_success),
        None if success is None or part_per_success is None else _percent(part_per_success, success.before),
        usd(part),
        _percent(part, whole.cost.before),
        leading,
        tuple(segments),
        (),
    )


def driver_segments(
    driver: Driver,
    whole: Decomposition,
    dimension: str,
    values: Mapping[str | None, Sides],
    parts: Mapping[str | None, SegmentParts],
) -> list[SegmentPart]:
    """The segments of one dimension that moved, the largest first; beyond SHOWN_SEGMENTS together."""
    found = [
        SegmentPart(
            dimension,
            value,
            1,
            _weight(driver, whole, sides),
            None if (success := parts[value].per_success) is None else usd(success[driver]),
            usd(parts[value].cost[driver]),
        )
        for value, sides in values.items()
    ]
    moved = [each for each in found if each.part_per_success_usd or each.part_total_usd]
    moved.sort(key=lambda each: (-abs(each.part_per_success_usd or each.part_total_usd), str(each.value)))
    shown, others = moved[:SHOWN_SEGMENTS], moved[SHOWN_SEGMENTS:]
    if others:
        per_success = [each.part_per_success_usd for each in others if each.part_per_success_usd is not None]
        shown.append(
            SegmentPart(
                dimension,
                None,
                len(others),
                sum(each.weight for each in others),
                sum(per_success, Decimal(0)) if per_success else None,
                sum((each.part_total_usd for each in others), Decimal(0)),
            )
        )
    return shown


def _weight(driver: Driver, whole: Decomposition, sides: Sides) -> float:
    """How large a segment is in what the driver is about, as the mean of the windows that have any of it."""

    def size(window: WindowSums) -> int:
        if driver in (Driver.VOLUME, Driver.SUCCESS_RATE, Driver.CALLS):
            return window.requests
        return window.evals_nano if driver is Driver.EVALS else window.cost_nano - window.evals_nano

    windows = (whole.before, whole.after)
    shares = [size(side) / size(window) for side, window in zip(sides, windows, strict=True) if size(window)]
    return sum(shares) / len(shares) if shares else 0.0


def _leading(moved: int, is_per_success: bool, segments: Sequence[SegmentPart]) -> SegmentPart | None:
    """The segment that carries at least half of a driver's part, and clearly more than its weight."""

    def beyond(each: SegmentPart) -> float:
        part = each.part_per_success_usd if is_per_success else each.part_total_usd
        share = float((part or Decimal(0)) / usd(moved))
        return min(share, 1.0) - each.weight if share >= _MOST else 0.0

    named = [each for each in segments if each.value is not None] if moved else []
    best = max(named, key=beyond, default=None)
    return best if best is not None and beyond(best) >= _CLEARLY else None
