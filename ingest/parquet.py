"""Parquet as llmcost lands it: encodings chosen per column, fsynced, never visible half-written."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .journal import sync_file, sync_folder

ROW_GROUP_ROWS = 131_072

_NEARLY_UNIQUE = frozenset({"trace_id", "span_id", "parent_span_id", "response_id", "agent_run_id"})
"""Text that hardly repeats: a dictionary of it would be written and then given up."""


def write_parquet(rows: pa.Table, path: Path) -> int:
    """Write `rows` to `path` and force file and name to disk; returns the bytes.

    Until it is whole it has a name that begins with a dot, which no glob matches.
    """
    temporary = path.with_name(f".{path.name}")
    try:
        pq.write_table(
            rows.replace_schema_metadata(None),
            temporary,
            version="2.6",
            compression="zstd",
            compression_level=1,
            use_dictionary=_dictionary_columns(rows.schema),
            column_encoding=_encodings(rows.schema),
            write_statistics=_columns_with_statistics(rows.schema),
            row_group_size=ROW_GROUP_ROWS,
            store_schema=False,  # Arrow's copy of it would be a tenth of a small file
        )
        sync_file(temporary)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return path.stat().st_size


def _dictionary_columns(schema: pa.Schema) -> list[str]:
    """Parquet leaf paths with few distinct values: text, and the leaves of maps and lists."""
    leaves = []
    for field in schema:
        if pa.types.is_map(field.type):
            leaves += [f"{field.name}.key_value.key", f"{field.name}.key_value.value"]
        elif pa.types.is_list(field.type):
            leaves.append(f"{field.name}.list.element")
        elif pa.types.is_string(field.type) and field.name not in _NEARLY_UNIQUE:
            leaves.append(field.name)
    return leaves


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
