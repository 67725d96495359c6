"""The relations of a lake as views that a database keeps, for tools that come with a DuckDB driver.

Views name columns and types, and globs of files: so new days need no new view. A glob without files has no columns,
and old files may lack new ones: an empty table beside the view gives both (schema `llmcost_inside`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from ..models.lake import MARTS, REPORTS, Lake
from ..models.schema import PROVIDER_USAGE, PROVIDER_USAGE_COLUMNS
from . import catalogue
from .answers import RollupInfo
from .database import connect, quoted, text_literal
from .derive import empty_relation
from .relations import CHAIN, Relation, columns_of, read, rows_of, views

SCHEMA = "llmcost_inside"
"""Holds what the views need and nobody asks for. Not `llmcost`: a tool names the catalogue so, after the file."""

REPORT_SENTENCE = (
    "What providers' and gateways' own reports say was used and billed, as it was imported. One row per period, "
    "source and names that the report tells, or per request where it tells requests."
)
"""What provider_usage holds."""


@dataclass(frozen=True, slots=True)
class BiView:
    """One view: its name, what it is made of, its SELECT, and the comments of itself and its columns.

    `comments` may speak of columns that the view does not have. `empty` is the table of its columns.
    """

    name: str
    kind: Literal["mart", "report", "view", "rollup"]
    sentence: str
    select: str
    comments: dict[str, str]
    empty: pa.Table | None = None


def bi_views(lake: Lake, *, relative: bool) -> Iterator[BiView]:
    """The marts and the views over them, each after those it reads.

    With `relative` the globs begin in the lake's folder.
    """
    known: dict[str, dict[str, str]] = {}
    for mart in MARTS:
        known[rows_of(mart)] = _comments(read(CHAIN / f"{mart}.sql"))
        yield _over_files(lake, mart, known[rows_of(mart)], relative=relative)
    for name in REPORTS:
        yield _over_reports(lake, name, relative=relative)
    for view in views():
        inherited = {name: text for other in view.reads for name, text in known.get(other, {}).items()}
        known[view.name] = (inherited if view.name in MARTS else {}) | _comments(view)
        yield BiView(view.name, "view", _described(view.sentence, view.grain), view.text, known[view.name])


def rollup_view(info: RollupInfo) -> BiView:
    """A rollup by day, over all days. Raises UsageError where a user's cannot be rendered."""
    text = catalogue.render(info, by="day")
    comments = {column.name: column.meaning for column in columns_of(text)}
    grain = info.grain if "day" in info.grain else f"{info.grain} and day"
    return BiView(info.path.stem, "rollup", _described(info.sentence, grain), text, comments)


def file_types(mart: str) -> dict[str, str]:
    """The columns of a mart's files and their types, as DuckDB names them."""
    return _types(as_in_files(mart))


def _types(empty: pa.Table) -> dict[str, str]:
    with connect() as con:
        return {name: str(kind) for name, kind in zip(empty.column_names, con.from_arrow(empty).types, strict=True)}


def as_in_files(mart: str) -> pa.Table:
    """The mart's columns as its files have them: Parquet has no integer of 128 bits, so those are DOUBLE."""
    schema = empty_relation(mart).schema
    wide = pa.decimal128(38, 0)
    return pa.schema([f.with_type(pa.float64()) if f.type == wide else f for f in schema]).empty_table()


def _over_reports(lake: Lake, name: str, *, relative: bool) -> BiView:
    comments = {"day": "UTC day on which the row's period starts"}
    comments |= {c.name: c.meaning + (f", {c.unit}" if c.unit else "") for c in PROVIDER_USAGE_COLUMNS}
    select = _select(lake, name, name, _types(PROVIDER_USAGE.empty_table()), relative=relative)
    return BiView(name, "report", REPORT_SENTENCE, select, comments, PROVIDER_USAGE.empty_table())


def _over_files(lake: Lake, mart: str, comments: dict[str, str], *, relative: bool) -> BiView:
    name = rows_of(mart)
    select = _select(lake, mart, name, file_types(mart), relative=relative)
    relation = read(CHAIN / f"{mart}.sql")
    sentence = relation.sentence
    if name != mart:
        sentence = f"The rows that the files of {mart} hold, a UTC day each; ask {mart}. {sentence}"
    return BiView(name, "mart", _described(sentence, relation.grain), select, comments, as_in_files(mart))


def _select(lake: Lake, table: str, name: str, types: dict[str, str], *, relative: bool) -> str:
    """The rows of the files of `table`, with the columns of the empty table `name` where there are none."""
    root = "" if relative else f"{_without_wildcards(str(lake.root.resolve()))}/"
    files = text_literal(f"{root}{table}/day=*/{table}.parquet")
    # Only an option of DuckDB 2 lets a glob match nothing: it is asked for where it is needed.
    none_yet = "" if any(lake.mart(table).glob(f"day=*/{table}.parquet")) else "allow_empty = true, "
    columns = ", ".join(f"cast({quoted(c)} as {t}) as {quoted(c)}" for c, t in types.items())
    return f"""
        select {columns}
        from (
            select * from {SCHEMA}.{quoted(name)}
            union all by name
            select *
            from read_parquet(
                {files}, {none_yet}union_by_name = true, hive_partitioning = true, hive_types = {{'day': date}}
            )
        )
    """


def _without_wildcards(path: str) -> str:
    """A path that a glob takes literally.

    >>> _without_wildcards("/data/[prod] lake?")
    '/data/[[]prod] lake[?]'
    """
    return "".join(f"[{letter}]" if letter in "[*?" else letter for letter in path)


def _comments(relation: Relation) -> dict[str, str]:
    return {column.name: column.meaning for column in relation.columns}


def _described(sentence: str, grain: str) -> str:
    """What a view's comment says: what it holds, and one row per what."""
    return f"{sentence.rstrip('.:')}. {grain[:1].upper()}{grain[1:].rstrip('.')}."
