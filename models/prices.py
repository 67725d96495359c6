"""The price book: the pinned genai-prices list under the user's own layers.

The library resolves a (provider, model) pair and knows which price holds when; this module asks it
once per distinct pair and writes the answer down as rows of linear rates (rates.py), so that pricing a
million calls is arithmetic in SQL.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from .errors import PriceBookError
from .rates import COEFFICIENTS, RATES, book_rates, layered, own_rates

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
class OwnPrice:
    """One `[[list]]` entry of a user's price file: USD per million tokens from a day on."""

    model: str
    provider: str
    since: date
    rates: Mapping[str, Decimal]


@dataclass(frozen=True)
class Contract:
    """One `[[contract]]` entry: a percentage off (or on) the list price, for what its globs match."""

    provider: str
    model: str
    customer_id: str
    key_id: str
    since: date
    until: date
    percent: Decimal


@dataclass(frozen=True)
class Alias:
    """One `[[alias]]` entry: a model name by regex, to what the book calls it."""

    match: re.Pattern[str]
    provider: str | None
    model: str


@dataclass(frozen=True)
class Layers:
    """The user's price files, parsed. Later files and later entries win."""

    own: tuple[OwnPrice, ...] = ()
    contracts: tuple[Contract, ...] = ()
    aliases: tuple[Alias, ...] = ()
    fingerprint: str = "none"

    @classmethod
    def load(cls, folder: Path) -> Layers:
        """Read every *.toml in `folder`, in the order of their names.

        Raises PriceBookError naming the file, the entry and what is wrong with it.
        """
        own: list[OwnPrice] = []
        contracts: list[Contract] = []
        aliases: list[Alias] = []
        digest = hashlib.sha256()
        files = sorted(folder.glob("*.toml")) if folder.is_dir() else []
        for path in files:
            content = path.read_bytes()
            digest.update(content)
            try:
                tables = tomllib.loads(content.decode(), parse_float=Decimal)
                own += _entries(tables, "list", _own_price)
                contracts += _entries(tables, "contract", _contract)
                aliases += _entries(tables, "alias", _alias)
                if tables:
                    raise ValueError(f"unknown table [{next(iter(tables))}]: known are list, contract, alias")
            except ValueError as error:
                raise PriceBookError(f'price file "{path}": {error}') from error
        return cls(tuple(own), tuple(contracts), tuple(aliases), digest.hexdigest()[:12] if files else "none")


@dataclass
class PriceBook:
    """The pinned list prices under one user's layers.

    `name` identifies what priced a call: the list's version and, after a plus, the layers' fingerprint.
    """

    layers: Layers = field(default_factory=Layers)

    @property
    def name(self) -> str:
        """Such as `genai-prices 0.2.3` or `genai-prices 0.2.3+9f86d081884c`."""
        own = "" if self.layers.fingerprint == "none" else f"+{self.layers.fingerprint}"
        return f"genai-prices {version('genai-prices')}{own}"

    def tables(self, keys: Sequence[PriceKey]) -> tuple[pa.Table, pa.Table]:
        """Resolve `keys`; returns (KEYS, RATES) tables, price_key being the index into `keys`."""
        resolved: list[dict[str, Any]] = []
        rates: list[dict[str, Any]] = []
        for number, key in enumerate(keys):
            row: dict[str, Any] = {"price_key": number, **key.__dict__}
            row |= {"priced_provider": None, "priced_model": None, "price_source": None}
            if found := self.resolve(key):
                row |= {"priced_provider": found.provider, "priced_model": found.model, "price_source": found.source}
                rates += [{"price_key": number, **rate} for rate in found.rates]
            resolved.append(row)
        return pa.Table.from_pylist(resolved, schema=KEYS), pa.Table.from_pylist(rates, schema=RATES)

    def contract_table(self) -> pa.Table:
        """The contracts as rows; `rank` grows with precedence."""
        globs = {name: pa.string() for name in ("provider", "model", "customer_id", "key_id")}
        schema = pa.schema(
            {"rank": pa.int32(), **globs, "since": pa.date32(), "until": pa.date32(), "factor": pa.decimal128(10, 6)}
        )
        rows = [
            {**contract.__dict__, "rank": rank, "factor": 1 + contract.percent / 100}
            for rank, contract in enumerate(self.layers.contracts)
        ]
        return pa.Table.from_pylist(rows, schema=schema)

    def resolve(self, key: PriceKey) -> Resolved | None:
        """The price of `key`, or None: never another model's price.

        Models are tried in this order: the one that answered, the one a gateway called, the one asked
        for; each first by the user's entries, then by the book.
        """
        attempts = list(_attempts(key))
        for provider, model in attempts:
            for wanted, name in self._aliased(provider, model):
                own, book = self._own(wanted, name), _from_book(wanted, name, key)
                if own:
                    vendor = wanted or (book[0] if book else None)
                    return Resolved(vendor, name, "own", layered([*own, *([book[1]] if book else [])]))
                if book:
                    return Resolved(book[0], name, "list", book[1])
        return None

    def _aliased(self, provider: str | None, model: str) -> list[tuple[str | None, str]]:
        for alias in reversed(self.layers.aliases):
            if alias.match.fullmatch(model):
                return [(alias.provider or provider, alias.model)]
        return [(provider, model)]

    def _own(self, provider: str | None, model: str) -> list[list[dict[str, Any]]]:
        """The user's rates, one history for each pair of globs that matches; the last written first."""
        histories: dict[tuple[str, str], dict[date, Mapping[str, Decimal]]] = {}
        for price in self.layers.own:
            if fnmatch.fnmatchcase(model, price.model) and fnmatch.fnmatchcase(provider or "", price.provider):
                history = histories.pop((price.provider, price.model), {})
                histories[price.provider, price.model] = {**history, price.since: price.rates}
        return [own_rates(history) for history in reversed(histories.values())]


@dataclass(frozen=True)
class Resolved:
    """A price key's answer: whose price, for which name, from which layer, as RATES rows."""

    provider: str | None
    model: str
    source: str
    rates: Sequence[Mapping[str, Any]]


def _attempts(key: PriceKey) -> Iterable[tuple[str | None, str]]:
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


def _from_book(provider: str | None, model: str, key: PriceKey) -> tuple[str, Sequence[Mapping[str, Any]]] | None:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415  (250 ms: only where a price is asked for)

    snapshot = get_snapshot()
    # Clients of OpenAI-compatible endpoints call every vendor "openai": there the model says whose it is.
    asked = (provider, None, *_MAKERS) if provider == "openai" else (provider,) if provider else (None, *_MAKERS)
    for candidate in asked:
        try:
            found, info = snapshot.find_provider_model(model, None, candidate, None)
        except LookupError:
            continue
        own_model = any(info is known for known in found.models)
        return found.id, book_rates(info, _context(key) if own_model else {})
    return None


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


_Entry = TypeVar("_Entry")


def _entries(tables: dict[str, Any], name: str, parse: Callable[[Mapping[str, Any]], _Entry]) -> list[_Entry]:
    """Take table `name` out of a price file's tables and parse each entry; ValueError names the entry."""
    found = tables.pop(name, [])
    if not isinstance(found, list) or not all(isinstance(entry, Mapping) for entry in found):
        raise ValueError(f"{name} must be written as [[{name}]] entries")
    parsed = []
    for number, entry in enumerate(found, 1):
        which = entry.get("model", entry.get("match"))
        place = f"[[{name}]] entry {number}" + (f" ({which})" if which else "")
        try:
            parsed.append(parse(entry))
        except KeyError as error:
            raise ValueError(f"{place} needs {error.args[0]}") from error
        except (ValueError, re.error) as error:
            raise ValueError(f"{place}: {error}") from error
    return parsed


def _known(entry: Mapping[str, Any], *names: str) -> None:
    if unknown := entry.keys() - set(names):
        raise ValueError(f'unknown field "{min(unknown)}": known are {", ".join(sorted(names))}')


def _number(entry: Mapping[str, Any], name: str, least: int, below: int) -> Decimal:
    """A number of a price file, within what the rates' and the contracts' decimals hold."""
    value = entry[name]
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError(f"{name} = {value!r} is not a number")
    number = Decimal(value)
    if not number.is_finite() or not least <= number < below:
        raise ValueError(f"{name} = {value} is not between {least} and {below}")
    return number


def _own_price(entry: Mapping[str, Any]) -> OwnPrice:
    _known(entry, "provider", "model", "from", *COEFFICIENTS)
    model = str(entry["model"])
    if "input" not in entry or "output" not in entry:
        raise ValueError("needs input and output, in USD per million tokens")
    rates = {name: _number(entry, name, 0, 10_000) for name in COEFFICIENTS if name in entry}
    return OwnPrice(model, str(entry.get("provider", "*")), _day(entry, "from", date(1970, 1, 1)), rates)


def _contract(entry: Mapping[str, Any]) -> Contract:
    _known(entry, "provider", "model", "customer_id", "key_id", "from", "until", "percent")
    percent = _number(entry, "percent", -100, 1000)
    if percent != round(percent, 4):
        raise ValueError(f"percent = {percent} has more than 4 decimal places")
    globs = {name: str(entry.get(name, "*")) for name in ("provider", "model", "customer_id", "key_id")}
    since, until = _day(entry, "from", date(1970, 1, 1)), _day(entry, "until", date(9999, 12, 31))
    if since >= until:
        raise ValueError(f"from = {since} is not before until = {until}")
    return Contract(**globs, since=since, until=until, percent=percent)


def _alias(entry: Mapping[str, Any]) -> Alias:
    _known(entry, "match", "provider", "model")
    provider = entry.get("provider")
    return Alias(re.compile(str(entry["match"])), None if provider is None else str(provider), str(entry["model"]))


def _day(entry: Mapping[str, Any], name: str, default: date) -> date:
    value = entry.get(name, default)
    if isinstance(value, datetime) or not isinstance(value, date):
        raise ValueError(f"{name} = {value!r} is not a day such as 2026-11-22")
    return value
