"""The price book: the pinned genai-prices list under the user's own layers.

The library resolves a (provider, model) pair and knows which price holds when; this module asks it
once per distinct pair and writes the answer down as rows of linear rates (rates.py), so that pricing a
million calls is arithmetic in SQL. The user's files are layers.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from .layers import FIRST_DAY, NO_DAY, NO_LAYERS, Layers, Term
from .rates import RATES, book_rates, frozen, layered, own_rates

KEYS = pa.schema(
    [
        pa.field("price_key", pa.int32(), nullable=False),
        pa.field("provider", pa.string()),
        pa.field("response_model", pa.string()),
        pa.field("gateway_model", pa.string()),
        pa.field("request_model", pa.string()),
        pa.field("service_tier", pa.string()),
        pa.field("is_batch", pa.bool_()),
        pa.field("priced_provider", pa.string()),
        pa.field("priced_model", pa.string()),
        pa.field("price_source", pa.string()),
    ]
)
"""What each distinct (provider, models, tier, batch) of the calls resolves to; price_source is NULL
where it does not."""


TERMS = pa.schema(
    {
        **{"rank": pa.int32(), "layer": pa.string()},
        **{name: pa.string() for name in ("provider", "model", "customer_id", "key_id")},
        **{"since": pa.date32(), "until": pa.date32(), "factor": pa.decimal128(10, 6), "price_key": pa.int32()},
    }
)
"""Contracts and overrides; `rank` grows with precedence. `factor` is on the list price, `price_key` names
the term's own rates: one of them is NULL."""

_MAKERS = ("openai", "anthropic", "google", "mistral", "cohere", "x-ai", "deepseek", "voyageai")
"""Vendors that sell their own models: whose price holds where only the model is known."""


@dataclass(frozen=True)
class PriceKey:
    """What a call says about what it should cost; resolved once, however many calls share it."""

    provider: str | None
    response_model: str | None
    gateway_model: str | None
    request_model: str | None
    service_tier: str | None
    is_batch: bool | None


@dataclass(frozen=True)
class PriceTables:
    """What the chain joins calls to: KEYS, RATES and TERMS."""

    keys: pa.Table
    rates: pa.Table
    terms: pa.Table


@dataclass(frozen=True)
class PriceBook:
    """The pinned list prices under one user's layers.

    With `as_of`, prices and terms as they stood on that UTC day, whenever a call was made.
    """

    layers: Layers = field(default_factory=Layers)
    as_of: date | None = None

    @property
    def name(self) -> str:
        """What priced a call: the list's version, the layers' fingerprint, and the day it was asked for.

        Such as `genai-prices 0.2.3`, `genai-prices 0.2.3+9f86d081884c`, `genai-prices 0.2.3 as of 2026-01-31`.
        """
        own = "" if self.layers.fingerprint == NO_LAYERS else f"+{self.layers.fingerprint}"
        return f"genai-prices {version('genai-prices')}{own}" + (f" as of {self.as_of}" if self.as_of else "")

    def tables(self, keys: Sequence[PriceKey]) -> PriceTables:
        """Resolve `keys`, price_key being the index into them; the terms' own rates have keys after those."""
        resolved: list[dict[str, Any]] = []
        rates: list[dict[str, Any]] = []
        for number, key in enumerate(keys):
            row: dict[str, Any] = {"price_key": number, **key.__dict__}
            if found := self.resolve(key):
                row |= {"priced_provider": found.provider, "priced_model": found.model, "price_source": found.source}
                rates += [{"price_key": number, **rate} for rate in found.rates]
            elif named := self.named_by_a_term(key):
                row |= {"priced_provider": named[0], "priced_model": named[1]}
            resolved.append(row)
        terms: list[dict[str, Any]] = []
        for rank, term in enumerate(self.terms()):
            row = {**term.__dict__, "rank": rank}
            if term.percent is not None:
                row["factor"] = 1 + term.percent / 100
            elif term.rates is not None:
                row["price_key"] = len(keys) + rank
                rates += [{"price_key": row["price_key"], **rate} for rate in own_rates({FIRST_DAY: term.rates})]
            terms.append({name: row.get(name) for name in TERMS.names})
        return PriceTables(
            pa.Table.from_pylist(resolved, schema=KEYS),
            pa.Table.from_pylist(rates, schema=RATES),
            pa.Table.from_pylist(terms, schema=TERMS),
        )

    def terms(self) -> list[Term]:
        """Contracts and overrides in the order of their precedence, the last wins; on `as_of`, those of that day."""
        day = self.as_of
        if day is None:
            return list(self.layers.terms)
        held = [term for term in self.layers.terms if term.since <= day < term.until]
        return [replace(term, since=FIRST_DAY, until=NO_DAY) for term in held]

    def resolve(self, key: PriceKey) -> Resolved | None:
        """The list price of `key`, or None: never another model's price.

        Models are tried in this order: the one that answered, the one a gateway called, the one asked
        for; each first by the user's entries, then by the book.
        """
        for provider, model in attempts(key):
            wanted, name = self.layers.aliased(provider, model)
            own = [own_rates(history) for history in self.layers.histories(wanted, name)]
            book = _from_book(wanted, name, key)
            if own:
                vendor = wanted or (book[0] if book else None)
                return Resolved(vendor, name, "own", self._held(layered([*own, *([book[1]] if book else [])])))
            if book:
                return Resolved(book[0], name, "list", self._held(book[1]))
        return None

    def _held(self, rates: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        return rates if self.as_of is None else frozen(rates, self.as_of)

    def known_as(self, provider: str | None, model: str) -> tuple[str | None, str] | None:
        """The one name of a model, however it is spelled: vendor and the book's id; None where no list knows it.

        A dated snapshot and its alias have one name, unless their prices differ.
        """
        for vendor, name in attempts(PriceKey(provider, model, None, None, None, None)):
            wanted, called = self.layers.aliased(vendor, name)
            book = _found_in_book(wanted, called)
            if self.layers.histories(wanted, called):
                return wanted or (book[0].id if book else None), called
            if book:
                return book[0].id, book[1].id
        return None

    def named_by_a_term(self, key: PriceKey) -> tuple[str | None, str] | None:
        """The name under which a contract's or override's own prices know a model that no list has."""
        absolute = [term for term in self.terms() if term.rates is not None]
        named = [self.layers.aliased(provider, model) for provider, model in attempts(key)]
        return next((name for name in named if any(term.covers(*name) for term in absolute)), None)


@dataclass(frozen=True)
class Resolved:
    """A price key's answer: whose price, for which name, from which layer, as RATES rows."""

    provider: str | None
    model: str
    source: str
    rates: Sequence[Mapping[str, Any]]


def attempts(key: PriceKey) -> Iterable[tuple[str | None, str]]:
    """(provider, model) pairs worth looking up, best first."""
    gateway_provider, _, gateway_model = (key.gateway_model or "").rpartition("/")
    provider = gateway_provider or key.provider
    for model in (key.response_model, gateway_model, key.request_model):
        if not model:
            continue
        prefix, slash, rest = model.partition("/")
        if slash and rest and provider is None:
            # before the book guesses a vendor that resells it
            yield prefix, rest
        yield provider, model
        if slash and rest:
            yield prefix, rest
            yield provider, model.rpartition("/")[2]


def _found_in_book(provider: str | None, model: str) -> tuple[Any, Any] | None:
    """The library's (provider, model) for a name, or None."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415  (250 ms: only where a price is asked for)

    snapshot = get_snapshot()
    # Clients of OpenAI-compatible endpoints call every vendor "openai": there the model says whose it is.
    asked = (provider, None, *_MAKERS) if provider == "openai" else (provider,) if provider else (None, *_MAKERS)
    for candidate in asked:
        try:
            return snapshot.find_provider_model(model, None, candidate, None)
        except LookupError:
            continue
    return None


def _from_book(provider: str | None, model: str, key: PriceKey) -> tuple[str, Sequence[Mapping[str, Any]]] | None:
    if (known := _found_in_book(provider, model)) is None:
        return None
    found, info = known
    own_model = any(info is each for each in found.models)
    return found.id, book_rates(info, _context(key) if own_model else {})


def _context(key: PriceKey) -> dict[str, str]:
    """The request's price context in the book's words.

    Gemini says ON_DEMAND_FLEX or SERVICE_TIER_FLEX for what others call flex. Words the book does not know
    (standard, on_demand, auto, scale) mean its standard price.
    """
    tier = (key.service_tier or "").removeprefix("on_demand_").removeprefix("service_tier_")
    context = {"processing": "batch"} if key.is_batch or tier == "batch" else {}
    if tier:
        context |= {"service_tier": tier} | ({"speed": "fast"} if tier == "fast" else {})
    return context


def provider_names() -> dict[str, str]:
    """The names of the list's providers by their ids, such as aws: AWS Bedrock."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415  (slow to load, and few questions need it)

    return {provider.id: provider.name for provider in get_snapshot().providers}
