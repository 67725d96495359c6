"""Prices as linear rates: every period, time of day and tier of a model's price as one row of numbers.

A row's cost of a call is

    per_request + input * input_tokens + cache_read * cache_read_tokens + … + audio_output * audio_output_tokens

where `input` and `output` are USD a token and every other rate is the *difference* a token makes for
being of that kind (a cached token is an input token too: `cache_read` is its discount, negative).
Each coefficient is read off the library's own `calc_price`, so its rules (which unit is part of which)
are the library's, not a copy of them.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from genai_prices import types as book_types

RATE = pa.decimal128(28, 24)
"""USD a token. The book has prices of 23 places; times at most 10^10 tokens it fits DuckDB's 38 digits."""

COEFFICIENTS = (
    "per_request",
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "audio_input",
    "output",
    "reasoning",
    "audio_output",
)

RATES = pa.schema(
    [
        pa.field("price_key", pa.int32(), nullable=False),
        pa.field("valid_from", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("valid_to", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("minute_from", pa.int32(), nullable=False),
        pa.field("minute_to", pa.int32(), nullable=False),
        pa.field("input_over", pa.int64(), nullable=False),
        pa.field("input_upto", pa.int64(), nullable=False),
        *(pa.field(name, RATE, nullable=False) for name in COEFFICIENTS),
    ]
)
"""One row per price key, period [valid_from, valid_to), minutes of the UTC day [minute_from, minute_to)
and tier (input_over, input_upto]; exactly one row holds for any call of that key."""

_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(9999, 12, 31, tzinfo=UTC)
_DAY_MINUTES = 24 * 60
_NO_LIMIT = 2**62
_UNIT = 10**6
_TOKEN_RATES = tuple(name for name in COEFFICIENTS if name != "per_request")
PARENT_RATE = {
    "cache_read": "input",
    "cache_write_5m": "input",
    "cache_write_1h": "input",
    "audio_input": "input",
    "reasoning": "output",
    "audio_output": "output",
}
_PROBES: Mapping[str, Mapping[str, int]] = {
    "input": {"input_tokens": _UNIT},
    "cache_read": {"input_tokens": _UNIT, "cache_read_tokens": _UNIT},
    "cache_write_5m": {"input_tokens": _UNIT, "cache_write_tokens": _UNIT, "cache_write_5m_tokens": _UNIT},
    "cache_write_1h": {"input_tokens": _UNIT, "cache_write_tokens": _UNIT, "cache_write_1h_tokens": _UNIT},
    "audio_input": {"input_tokens": _UNIT, "input_audio_tokens": _UNIT},
    "output": {"output_tokens": _UNIT},
    "reasoning": {"output_tokens": _UNIT, "output_reasoning_tokens": _UNIT},
    "audio_output": {"output_tokens": _UNIT, "output_audio_tokens": _UNIT},
}
"""Usage whose price differs from its parent's by exactly one coefficient, times a million tokens."""


def book_rates(info: book_types.ModelInfo, context: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every period, time of day and tier of a model's price as linear rates.

    No rows where the price is by other units alone (characters, pages, hours of audio): what tokens cost
    there is unknown. A price without any unit is the book's way to say free.
    """
    from genai_prices import types  # noqa: PLC0415

    conditions = [] if isinstance(info.prices, types.ModelPrice) else [price.constraint for price in info.prices]
    conditions += [variant.constraint for variant in info.price_variants or ()]
    starts = {_BEGIN} | {
        datetime.combine(c.start_date, time(), UTC) for c in conditions if isinstance(c, types.StartDateConstraint)
    }
    minutes = {0, _DAY_MINUTES}
    for condition in conditions:
        if isinstance(condition, types.TimeOfDateConstraint):
            minutes |= {_minute_of_day(condition.start_time), _minute_of_day(condition.end_time)}
    rows = []
    for begin, end in itertools.pairwise([*sorted(starts), _END]):
        for first, last in itertools.pairwise(sorted(minutes)):
            price = info.get_prices(begin + timedelta(minutes=first), context)
            if not _is_by_tokens(price):
                continue
            for over, upto, flat in _tiers(price):
                period = {"valid_from": begin, "valid_to": end, "minute_from": first, "minute_to": last}
                rates = _coefficients(tuple(flat.__dict__.items()))
                rows.append({**period, "input_over": over, "input_upto": upto, **rates})
    return rows


def _minute_of_day(moment: time) -> int:
    utc = datetime.combine(date(1970, 1, 2), moment, moment.tzinfo or UTC).astimezone(UTC)
    return utc.hour * 60 + utc.minute


def _is_by_tokens(price: book_types.ModelPrice) -> bool:
    units = {name for name, value in price.__dict__.items() if value is not None}
    return not units or any(name.endswith("_mtok") or name == "requests_kcount" for name in units)


def _tiers(price: book_types.ModelPrice) -> Iterable[tuple[int, int, book_types.ModelPrice]]:
    """A price cut at every tier: (input over, up to, the flat price that holds for all components)."""
    from genai_prices import types  # noqa: PLC0415

    tiered = {name: value for name, value in price.__dict__.items() if isinstance(value, types.TieredPrices)}
    starts = sorted({-1} | {tier.start for value in tiered.values() for tier in value.tiers})
    for over, upto in itertools.pairwise([*starts, _NO_LIMIT]):
        flat = copy.copy(price)
        for name, value in tiered.items():
            reached = [tier.price for tier in value.tiers if tier.start <= over]
            flat.__dict__[name] = reached[-1] if reached else value.base
        yield over, upto, flat


@lru_cache(maxsize=4096)
def _coefficients(prices: tuple[tuple[str, Any], ...]) -> Mapping[str, Decimal]:
    """A flat price, by unit, as rates: what the library says that single kinds of tokens cost.

    Remembered, because a model has one price under most names, tiers and contexts that a day's calls give it.
    """
    from genai_prices.types import ModelPrice, Usage  # noqa: PLC0415

    flat = ModelPrice(**dict(prices))
    base = flat.calc_price(Usage())["total_price"]
    probe = {name: flat.calc_price(Usage(**usage))["total_price"] for name, usage in _PROBES.items()}
    rates = {"per_request": base}
    for name in _TOKEN_RATES:
        rates[name] = (probe[name] - (probe[PARENT_RATE[name]] if name in PARENT_RATE else base)) / _UNIT
    return {name: _quantized(rate) for name, rate in rates.items()}


def _quantized(rate: Decimal) -> Decimal:
    return rate.quantize(Decimal(1).scaleb(-RATE.scale))


def own_rates(prices: Mapping[date, Mapping[str, Decimal]]) -> list[dict[str, Any]]:
    """The user's prices of one model (day -> USD per million tokens) as rates; each holds until the next."""
    ordered = sorted(prices.items())
    starts = [datetime.combine(since, time(), UTC) for since, _ in ordered]
    rows = []
    for (begin, end), (_, price) in zip(itertools.pairwise([*starts, _END]), ordered, strict=True):
        rates = {"per_request": _quantized(price.get("per_request", Decimal(0)))}
        for name in _TOKEN_RATES:
            parent = price.get(PARENT_RATE[name], Decimal(0)) if name in PARENT_RATE else Decimal(0)
            rates[name] = _quantized((price.get(name, parent) - parent) / _UNIT)
        rows.append(
            {"valid_from": begin, "valid_to": end, "minute_from": 0, "minute_to": _DAY_MINUTES}
            | {"input_over": -1, "input_upto": _NO_LIMIT, **rates}
        )
    return rows


def layered(histories: Iterable[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Histories of rates, the one that wins first, as one: each holds before the ones above it begin."""
    rows: list[dict[str, Any]] = []
    end = _END
    for history in histories:
        rows += [{**row, "valid_to": min(row["valid_to"], end)} for row in history if row["valid_from"] < end]
        end = min([end, *(row["valid_from"] for row in history)])
    return rows


def frozen(rates: Iterable[Mapping[str, Any]], day: date) -> list[dict[str, Any]]:
    """The rates that hold on a UTC day, as if they always had and always will; tiers and hours stay."""
    begin = datetime.combine(day, time(), UTC)
    held = [row for row in rates if row["valid_from"] <= begin < row["valid_to"]]
    return [{**row, "valid_from": _BEGIN, "valid_to": _END} for row in held]
