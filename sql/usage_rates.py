"""What counts of tokens are worth by the price book: at a tier, on a day, and at the other prices it knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from ..models.prices import PriceBook, PriceKey
from ..models.schema import TOKEN_COLUMNS

Counts = Mapping[str, int]
"""Tokens by the name of their column; parts are within their totals."""

Rates = Mapping[str, Decimal]
"""US dollars a token by the name of its column; of parts the difference to their total's."""

TIERS = ("standard", "batch", "flex", "priority")
NO_TOKENS: Counts = dict.fromkeys(TOKEN_COLUMNS, 0)


def worth(rates: Rates, counts: Counts) -> Decimal:
    """US dollars, not rounded."""
    return sum((rates[name] * counts[name] for name in TOKEN_COLUMNS if counts[name]), Decimal(0))


def times(rates: Rates, factor: Decimal) -> Rates:
    """Every rate times a factor."""
    return {name: rate * factor for name, rate in rates.items()}


class UsageRates:
    """Rates of models under one price book; each model is resolved once for each tier.

    A model is given by all its spellings: the first that a list knows is priced.
    """

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._found: dict[tuple[str | None, str, str], Sequence[Mapping[str, Any]]] = {}

    def at(self, spellings: Iterable[tuple[str | None, str]], tier: str | None, moment: datetime) -> Rates | None:
        """The rates that hold at `moment` for short input; None where no list knows the model."""
        for rows in self._known(spellings, tier):
            held = [row for row in _base(rows) if row["valid_from"] <= moment < row["valid_to"]]
            if held:
                return _rates(held[0])
        return None

    def ever(self, spellings: Iterable[tuple[str | None, str]], tier: str | None) -> Iterator[Rates]:
        """The rates of every period that the book knows."""
        for rows in self._known(spellings, tier):
            yield from map(_rates, _base(rows))

    def _known(
        self, spellings: Iterable[tuple[str | None, str]], tier: str | None
    ) -> Iterator[Sequence[Mapping[str, Any]]]:
        for provider, model in spellings:
            key = (provider, model, tier or "standard")
            if key not in self._found:
                named = None if key[2] in ("standard", "batch") else key[2]
                found = self._book.resolve(PriceKey(provider, model, None, None, named, key[2] == "batch"))
                self._found[key] = found.rates if found else ()
            if self._found[key]:
                yield self._found[key]


def _base(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of short input, at the hour that the day begins with."""
    return [row for row in rows if row["input_over"] < 0 and row["minute_from"] == 0]


def _rates(row: Mapping[str, Any]) -> Rates:
    return {name: row[name.removesuffix("_tokens")] for name in TOKEN_COLUMNS}
