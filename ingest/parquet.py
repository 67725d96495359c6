"""Parquet as llmcost lands it: encodings chosen per column, fsynced, never visible half-written."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from .journal import sync_file, sync_folder

ROW_GROUP_ROWS = 131_072

_NEARLY_UNIQUE = frozenset({"trace_id", "span_id", "parent_span_id", "response_id", "agent_run_id"})
"""Text that hardly repeats: a dictionary of it would be written and then given up."""


def write_parquet(rows: pa.Table, path: Path) -> int:
    """Write `rows` to `path` and force file and name to disk; returns the bytes."""
    with ParquetFile(path, rows.schema) as file:
        file.write(rows.unify_dictionaries())  # a second dictionary in a row group would end its encoding
    return file.bytes


class ParquetFile:
    """A file that is written piece by piece, and is there, whole and on disk, when its context ends.

    Until then it has a name that begins with a dot, which no glob matches. `sorted_by` names a nearly unique column
    that its rows stand in the order of: row groups then say which of its values they hold.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, sorted_by: str | None = None) -> None:
        self.path = path
        self.bytes = 0
        """Size, once the context has ended."""
        self._temporary = path.with_name(f".{path.name}")
        self._writer = pq.ParquetWriter(
            self._temporary,
            schema.remove_metadata(),
            version="2.6",
            compression="zstd",
            compression_level=1,
            use_dictionary=_dictionary_columns(schema),
            column_encoding=_encodings(schema),
            write_statistics=[*_columns_with_statistics(schema), *([sorted_by] if sorted_by else [])],
            store_schema=False,  # Arrow's copy of it would be a tenth of a small file
        )

    def write(self, rows: pa.Table) -> None:
        """Append `rows` as row groups of their own, of ROW_GROUP_ROWS at most."""
        self._writer.write_table(rows.replace_schema_metadata(None), row_group_size=ROW_GROUP_ROWS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
            if error is None:
                sync_file(self._temporary)
                self._temporary.rename(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)
        if error is None:
            sync_folder(self.path.parent)
            self.bytes = self.path.stat().st_size


def _dictionary_columns(schema: pa.Schema) -> list[str]:
    """Parquet leaf paths with few distinct values: text, and the leaves of maps and lists."""
    leaves = []
    for field in schema:
        if pa.types.is_map(field.type):
            leaves += [f"{field.name}.key_value.key", f"{field.name}.key_value.value"]
        elif pa.types.is_list(field.type):
            leaves.append(f"{field.name}.list.element")
        elif _is_text(field.type) and field.name not in _NEARLY_UNIQUE:
            leaves.append(field.name)
    return leaves


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_dictionary(kind))


def _columns_with_statistics(schema: pa.Schema) -> list[str]:
    """Columns whose least and greatest value can spare a reader a row group; those of random ids cannot."""
    return [field.name for field in schema if field.name not in _NEARLY_UNIQUE and not pa.types.is_nested(field.type)]


def _encodings(schema: pa.Schema) -> dict[str, str]:
    """Numbers and instants as bit-packed differences."""
    return {
        field.name: "DELTA_BINARY_PACKED"
        for field in schema
        if pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type)
    }
