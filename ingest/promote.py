"""Attributes into the promoted columns, by the conventions table.

For each column the spellings are tried in order; a row takes the first that holds something usable. What
was taken leaves the `attributes` map, what lost or could not be used stays there as it was sent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..models import schema
from ..models.conventions import Conventions, Spelling
from .anyvalue import Kind
from .attributes import Attributes
from .carriers import WHOLE, Carriers
from .notes import Notes
from .privacy import Hasher
from .ragged import Integers, Mask, offsets_and_bytes, take, with_nulls
from .scores import Scores

# Bounded on purpose: what matches always parses, and never overflows a double.
_NUMBER = r"^\s*-?[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,2})?\s*$"
_EXACT_DOUBLE = float(2**53)
_BLANK_WORDS = tuple(np.frombuffer(word, "<u4")[0] for word in (b"None", b"null"))
_FALSE_AND_TRUE = pa.array(["false", "miss", "0", "true", "hit", "1"])


@dataclass(frozen=True)
class _Candidates:
    """What one spelling offers: for each row the attribute it is in, and the place of its text in the pool."""

    rows: Integers
    positions: Integers
    text_at: Integers
    is_whole: bool
    """Whether the value is all the attribute says, so that the attribute may leave the map."""
    is_text: bool
    """Whether the value was read out of a text, whatever kind the attribute has."""

    def keep(self, chosen: Mask) -> _Candidates:
        if chosen.all():
            return self
        return replace(self, rows=self.rows[chosen], positions=self.positions[chosen], text_at=self.text_at[chosen])


class Promoter:
    """Fills the promoted columns of one table of attributes after another."""

    def __init__(self, conventions: Conventions, hasher: Hasher) -> None:
        self._hasher = hasher
        self._spellings = {column.name: conventions.spellings.get(column.name, ()) for column in schema.PROMOTED}
        self._paths: dict[str, list[str]] = {}
        for spelling in dict.fromkeys(s for found in self._spellings.values() for s in found if s.path is not None):
            self._paths.setdefault(spelling.key, []).append(str(spelling.path))
        self._score_carriers = conventions.score_carriers
        self._carriers = Carriers()

    def promote(self, attributes: Attributes, notes: Notes) -> dict[str, pa.Array]:
        """All promoted columns by name; what they took is out of `attributes.rest()` afterwards."""
        self._hasher.hide_values(attributes, self._carriers)
        scores = Scores(self._carriers, self._score_carriers, attributes)
        columns = _Promotion(attributes, notes, self._open_carriers(attributes)).columns(self._spellings)
        self._hasher.hide_carriers(attributes, self._carriers, notes)
        return columns | {"evaluation_scores": scores.column(columns["operation"])}

    def hide(self, attributes: Attributes, notes: Notes) -> None:
        """Hash what must be in attributes that are not promoted: those of resources."""
        self._hasher.hide_values(attributes, self._carriers)
        self._hasher.hide_carriers(attributes, self._carriers, notes)

    def _open_carriers(self, attributes: Attributes) -> dict[Spelling, _Candidates]:
        """Every path spelling that is present, read while its carrier is still whole."""
        opened: dict[Spelling, _Candidates] = {}
        values = attributes.values
        for key, paths in self._paths.items():
            positions = attributes.find(key)
            positions = positions[values.text_at[positions] >= 0]
            if not len(positions):
                continue
            texts = attributes.texts(values.text_at[positions])
            for path, found in zip(paths, self._carriers.read(texts, paths), strict=True):
                at = np.flatnonzero(np.asarray(found.is_valid()))
                spelling = Spelling(key, path)
                base = attributes.pool.add(
                    self._hasher.texts(found) if path != WHOLE and self._hasher.is_read_in(spelling) else found
                )
                opened[spelling] = _Candidates(
                    rows=attributes.rows[positions[at]],
                    positions=positions[at],
                    text_at=base + at,
                    is_whole=path == WHOLE,
                    is_text=True,
                )
        return opened


class _Promotion:
    """One table of attributes being promoted."""

    def __init__(self, attributes: Attributes, notes: Notes, opened: dict[Spelling, _Candidates]) -> None:
        self._attributes = attributes
        self._notes = notes
        self._opened = opened
        attributes.cut_long_values()
        self._offsets, self._octets = offsets_and_bytes(attributes.pool.texts())
        self._blank = self._blanks()

    def columns(self, spellings: dict[str, tuple[Spelling, ...]]) -> dict[str, pa.Array]:
        height = self._attributes.height
        columns: dict[str, pa.Array] = {}
        sources: dict[str, Integers] = {}
        for column in schema.PROMOTED:
            name, found = column.name, self._present(spellings[column.name])
            if pa.types.is_map(column.type):
                columns[name] = self._map_column(spellings[name])
            elif not found:
                columns[name] = pa.nulls(height, column.type)
            elif pa.types.is_string(column.type):
                columns[name] = self._text_column(found)
            elif pa.types.is_list(column.type):
                columns[name] = self._list_column(found)
            else:
                columns[name], sources[name] = self._typed_column(column, found)
        columns["usage_source"] = self._sources(spellings, sources, "input_tokens", "output_tokens")
        columns["cost_source"] = self._sources(spellings, sources, "reported_cost_usd")
        return columns

    def _present(self, spellings: tuple[Spelling, ...]) -> list[tuple[int, _Candidates]]:
        """What the spellings offer, in their order, blank texts left out."""
        found = []
        for precedence, spelling in enumerate(spellings):
            if (
                spelling.key not in self._attributes
            ):  # most: there are hundreds of spellings, a batch has dozens of keys
                continue
            candidates = self._opened.get(spelling) if spelling.path is not None else self._plain(spelling.key)
            if candidates is not None and len(candidates.rows):
                candidates = candidates.keep(~self._blank[candidates.text_at])
                if len(candidates.rows):
                    found.append((precedence, candidates))
        return found

    def _plain(self, key: str) -> _Candidates | None:
        at = self._attributes.find(key)
        if not len(at):
            return None
        text_at = self._attributes.values.text_at[at]
        return _Candidates(self._attributes.rows[at], at, text_at, is_whole=True, is_text=False)

    def _kinds(self, candidates: _Candidates) -> Integers:
        if candidates.is_text:
            return np.full(len(candidates.rows), Kind.STRING, np.uint8)
        return self._attributes.values.kinds[candidates.positions]

    def _blanks(self) -> Mask:
        """By place in the pool: the empty text, or what LiteLLM and others write for it, None and null.

        One more stands at the end, for the place -1 of a value without text.
        """
        sizes = np.diff(self._offsets)
        blank = np.append(sizes == 0, True)
        four = np.flatnonzero(sizes == 4)
        words = self._octets[self._offsets[four][:, None] + np.arange(4)].reshape(-1).view("<u4")
        blank[four] = (words == _BLANK_WORDS[0]) | (words == _BLANK_WORDS[1])
        return blank

    def _take_out(self, candidates: _Candidates) -> None:
        if candidates.is_whole:
            self._attributes.take_out(candidates.positions)

    def _winning_texts(self, found: list[tuple[int, _Candidates]], *, composite: bool) -> Integers:
        """Place in the pool of each row's value, -1 where there is none."""
        text_at = np.full(self._attributes.height, -1, np.int64)
        for _, offered in found:
            candidates = offered.keep(text_at[offered.rows] < 0)
            if not composite and candidates.is_text:
                candidates = candidates.keep(~self._is_composite(candidates.text_at))
            text_at[candidates.rows] = candidates.text_at
            self._take_out(candidates)
        return text_at

    def _is_composite(self, text_at: Integers) -> Mask:
        """Which values read from JSON are whole objects or arrays, which name nobody and nothing."""
        composite = np.isin(self._octets[self._offsets[text_at]], (ord("{"), ord("[")))
        at = np.flatnonzero(composite)
        composite[at] = [_is_json(text) for text in self._attributes.texts(text_at[at]).to_pylist()]
        return composite

    def _text_column(self, found: list[tuple[int, _Candidates]]) -> pa.StringArray:
        return self._attributes.texts(self._winning_texts(found, composite=False))

    def _list_column(self, found: list[tuple[int, _Candidates]]) -> pa.ListArray:
        """Lists of text from arrays, JSON arrays as text, or words between commas."""
        distinct = self._attributes.texts(self._winning_texts(found, composite=True)).dictionary_encode()
        lists = pa.array(map(_words, distinct.dictionary.to_pylist()), pa.list_(pa.string()))
        return lists.take(distinct.indices)

    def _map_column(self, spellings: tuple[Spelling, ...]) -> pa.MapArray:
        """Everything below the first prefix that is present (in practice there is one)."""
        for prefix in filter(None, (spelling.prefix for spelling in spellings)):
            positions = self._attributes.below(prefix)
            if len(positions):
                column = self._attributes.map_of(positions, cut_prefix=len(prefix), empty_is_null=True)
                self._attributes.take_out(positions)
                return column
        return pa.nulls(self._attributes.height, schema.TEXT_MAP)

    def _typed_column(
        self, column: schema.Column, found: list[tuple[int, _Candidates]]
    ) -> tuple[pa.Array, npt.NDArray[np.int16]]:
        """A column of counts, money or truths, and the precedence of the spelling that gave each row."""
        height = self._attributes.height
        values: npt.NDArray[Any] = np.zeros(height, column.type.to_pandas_dtype())
        sources = np.full(height, -1, np.int16)
        parse = {pa.int64(): self._counts, pa.float64(): self._amounts, pa.bool_(): self._truths}[column.type]
        for precedence, offered in found:
            candidates = offered.keep(sources[offered.rows] < 0)
            numbers, good = parse(candidates)
            if not good.all():
                self._notes.add(f"bad_{column.name}", candidates.rows[~good])
                candidates, numbers = candidates.keep(good), numbers[good]
            values[candidates.rows] = numbers
            sources[candidates.rows] = precedence
            self._take_out(candidates)
        if pa.types.is_boolean(column.type):  # Arrow packs them into bits
            return pa.array(values, column.type, mask=sources < 0), sources
        return with_nulls(values, sources < 0), sources

    def _amounts(self, candidates: _Candidates) -> tuple[npt.NDArray[Any], Mask]:
        """Finite numbers that are not negative, sent as int, double or text."""
        values, kinds = self._attributes.values, self._kinds(candidates)
        at = candidates.positions
        numbers = np.where(kinds == Kind.INT, values.ints[at], values.doubles[at])
        good = (kinds == Kind.INT) | (kinds == Kind.DOUBLE)
        text = np.flatnonzero(kinds == Kind.STRING)
        if len(text):
            texts = self._attributes.texts(candidates.text_at[text])
            numeric = pc.match_substring_regex(texts, _NUMBER)
            trimmed = pc.utf8_trim_whitespace(pc.if_else(numeric, texts, "0"))
            numbers[text] = np.asarray(trimmed.cast(pa.float64()))
            good[text] = np.asarray(numeric)
        return numbers, good & np.isfinite(numbers) & (numbers >= 0)

    def _counts(self, candidates: _Candidates) -> tuple[npt.NDArray[Any], Mask]:
        """Whole numbers that are not negative; a double or a text only as far as a double is exact."""
        numbers, good = self._amounts(candidates)
        integer = self._kinds(candidates) == Kind.INT
        numbers = np.where(good, numbers, 0)  # floor() of a signalling NaN is an invalid operation
        good &= integer | ((numbers < _EXACT_DOUBLE) & (np.floor(numbers) == numbers))
        ints = self._attributes.values.ints[candidates.positions]
        # Never through one array of doubles: 2^63 - 1 would come back as 2^63.
        return np.where(integer, ints, np.where(good & ~integer, numbers, 0).astype(np.int64)), good

    def _truths(self, candidates: _Candidates) -> tuple[npt.NDArray[Any], Mask]:
        """Truth as bool, 0 or 1, or one of the words true, false, hit, miss in any case."""
        texts = pc.utf8_lower(self._attributes.texts(candidates.text_at))
        word = np.asarray(pc.fill_null(pc.index_in(texts, _FALSE_AND_TRUE), -1))
        return word >= 3, word >= 0

    def _sources(
        self, spellings: dict[str, tuple[Spelling, ...]], sources: dict[str, Integers], *columns: str
    ) -> pa.StringArray:
        """The spelling that gave the first of `columns` that has a value."""
        names = [str(spelling) for column in columns for spelling in spellings[column]]
        chosen = np.full(self._attributes.height, -1, np.int64)
        base = 0
        for column in columns:
            if column in sources:
                chosen = np.where(
                    (chosen < 0) & (sources[column] >= 0), base + sources[column].astype(np.int64), chosen
                )
            base += len(spellings[column])
        return take(pa.array(names, pa.string()), chosen)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _words(text: str) -> list[str]:
    if text.lstrip().startswith("["):
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            pass
        else:
            return [item if isinstance(item, str) else json.dumps(item) for item in listed if item is not None]
    return [word for word in map(str.strip, text.split(",")) if word]
