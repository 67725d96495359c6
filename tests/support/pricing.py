"""Requests priced by the chain's own SQL without landing a span, and random requests over the whole book."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from genai_prices import types
from genai_prices.data_snapshot import get_snapshot

from llmcost.sql.derive import Rules, derived_day, load_prices
from llmcost.sql.inventory import Inventory
from llmcost.sql.relations import CHAIN, read

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
CONTEXTS: Mapping[str, Mapping[str, str]] = {
    "default": {"service_tier": "default"},
    "standard": {},
    "on_demand": {},
    "flex": {"service_tier": "flex"},
    "on_demand_flex": {"service_tier": "flex"},
    "service_tier_flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "on_demand_priority": {"service_tier": "priority"},
    "service_tier_priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
    "batch": {"processing": "batch", "service_tier": "batch"},
}
"""The words of providers for a service tier, and the book's context for each."""


@dataclass(frozen=True)
class Case:
    """One request whose price is asked of the library and of the SQL."""

    provider: str
    model: str
    at: datetime
    tier: str | None
    is_batch: bool | None
    usage: Mapping[str, int]

    @property
    def context(self) -> dict[str, str]:
        """The request in the book's words."""
        batch = {"processing": "batch"} if self.is_batch else {}
        return {**(CONTEXTS[self.tier] if self.tier else {}), **batch}


def priced(rules: Rules, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The calls that calls.sql makes of rows for its `requests` and `owners`, in the order given."""
    with derived_day(date(1970, 1, 1), Inventory(), rules) as con:
        rows = [
            {
                "call_sid": number,
                "trace_id": f"{number:032x}",
                "span_id": f"{number:016x}",
                "started_at": NOW,
                "ended_at": request.get("started_at", NOW),
                "day": request.get("started_at", NOW).date(),
                "status": "OK",
                "traffic_type": "inference",
                **request,
            }
            for number, request in enumerate(requests)
        ]
        columns = {name for row in rows for name in row}
        con.register("arriving", pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows]))
        for name in ("requests", "owners"):
            known = [column for column in con.table(name).columns if column in columns]
            con.execute(f"insert into {name} by name select {', '.join(known)} from arriving")
        load_prices(con, rules)
        calls = con.sql(read(CHAIN / "calls.sql").text).to_arrow_table().to_pylist()
    return sorted(calls, key=lambda call: str(call["trace_id"]))


def cases(seed: int) -> Iterator[Case]:
    """Random requests to every (provider, model) the book resolves; more where a price has more to it."""
    source = random.Random(seed)  # noqa: S311  (cases for tests)
    snapshot = get_snapshot()
    for provider in snapshot.providers:
        for listed in provider.models:
            try:
                _, info = snapshot.find_provider_model(listed.id, None, provider.id, None)
            except LookupError:
                continue
            moments, sizes, tiers = list(_moments(info, source)), list(_sizes(info, source)), _tiers(info, source)
            for number in range(max(8, 2 * len(moments), 2 * len(sizes), 2 * len(tiers))):
                tier = tiers[number % len(tiers)]
                size = sizes[number % len(sizes)] if number % 3 else source.choice(sizes)
                moment = source.choice(moments) if number % 2 else moments[number // 2 % len(moments)]
                is_batch = source.choice((None, False, False, tier is None))
                yield Case(provider.id, listed.id, moment, tier, is_batch, _usage(source, size))


def _prices(info: types.ModelInfo) -> list[tuple[Any, types.ModelPrice]]:
    variants = [(variant.constraint, variant.prices) for variant in info.price_variants or ()]
    if isinstance(info.prices, types.ModelPrice):
        return [(None, info.prices), *variants]
    return [*((price.constraint, price.prices) for price in info.prices), *variants]


def _moments(info: types.ModelInfo, source: random.Random) -> Iterator[datetime]:
    """Any time at all, and each start of a price to the microsecond: the last before and the first of it."""
    yield datetime(2023, 1, 1, tzinfo=UTC) + timedelta(seconds=source.uniform(0, 5 * 365 * 86400))
    for condition, _ in _prices(info):
        if isinstance(condition, types.StartDateConstraint):
            start = datetime.combine(condition.start_date, datetime.min.time(), UTC)
            yield start
            yield start - timedelta(microseconds=1)
            yield start + timedelta(seconds=source.uniform(0, 86400 * 30))
        elif isinstance(condition, types.TimeOfDateConstraint):
            for edge in (condition.start_time, condition.end_time):
                moment = datetime.combine(NOW.date() - timedelta(days=source.randrange(900)), edge)
                yield moment
                yield moment - timedelta(microseconds=1)
                yield moment + timedelta(seconds=source.uniform(0, 3600))


def _sizes(info: types.ModelInfo, source: random.Random) -> Iterator[int]:
    """Any total input, and each tier's boundary: below, at and above it."""
    yield source.choice((0, 1, 100, 10_000, 100_000))
    yield source.randrange(2_000_000)
    tiered = [value for _, price in _prices(info) for value in price.__dict__.values() if hasattr(value, "tiers")]
    for start in sorted({tier.start for value in tiered for tier in value.tiers}):
        yield from (start - 1, start, start + 1)


def _tiers(info: types.ModelInfo, source: random.Random) -> list[str | None]:
    """No word, some word, and every word where the model has variants."""
    return [None, *(CONTEXTS if info.price_variants else source.sample(sorted(CONTEXTS), 2))]


def _usage(source: random.Random, size: int) -> dict[str, int]:
    """`size` tokens of input and some of output, cut at random into kinds; each kind often absent."""
    kinds = ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "audio_input_tokens")
    usage = {"input_tokens": size, **_cut(source, size, kinds)}
    output = source.choice((0, 1, source.randrange(1, 300), source.randrange(1, 200_000)))
    return {**usage, "output_tokens": output, **_cut(source, output, ("reasoning_tokens", "audio_output_tokens"))}


def _cut(source: random.Random, size: int, kinds: Sequence[str]) -> dict[str, int]:
    edges = sorted(source.randrange(size + 1) for _ in range(len(kinds)))
    parts = [high - low for low, high in zip([0, *edges], edges, strict=False)]
    source.shuffle(parts)
    return {kind: part for kind, part in zip(kinds, parts, strict=True) if source.random() < 0.5}
