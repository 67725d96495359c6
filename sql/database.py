"""DuckDB, as this package uses it: UTC sessions, rows through Arrow, text literals where none can be bound."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory database that spills to disk, in UTC; files are read anew each time they are asked for."""
    spill = Path(tempfile.gettempdir()) / f"llmcost-{os.getuid()}-spill"
    con = duckdb.connect(config={"enable_external_file_cache": False, "temp_directory": str(spill)})
    con.execute("set timezone = 'UTC'")
    return con


def rows(con: duckdb.DuckDBPyConnection, query: str, bound: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """A small result as dictionaries. Through Arrow: instants come back aware, decimals exact."""
    found: list[dict[str, Any]] = con.sql(query, params=dict(bound) if bound else None).to_arrow_table().to_pylist()
    return found


def text_literal(text: str) -> str:
    """SQL literal of `text`, for views, which cannot bind parameters."""
    return "'" + text.replace("'", "''") + "'"


def text_list(texts: Iterable[object]) -> str:
    """SQL list of text literals."""
    return "[" + ", ".join(text_literal(str(text)) for text in texts) + "]"
