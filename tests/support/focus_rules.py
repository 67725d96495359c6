"""FOCUS' rules, as data/fixtures/focus/rules-1.4.toml writes them down, checked on an exported file."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

RULES = Path(__file__).parents[2] / "data" / "fixtures" / "focus" / "rules-1.4.toml"
_DECIMAL = re.compile(r"-?\d+(\.\d+)?")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")


@cache
def rules() -> dict[str, Any]:
    """The file, read once."""
    return tomllib.loads(RULES.read_text(encoding="utf-8"))


def broken(path: Path) -> list[str]:
    """Every rule that the file breaks, with how often; none where it conforms."""
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        headings = _open(con, path)
        if missing := list(_missing(headings)):
            return missing
        return [*_headings(headings), *(_texts(path) if path.suffix == ".csv" else ()), *_values(con, headings)]


def _open(con: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    """Make `charges`: the file's rows with the types that the columns must have."""
    kinds = {"decimal": "decimal(38, 24)", "instant": "timestamptz", "string": "varchar", "json": "varchar"}
    types = {column["name"]: kinds[column["type"]] for column in rules()["columns"]}
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            headings = next(csv.reader(file))
        given = {name: types.get(name, "varchar") for name in headings}
        con.execute("set variable path = $path", {"path": str(path)})
        con.execute(
            "create table charges as from read_csv(getvariable('path'), header = true, auto_detect = false, "
            f"delim = ',', quote = '\"', escape = '\"', columns = {given})"
        )
        return headings
    table = pq.read_table(path)
    con.register("file", table)
    con.execute(
        "create table charges as select "
        + ", ".join(f'cast("{name}" as {types.get(name, "varchar")}) as "{name}"' for name in table.column_names)
        + " from file"
    )
    return list(table.column_names)


def _missing(found: list[str]) -> Iterator[str]:
    for column in rules()["columns"]:
        if column["name"] not in found and (column["level"] == "mandatory" or column.get("applies")):
            yield f"{column['name']}: not there"


def _headings(found: list[str]) -> Iterator[str]:
    columns = {column["name"]: column for column in rules()["columns"]}
    for name in found:
        if name not in columns and not name.startswith("x_"):
            yield f"{name}: no column of FOCUS, and not marked as custom"
    ours = [name.startswith("x_") for name in found]
    if ours != sorted(ours):
        yield "custom columns stand between FOCUS' own"
    if len(set(found)) < len(found):
        yield "a column stands twice"


def _texts(path: Path) -> Iterator[str]:
    """How values are written, which is gone once they are read."""
    kinds = {column["name"]: column["type"] for column in rules()["columns"]}
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 1):
            for name, text in row.items():
                kind = kinds.get(name)
                if text and (
                    (kind == "decimal" and not _DECIMAL.fullmatch(text))
                    or (kind == "instant" and not _INSTANT.fullmatch(text))
                ):
                    yield f"{name}, row {number}: {text!r} is no {kind}"


def _values(con: duckdb.DuckDBPyConnection, found: list[str]) -> Iterator[str]:
    for column in rules()["columns"]:
        name = column["name"]
        if name not in found:
            continue
        if not column["nulls"]:
            yield from _counted(con, f"{name}: null", f'"{name}" is null')
        if allowed := column.get("allowed"):
            listed = ", ".join("'" + value.replace("'", "''") + "'" for value in allowed)
            yield from _counted(con, f"{name}: not allowed", f'"{name}" not in ({listed})')
        if "least" in column:
            yield from _counted(con, f"{name}: too small", f'"{name}" < {column["least"]}')
        if column["type"] == "json":
            texts = con.execute(f'select distinct "{name}" from charges where "{name}" is not null').fetchall()
            yield from (f"{name}: no flat JSON object: {text}" for (text,) in texts if not _is_key_value(name, text))
    for rule in rules()["rules"]:
        yield from _counted(con, rule["name"], rule["violates"])
    for rule in rules()["together"]:
        offenders = len(con.execute(rule["offenders"]).fetchall())
        if offenders:
            yield f"{rule['name']}: {offenders} times"


def _counted(con: duckdb.DuckDBPyConnection, name: str, condition: str) -> Iterator[str]:
    count = con.execute(f"select count(*) from charges where {condition}").fetchall()[0][0]
    if count:
        yield f"{name}: {count} times"


def _is_key_value(column: str, text: str) -> bool:
    """Whether it is an object of plain values; properties of a price that are not FOCUS' own are marked."""
    told = json.loads(text)
    flat = isinstance(told, dict) and all(not isinstance(value, dict | list) for value in told.values())
    return flat and (column != "SkuPriceDetails" or all(key.startswith("x_") for key in told))
