"""The price book: the pinned genai-prices list under the user's own layers.

The library resolves a (provider, model) pair and knows which price holds when; this module asks it
once per distinct pair and writes the answer down as rows of linear rates, so that pricing a million
calls is arithmetic in SQL. A row's cost of a call is

    per_request + input * input_tokens + cache_read * cache_read_tokens + … + audio_output * audio_output_tokens

where `input` and `output` are USD a token and every other rate is the *difference* a token makes for
being of that kind (a cached token is an input token too: `cache_read` is its discount, negative).
Each coefficient is read off the library's own `calc_price`, so its rules (which unit is part of which)
are the library's, not a copy of them.
"""

from __future__ import annotations

import copy
import fnmatch
import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .errors import PriceBookError

if TYPE_CHECKING:
    from genai_prices import types as book_types

RATE = pa.decimal128(26, 20)
"""USD a token. Times at most 10^12 tokens it fits DuckDB's 38 digits, exact to 20 places."""

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

_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(9999, 12, 31, tzinfo=UTC)
_DAY_MINUTES = 24 * 60
_NO_LIMIT = 2**62
_UNIT = 10**6
_OWN_RATES = tuple(name for name in COEFFICIENTS if name != "per_request")
_PARENT = {
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
                own += [_own_price(entry) for entry in tables.pop("list", [])]
                contracts += [_contract(entry) for entry in tables.pop("contract", [])]
                aliases += [_alias(entry) for entry in tables.pop("alias", [])]
                if tables:
                    raise ValueError(f"unknown table [{next(iter(tables))}]: known are list, contract, alias")
            except (ValueError, KeyError, TypeError, ArithmeticError, re.error) as error:
                reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
                raise PriceBookError(f'price file "{path}": {reason}') from error
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
        schema = pa.schema(
            [
                ("rank", pa.int32()), ("provider", pa.string()), ("model", pa.string()), ("customer_id", pa.string()),
                ("key_id", pa.string()), ("since", pa.date32()), ("until", pa.date32()), ("factor", pa.decimal128(10, 6)),
            ]
        )  # fmt: skip
        rows = [
            {
                "rank": rank, "provider": c.provider, "model": c.model, "customer_id": c.customer_id, "key_id": c.key_id,
                "since": c.since, "until": c.until, "factor": 1 + c.percent / 100,
            }
            for rank, c in enumerate(self.layers.contracts)
        ]  # fmt: skip
        return pa.Table.from_pylist(rows, schema=schema)

    def resolve(self, key: PriceKey) -> Resolved | None:
        """The price of `key`, or None: never another model's price.

        Models are tried in this order: the one that answered, the one a gateway called, the one asked
        for; each first by the user's entries, then by the book.
        """
        attempts = list(_attempts(key))
        for provider, model in attempts:
            for wanted, name in self._aliased(provider, model):
                if own := self._own(wanted, name):
                    return Resolved(wanted or own[0].provider, name, "own", _own_rates(own))
                if found := _from_book(wanted, name, key):
                    return Resolved(found[0], name, "list", found[1])
        return None

    def _aliased(self, provider: str | None, model: str) -> list[tuple[str | None, str]]:
        for alias in reversed(self.layers.aliases):
            if alias.match.fullmatch(model):
                return [(alias.provider or provider, alias.model)]
        return [(provider, model)]

    def _own(self, provider: str | None, model: str) -> list[OwnPrice]:
        return [
            price
            for price in self.layers.own
            if fnmatch.fnmatchcase(model, price.model) and fnmatch.fnmatchcase(provider or "", price.provider)
        ]


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
        yield provider, model
        prefix, slash, rest = model.partition("/")
        if slash and rest:
            yield prefix, rest
            yield provider, model.rpartition("/")[2]


def _from_book(provider: str | None, model: str, key: PriceKey) -> tuple[str, Sequence[Mapping[str, Any]]] | None:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415  (250 ms: only where a price is asked for)

    snapshot = get_snapshot()
    # Clients of OpenAI-compatible endpoints call every vendor "openai": there the model says whose it is.
    for asked in (provider, None) if provider in (None, "openai") else (provider,):
        try:
            found, info = snapshot.find_provider_model(model, None, asked, None)
        except LookupError:
            continue
        own_model = any(info is candidate for candidate in found.models)
        return found.id, _book_rates(info, _context(key) if own_model else {})
    return None


def _context(key: PriceKey) -> dict[str, str]:
    """The request's price context in the book's words."""
    context = {"processing": "batch"} if key.is_batch or key.service_tier == "batch" else {}
    if key.service_tier:
        context |= {"service_tier": key.service_tier} | ({"speed": "fast"} if key.service_tier == "fast" else {})
    return context


def _book_rates(info: book_types.ModelInfo, context: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every period, time of day and tier of a model's price as linear rates."""
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
    for begin, end in _spans(sorted(starts) + [_END]):
        for first, last in _spans(sorted(minutes)):
            price = info.get_prices(begin + timedelta(minutes=first), context)
            for over, upto, flat in _tiers(price):
                period = {"valid_from": begin, "valid_to": end, "minute_from": first, "minute_to": last}
                rows.append({**period, "input_over": over, "input_upto": upto, **_coefficients(flat)})
    return rows


def _spans(points: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(points[:-1], points[1:], strict=True)


def _minute_of_day(moment: time) -> int:
    utc = datetime.combine(date(1970, 1, 2), moment, moment.tzinfo or UTC).astimezone(UTC)
    return utc.hour * 60 + utc.minute


def _tiers(price: book_types.ModelPrice) -> Iterable[tuple[int, int, book_types.ModelPrice]]:
    """A price cut at every tier: (input over, up to, the flat price that holds for all components)."""
    from genai_prices import types  # noqa: PLC0415

    tiered = {name: value for name, value in price.__dict__.items() if isinstance(value, types.TieredPrices)}
    starts = sorted({-1} | {tier.start for value in tiered.values() for tier in value.tiers})
    for over, upto in _spans([*starts, _NO_LIMIT]):
        flat = copy.copy(price)
        for name, value in tiered.items():
            reached = [tier.price for tier in value.tiers if tier.start <= over]
            flat.__dict__[name] = reached[-1] if reached else value.base
        yield over, upto, flat


def _coefficients(flat: book_types.ModelPrice) -> dict[str, Decimal]:
    """A flat price as rates, by asking the library what single kinds of tokens cost."""
    from genai_prices.types import Usage  # noqa: PLC0415

    base = flat.calc_price(Usage())["total_price"]
    probe = {name: flat.calc_price(Usage(**usage))["total_price"] for name, usage in _PROBES.items()}
    rates = {"per_request": base}
    for name in _OWN_RATES:
        rates[name] = (probe[name] - (probe[_PARENT[name]] if name in _PARENT else base)) / _UNIT
    return {name: _quantized(rate) for name, rate in rates.items()}


def _quantized(rate: Decimal) -> Decimal:
    return rate.quantize(Decimal(1).scaleb(-RATE.scale))


def _own_rates(prices: Sequence[OwnPrice]) -> list[dict[str, Any]]:
    """The user's entries for one model as rates; an entry holds until the next one's day."""
    ordered = sorted({price.since: price for price in prices}.items())
    starts = [datetime.combine(since, time(), UTC) for since, _ in ordered]
    rows = []
    for (begin, end), (_, price) in zip(_spans([*starts, _END]), ordered, strict=True):
        rates = {"per_request": _quantized(price.rates.get("per_request", Decimal(0)))}
        for name in _OWN_RATES:
            parent = price.rates.get(_PARENT[name], Decimal(0)) if name in _PARENT else Decimal(0)
            rates[name] = _quantized((price.rates.get(name, parent) - parent) / _UNIT)
        rows.append(
            {"valid_from": begin, "valid_to": end, "minute_from": 0, "minute_to": _DAY_MINUTES}
            | {"input_over": -1, "input_upto": _NO_LIMIT, **rates}
        )
    return rows


def _own_price(entry: Mapping[str, Any]) -> OwnPrice:
    known = {"provider", "model", "from", *COEFFICIENTS}
    if unknown := entry.keys() - known:
        raise ValueError(f'unknown field "{min(unknown)}" in [[list]]: known are {", ".join(sorted(known))}')
    rates = {name: Decimal(entry[name]) for name in COEFFICIENTS if name in entry}
    if "input" not in rates or "output" not in rates:
        raise ValueError(f'[[list]] of model "{entry["model"]}" needs input and output, in USD per million tokens')
    if any(rate < 0 for rate in rates.values()):
        raise ValueError(f'[[list]] of model "{entry["model"]}" has a negative price')
    return OwnPrice(
        str(entry["model"]), str(entry.get("provider", "*")), _day(entry, "from", date(1970, 1, 1)), rates
    )


def _contract(entry: Mapping[str, Any]) -> Contract:
    known = {"provider", "model", "customer_id", "key_id", "from", "until", "percent"}
    if unknown := entry.keys() - known:
        raise ValueError(f'unknown field "{min(unknown)}" in [[contract]]: known are {", ".join(sorted(known))}')
    percent = Decimal(entry["percent"])
    if percent < -100:
        raise ValueError(f"[[contract]] percent = {percent} would make prices negative")
    globs = {name: str(entry.get(name, "*")) for name in ("provider", "model", "customer_id", "key_id")}
    since, until = _day(entry, "from", date(1970, 1, 1)), _day(entry, "until", date(9999, 12, 31))
    return Contract(**globs, since=since, until=until, percent=percent)


def _alias(entry: Mapping[str, Any]) -> Alias:
    provider = entry.get("provider")
    return Alias(re.compile(str(entry["match"])), None if provider is None else str(provider), str(entry["model"]))


def _day(entry: Mapping[str, Any], name: str, default: date) -> date:
    value = entry.get(name, default)
    if isinstance(value, datetime) or not isinstance(value, date):
        raise ValueError(f"{name} = {value!r} is not a day such as 2026-11-22")
    return value
