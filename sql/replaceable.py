"""Parquet files that are replaced while anybody reads them: the new file holds the old one where it was.

A rename is atomic; a reader is not. DuckDB reads the footer through one handle, then opens the path again to read the
rows; polars takes the length first. A file that was replaced in between has other bytes where the old footer, or the
old length, points. So the new file keeps the rows and the footer of the one it replaces at their old offsets, and has
its own elsewhere. A Parquet footer holds absolute offsets, is looked for at the end of the file only, and need not
speak of all bytes:

    behind:   PAR1  (hole)  old rows  old footer  new rows  new footer
    in front: PAR1  new rows  (hole)  old rows  old footer  new footer

Holes take no space on disk. One generation is kept: a reader may be overtaken once between its two looks at a file.
"""

from __future__ import annotations

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
        start, end = min(starts, default=footer), max(ends, default=footer)
        if not _MAGIC <= start <= end <= footer:
            raise ValueError(f"the footer at byte {footer} points to bytes {start} to {end}")
        return cls(start, end, footer, length)


def replace(target: Path, rows: Callable[[], pa.RecordBatchReader], metadata: Mapping[str, str]) -> None:
    """Replace the Parquet file `target`, or make it, of what `rows` gives; on disk on return.

    `rows` may be called more than once, and gives the same rows each time, in batches of ROW_GROUP_ROWS at most.
    The file is at most some four times as long as its rows or the old ones, and takes the space of both. Where the
    old file is damaged nobody can be reading it: nothing of it is kept. Raises OSError.
    """
    temporary = target.with_name(f".{target.stem}-{uuid.uuid4().hex}.tmp")
    try:
        for attempt in range(_TRIES):
            replaced = _replace(target, temporary, rows, metadata, whatever=attempt == _TRIES - 1)
            if replaced:
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
    try:
        old = target.open("rb")
    except FileNotFoundError:
        _write(temporary, rows(), metadata)
        _settle(temporary, target)
        return True
    with old:
        try:
            kept = Live.read(old)
        except (OSError, ValueError):
            kept = None
        if kept is None:
            _write(temporary, rows(), metadata)
        elif not (_is_roomy(kept) and _write_in_front(temporary, rows, metadata, old, kept)):
            _write(temporary, rows(), metadata, behind=kept.length)
            with temporary.open("r+b") as new:
                _keep(old, new, kept)
        if not whatever and not _is_at(old, target):
            return False
        _settle(temporary, target)
        return True


def _is_roomy(kept: Live) -> bool:
    """Whether as many rows again, and as many more, have room before those that are kept."""
    return kept.start > _MAGIC and kept.start >= 2 * (kept.end - kept.start)


def _write_in_front(
    path: Path, rows: Callable[[], pa.RecordBatchReader], metadata: Mapping[str, str], old: BinaryIO, kept: Live
) -> bool:
    """Write the new rows before the old ones; False where they do not fit."""
    _write(path, rows(), metadata)
    with path.open("r+b") as new:
        own = Live.read(new)
        if own.end > kept.start:
            return False
        footer = os.pread(new.fileno(), own.length - own.footer, own.footer)
        new.truncate(own.end)
        _keep(old, new, kept)
        new.seek(kept.length)
        new.write(footer)
    return True


def _write(path: Path, rows: pa.RecordBatchReader, metadata: Mapping[str, str], *, behind: int = 0) -> None:
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
    if behind:
        with path.open("rb") as file:
            own = Live.read(file)
        if own.start < behind:
            raise OSError(f"the Parquet writer wrote at byte {own.start}, before byte {behind}")


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


def _keep(old: BinaryIO, new: BinaryIO, kept: Live) -> None:
    """Copy what is live in `old` to the same places of `new`."""
    for start, end in ((kept.start, kept.end), (kept.footer, kept.length)):
        at = start
        while at < end:
            piece = os.pread(old.fileno(), min(_COPIED_AT_ONCE, end - at), at)
            if not piece:
                raise OSError(f'"{old.name}" ended at byte {at}, before byte {end}')
            at += os.pwrite(new.fileno(), piece, at)


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _settle(temporary: Path, target: Path) -> None:
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(target)
