"""DuckDB, as this package uses it: UTC sessions, rows through Arrow, text literals where none can be bound."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa


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


def reason(error: duckdb.Error) -> str:
    r"""What went wrong in DuckDB's words, in one line, with the line of the text where it says one.

    >>> reason(duckdb.Error("Catalog Error: Table x does not exist!\nDid you mean y?\n\nLINE 2:  b from x\n   ^"))
    'Catalog Error: Table x does not exist! Did you mean y? (line 2)'
    """
    text = str(error)
    aside = ("Original Line:", "Possible Solution:")
    first = [line for line in text.partition("\n\n")[0].splitlines() if not line.startswith(aside)]
    place = re.search(r"^LINE (\d+):", text, re.MULTILINE)
    return " ".join(" ".join(first).split()) + (f" (line {place[1]})" if place else "")


def text_literal(text: str) -> str:
    """SQL literal of `text`, for views, which cannot bind parameters."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """SQL identifier of any spelling.

    >>> quoted("total"), quoted('a "b" c')
    ('"total"', '"a ""b"" c"')
    """
    return '"' + name.replace('"', '""') + '"'


def text_list(texts: Iterable[object]) -> str:
    """SQL list of text literals."""
    return "[" + ", ".join(text_literal(str(text)) for text in texts) + "]"


def parquet_by_day(files: Iterable[object]) -> str:
    """A relation over Parquet files by day; a column that only some of them have is NULL in the others."""
    return (
        f"read_parquet({text_list(files)}, hive_partitioning = true, hive_types = {{'day': date}}, "
        "union_by_name = true)"
    )


def parquet(con: duckdb.DuckDBPyConnection, files: Iterable[object], empty: pa.Table) -> tuple[str, str]:
    """A relation over Parquet files by day, and the columns of `empty` to add to it.

    Files that an older llmcost landed lack the columns that came later: they are NULL.
    """
    relation = parquet_by_day(files)
    con.register("wanted_columns", empty)
    wanted, present = (
        dict(row[:2] for row in con.execute(f"describe select * from {name}").fetchall())
        for name in ("wanted_columns", relation)
    )
    con.unregister("wanted_columns")
    return relation, "".join(f", null::{wanted[name]} as {name}" for name in wanted if name not in present)
