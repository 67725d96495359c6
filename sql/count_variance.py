"""What a difference of counts is worth: calls that one side lacks, parts that no library tells, tiers, days."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction

from ..models.schema import TOKEN_COLUMNS
from .compared_cell import PARENT, Cell, Lane, Part, Seen, Told, part
from .reconciliation import Cause
from .usage_rates import NO_TOKENS, Counts, Rates, worth

_CACHE = ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
_AUDIO = ("audio_input_tokens", "audio_output_tokens")


def count_parts(cell: Cell, rates: Mapping[Lane, Rates], reported: Mapping[Lane, Counts]) -> Iterator[Part]:
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


def completed(told: Told | None, seen: Seen | None) -> dict[str, int]:
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


def _of_counts(lane: Lane, cause: Cause, rates: Rates, counts: Counts) -> Part:
    tokens = abs(counts["input_tokens"] + counts["output_tokens"])
    parts = sum(abs(counts[name]) for name in (*_CACHE, *_AUDIO))
    return part(lane, cause, worth(rates, counts), tokens or parts)
