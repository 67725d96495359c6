"""Why telemetry and a report differ over one set of tokens: the variance taken apart, to the nano-dollar.

Both sides' tokens are valued at the price that telemetry booked (the price book's rates times what was booked over
what they make). Then

    booked - billed = worth(telemetry's tokens) - worth(report's tokens)      calls, cache fields, tiers, days
                    + worth(report's tokens) - billed                          prices

and each part of the first is a difference of counts, each of the second a price that gives what was billed. Every
amount is rounded to nine places, and the largest takes what that leaves; more than that is unexplained, and said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal

from ..models.schema import TOKEN_COLUMNS
from .compared_cell import NANO, NO_NAMES, Cell, Lane, Part, Seen, part
from .count_variance import completed, count_parts
from .reconciliation import Cause
from .usage_rates import TIERS, Counts, Rates, UsageRates, times, worth

_CLOSE = Decimal("0.005")
"""Half a percent: how near a price must come to what was billed to explain it."""
_ROUNDED = Decimal("0.0005")
_CENT = Decimal("0.01")
_OF_PRICE_ONLY = (Cause.MISSING_CACHE_FIELDS, Cause.CACHE_LIFETIME, Cause.MISSING_AUDIO_FIELDS, Cause.ROUNDING)
"""Nothing where they are worth nothing: no total of tokens differs by them."""


class Explainer:
    """Takes cells apart under one price book. `booked_over_list` is that of each model over all of a report."""

    def __init__(self, rates: UsageRates, booked_over_list: Mapping[str | None, Decimal]) -> None:
        self._rates = rates
        self._booked_over_list = booked_over_list

    def parts(self, cell: Cell) -> list[Part]:
        """The causes of a cell's variance; what they leave of it is unexplained."""
        found: list[Part] = []
        if cell.for_no_tokens:
            found.append(part(NO_NAMES, Cause.NOT_TOKENS, -cell.for_no_tokens, 0))
        rates = {lane: self._valued(cell, lane) for lane in cell.lanes()}
        if cell.told is None:
            reported = {lane: dict(cell.seen[lane].tokens) for lane in cell.seen}
        else:
            reported = {lane: completed(cell.told.get(lane), cell.seen.get(lane)) for lane in cell.lanes()}
        unpriced = [self._unpriced(lane, seen, rates[lane]) for lane, seen in cell.seen.items()]
        found += [each for each in unpriced if each]
        if cell.told is not None:
            found += count_parts(cell, rates, reported)
        for tier, billed in (cell.billed or {}).items():
            lanes = {lane: counts for lane, counts in reported.items() if tier in (None, lane.service_tier)}
            found += self._price_parts(cell, rates, lanes, tier, billed)
        found = [each for each in found if each.amount.amount_usd or each.amount.cause not in _OF_PRICE_ONLY]
        return _closed(cell, found)

    def _valued(self, cell: Cell, lane: Lane) -> Rates:
        """A lane's rates at the price that telemetry booked; where no list knows it, what was billed a token."""
        listed = self._listed(cell, lane)
        seen = cell.seen.get(lane)
        if listed is None:
            told: list[Counts] = [completed(each, None) for each in (cell.told or {}).values()]
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
        return part(lane, cause, -worth(rates, seen.unpriced), tokens)

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
        lane = next(iter(reported)) if len(reported) == 1 else NO_NAMES._replace(service_tier=tier)
        if _is_rounding(off, billed) or abs(off) <= NANO * len(reported):
            yield part(lane, Cause.ROUNDING, off, 0)
            return
        if not tokens:
            return
        factor = (billed / valued).quantize(Decimal("1e-6")) if valued else None
        near = self._nearest(cell, reported, valued, billed)
        if near is not None:
            cause, amount = near
            yield part(lane, cause, valued - amount, tokens, factor)
            if _is_rounding(amount - billed, billed):
                yield part(lane, Cause.ROUNDING, amount - billed, 0)
        elif cell.told is not None:
            fine = all(_is_fine_tuned(each.model) for each in reported)
            yield part(lane, Cause.FINE_TUNED_MODEL if fine else Cause.PRICES_DIFFER, off, tokens, factor)

    def _nearest(
        self, cell: Cell, reported: Mapping[Lane, Counts], valued: Decimal, billed: Decimal
    ) -> tuple[Cause, Decimal] | None:
        """The price of the book that comes nearest to what was billed, if it comes near."""
        offers: list[tuple[Decimal, int, Cause, Decimal]] = []

        def offer(cause: Cause, prices: Mapping[Lane, Rates | None]) -> None:
            if all(prices.values()):
                amount = sum((worth(prices[lane] or {}, counts) for lane, counts in reported.items()), Decimal(0))
                if abs(amount - valued) > NANO * len(reported):
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


def _is_rounding(off: Decimal, billed: Decimal) -> bool:
    """Whether a difference is no more than a report rounded to cents would leave of a larger amount."""
    return abs(off) <= min(_CENT, abs(billed) * _ROUNDED)


def _is_fine_tuned(model: str | None) -> bool:
    return (model or "").startswith("ft:") or ":ft-" in (model or "")


def _closed(cell: Cell, parts: list[Part]) -> list[Part]:
    """The parts, the largest of which takes the nano-dollars that rounding each of them left."""
    if cell.bill is None or not parts:
        return parts
    left = cell.booked - cell.bill - sum((each.amount.amount_usd for each in parts), Decimal(0))
    if left and abs(left) <= NANO * (len(parts) + 1):
        at = max(range(len(parts)), key=lambda number: abs(parts[number].amount.amount_usd))
        amount = replace(parts[at].amount, amount_usd=parts[at].amount.amount_usd + left)
        parts[at] = replace(parts[at], amount=amount)
    return parts
