"""What `why` answers with: two windows, and what drove the change between them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ..models.windows import Window
from .answers import Restatement
from .decomposition import Driver
from .driver_figures import Figure


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """One of the two windows. Calls of unknown cost are in `unpriced_` only; requests are those with known cost.

    `undecided` requests have no verdict on the outcome yet; `unsplit_calls` have a cost that no price splits into
    input and output.
    """

    window: Window
    requests: int
    successes: int
    undecided: int
    calls: int
    unpriced_calls: int
    unpriced_tokens: int
    unsplit_calls: int
    cost_usd: Decimal
    cost_per_success_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class SegmentPart:
    """What one value of a dimension carries of a driver's part; or several values together, if `values` is above 1.

    `weight` is its share of what the driver is about, the mean of both windows, 0 to 1: of the requests for volume,
    success rate and calls per request, else of the money of inference or of eval traffic.
    """

    dimension: str
    value: str | None
    values: int
    weight: float
    part_per_success_usd: Decimal | None
    part_total_usd: Decimal


@dataclass(frozen=True, slots=True)
class DriverChange:
    """One driver: its own figure before and after, its exact parts, and where they come from.

    `per_success_percent` and `total_percent` are the parts over the figures before; None where those are unknown or
    0. `segments` sum to the parts, dimension by dimension. `leading` carries most of it beyond its weight; None where
    no segment does.
    """

    driver: Driver
    figure: Figure
    part_per_success_usd: Decimal | None
    per_success_percent: float | None
    part_total_usd: Decimal
    total_percent: float | None
    leading: SegmentPart | None
    segments: tuple[SegmentPart, ...]
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelFactors:
    """A model's factors before and after: share of calls, tokens a call, USD per million tokens, what caches leave.

    What one window does not tell has the other's value, as the decomposition takes it.
    """

    model: str | None
    share: tuple[float, float]
    input_tokens: tuple[float, float]
    output_tokens: tuple[float, float]
    input_price: tuple[float, float]
    output_price: tuple[float, float]
    call_price: tuple[float, float]
    input_cache: tuple[float, float]
    output_cache: tuple[float, float]


@dataclass(frozen=True, slots=True)
class CostChange:
    """Why a cost is not what it was: drivers in the order of what they moved.

    The parts sum exactly to the difference of the windows' figures. `outcome` is None where none was told.
    """

    name: str
    outcome: str | None
    before: WindowFigures
    after: WindowFigures
    drivers: tuple[DriverChange, ...]
    models: tuple[ModelFactors, ...]
    dimensions: tuple[str, ...]
    restated: tuple[Restatement, ...] = ()
