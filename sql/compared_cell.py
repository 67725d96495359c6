"""What is compared at once, as telemetry and as a report tell it, and the parts that its variance falls into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from ..models.schema import TOKEN_COLUMNS
from .reconciliation import Cause, CauseAmount
from .usage_rates import NO_TOKENS, Counts

NANO = Decimal("1e-9")
PARENT = {"reasoning_tokens": "output_tokens", "audio_output_tokens": "output_tokens"}
"""The total that a kind of token is part of, where it is not input."""


class Lane(NamedTuple):
    """The names that tokens are told under, as finely as the report tells them; None is not told, or none."""

    provider: str | None
    model: str | None
    service_tier: str | None
    project_id: str | None
    key_id: str | None


NO_NAMES = Lane(None, None, None, None, None)


@dataclass(slots=True)
class Seen:
    """What telemetry tells of a lane in a period; `later` are calls begun after the report was taken.

    `shifted` are the tokens of the period as the report cuts its days, where that is another hour than UTC.
    """

    calls: int = 0
    unpriced_calls: int = 0
    untold_calls: int = 0
    cost: Decimal = Decimal(0)
    priced: dict[str, int] = field(default_factory=lambda: dict(NO_TOKENS))
    unpriced: dict[str, int] = field(default_factory=lambda: dict(NO_TOKENS))
    repeated: dict[str, int] = field(default_factory=lambda: dict(NO_TOKENS))
    later: dict[str, int] = field(default_factory=lambda: dict(NO_TOKENS))
    shifted: dict[str, int] | None = None

    @property
    def tokens(self) -> Counts:
        """All of its tokens."""
        return {name: self.priced[name] + self.unpriced[name] for name in TOKEN_COLUMNS}


@dataclass(slots=True)
class Told:
    """What a report tells of a lane in a period; a part of the tokens that it does not tell is None."""

    requests: int | None = None
    tokens: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(TOKEN_COLUMNS))


@dataclass(slots=True)
class Cell:
    """What is compared at once: the lanes of one period and one set of names that the report's money is told under.

    `told` is None where the report tells no tokens of the period, `billed` where it tells no money of it; `billed` is
    by tier where the report's money tells that, else under None. `for_no_tokens` is billed beside it. `spellings` are
    those of each lane's model on either side.
    """

    moment: datetime
    seen: dict[Lane, Seen] = field(default_factory=dict)
    told: dict[Lane, Told] | None = None
    billed: dict[str | None, Decimal] | None = None
    for_no_tokens: Decimal = Decimal(0)
    spellings: Mapping[str | None, Sequence[tuple[str | None, str]]] = field(default_factory=dict)

    def lanes(self) -> list[Lane]:
        """Those of either side."""
        return list(dict.fromkeys([*self.seen, *(self.told or ())]))

    @property
    def booked(self) -> Decimal:
        """What telemetry booked."""
        return sum((seen.cost for seen in self.seen.values()), Decimal(0))

    @property
    def bill(self) -> Decimal | None:
        """All that was billed; None where no money is told."""
        return None if self.billed is None else sum(self.billed.values(), self.for_no_tokens)

    def at_tier(self, tier: str | None) -> Cell:
        """The part of it that is told under one tier; what is billed for no tokens is under None."""
        return Cell(
            self.moment,
            {lane: seen for lane, seen in self.seen.items() if lane.service_tier == tier},
            None if self.told is None else {lane: t for lane, t in self.told.items() if lane.service_tier == tier},
            None if self.billed is None else {name: b for name, b in self.billed.items() if name == tier},
            self.for_no_tokens if tier is None else Decimal(0),
            self.spellings,
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One cause in one lane, or in all of a tier: then of its names it has the tier alone."""

    lane: Lane
    amount: CauseAmount


def part(lane: Lane, cause: Cause, amount: Decimal, tokens: int, factor: Decimal | None = None) -> Part:
    """A cause in a lane that explains `amount` USD, rounded to nine places."""
    return Part(lane, CauseAmount(cause, amount.quantize(NANO, ROUND_HALF_UP), tokens, factor))
