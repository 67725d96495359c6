"""A user's price files against a lake: what each entry is about there, and what two of them price differently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ..models.errors import PriceBookError
from ..models.layers import FIRST_DAY, NO_DAY, Alias, Entry, Layers, OwnPrice, Term, entries_of, price_files
from ..models.prices import PriceBook, PriceKey, attempts
from ..models.rates import PARENT_RATE, own_rates
from .answers import PriceCheck
from .pricelist import clock, per_million

_PRICE = pa.decimal128(18, 6)
_MODELS = "select distinct provider, model, request_model from calls order by all"
_DIFFERENCES = pa.schema(
    [(name, pa.string()) for name in ("provider", "model", "holds_for", "hours", "tier", "price")]
    + [("old_usd", _PRICE), ("new_usd", _PRICE), ("change_percent", pa.float64())]
)
_MATCHES = pa.schema(
    {
        "entry": pa.int32(),
        **{name: pa.string() for name in ("provider", "model", "request_model", "customer_id", "key_id")},
        **{"since": pa.date32(), "until": pa.date32()},
    }
)
_MATCHED = """
    select
        entries.place as entry,
        coalesce(list(distinct calls.model order by calls.model) filter (calls.model is not null), []) as models,
        count(calls.day) as calls,
        min(calls.day) as first_day,
        max(calls.day) as last_day,
        entries.problem
    from entries
    left join matches
        on entries.number = matches.entry
    left join calls
        on matches.provider is not distinct from calls.provider
        and matches.model is not distinct from calls.model
        and matches.request_model is not distinct from calls.request_model
        and coalesce(calls.customer_id, '') glob matches.customer_id
        and coalesce(calls.key_id, '') glob matches.key_id
        and calls.day >= matches.since
        and calls.day < matches.until
    group by entries.number, entries.place, entries.problem
    order by entries.number
"""


def check(con: duckdb.DuckDBPyConnection, path: Path) -> PriceCheck:
    """Each entry of the price files at `path`: its problem, or which of the `calls` in `con` it is about."""
    entries = [(file, entry) for file in _files(path) for entry in entries_of(file)]
    layers = Layers.of(entry for _, entry in entries)
    known = con.sql(_MODELS).fetchall()
    matches = [
        {"entry": number, **match}
        for number, (_, entry) in enumerate(entries)
        for match in _matches(entry, layers, known)
    ]
    named = {
        "number": pa.array(range(len(entries)), pa.int32()),
        "place": pa.array([_place(file, entry, path) for file, entry in entries], pa.string()),
        "problem": pa.array([entry.problem for _, entry in entries], pa.string()),
    }
    con.register("entries", pa.table(named))
    con.register("matches", pa.Table.from_pylist(matches, schema=_MATCHES))
    problems = sum(entry.problem is not None for _, entry in entries)
    return PriceCheck(path, con.sql(_MATCHED).to_arrow_table(), problems)


def diff(models: Sequence[PriceKey], old: Path | None, new: Path, now: datetime) -> pa.Table:
    """Prices of `models` that differ between two sets of layers at `now`; without `old`, from the list alone."""
    books = [PriceBook(layers_at(path) if path else Layers()) for path in (old, new)]
    scopes = {(term.customer_id, term.key_id): None for book in books for term in book.terms()}
    rows: list[dict[str, Any]] = []
    for key in models:
        everyone = _difference(books, key, ("", ""), now)
        rows += everyone.values()
        for scope in scopes:
            if scope != ("*", "*"):
                own = _difference(books, key, scope, now)
                rows += [row for at, row in own.items() if _figures(row) != _figures(everyone.get(at))]
    unique = {tuple(row.values()): row for row in rows}
    return pa.Table.from_pylist(list(unique.values()), schema=_DIFFERENCES)


def models_of(con: duckdb.DuckDBPyConnection) -> list[PriceKey]:
    """Every distinct model of the `calls` in `con`, as a key to ask a book with."""
    return [
        PriceKey(provider, model, None, asked, None, None) for provider, model, asked in con.sql(_MODELS).fetchall()
    ]


def layers_at(path: Path) -> Layers:
    """The layers of a file or folder that somebody named. Raises PriceBookError where there is none."""
    _files(path)
    return Layers.load(path)


def _files(path: Path) -> list[Path]:
    if files := price_files(path):
        return files
    raise PriceBookError(f'no price file at "{path}": name a .toml file, or a folder that holds some')


def _place(file: Path, entry: Entry, path: Path) -> str:
    place = entry.place or "file"
    return place if file == path else f"{file.name}: {place}"


def _matches(
    entry: Entry, layers: Layers, known: Iterable[tuple[str | None, str | None, str | None]]
) -> Iterable[dict[str, Any]]:
    """The lake's models that an entry is about, with whose calls and which days."""
    for provider, model, asked in known:
        row: dict[str, Any] = {"provider": provider, "model": model, "request_model": asked}
        anybody = {"customer_id": "*", "key_id": "*", "since": FIRST_DAY, "until": NO_DAY}
        key = PriceKey(provider, model, None, asked, None, None)
        match entry.meaning:
            case OwnPrice() as price:
                found = PriceBook(Layers(own=(price,), aliases=layers.aliases)).resolve(key)
                if found and found.source == "own":
                    yield {**row, **anybody, "since": price.since}
            case Alias() as alias:
                if any(alias.match.fullmatch(name) for _, name in attempts(key)):
                    yield {**row, **anybody}
            case Term() as term:
                named = [layers.aliased(*attempt) for attempt in attempts(key)][:1]
                if any(term.covers(*name) for name in named):
                    yield {**row, **{name: getattr(term, name) for name in anybody}}


def _difference(
    books: Sequence[PriceBook], key: PriceKey, scope: tuple[str, str], now: datetime
) -> dict[tuple[str, ...], dict[str, Any]]:
    """What differs between two books for one model and whose calls, by hours, tier and price."""
    sides = [_held(book, key, scope, now) for book in books]
    rates = [rate for side in sides for rate, _ in side]
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for minute in sorted({rate["minute_from"] for rate in rates}):
        for over in sorted({rate["input_over"] for rate in rates}):
            old, new = (_at(side, minute, over) for side in sides)
            for name in old or new or {}:
                before, after = (side[name] if side else None for side in (old, new))
                if before == after or _says_nothing(name, old, new):
                    continue
                place = {
                    "holds_for": _scope(scope),
                    "hours": f"from {clock(minute)} UTC"
                    if len({rate["minute_from"] for rate in rates}) > 1
                    else None,
                    "tier": None if over < 0 else f"input > {over:,}",
                    "price": name,
                }
                change = float((after / before - 1) * 100) if before and after is not None else None
                found[str(minute), str(over), name] = {
                    "provider": _vendor(books, key),
                    "model": key.response_model,
                    **place,
                    **{"old_usd": before, "new_usd": after, "change_percent": change},
                }
    return found


def _held(
    book: PriceBook, key: PriceKey, scope: tuple[str, str], now: datetime
) -> list[tuple[Mapping[str, Any], Decimal]]:
    """The rates that hold at `now`, and what they are multiplied by: override, else contract, else list."""
    found = book.resolve(key)
    named = (found.provider, found.model) if found else book.named_by_a_term(key)
    if named is None:
        return []
    held = [
        term
        for term in book.terms()
        if term.since <= now.date() < term.until and term.covers(*named) and term.holds_for(*scope)
    ]
    last = {term.layer: term for term in held}
    term = last.get("override") or last.get("contract")
    rates: Sequence[Mapping[str, Any]] = found.rates if found else ()
    factor = Decimal(1)
    if term and term.rates is not None:
        rates = own_rates({FIRST_DAY: term.rates})
    elif term and term.percent is not None:
        factor += term.percent / 100
    return [(rate, factor) for rate in rates if rate["valid_from"] <= now < rate["valid_to"]]


def _at(side: Iterable[tuple[Mapping[str, Any], Decimal]], minute: int, over: int) -> dict[str, Decimal] | None:
    for rate, factor in side:
        if rate["minute_from"] <= minute < rate["minute_to"] and rate["input_over"] <= over < rate["input_upto"]:
            return {name: round(price * factor, 6) for name, price in per_million(rate).items()}
    return None


def _says_nothing(name: str, *sides: Mapping[str, Decimal] | None) -> bool:
    """Whether it is on both sides what its whole costs: cached tokens at the price of input, no fee a request."""
    parent = PARENT_RATE.get(name)
    return all(side is None or side[name] == (side[parent] if parent else None) for side in sides) or (
        name == "per_request" and not any(side[name] for side in sides if side)
    )


def _figures(row: Mapping[str, Any] | None) -> tuple[Any, Any] | None:
    return (row["old_usd"], row["new_usd"]) if row else None


def _vendor(books: Sequence[PriceBook], key: PriceKey) -> str | None:
    found = [resolved.provider for book in books if (resolved := book.resolve(key))]
    return found[-1] if found else key.provider


def _scope(scope: tuple[str, str]) -> str:
    if scope == ("", ""):
        return "everyone"
    words = [f"{what} {glob}" for what, glob in zip(("customer", "key"), scope, strict=True) if glob != "*"]
    return ", ".join(words)
