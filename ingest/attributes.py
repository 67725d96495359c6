"""Attribute lists of spans, events, log records and resources as one flat, decoded table grouped by key."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..models.conventions import Conventions
from ..models.settings import Landing
from .anyvalue import Kind, TextPool, Values, decode
from .coded import coded_texts
from .notes import Notes
from .ragged import REPLACED, Integers, cut_texts, offsets_and_bytes, row_of_each, take, text_map


@dataclass(frozen=True)
class Encoded:
    """Attributes as they came: entry `i` belongs to row `rows[i]`, rows ascend, order is the sender's."""

    rows: Integers
    keys: pa.BinaryArray
    values: pa.BinaryArray

    @classmethod
    def of(cls, entries: pa.StructArray, offsets: Integers) -> Encoded:
        """Lists of {key, value}: row `r` has `entries[offsets[r]:offsets[r + 1]]`."""
        return cls(row_of_each(offsets), entries.field("key"), entries.field("value"))

    def and_also(self, key: str, values: pa.BinaryArray, rows: Integers) -> Encoded:
        """With one more attribute, `key`, at the end of each of `rows`."""
        if not len(rows):
            return self
        everything = np.concatenate([self.rows, rows])
        order = np.argsort(everything, kind="stable")
        added = pa.array([key.encode()], pa.binary()).take(pa.array(np.zeros(len(rows), np.int64)))
        return Encoded(
            everything[order],
            pa.concat_arrays([self.keys, added]).take(pa.array(order)),
            pa.concat_arrays([self.values, values]).take(pa.array(order)),
        )


class KeyRules:
    """What is done with an attribute by its key alone, decided once for each distinct key."""

    def __init__(
        self, conventions: Conventions, content_policy: str, allow: Sequence[str] = (), deny: Sequence[str] = ()
    ) -> None:
        """`allow` and `deny` are globs: what they match is kept although it is content, or dropped whatever it is."""
        self._read = conventions.keys
        self._content = _any_of(conventions.content_keys if content_policy != "keep" else ())
        self._allow = _any_of(allow)
        self.is_denied = lru_cache(maxsize=65536)(_any_of(deny))
        self.denies = bool(deny)
        self.is_content = lru_cache(maxsize=65536)(self._matches_content)

    def _matches_content(self, key: str) -> bool:
        return self._content(key) and not self._allow(key)

    def is_unread(self, key: str) -> bool:
        """Whether a value under this key need not even be decoded."""
        return self.is_content(key) and key not in self._read


def _any_of(globs: Sequence[str]) -> Callable[[str], bool]:
    matches = re.compile("|".join(map(translate, globs)) or r"(?!)").match
    return lambda key: matches(key) is not None


class Attributes:
    """Decoded attributes of `height` rows.

    Of several attributes with one key in one row the last counts, as in the OpenTelemetry SDKs; the earlier
    ones are dropped (`duplicate_key`), since a map with a key twice is no map.
    """

    def __init__(self, encoded: Encoded, height: int, rules: KeyRules, landing: Landing, notes: Notes) -> None:
        self.height = height
        self.rows = encoded.rows
        self.pool = TextPool()
        self._rules = rules
        self._notes = notes
        self._limit = landing.max_value_bytes
        self.keys, self._key_of = self._distinct_keys(encoded.keys)
        self._code_of = {key: code for code, key in enumerate(self.keys)}
        self._left = np.ones(len(self.rows), np.bool_)
        if rules.denies:  # before anything can be read from them
            self._left &= ~np.array([rules.is_denied(key) for key in self.keys], np.bool_)[self._key_of]
        self._drop_beyond(landing.max_attributes)
        self._group()
        unread = np.array([rules.is_unread(key) for key in self.keys], np.bool_)
        wanted = self._left & ~unread[self._key_of] if unread.any() else self._left
        self.values: Values = decode(encoded.values, np.flatnonzero(wanted), self.pool)
        notes.add("invalid_utf8", self.rows[self.values.invalid_utf8])
        notes.add("bad_value", self.rows[self.values.kinds == Kind.BAD])

    def __contains__(self, key: str) -> bool:
        """Whether any row was sent with this key."""
        return key in self._code_of

    def find(self, key: str) -> Integers:
        """Positions of the attributes with this key, at most one a row, rows ascending."""
        code = self._code_of.get(key)
        if code is None:
            return np.zeros(0, np.int64)
        group = self._order[self._bounds[code] : self._bounds[code + 1]]
        return group[self._left[group]] if self._some_dropped else group

    def below(self, prefix: str) -> Integers:
        """Positions of the attributes whose key starts with `prefix`, ascending."""
        found = [self.find(key) for key in self.keys if key.startswith(prefix)]
        return np.sort(np.concatenate(found)) if found else np.zeros(0, np.int64)

    def cut_long_values(self) -> None:
        """Cut texts to the limit. Comes after everything that needs a value whole."""
        texts, long = cut_texts(self.pool.texts(), self._limit)
        if not len(long):
            return
        self.pool.replace(texts)
        cut = np.flatnonzero(np.isin(self.values.text_at, long) & self._left)
        content = np.array([self._rules.is_content(key) for key in self.keys], np.bool_)
        self._notes.add("value_cut", self.rows[cut[~content[self._key_of[cut]]]])

    def map_of(self, positions: Integers, *, cut_prefix: int = 0, empty_is_null: bool = False) -> pa.MapArray:
        """The attributes at `positions` (ascending) as a map column of texts."""
        keys = pa.array([key[cut_prefix:] for key in self.keys], pa.string())
        return text_map(
            self.rows[positions],
            self.height,
            keys.take(pa.array(self._key_of[positions])),
            self.texts(self.values.text_at[positions]),
            empty_is_null=empty_is_null,
        )

    def texts(self, text_at: Integers) -> pa.StringArray:
        """Texts of the pool by index, NULL where negative."""
        return take(self.pool.texts(), text_at)

    def put(self, positions: Integers, texts: pa.StringArray) -> None:
        """Other texts in place of the values at `positions`."""
        values = self.values
        values.text_at[positions] = self.pool.add(texts) + np.arange(len(positions))
        values.kinds[positions] = Kind.STRING
        values.ints[positions] = 0
        values.doubles[positions] = 0.0

    def take_out(self, positions: Integers) -> None:
        """These stand in a column of their own now."""
        self._left[positions] = False

    def keep_within(self, budget: int, repeats: Integers) -> None:
        """Drop the last attributes of rows, where row `r` landed `repeats[r]` times would pass `budget` bytes in all.

        A resource stands on each of its spans: a few kilobytes sent could become gigabytes landed.
        """
        sizes = np.diff(offsets_and_bytes(self.pool.texts())[0])
        key_sizes = np.array([len(key) for key in self.keys], np.int64)
        text_at = self.values.text_at
        bytes_each = key_sizes[self._key_of] + np.where(text_at < 0, 0, sizes[text_at] if len(sizes) else 0)
        if int((bytes_each * repeats[self.rows]).sum()) <= budget:
            return
        upto = np.cumsum(bytes_each)
        before_row = np.append(0, upto)[np.searchsorted(self.rows, self.rows)]
        beyond = upto - before_row > budget // max(1, int(repeats.sum()))
        self._left &= ~beyond
        self._notes.add("attributes_dropped", self.rows[beyond])

    def rest(self) -> pa.MapArray:
        """What was not taken out, content aside; keys are codes, and no other key is among what they stand for."""
        content = np.array([self._rules.is_content(key) for key in self.keys], np.bool_)
        left = self._left & ~content[self._key_of] if content.any() else self._left
        positions = np.flatnonzero(left)
        codes = self._key_of[positions]
        used = np.flatnonzero(np.bincount(codes, minlength=len(self.keys)))
        if len(used) < len(self.keys):
            place = np.zeros(len(self.keys), np.int32)
            place[used] = np.arange(len(used))
            codes = place[codes]
        keys = coded_texts(pa.array([self.keys[code] for code in used.tolist()], pa.string()), codes)
        texts = self.texts(self.values.text_at[positions])
        return text_map(self.rows[positions], self.height, keys, texts, empty_is_null=False)

    def _distinct_keys(self, keys: pa.BinaryArray) -> tuple[list[str], npt.NDArray[np.int32]]:
        encoded = keys.dictionary_encode()
        codes = np.asarray(encoded.indices)
        distinct = encoded.dictionary.to_pylist()
        texts = [key.decode("utf-8", "replace") for key in distinct]
        if any(REPLACED in text for text in texts):
            invalid = np.array([text.encode() != key for text, key in zip(texts, distinct, strict=True)], np.bool_)
            self._notes.add("invalid_utf8", self.rows[invalid[codes]])
            unique = {text: code for code, text in enumerate(dict.fromkeys(texts))}
            codes = np.array([unique[text] for text in texts], np.int32)[codes]
            texts = list(unique)
        return texts, codes

    def _drop_beyond(self, limit: int) -> None:
        counts = np.bincount(self.rows, minlength=self.height)
        if counts.max(initial=0) > limit:
            place = np.arange(len(self.rows)) - np.repeat(np.cumsum(counts) - counts, counts)
            self._left &= place < limit
            self._notes.add("attributes_dropped", counts > limit)

    def _group(self) -> None:
        """Order the positions by key, rows ascending within a key, and drop all but the last of a key in a row."""
        # numpy sorts integers of 8 and 16 bits by radix, an order of magnitude faster than wider ones.
        codes = self._key_of.astype(np.min_scalar_type(len(self.keys)))
        self._order = np.argsort(codes, kind="stable")
        self._some_dropped = not self._left.all()
        if self._some_dropped:
            self._order = self._order[self._left[self._order]]
        sorted_codes, sorted_rows = codes[self._order], self.rows[self._order]
        again = (sorted_codes[1:] == sorted_codes[:-1]) & (sorted_rows[1:] == sorted_rows[:-1])
        if again.any():
            self._left[self._order[:-1][again]] = False
            self._notes.add("duplicate_key", sorted_rows[1:][again])
            self._some_dropped = True
        self._bounds = np.searchsorted(sorted_codes, np.arange(len(self.keys) + 1))
