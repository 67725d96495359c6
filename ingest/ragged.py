"""Variable-length values as flat arrays: Arrow's offsets and bytes seen through numpy, and back.

Landing never loops over values. It computes where they begin and end, and lets Arrow copy them. Indices are
64-bit: numpy gathers by them three times as fast as by 32-bit ones, which it converts first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Integers = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
REPLACED = "\N{REPLACEMENT CHARACTER}"


def offsets_and_bytes(values: pa.Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """Offsets (one more than values) and the bytes they point into, both without a copy."""
    _, offsets, octets = values.buffers()
    count = len(values) + 1
    if offsets is None or offsets.size == 0:
        return np.zeros(1, np.int32), np.zeros(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32, count, values.offset * 4)
    return ends, np.frombuffer(octets, np.uint8) if octets is not None and octets.size else np.zeros(0, np.uint8)


def list_offsets(lists: pa.ListArray) -> npt.NDArray[np.int64]:
    """A list array's offsets, one more than lists."""
    return np.asarray(lists.offsets).astype(np.int64)


def row_of_each(offsets: Integers) -> npt.NDArray[np.int64]:
    """The index of the list each element stands in.

    >>> row_of_each(np.array([0, 2, 2, 3])).tolist()
    [0, 0, 2]
    """
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def cut_out(octets: npt.NDArray[np.uint8], starts: Integers, ends: Integers) -> pa.BinaryArray:
    """The pieces `octets[start:end]`, which must lie in ascending order without overlap.

    The pieces and the gaps between them are together one valid Arrow array over the same bytes; taking
    every second value of it is one copy of what is wanted, made by Arrow.
    """
    count = len(starts)
    if count == 0:
        return pa.array([], pa.binary())
    offsets = np.empty(2 * count, np.int32)
    offsets[0::2] = starts
    offsets[1::2] = ends
    both = pa.Array.from_buffers(pa.binary(), 2 * count - 1, [None, pa.py_buffer(offsets), pa.py_buffer(octets)])
    return both.take(pa.array(np.arange(0, 2 * count, 2, dtype=np.int32)))


def as_text(values: pa.BinaryArray) -> tuple[pa.StringArray, Integers]:
    """The values as text, and the indices of those that were not UTF-8 (bad bytes are now U+FFFD)."""
    _, offsets, octets = values.buffers()
    text = pa.Array.from_buffers(pa.string(), len(values), [None, offsets, octets], offset=values.offset)
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return _repaired(values)
    return text, np.zeros(0, np.int64)


def _repaired(values: pa.BinaryArray) -> tuple[pa.StringArray, Integers]:
    offsets, octets = offsets_and_bytes(values)
    high = np.concatenate([[0], np.cumsum(octets[: offsets[-1]] >= 0x80)])
    invalid: list[int] = []
    repaired: list[bytes] = []
    for index in np.flatnonzero(high[offsets[1:]] - high[offsets[:-1]]).tolist():
        value = values[index].as_py()
        text = value.decode("utf-8", "replace").encode()
        if text != value:
            invalid.append(index)
            repaired.append(text)
    chosen = np.arange(len(values))
    chosen[invalid] = len(values) + np.arange(len(invalid))
    text, _ = as_text(pa.concat_arrays([values, pa.array(repaired, pa.binary())]).take(pa.array(chosen)))
    return text, np.array(invalid, np.int64)


def at_most(text: str, limit: int) -> str:
    """The longest beginning of `text` that has at most `limit` bytes of UTF-8.

    >>> at_most("naïve", 3)
    'na'
    """
    return text.encode()[:limit].decode("utf-8", "ignore")


def cut_texts(texts: pa.StringArray, limit: int) -> tuple[pa.StringArray, Integers]:
    """The texts, none longer than `limit` bytes, and the indices of those that were."""
    offsets, _ = offsets_and_bytes(texts)
    long = np.flatnonzero(np.diff(offsets) > limit)
    if not len(long):
        return texts, long
    cut = [at_most(text, limit) for text in texts.take(pa.array(long)).to_pylist()]
    chosen = np.arange(len(texts))
    chosen[long] = len(texts) + np.arange(len(long))
    return pa.concat_arrays([texts, pa.array(cut, pa.string())]).take(pa.array(chosen)), long


def take(values: pa.Array, indices: Integers) -> pa.Array:
    """`values` at `indices`; NULL where an index is negative."""
    missing = indices < 0
    return values.take(with_nulls(indices, missing) if missing.any() else pa.array(indices))


def with_nulls(numbers: npt.NDArray[Any], missing: Mask) -> pa.Array:
    """Numbers as an Arrow array over the same memory, NULL where `missing`; pa.array(mask=) copies them."""
    present = pa.py_buffer(np.packbits(~missing, bitorder="little"))
    kind = pa.from_numpy_dtype(numbers.dtype)
    return pa.Array.from_buffers(kind, len(numbers), [present, pa.py_buffer(np.ascontiguousarray(numbers))])


def text_map(
    rows: Integers, height: int, keys: pa.Array, texts: pa.StringArray, *, empty_is_null: bool
) -> pa.MapArray:
    """A MAP(VARCHAR, VARCHAR) column of `height` rows from entries whose `rows` ascend."""
    counts = np.bincount(rows, minlength=height)
    offsets = np.zeros(height + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    if empty_is_null:
        # Arrow takes NULL offsets for NULL maps; the last offset only closes the list.
        return pa.MapArray.from_arrays(pa.array(offsets, mask=np.append(counts == 0, False)), keys, texts)
    return pa.MapArray.from_arrays(pa.array(offsets), keys, texts)
