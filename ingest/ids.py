"""Trace and span ids: which are valid by the OTLP rules, and their hex text.

One place, because what the receiver rejects must be exactly what landing drops.
"""

from __future__ import annotations

from binascii import hexlify
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .ragged import offsets_and_bytes

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8


def valid_ids(ids: pa.BinaryArray, size: int) -> npt.NDArray[np.bool_]:
    """Which of `ids` have `size` bytes that are not all zero."""
    words, right_size = _words(ids, size)
    valid = right_size.copy()
    valid[right_size] = words.any(axis=1)
    return valid


def hex_ids(ids: pa.BinaryArray, size: int, valid: npt.NDArray[np.bool_]) -> pa.StringArray:
    """The ids as lower-case hex text, NULL where not `valid`. Ids marked valid must have `size` bytes."""
    words, right_size = _words(ids, size)
    digits = hexlify(words[valid[right_size]].tobytes())
    width = 2 * size
    if valid.all():
        offsets = np.arange(0, (len(ids) + 1) * width, width, dtype=np.int32)
        return pa.Array.from_buffers(pa.string(), len(ids), [None, pa.py_buffer(offsets), pa.py_buffer(digits)])
    offsets = np.zeros(len(ids) + 1, dtype=np.int32)
    np.cumsum(valid * np.int32(width), out=offsets[1:])
    present = pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(pa.string(), len(ids), [present, pa.py_buffer(offsets), pa.py_buffer(digits)])


def _words(ids: pa.BinaryArray, size: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The ids of the right size as rows of 64-bit words, and which they are."""
    offsets, octets = offsets_and_bytes(ids)
    right_size = np.diff(offsets) == size
    if right_size.all():
        octets = octets[offsets[0] : offsets[-1]]
    else:
        octets = octets[offsets[:-1][right_size][:, None] + np.arange(size)]
    return octets.reshape(-1).view(np.uint64).reshape(-1, size // 8), right_size
