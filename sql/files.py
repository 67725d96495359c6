"""The user's files as relations: `rollups/revenue.csv` is `revenue`, to rollups, audits and `llmcost sql`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from ..models.errors import UsageError
from ..models.lake import MARTS, REPORTS, TABLES, Lake
from ..models.schema import DIMENSIONS
from .catalogue import user_folders
from .database import quoted, reason, text_literal
from .relations import VIEWS

EXPECTED: Mapping[str, pa.Schema] = {
    "revenue": pa.schema(
        [
            ("customer_id", pa.string()),
            ("since", pa.date32()),
            ("until", pa.date32()),
            ("revenue_usd", pa.decimal128(18, 9)),
        ]
    ),
    "cost_centers": pa.schema(
        [
            ("team", pa.string()),
            ("customer_id", pa.string()),
            ("feature", pa.string()),
            ("since", pa.date32()),
            ("until", pa.date32()),
            ("cost_center", pa.string()),
        ]
    ),
    "shared_weights": pa.schema([("owner", pa.string()), ("weight", pa.decimal128(18, 9))]),
}
"""Files that questions of ours read: their columns. Where there is none, the relation has no rows."""

_IMPOSSIBLE = {
    "revenue": (
        "customer_id is null or revenue_usd is null or since is null or until is null or until <= since",
        "each column needs a value, and since comes before until",
    ),
    "cost_centers": (
        "cost_center is null or until <= since",
        "cost_center needs a value, and since comes before until",
    ),
    "shared_weights": (
        "owner is null or weight is null or weight < 0",
        "each column needs a value, and no weight is below 0",
    ),
}
"""Of each of these files: rows that cannot be meant, and what to say of them."""
_MONEY = "DECIMAL(18,9)"
_EXPECTED_TYPES = {pa.string(): "VARCHAR", pa.date32(): "DATE", pa.decimal128(18, 9): _MONEY}
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_NO_NAME = re.compile(r"[\d\s.,:/+\-$€£%TZ]*")


@dataclass(frozen=True, slots=True)
class Opened:
    """What was opened: the files that are read as they are asked, and what to say of those that are not there."""

    paths: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def known_files(lake: Lake | None) -> dict[str, list[Path]]:
    """The user's CSV and Parquet files by the name of their relation; the project's replace the lake's."""
    found: dict[str, list[Path]] = {}
    for folder in user_folders(lake):
        here: dict[str, list[Path]] = {}
        for path in sorted([*folder.glob("*.csv"), *folder.glob("*.parquet")]):
            if path.is_file():
                here.setdefault(path.stem.lower(), []).append(path)
        found |= here
    return found


def open_files(con: duckdb.DuckDBPyConnection, lake: Lake, wanted: Iterable[str], asker: Path) -> Opened:
    """Make those of the relations `wanted` that the session lacks, from the user's files.

    A CSV is read here, once and whole; a Parquet file where it is asked. Raises UsageError for a name that is
    neither a relation of ours nor a file, and for a file that cannot be a relation: `asker` is who wants it.
    """
    files = known_files(lake)
    # A session has made what is ours; to look what else it has costs a fifth of a small question.
    names = [name for name in dict.fromkeys(word.lower() for word in wanted) if name in files or name not in _ours()]
    if not names:
        return Opened()
    there = {name for (name,) in con.execute("select table_name from information_schema.tables").fetchall()}
    paths: list[Path] = []
    notes: list[str] = []
    for name in names:
        if name in files:
            path = the_file(name, files[name])
            if name not in there:
                paths += [path] if _open(con, name, path) else []
        elif name in EXPECTED:
            if name not in there:
                con.register(name, EXPECTED[name].empty_table())
            columns = ", ".join(EXPECTED[name].names)
            notes.append(f"no {name} is known: write {lake.user_rollups / name}.csv with the columns {columns}")
        elif name not in there:
            raise UsageError(
                f'"{asker}" reads "{name}", which is no relation and no file: write '
                f"{lake.user_rollups / name}.csv (or .parquet) with a first line that names its columns, "
                "or correct its reads:"
            )
    return Opened(tuple(paths), tuple(notes))


def mentioned(query: str, lake: Lake) -> list[str]:
    """The user's files that a query names; all that can be relations where it asks what there is."""
    words = set(re.findall(r"\w+", query.lower()))
    files = known_files(lake)
    if words & {"show", "information_schema", "duckdb_tables", "duckdb_views"}:
        return [name for name, paths in files.items() if _refusal(name, paths) is None]
    return [name for name in files if name in words]


def the_file(name: str, paths: Sequence[Path]) -> Path:
    """The one file behind a relation. Raises UsageError where it may not have that name."""
    if refused := _refusal(name, paths):
        raise UsageError(refused)
    return paths[0]


def _ours() -> set[str]:
    """The relations over marts that every session makes where they are wanted."""
    return {*MARTS, *REPORTS, *(path.stem for path in VIEWS.glob("*.sql"))}


def _refusal(name: str, paths: Sequence[Path]) -> str | None:
    if name in TABLES or name in _ours():
        return f'"{paths[0]}": "{name}" is a relation of llmcost already: give the file another name'
    if not _NAME.fullmatch(name):
        return f'"{paths[0]}": a file is a relation by its name: name it with letters, digits and _ only'
    if len(paths) > 1:
        return f'"{paths[0]}" and "{paths[1]}" would both be the relation "{name}": keep one of them'
    return None


def _open(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> bool:
    """Make the relation; whether it is a view, which reads the file when it is asked."""
    is_csv = path.suffix == ".csv"
    try:
        source = _csv(con, name, path) if is_csv else _parquet(con, name, path)
        is_view = not is_csv and name not in EXPECTED
        con.execute(f'create temp {"view" if is_view else "table"} "{name}" as {source}')
        if name in EXPECTED:
            _check_rows(con, name, path)
    except duckdb.Error as error:
        raise UsageError(f'cannot read "{path}": {reason(error)}') from None
    return is_view


def _csv(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> str:
    """A select of the file's rows. Raises UsageError where its first line names no columns."""
    headings, delimiter = _first_line(path)
    # Said and not guessed: a guess may leave out lines that do not fit, and take a day for a month.
    how = f"header = true, skip = 0, comment = '', delim = {text_literal(delimiter)}, quote = '\"', escape = '\"'"
    how = f"{text_literal(str(path))}, {how}, dateformat = '%Y-%m-%d'"
    texts = _struct(dict.fromkeys(headings, "VARCHAR"))
    con.execute(f"select count(*) from read_csv({how}, auto_detect = false, columns = {texts})").fetchall()
    types = _types(name, path, headings)
    return f"select * from read_csv({how}{f', types = {_struct(types)}' if types else ''})"


def _first_line(path: Path) -> tuple[list[str], str]:
    """The names of a CSV's columns, and what stands between them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
            file.seek(0)
            delimiter = max(",;\t|", key=line.count)
            headings = next(csv.reader(file, delimiter=delimiter), [])
    except UnicodeDecodeError:
        raise UsageError(f'cannot read "{path}": it is not UTF-8: save it as that') from None
    except (OSError, csv.Error) as error:
        raise UsageError(f'cannot read "{path}": {error}') from None
    if not headings:
        raise UsageError(f'cannot read "{path}": it is empty: its first line must name the columns')
    for number, heading in enumerate(headings):
        if _NO_NAME.fullmatch(heading):
            raise UsageError(
                f'cannot read "{path}": its first line must name the columns, and "{heading}" is no name'
            )
        if heading.lower() in (earlier.lower() for earlier in headings[:number]):
            raise UsageError(f'cannot read "{path}": two columns are called "{heading}"')
    return headings, delimiter


def _struct(types: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{text_literal(name)}: {text_literal(kind)}" for name, kind in types.items()) + "}"


def _parquet(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> str:
    """A select of the file's rows."""
    file = f"read_parquet({text_literal(str(path))})"
    kinds = {row[0]: row[1] for row in con.execute(f"describe select * from {file}").fetchall()}
    replaced = []
    for column, kind in _types(name, path, list(kinds)).items():
        named = quoted(column)
        cast = f"cast({named} as {kind})"
        if kind == "VARCHAR" and kinds[column] in ("DOUBLE", "FLOAT"):  # ids beside a missing one, as pandas has them
            whole = f"cast(cast({named} as hugeint) as varchar)"
            cast = f"case when {named} = trunc({named}) then {whole} else {cast} end"
        replaced.append(f"{cast} as {named}")
    instead = f"replace ({', '.join(replaced)})" if replaced else ""
    return f"select * {instead} from {file}"


def _types(name: str, path: Path, columns: Sequence[str]) -> dict[str, str]:
    """The types that columns must have, whatever they look like: ids are text, and money is exact."""
    types = {}
    for column in columns:
        if column.lower() in DIMENSIONS or column.lower().endswith("_id"):
            types[column] = "VARCHAR"
        elif column.lower().endswith("_usd"):
            types[column] = _MONEY
    if expected := EXPECTED.get(name):
        spelled = {column.lower(): column for column in columns}
        for field in expected:
            if field.name not in spelled:
                raise UsageError(
                    f'cannot read "{path}": it has no column "{field.name}": needed are {", ".join(expected.names)}'
                )
            types[spelled[field.name]] = _EXPECTED_TYPES[field.type]
    return types


def _check_rows(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> None:
    columns = EXPECTED[name].names
    impossible, must = _IMPOSSIBLE[name]
    numbered = f'select row_number() over () as number, {", ".join(columns)} from "{name}"'
    query = f"select * from ({numbered}) where {impossible} order by number limit 1"
    if found := con.execute(query).fetchone():
        said = ", ".join(f"{column} {value}" for column, value in zip(columns, found[1:], strict=True))
        raise UsageError(f'cannot read "{path}": row {found[0]} ({said}): {must}')
