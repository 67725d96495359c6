"""OTLP AnyValue bytes, a whole column at once, to kinds, numbers and text.

The first byte of an AnyValue is the protobuf tag of the member it holds, so a column of them falls into
kinds by one gather, and each kind is decoded by array arithmetic. Arrays, key-value lists and raw bytes
are opened one by one, but each distinct value once; so is any AnyValue written in an unusual way.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message import DecodeError

from .ragged import REPLACED, Integers, as_text, cut_out, offsets_and_bytes
from .wire import AnyValue


class Kind(IntEnum):
    """What an attribute's value is. BAD is a value that is no AnyValue; it has no text."""

    ABSENT = 0
    STRING = 1
    BOOL = 2
    INT = 3
    DOUBLE = 4
    NESTED = 5
    BYTES = 6
    BAD = 7


_STRING_TAG, _BOOL_TAG, _INT_TAG, _DOUBLE_TAG = 0x0A, 0x10, 0x18, 0x21
_MAX_VARINT = 10


class TextPool:
    """Texts from many sources under one index, so that a column of mixed origin is a single gather."""

    def __init__(self) -> None:
        self._pieces: list[pa.StringArray] = []
        self._size = 0

    def add(self, texts: pa.StringArray) -> int:
        """Append texts; returns the index of the first."""
        base = self._size
        self._pieces.append(texts)
        self._size += len(texts)
        return base

    def texts(self) -> pa.StringArray:
        """All texts added so far."""
        if len(self._pieces) != 1:
            self._pieces = [pa.concat_arrays(self._pieces) if self._pieces else pa.array([], pa.string())]
        return self._pieces[0]

    def replace(self, texts: pa.StringArray) -> None:
        """Put other texts in place of all, index by index."""
        self._pieces = [texts]


@dataclass(frozen=True)
class Values:
    """A column of attribute values. `text_at` indexes the pool; -1 where there is no text."""

    kinds: npt.NDArray[np.uint8]
    ints: npt.NDArray[np.int64]
    doubles: npt.NDArray[np.float64]
    text_at: npt.NDArray[np.int64]
    invalid_utf8: Integers
    """Positions whose text held bytes that are not UTF-8."""


def decode(encoded: pa.BinaryArray, wanted: Integers, pool: TextPool) -> Values:
    """Decode the values at the positions `wanted` (ascending); the others are left ABSENT."""
    height = len(encoded)
    values = Values(
        kinds=np.zeros(height, np.uint8),
        ints=np.zeros(height, np.int64),
        doubles=np.zeros(height, np.float64),
        text_at=np.full(height, -1, np.int64),
        invalid_utf8=np.zeros(0, np.int64),
    )
    offsets, octets = offsets_and_bytes(encoded)
    offsets = offsets.astype(np.int64)
    starts, ends = offsets[:-1], offsets[1:]
    if len(wanted) < height:
        starts, ends = starts[wanted], ends[wanted]
    sizes = ends - starts
    if not sizes.all():
        wanted, starts, ends, sizes = (each[sizes > 0] for each in (wanted, starts, ends, sizes))
    tags = octets[starts]
    plain = np.zeros(len(wanted), np.bool_)

    def settle(at: Integers, kind: Kind, text_at: Integers) -> Integers:
        plain[at] = True
        positions = wanted[at]
        values.kinds[positions] = kind
        values.text_at[positions] = text_at
        return positions

    at = np.flatnonzero(tags == _STRING_TAG)
    begins = _string_begins(octets, starts[at], ends[at])
    if begins.min(initial=0) < 0:
        at, begins = at[begins >= 0], begins[begins >= 0]
    texts, invalid = as_text(cut_out(octets, begins, ends[at]))
    positions = settle(at, Kind.STRING, pool.add(texts) + np.arange(len(at)))
    values = replace(values, invalid_utf8=positions[invalid])

    at = np.flatnonzero(tags == _INT_TAG)
    numbers, ok = _varints(octets, starts[at] + 1, ends[at])
    at, numbers = at[ok], numbers[ok]
    values.ints[settle(at, Kind.INT, pool.add(pa.array(numbers).cast(pa.string())) + np.arange(len(at)))] = numbers

    at = np.flatnonzero((tags == _DOUBLE_TAG) & (sizes == 9))
    reals = octets[starts[at][:, None] + np.arange(1, 9)].reshape(-1).view("<f8")
    values.doubles[settle(at, Kind.DOUBLE, pool.add(pa.array(reals).cast(pa.string())) + np.arange(len(at)))] = reals

    at = np.flatnonzero((tags == _BOOL_TAG) & (sizes == 2))
    truths = octets[starts[at] + 1].astype(np.int64)
    at, truths = at[truths <= 1], truths[truths <= 1]
    values.ints[settle(at, Kind.BOOL, pool.add(pa.array(["false", "true"])) + truths)] = truths

    rest = np.flatnonzero(~plain)
    if not len(rest):
        return values
    return _decode_singly(cut_out(octets, starts[rest], ends[rest]), wanted[rest], values, pool)


def _string_begins(octets: npt.NDArray[np.uint8], starts: Integers, ends: Integers) -> Integers:
    """Where the text of each string AnyValue begins; -1 if it is not one length-delimited field and no more."""
    begins = starts + 2
    # Behind a value of one byte stands another's, or nothing; begins is then past its end, whatever is added.
    length = octets.take(starts + 1, mode="clip")
    short = begins + length == ends
    short &= length < 0x80
    if short.all():
        return begins
    # Texts of 128 bytes and more: their length is a varint of several digits.
    open_ = long = np.flatnonzero(~short)
    sizes = np.zeros(len(starts), np.int64)
    begins[long] = -1
    for digit in range(5):
        at = starts[open_] + 1 + digit
        inside = at < ends[open_]
        open_, at = open_[inside], at[inside]
        octet = octets[at].astype(np.int64)
        sizes[open_] |= (octet & 0x7F) << (7 * digit)
        last = octet < 0x80
        begins[open_[last]] = at[last] + 1
        open_ = open_[~last]
    begins[long[begins[long] + sizes[long] != ends[long]]] = -1
    return begins


def _varints(octets: npt.NDArray[np.uint8], starts: Integers, ends: Integers) -> tuple[npt.NDArray[np.int64], Any]:
    """The varint that fills each range, and whether it does fill it."""
    numbers = np.zeros(len(starts), np.uint64)
    sizes = ends - starts
    ok = (sizes >= 1) & (sizes <= _MAX_VARINT)
    for digit in range(min(int(sizes.max(initial=0)), _MAX_VARINT)):
        at = np.flatnonzero(ok & (sizes > digit))
        octet = octets[starts[at] + digit]
        ok[at] = (octet >= 0x80) == (sizes[at] > digit + 1)
        numbers[at] |= (octet & 0x7F).astype(np.uint64) << np.uint64(7 * digit)
    return numbers.view(np.int64), ok


def _decode_singly(encoded: pa.BinaryArray, positions: Integers, values: Values, pool: TextPool) -> Values:
    """Decode what array arithmetic cannot, each distinct value once."""
    distinct = encoded.dictionary_encode()
    opened = [_open(value) for value in distinct.dictionary.to_pylist()]
    codes = np.asarray(distinct.indices)
    base = pool.add(pa.array([one.text or "" for one in opened], pa.string()))
    has_text = np.array([one.text is not None for one in opened], np.bool_)[codes]
    values.kinds[positions] = np.array([one.kind for one in opened], np.uint8)[codes]
    values.ints[positions] = np.array([one.integer for one in opened], np.int64)[codes]
    values.doubles[positions] = np.array([one.double for one in opened], np.float64)[codes]
    values.text_at[positions] = np.where(has_text, base + codes, -1)
    repaired = positions[np.array([one.repaired for one in opened], np.bool_)[codes]]
    return replace(values, invalid_utf8=np.concatenate([values.invalid_utf8, repaired]))


@dataclass(frozen=True)
class _Opened:
    kind: Kind
    text: str | None = None
    integer: int = 0
    double: float = 0.0
    repaired: bool = False


def _open(encoded: bytes) -> _Opened:
    """One AnyValue, in whatever way it is written."""
    message: Any = AnyValue()
    try:
        message.ParseFromString(encoded)
        plain = _plain(message)
        nested = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    except (DecodeError, RecursionError):
        return _Opened(Kind.BAD)
    match message.WhichOneof("value"):
        case "string_value":
            opened = _Opened(Kind.STRING, plain, repaired=_was_repaired(plain, encoded))
        case "int_value":
            opened = _Opened(Kind.INT, nested, integer=plain)
        case "bool_value":
            opened = _Opened(Kind.BOOL, nested, integer=int(plain))
        case "double_value":
            number = message.double_value
            opened = _Opened(Kind.DOUBLE, pa.scalar(number).cast(pa.string()).as_py(), double=number)
        case "bytes_value":
            opened = _Opened(Kind.BYTES, plain)
        case "array_value" | "kvlist_value":
            opened = _Opened(Kind.NESTED, nested, repaired=_was_repaired(nested, encoded))
        case _:
            opened = _Opened(Kind.BAD)
    return opened


def _was_repaired(text: str, encoded: bytes) -> bool:
    return REPLACED in text and REPLACED.encode() not in encoded


def _plain(message: Any) -> Any:
    """An AnyValue as JSON knows it: bytes in base64 and NaN as text, as in protobuf's own JSON mapping."""
    held = message.WhichOneof("value")
    plain: Any = getattr(message, held) if held else None
    match held:
        case "string_value":
            plain = plain.decode("utf-8", "replace")
        case "array_value":
            plain = [_plain(item) for item in plain.values]
        case "kvlist_value":
            plain = {pair.key.decode("utf-8", "replace"): _plain(pair.value) for pair in plain.values}
        case "bytes_value":
            plain = base64.b64encode(plain).decode()
        case "double_value" if not math.isfinite(plain):
            plain = "NaN" if math.isnan(plain) else "Infinity" if plain > 0 else "-Infinity"
    return plain
