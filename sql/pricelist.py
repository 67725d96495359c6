"""What a model costs, as a person reads it: USD per million tokens, by period, time of day and tier."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from ..models.errors import UsageError
from ..models.prices import PriceKey
from ..models.rates import PARENT_RATE
from .answers import PriceView
from .derive import Rules

_MILLION = Decimal(1_000_000)
_PRICE = pa.decimal128(18, 6)


def view(rules: Rules, model: str, provider: str | None, now: datetime) -> PriceView:
    """The price of `model` under the lake's layers; the newest period first.

    Raises UsageError if nothing prices it.
    """
    found = rules.book.resolve(PriceKey(provider, model, None, None, None, None))
    if found is None:
        asked = f'model "{model}"' + (f' of provider "{provider}"' if provider else "")
        raise UsageError(
            f"no price for {asked}: add it to prices/own.toml in the lake: "
            f'[[list]] model = "{model}", input = …, output = … (USD per million tokens)'
        )
    rows = sorted(found.rates, key=lambda rate: (rate["valid_from"], rate["input_over"]), reverse=True)
    return PriceView(found.provider, found.model, found.source, rules.book.name, _table(rows, now))


def _table(rates: list[Mapping[str, Any]], now: datetime) -> pa.Table:
    rows = [_row(rate, now) for rate in rates]
    schema = pa.schema(
        [(name, pa.string()) for name in ("holds", "from", "hours", "tier")]
        + [(name, _PRICE) for name in ("input", "output", *PARENT_RATE, "per_request")]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def _row(rate: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    whole_day = (rate["minute_from"], rate["minute_to"]) == (0, 1440)
    return {
        "holds": "now" if rate["valid_from"] <= now < rate["valid_to"] else None,
        "from": None if rate["valid_from"].year == 1970 else rate["valid_from"].date().isoformat(),
        "hours": None if whole_day else f"{clock(rate['minute_from'])}-{clock(rate['minute_to'])} UTC",
        "tier": None if rate["input_over"] < 0 else f"input > {rate['input_over']:,}",
        **{name: round(price, 6) for name, price in per_million(rate).items()},
    }


def per_million(rate: Mapping[str, Any]) -> dict[str, Decimal]:
    """Differences become prices again, in USD per million tokens: a cached token costs `input + cache_read`."""
    prices = {name: rate[name] * _MILLION for name in ("input", "output")}
    prices |= {name: (rate[name] + rate[parent]) * _MILLION for name, parent in PARENT_RATE.items()}
    return {**prices, "per_request": rate["per_request"]}


def clock(minute: int) -> str:
    """A minute of the day, as HH:MM."""
    return f"{minute // 60:02}:{minute % 60:02}"
