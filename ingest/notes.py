"""What landing had to change or doubt, row by row: a bit a note while decoding, text at the end."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from .ragged import Integers, Mask


class Notes:
    """Notes on `height` rows. A row's notes read in the order in which the notes were first used."""

    def __init__(self, height: int) -> None:
        self._height = height
        self._rows: dict[str, Mask] = {}

    def add(self, note: str, rows: Integers | Mask) -> None:
        """Put `note` on `rows` (indices or a mask); a second time on the same row changes nothing."""
        if rows.any() if rows.dtype == np.bool_ else len(rows):
            self._rows.setdefault(note, np.zeros(self._height, np.bool_))[rows] = True

    def inherit(self, other: Notes, source: Integers) -> None:
        """Take over the notes of a parent relation: row `i` stands below its row `source[i]`."""
        for note, rows in other._rows.items():
            self.add(note, rows[source])

    def counts(self) -> dict[str, int]:
        """Rows by note."""
        return {note: int(np.count_nonzero(rows)) for note, rows in self._rows.items()}

    def column(self) -> pa.StringArray:
        """The `landing_notes` column: notes joined by commas, NULL where there is none."""
        if not self._rows:
            return pa.nulls(self._height, pa.string())
        names = list(self._rows)
        together = np.packbits(np.stack(list(self._rows.values()), axis=1), axis=1, bitorder="little")
        distinct, codes = np.unique(together, axis=0, return_inverse=True)
        bits = np.unpackbits(distinct, axis=1, bitorder="little", count=len(names)).astype(np.bool_)
        texts = [",".join(name for name, on in zip(names, row, strict=True) if on) or None for row in bits.tolist()]
        return pa.array(texts, pa.string()).take(pa.array(codes.reshape(-1)))
