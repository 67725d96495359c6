"""Parquet files that are replaced while anybody reads them: the new file holds the old one's rows where they were.

A rename is atomic; a reader is not. DuckDB reads the footer through one handle, then opens the path again to read the
rows; polars takes the length first. A file that was replaced in between has other bytes where the old footer, or the
old length, points. So a file has two halves: one with its own rows, one with those of the file that it replaced, at
their old offsets; and both files have one length, so that at the old length there is a footer too. A Parquet footer
holds absolute offsets, is looked for at the end of the file only, and need not speak of all bytes:

    PAR1  own rows  (hole)  old rows  (hole)  footer
    PAR1  old rows  (hole)  own rows  (hole)  footer

Holes take no space on disk. Where a half is too small, the new file is longer, and keeps the old footer where it was.
One generation is kept: a reader may be overtaken once between its two looks at a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 122_880
"""What DuckDB reads as one task."""

_MAGIC = 4
_FOOTER_END = 8  # the footer's length, and PAR1
_SAMPLED_ROWS = 16_384
_COPIED_AT_ONCE = 1 << 20
_BLOCK = 4096
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Live:
    """What a Parquet file consists of: bytes [start, end) with its rows, [footer, length) with its footer."""

    start: int
    end: int
    footer: int
    length: int

    @classmethod
    def read(cls, file: BinaryIO) -> Live:
        """By the footer of an open file; Bloom filters stand among the rows. Both are empty where there are no rows.

        Raises OSError or ValueError if it is no whole Parquet file.
        """
        found = pq.ParquetFile(file).metadata
        length = os.fstat(file.fileno()).st_size
        footer = length - _FOOTER_END - int.from_bytes(os.pread(file.fileno(), 4, length - _FOOTER_END), "little")
        starts, ends = [], []
        for group in map(found.row_group, range(found.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                start = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
                starts.append(start)
                ends.append(start + column.total_compressed_size)
                if column.bloom_filter_offset:
                    ends.append(column.bloom_filter_offset + column.bloom_filter_length)
        start, end = min(starts, default=_MAGIC), max(ends, default=_MAGIC)
        if not _MAGIC <= start <= end <= footer:
            raise ValueError(f"the footer at byte {footer} points to bytes {start} to {end}")
        return cls(start, end, footer, length)


def replace(target: Path, rows: Callable[[], pa.RecordBatchReader], metadata: Mapping[str, str]) -> None:
    """Replace the Parquet file `target`, or make it, of what `rows` gives; on disk on return.

    `rows` may be called more than once, and gives the same rows each time, in batches of ROW_GROUP_ROWS at most.
    The file is as long as four times the most rows and footer it ever had, and takes the space of the rows, old and
    new. Where the old file is damaged nobody can be reading it: nothing of it is kept. Raises OSError.
    """
    temporary = target.with_name(f".{target.stem}-{uuid.uuid4().hex}.tmp")
    try:
        for attempt in range(_TRIES):
            if _replace(target, temporary, rows, metadata, whatever=attempt == _TRIES - 1):
                return
    finally:
        temporary.unlink(missing_ok=True)


def _replace(
    target: Path,
    temporary: Path,
    rows: Callable[[], pa.RecordBatchReader],
    metadata: Mapping[str, str],
    *,
    whatever: bool,
) -> bool:
    """Whether it was done; not where somebody else replaced `target` meanwhile, unless `whatever`."""
    with contextlib.ExitStack() as stack:
        try:
            old: BinaryIO | None = stack.enter_context(target.open("rb"))
        except FileNotFoundError:
            old = None
        try:
            kept = Live.read(old) if old else None
        except (OSError, ValueError):
            kept = None
        half = kept.length // 2 if kept else 0
        behind = half if kept and kept.end <= half else 0
        own = _write(temporary, rows(), metadata, behind=behind)
        with temporary.open("r+b") as new:
            if old is None or kept is None:
                _settle_footer(new, own, 2 * _half(own))
            elif _fits(own, kept, behind):
                _settle_footer(new, own, kept.length)
                _copy(old, new, kept.start, kept.end)
            else:
                behind = max(_half(own), kept.length)
                own = _write(temporary, rows(), metadata, behind=behind)
                _settle_footer(new, own, 2 * behind)
                _copy(old, new, kept.start, kept.end)
                _copy(old, new, kept.footer, kept.length)
            os.fsync(new.fileno())
        if not whatever and not _is_still(old, target):
            return False
        temporary.replace(target)
        return True


def _half(own: Live) -> int:
    """Room for twice the rows and the footer."""
    needed = 2 * (own.end - own.start + own.length - own.footer)
    return -(-needed // _BLOCK) * _BLOCK


def _fits(own: Live, kept: Live, behind: int) -> bool:
    """Whether old and new rows stand in a half each of a file of the old length, with the new footer at its end."""
    half, footer = kept.length // 2, own.length - own.footer
    apart = kept.end <= half if behind else kept.start >= half >= own.end
    return apart and max(own.end, kept.end) + footer <= kept.length


def _settle_footer(new: BinaryIO, own: Live, length: int) -> None:
    """Move the footer to the end of a file of `length` bytes; all but the rows and the footer is a hole."""
    footer = os.pread(new.fileno(), own.length - own.footer, own.footer)
    os.ftruncate(new.fileno(), own.end)
    if os.pwrite(new.fileno(), footer, length - len(footer)) < len(footer):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write(path: Path, rows: pa.RecordBatchReader, metadata: Mapping[str, str], *, behind: int) -> Live:
    """Write a Parquet file whose rows begin at byte `behind`, or after the magic; the bytes before are a hole."""
    first = next(iter(rows), None)
    with pa.OSFile(str(path), "wb") as sink:
        options = _encodings(first) if first else {}
        # The types as they stand in the columns: no schema of Arrow's own beside them, which pyarrow would prefer.
        with pq.ParquetWriter(
            sink, rows.schema, compression="zstd", store_schema=False, store_decimal_as_integer=True, **options
        ) as writer:
            # The writer refuses a stream that is not at its beginning. It has written the magic now, and
            # takes each later offset from the stream's position, which the stream asks the system for.
            if behind:
                os.lseek(sink.fileno(), behind, os.SEEK_SET)
            if first:
                writer.write_batch(first)
            for batch in rows:
                writer.write_batch(batch)
            writer.add_key_value_metadata(dict(metadata))
    with path.open("rb") as file:
        own = Live.read(file)
    if own.start < own.end and own.start < behind:
        raise OSError(f"the Parquet writer wrote at byte {own.start}, before byte {behind}")
    return own


def _encodings(rows: pa.RecordBatch) -> dict[str, Any]:
    """Dictionaries for columns whose values repeat, and Bloom filters for texts among them, as a sample tells."""
    dictionaries, filters = [], {}
    for field, column in zip(rows.schema, rows.columns, strict=True):
        name, sample = field.name, column.slice(0, _SAMPLED_ROWS)
        if pa.types.is_list(field.type):
            name, sample = f"{name}.list.element", sample.flatten()
        distinct = pc.count_distinct(sample).as_py()
        if 2 * distinct <= len(sample) and not pa.types.is_boolean(field.type):
            dictionaries.append(name)
            if distinct and pa.types.is_string(field.type):
                filters[name] = {"ndv": distinct * len(column) // len(sample), "fpp": 0.01}
    return {"use_dictionary": dictionaries, "bloom_filter_options": filters or None}


def _copy(old: BinaryIO, new: BinaryIO, start: int, end: int) -> None:
    """Copy bytes [start, end) of `old` to the same place of `new`."""
    while start < end:
        piece = os.pread(old.fileno(), min(_COPIED_AT_ONCE, end - start), start)
        if not piece:
            raise OSError(f'"{old.name}" ended at byte {start}, before byte {end}')
        start += os.pwrite(new.fileno(), piece, start)


def _is_still(file: BinaryIO | None, path: Path) -> bool:
    """Whether `path` is the open file, or still nothing."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return file is None
    return file is not None and os.path.samestat(os.fstat(file.fileno()), found)
