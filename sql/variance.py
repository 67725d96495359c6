"""Why telemetry and a report differ over one set of tokens: the variance taken apart, to the nano-dollar.

Both sides' tokens are valued at the price that telemetry booked (the price book's rates times what was booked over
what they make). Then

    booked - billed = worth(telemetry's tokens) - worth(report's tokens)      calls, cache fields, tiers, days
                    + worth(report's tokens) - billed                          prices

and each part of the first is a difference of counts, each of the second a price that gives what was billed. Every
amount is rounded to nine places, and the largest takes what that leaves; more than that is unexplained, and said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import NamedTuple

from ..models.schema import TOKEN_COLUMNS
from .reconciliation import Cause, CauseAmount
from .usage_rates import NO_TOKENS, TIERS, Counts, Rates, UsageRates, times, worth

_NANO = Decimal("1e-9")
_CLOSE = Decimal("0.005")
"""Half a percent: how near a price must come to what was billed to explain it."""
_ROUNDED = Decimal("0.0005")
_CENT = Decimal("0.01")
_CACHE = ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
_AUDIO = ("audio_input_tokens", "audio_output_tokens")
_OF_PRICE_ONLY = (Cause.MISSING_CACHE_FIELDS, Cause.CACHE_LIFETIME, Cause.MISSING_AUDIO_FIELDS, Cause.ROUNDING)
"""Nothing where they are worth nothing: no total of tokens differs by them."""

PARENT = {"reasoning_tokens": "output_tokens", "audio_output_tokens": "output_tokens"}


class Lane(NamedTuple):
    """The names that tokens are told under, as finely as the report tells them; None is not told, or none."""

    provider: str | None
    model: str | None
    service_tier: str | None
    project_id: str | None
    key_id: str | None


_NO_NAMES = Lane(None, None, None, None, None)


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


class Explainer:
    """Takes cells apart under one price book. `booked_over_list` is that of each model over all of a report."""

    def __init__(self, rates: UsageRates, booked_over_list: Mapping[str | None, Decimal]) -> None:
        self._rates = rates
        self._booked_over_list = booked_over_list

    def parts(self, cell: Cell) -> list[Part]:
        """The causes of a cell's variance; what they leave of it is unexplained."""
        found: list[Part] = []
        if cell.for_no_tokens:
            found.append(_part(_NO_NAMES, Cause.NOT_TOKENS, -cell.for_no_tokens, 0))
        rates = {lane: self._valued(cell, lane) for lane in cell.lanes()}
        if cell.told is None:
            reported = {lane: dict(cell.seen[lane].tokens) for lane in cell.seen}
        else:
            reported = {lane: _completed(cell.told.get(lane), cell.seen.get(lane)) for lane in cell.lanes()}
        unpriced = [self._unpriced(lane, seen, rates[lane]) for lane, seen in cell.seen.items()]
        found += [part for part in unpriced if part]
        if cell.told is not None:
            found += _count_parts(cell, rates, reported)
        for tier, billed in (cell.billed or {}).items():
            lanes = {lane: counts for lane, counts in reported.items() if tier in (None, lane.service_tier)}
            found += self._price_parts(cell, rates, lanes, tier, billed)
        found = [part for part in found if part.amount.amount_usd or part.amount.cause not in _OF_PRICE_ONLY]
        return _closed(cell, found)

    def _valued(self, cell: Cell, lane: Lane) -> Rates:
        """A lane's rates at the price that telemetry booked; where no list knows it, what was billed a token."""
        listed = self._listed(cell, lane)
        seen = cell.seen.get(lane)
        if listed is None:
            told: list[Counts] = [_completed(each, None) for each in (cell.told or {}).values()]
            told = told or [each.tokens for each in cell.seen.values()]
            tokens = sum(counts["input_tokens"] + counts["output_tokens"] for counts in told)
            each = sum((cell.billed or {}).values(), Decimal(0)) / tokens if tokens else Decimal(0)
            listed = dict.fromkeys(TOKEN_COLUMNS, Decimal(0)) | {"input_tokens": each, "output_tokens": each}
        made = worth(listed, seen.priced) if seen else Decimal(0)
        if seen and made > 0 and seen.cost >= 0:
            return times(listed, seen.cost / made)
        return times(listed, self._booked_over_list.get(lane.model, Decimal(1)))

    def _listed(self, cell: Cell, lane: Lane) -> Rates | None:
        return self._rates.at(cell.spellings.get(lane.model, ()), lane.service_tier, cell.moment)

    def _unpriced(self, lane: Lane, seen: Seen, rates: Rates) -> Part | None:
        tokens = seen.unpriced["input_tokens"] + seen.unpriced["output_tokens"]
        if not tokens:
            return None
        cause = Cause.FINE_TUNED_MODEL if _is_fine_tuned(lane.model) else Cause.UNPRICED_MODEL
        return _part(lane, cause, -worth(rates, seen.unpriced), tokens)

    def _price_parts(
        self,
        cell: Cell,
        rates: Mapping[Lane, Rates],
        reported: Mapping[Lane, Counts],
        tier: str | None,
        billed: Decimal,
    ) -> Iterator[Part]:
        """What was billed beside what the report's tokens are worth: a price that gives it, if one does."""
        valued = sum((worth(rates[lane], counts) for lane, counts in reported.items()), Decimal(0))
        off = valued - billed
        tokens = sum(counts["input_tokens"] + counts["output_tokens"] for counts in reported.values())
        lane = next(iter(reported)) if len(reported) == 1 else _NO_NAMES._replace(service_tier=tier)
        if _is_rounding(off, billed) or abs(off) <= _NANO * len(reported):
            yield _part(lane, Cause.ROUNDING, off, 0)
            return
        if not tokens:
            return
        factor = (billed / valued).quantize(Decimal("1e-6")) if valued else None
        near = self._nearest(cell, reported, valued, billed)
        if near is not None:
            cause, amount = near
            yield _part(lane, cause, valued - amount, tokens, factor)
            if _is_rounding(amount - billed, billed):
                yield _part(lane, Cause.ROUNDING, amount - billed, 0)
        elif cell.told is not None:
            fine = all(_is_fine_tuned(each.model) for each in reported)
            yield _part(lane, Cause.FINE_TUNED_MODEL if fine else Cause.PRICES_DIFFER, off, tokens, factor)

    def _nearest(
        self, cell: Cell, reported: Mapping[Lane, Counts], valued: Decimal, billed: Decimal
    ) -> tuple[Cause, Decimal] | None:
        """The price of the book that comes nearest to what was billed, if it comes near."""
        offers: list[tuple[Decimal, int, Cause, Decimal]] = []

        def offer(cause: Cause, prices: Mapping[Lane, Rates | None]) -> None:
            if all(prices.values()):
                amount = sum((worth(prices[lane] or {}, counts) for lane, counts in reported.items()), Decimal(0))
                if abs(amount - valued) > _NANO * len(reported):
                    offers.append((abs(amount - billed), len(offers), cause, amount))

        fine = all(_is_fine_tuned(lane.model) for lane in reported)
        stale = Cause.FINE_TUNED_MODEL if fine else Cause.STALE_PRICES
        offer(stale, {lane: self._listed(cell, lane) for lane in reported})
        for tier in TIERS:
            cause = Cause.BATCH_DISCOUNT if tier == "batch" else Cause.SERVICE_TIER
            spelled = {lane: cell.spellings.get(lane.model, ()) for lane in reported}
            offer(cause, {lane: self._rates.at(names, tier, cell.moment) for lane, names in spelled.items()})
            booked = {lane: self._booked_over_list.get(lane.model, Decimal(1)) for lane in reported}
            at_tier = {lane: self._rates.at(names, tier, cell.moment) for lane, names in spelled.items()}
            offer(cause, {lane: times(price, booked[lane]) if price else None for lane, price in at_tier.items()})
        if len(reported) == 1:
            lane = next(iter(reported))
            for price in self._rates.ever(cell.spellings.get(lane.model, ()), lane.service_tier):
                offer(stale, {lane: price})
        near = [each for each in offers if each[0] <= _CLOSE * abs(billed)]
        return min(near)[2:] if near else None


def _count_parts(cell: Cell, rates: Mapping[Lane, Rates], reported: Mapping[Lane, Counts]) -> Iterator[Part]:
    """What the difference of both sides' tokens is worth, lane by lane: days, cache fields, tiers, calls."""
    left: dict[Lane, dict[str, int]] = {}
    for lane in cell.lanes():
        seen = cell.seen.get(lane) or Seen()
        counts = dict(seen.tokens)
        if seen.shifted is not None:
            moved = {name: counts[name] - seen.shifted[name] for name in TOKEN_COLUMNS}
            yield _of_counts(lane, Cause.DAY_BOUNDARY, rates[lane], moved)
            counts = dict(seen.shifted)
        for cause, moved in _detail_moves(counts, reported[lane], cell, lane):
            yield _of_counts(lane, cause, rates[lane], moved)
            counts = {name: counts[name] - moved[name] for name in TOKEN_COLUMNS}
        left[lane] = {name: counts[name] - reported[lane][name] for name in TOKEN_COLUMNS}
    yield from _tier_parts(left, rates)
    for lane, counts in left.items():
        yield from _call_parts(cell, lane, counts, rates[lane])


def _detail_moves(counts: Counts, reported: Counts, cell: Cell, lane: Lane) -> Iterator[tuple[Cause, dict[str, int]]]:
    """Parts that the library does not tell, beyond those of calls that are missing: to be taken from `counts`."""
    share = {
        total: min(Decimal(1), Decimal(counts[total]) / reported[total]) if reported[total] else Decimal(1)
        for total in ("input_tokens", "output_tokens")
    }
    due = {name: int(reported[name] * share[PARENT.get(name, "input_tokens")]) for name in (*_CACHE, *_AUDIO)}
    lack = {name: max(0, due[name] - counts[name]) for name in due}
    short, long = "cache_write_5m_tokens", "cache_write_1h_tokens"
    relived = min(lack[long], max(0, counts[short] - due[short]))
    if relived:
        yield Cause.CACHE_LIFETIME, {**NO_TOKENS, short: relived, long: -relived}
        lack[long] -= relived
    for cause, names in ((Cause.MISSING_CACHE_FIELDS, _CACHE), (Cause.MISSING_AUDIO_FIELDS, _AUDIO)):
        untold = {name: lack[name] for name in names if lack[name] * 100 > reported[name]}
        if untold and _is_seen(cell, lane):
            yield cause, {**NO_TOKENS, **{name: -number for name, number in untold.items()}}


def _is_seen(cell: Cell, lane: Lane) -> bool:
    seen = cell.seen.get(lane)
    return seen is not None and seen.calls > 0


def _tier_parts(left: dict[Lane, dict[str, int]], rates: Mapping[Lane, Rates]) -> Iterator[Part]:
    """Tokens that one tier has too much and another too little: taken out of `left`."""
    families: dict[Lane, list[Lane]] = defaultdict(list)
    for lane in left:
        families[lane._replace(service_tier=None)].append(lane)
    for lanes in families.values():
        if len(lanes) < 2:
            continue
        moved: dict[Lane, dict[str, int]] = {lane: dict(NO_TOKENS) for lane in lanes}
        for name in TOKEN_COLUMNS:
            over = {lane: left[lane][name] for lane in lanes if left[lane][name] > 0}
            under = {lane: -left[lane][name] for lane in lanes if left[lane][name] < 0}
            both = min(sum(over.values()), sum(under.values()))
            for side, sign in ((over, 1), (under, -1)):
                rest = both
                for lane, number in side.items():
                    taken = min(number, rest)
                    moved[lane][name] += sign * taken
                    left[lane][name] -= sign * taken
                    rest -= taken
        is_batch = any(lane.service_tier == "batch" and any(moved[lane].values()) for lane in lanes)
        for lane in lanes:
            if any(moved[lane].values()):
                cause = Cause.BATCH_DISCOUNT if is_batch else Cause.SERVICE_TIER
                yield _of_counts(lane, cause, rates[lane], moved[lane])


def _call_parts(cell: Cell, lane: Lane, left: Counts, rates: Rates) -> Iterator[Part]:
    """What is left of a lane's tokens: calls that one side does not have."""
    if not left["input_tokens"] and not left["output_tokens"]:  # the same tokens, of other kinds
        yield _of_counts(lane, Cause.MISSING_CACHE_FIELDS, rates, left)
        return
    seen, told = cell.seen.get(lane) or Seen(), (cell.told or {}).get(lane) or Told()
    lacking = {name: min(0, left[name]) for name in TOKEN_COLUMNS}
    beyond = {name: max(0, left[name]) for name in TOKEN_COLUMNS}
    is_lacking = left["input_tokens"] + left["output_tokens"] < 0
    if is_lacking:
        lacking = dict(left)
    else:
        for cause, most in ((Cause.PARTIAL_REPORT, seen.later), (Cause.DUPLICATES, seen.repeated)):
            taken = {name: min(beyond[name], most[name]) for name in TOKEN_COLUMNS}
            if any(taken.values()):
                yield _of_counts(lane, cause, rates, taken)
                beyond = {name: beyond[name] - taken[name] for name in TOKEN_COLUMNS}
    if not is_lacking:
        if any(beyond.values()):
            yield _of_counts(lane, Cause.NOT_IN_REPORT, rates, beyond)
        if not any(lacking.values()):
            return
    untold = _untold_share(seen, told, -(lacking["input_tokens"] + lacking["output_tokens"]))
    of_untold = {name: int(lacking[name] * untold) for name in TOKEN_COLUMNS}
    of_calls = {name: lacking[name] - of_untold[name] for name in TOKEN_COLUMNS}
    for cause, counts in ((Cause.USAGE_MISSING, of_untold), (Cause.MISSING_CALLS, of_calls)):
        if any(counts.values()):
            yield _of_counts(lane, cause, rates, counts)


def _untold_share(seen: Seen, told: Told, tokens: int) -> Fraction:
    """Of the missing tokens the share of calls that were seen without their usage: by count, else by size."""
    if not seen.untold_calls or tokens <= 0:
        return Fraction(0)
    if told.requests is not None:
        return Fraction(seen.untold_calls) / (seen.untold_calls + max(0, told.requests - seen.calls))
    with_usage = seen.calls - seen.untold_calls
    each = (seen.tokens["input_tokens"] + seen.tokens["output_tokens"]) // with_usage if with_usage else 0
    return min(Fraction(1), Fraction(seen.untold_calls * each, tokens)) if each else Fraction(1)


def _completed(told: Told | None, seen: Seen | None) -> dict[str, int]:
    """A report's counts; a part that it does not tell is as telemetry has it, in proportion."""
    if told is None:
        return dict(NO_TOKENS)
    counts = {name: told.tokens[name] or 0 for name in ("input_tokens", "output_tokens")}
    for name in TOKEN_COLUMNS:
        if name in counts:
            continue
        total = PARENT.get(name, "input_tokens")
        number = told.tokens[name]
        if number is None:
            ours = seen.tokens if seen else NO_TOKENS
            number = ours[name] * counts[total] // ours[total] if ours[total] else 0
        counts[name] = number
    return counts


def _is_rounding(off: Decimal, billed: Decimal) -> bool:
    """Whether a difference is no more than a report rounded to cents would leave of a larger amount."""
    return abs(off) <= min(_CENT, abs(billed) * _ROUNDED)


def _is_fine_tuned(model: str | None) -> bool:
    return (model or "").startswith("ft:") or ":ft-" in (model or "")


def _of_counts(lane: Lane, cause: Cause, rates: Rates, counts: Counts) -> Part:
    tokens = abs(counts["input_tokens"] + counts["output_tokens"])
    parts = sum(abs(counts[name]) for name in (*_CACHE, *_AUDIO))
    return _part(lane, cause, worth(rates, counts), tokens or parts)


def _closed(cell: Cell, parts: list[Part]) -> list[Part]:
    """The parts, the largest of which takes the nano-dollars that rounding each of them left."""
    if cell.bill is None or not parts:
        return parts
    left = cell.booked - cell.bill - sum((part.amount.amount_usd for part in parts), Decimal(0))
    if left and abs(left) <= _NANO * (len(parts) + 1):
        at = max(range(len(parts)), key=lambda number: abs(parts[number].amount.amount_usd))
        amount = replace(parts[at].amount, amount_usd=parts[at].amount.amount_usd + left)
        parts[at] = replace(parts[at], amount=amount)
    return parts


def _part(lane: Lane, cause: Cause, amount: Decimal, tokens: int, factor: Decimal | None = None) -> Part:
    return Part(lane, CauseAmount(cause, amount.quantize(_NANO, ROUND_HALF_UP), tokens, factor))
