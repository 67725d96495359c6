"""The user's price layers: TOML files of own prices, contracts, overrides and aliases, parsed and checked.

Apart from the book (prices.py), so that a file can be read, and every mistake in it named, without
asking the price list anything.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from .errors import PriceBookError
from .rates import COEFFICIENTS

FIRST_DAY, NO_DAY = date(1970, 1, 1), date(9999, 12, 31)
NO_LAYERS = "none"


@dataclass(frozen=True)
class OwnPrice:
    """One `[[list]]` entry: USD per million tokens from a day on, in the list's place."""

    model: str
    provider: str
    since: date
    rates: Mapping[str, Decimal]


@dataclass(frozen=True)
class Term:
    """One `[[contract]]` or `[[override]]` entry: what calls that match its globs cost instead.

    Either `percent` on (or off) the list price, or `rates` in USD per million tokens; never both.
    """

    layer: Literal["contract", "override"]
    provider: str
    model: str
    customer_id: str
    key_id: str
    since: date
    until: date
    percent: Decimal | None = None
    rates: Mapping[str, Decimal] | None = None

    def covers(self, provider: str | None, model: str) -> bool:
        """Whether it is about this model of this vendor, whoever calls it and when."""
        return _matches(self.provider, provider) and _matches(self.model, model)

    def holds_for(self, customer_id: str | None, key_id: str | None) -> bool:
        """Whether it is about calls of this customer with this key."""
        return _matches(self.customer_id, customer_id) and _matches(self.key_id, key_id)


@dataclass(frozen=True)
class Alias:
    """One `[[alias]]` entry: a model name by regex, to what the book calls it."""

    match: re.Pattern[str]
    provider: str | None
    model: str


@dataclass(frozen=True)
class Entry:
    """One entry of a price file: what it says, or what is wrong with it."""

    place: str
    meaning: OwnPrice | Term | Alias | None
    problem: str | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}" if self.place else str(self.problem)


@dataclass(frozen=True)
class Layers:
    """The user's price files, parsed. Later files and later entries win."""

    own: tuple[OwnPrice, ...] = ()
    terms: tuple[Term, ...] = ()
    aliases: tuple[Alias, ...] = ()
    fingerprint: str = NO_LAYERS

    @classmethod
    def load(cls, path: Path) -> Layers:
        """Read a price file, or every *.toml of a folder in the order of their names; no file, no layers.

        Raises PriceBookError naming the file, the entry and what is wrong with it.
        """
        digest = hashlib.sha256()
        entries: list[Entry] = []
        files = price_files(path)
        for file in files:
            digest.update(file.read_bytes())
            for entry in entries_of(file):
                if entry.problem:
                    raise PriceBookError(f'price file "{file}": {entry}')
                entries.append(entry)
        return cls.of(entries, digest.hexdigest()[:12] if files else NO_LAYERS)

    @classmethod
    def of(cls, entries: Iterable[Entry], fingerprint: str = NO_LAYERS) -> Layers:
        """The layers that entries without a problem make."""
        meanings = [entry.meaning for entry in entries]
        return cls(
            tuple(meaning for meaning in meanings if isinstance(meaning, OwnPrice)),
            tuple(meaning for meaning in meanings if isinstance(meaning, Term)),
            tuple(meaning for meaning in meanings if isinstance(meaning, Alias)),
            fingerprint,
        )

    def aliased(self, provider: str | None, model: str) -> tuple[str | None, str]:
        """(provider, model) by the last alias that matches the whole name; as they are where none does."""
        for alias in reversed(self.aliases):
            if alias.match.fullmatch(model):
                return alias.provider or provider, alias.model
        return provider, model

    def histories(self, provider: str | None, model: str) -> list[dict[date, Mapping[str, Decimal]]]:
        """The user's list prices of a model by first day, one history a pair of globs; the last written first."""
        found: dict[tuple[str, str], dict[date, Mapping[str, Decimal]]] = {}
        for price in self.own:
            if _matches(price.model, model) and _matches(price.provider, provider):
                history = found.pop((price.provider, price.model), {})
                found[price.provider, price.model] = {**history, price.since: price.rates}
        return list(reversed(found.values()))


def price_files(path: Path) -> list[Path]:
    """The price files that a path names: itself, or those of the folder."""
    return sorted(path.glob("*.toml")) if path.is_dir() else [path] if path.is_file() else []


def entries_of(file: Path) -> list[Entry]:
    """Every entry of a price file in the order of its tables, those that are wrong with their problem."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        return [Entry("", None, f"cannot be read: {error.strerror}")]
    except ValueError as error:
        return [Entry("", None, f"not TOML: {error}")]
    found = [entry for name, parse in _TABLES.items() for entry in _entries(tables.pop(name, []), name, parse)]
    known = ", ".join(_TABLES)
    return found + [Entry("", None, f"unknown table [{name}]: known are {known}") for name in tables]


_Parse = Callable[[Mapping[str, Any]], OwnPrice | Term | Alias]


def _entries(found: object, name: str, parse: _Parse) -> Iterator[Entry]:
    if not isinstance(found, list) or not all(isinstance(entry, Mapping) for entry in found):
        yield Entry("", None, f"{name} must be written as [[{name}]] entries")
        return
    for number, entry in enumerate(found, 1):
        which = entry.get("model", entry.get("match"))
        place = f"[[{name}]] entry {number}" + (f" ({which})" if which else "")
        try:
            yield Entry(place, parse(entry))
        except KeyError as error:
            yield Entry(place, None, f"needs {error.args[0]}")
        except (ValueError, re.error) as error:
            yield Entry(place, None, str(error))


def _own_price(entry: Mapping[str, Any]) -> OwnPrice:
    _known(entry, "provider", "model", "from", *COEFFICIENTS)
    model = str(entry["model"])
    return OwnPrice(model, str(entry.get("provider", "*")), _day(entry, "from", FIRST_DAY), _rates(entry))


def _contract(entry: Mapping[str, Any]) -> Term:
    _known(entry, *_SCOPE, "percent", *COEFFICIENTS)
    absolute = [name for name in COEFFICIENTS if name in entry]
    if "percent" not in entry:
        if not absolute:
            raise ValueError("needs percent, or input and output in USD per million tokens")
        return _term("contract", entry, rates=_rates(entry))
    if absolute:
        raise ValueError(f"has percent and {absolute[0]}: a contract is a percentage or prices, not both")
    percent = _number(entry, "percent", -100, 1000)
    if percent != round(percent, 4):
        raise ValueError(f"percent = {percent} has more than 4 decimal places")
    return _term("contract", entry, percent=percent)


def _override(entry: Mapping[str, Any]) -> Term:
    _known(entry, *_SCOPE, *COEFFICIENTS)
    return _term("override", entry, rates=_rates(entry))


def _term(
    layer: Literal["contract", "override"],
    entry: Mapping[str, Any],
    *,
    percent: Decimal | None = None,
    rates: Mapping[str, Decimal] | None = None,
) -> Term:
    globs = {name: str(entry.get(name, "*")) for name in ("provider", "model", "customer_id", "key_id")}
    since, until = _day(entry, "from", FIRST_DAY), _day(entry, "until", NO_DAY)
    if since >= until:
        raise ValueError(f"from = {since} is not before until = {until}")
    return Term(layer, **globs, since=since, until=until, percent=percent, rates=rates)


def _alias(entry: Mapping[str, Any]) -> Alias:
    _known(entry, "match", "provider", "model")
    provider = entry.get("provider")
    return Alias(re.compile(str(entry["match"])), None if provider is None else str(provider), str(entry["model"]))


def _known(entry: Mapping[str, Any], *names: str) -> None:
    if unknown := entry.keys() - set(names):
        raise ValueError(f'unknown field "{min(unknown)}": known are {", ".join(sorted(names))}')


def _rates(entry: Mapping[str, Any]) -> dict[str, Decimal]:
    if "input" not in entry or "output" not in entry:
        raise ValueError("needs input and output, in USD per million tokens")
    return {name: _number(entry, name, 0, 10_000) for name in COEFFICIENTS if name in entry}


def _number(entry: Mapping[str, Any], name: str, least: int, below: int) -> Decimal:
    """A number of a price file, within what the rates' and the contracts' decimals hold."""
    value = entry[name]
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError(f"{name} = {value!r} is not a number")
    number = Decimal(value)
    if not number.is_finite() or not least <= number < below:
        raise ValueError(f"{name} = {value} is not between {least} and {below}")
    return number


def _day(entry: Mapping[str, Any], name: str, default: date) -> date:
    value = entry.get(name, default)
    if isinstance(value, datetime) or not isinstance(value, date):
        raise ValueError(f"{name} = {value!r} is not a day such as 2026-11-22")
    return value


def _matches(glob: str, value: str | None) -> bool:
    return fnmatch.fnmatchcase(value or "", glob)


_SCOPE = ("provider", "model", "customer_id", "key_id", "from", "until")
_TABLES: Mapping[str, _Parse] = {
    "list": _own_price,
    "contract": _contract,
    "override": _override,
    "alias": _alias,
}
