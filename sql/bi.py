"""The database file that BI tools open: views over the lake's files, with their comments, and no rows of its own.

It is written beside its place and renamed into it: who has the old one open keeps it whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb

from ..models.errors import LakeNotWritable, UsageError
from ..models.lake import MARTS, Lake
from . import catalogue
from .answers import BiDatabase, BiRelation, RollupInfo
from .bi_views import SCHEMA, BiView, bi_views, rollup_view
from .database import connect, quoted, rows, text_literal
from .relations import CHAIN, read, views

_LAYOUT = "2"
"""Raised when this module writes another file from the same relations."""

_STORAGE = "v1.0.0"
"""So that a tool whose driver is older than ours can open it."""

_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class About:
    """What a database says of itself; `own` are tables and views in it that we did not write."""

    definition: str
    program: str
    own: tuple[str, ...]


def write(lake: Lake, target: Path, *, relative: bool, now: datetime) -> BiDatabase:
    """Write the database file `target`, or replace it whole.

    Raises UsageError where a file of another kind is there, or one that holds what we did not write, and
    LakeNotWritable where `target` cannot be written.
    """
    _refuse_what_is_not_ours(target)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    # Made elsewhere: DuckDB cannot write a database where the path holds a question mark.
    with tempfile.TemporaryDirectory(prefix="llmcost-") as folder:
        made = Path(folder) / "made.duckdb"
        written, left_out = _create(lake, made, relative=relative, now=now)
        try:
            shutil.copyfile(made, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as error:
            raise LakeNotWritable(
                f'cannot write "{target}": {error.strerror}: choose another file with --output'
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
    return BiDatabase(target, written, left_out, relative)


def definition(lake: Lake) -> str:
    """What the views are made from, as a hash; another one asks for the file to be written again."""
    digest = hashlib.sha256(f"{_LAYOUT} {version('llmcost')}".encode())
    marts = [read(CHAIN / f"{mart}.sql").text for mart in MARTS]
    rollups = [info.path.read_text(encoding="utf-8") for info in catalogue.rollups(lake).values()]
    for text in (*marts, *(view.text for view in views()), *rollups):
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()[:32]


def about(path: Path) -> About | None:
    """What the database at `path` says of itself; None if `llmcost bi` did not write it.

    Reads a copy: the file may be open for writing elsewhere, which DuckDB allows nobody beside it.
    """
    if path.stat().st_size > _MOST_BYTES:
        return None
    with tempfile.TemporaryDirectory(prefix="llmcost-") as folder, connect() as con:
        copy = Path(folder) / "copy.duckdb"
        shutil.copyfile(path, copy)
        try:
            con.execute(f"attach {text_literal(str(copy))} as file (read_only)")
            row = rows(con, f"select * from file.{SCHEMA}.about")[0]
            found = rows(
                con,
                """
                select schema_name, table_name as name from duckdb_tables() where database_name = 'file'
                union all
                select schema_name, view_name from duckdb_views() where database_name = 'file' and not internal
                """,
            )
        except (duckdb.Error, IndexError):
            return None
    ours = set(row["relations"])
    own = sorted(each["name"] for each in found if each["schema_name"] != SCHEMA and each["name"] not in ours)
    return About(row["definition"], row["llmcost_version"], tuple(own))


def _refuse_what_is_not_ours(target: Path) -> None:
    if not target.exists():
        return
    said = about(target) if target.is_file() else None
    if said is None:
        raise UsageError(
            f'"{target}" is there, and llmcost bi did not write it: choose another file with --output, or remove it'
        )
    if said.own:
        raise UsageError(
            f'"{target}" holds {", ".join(said.own)}, which llmcost bi did not write and would remove: '
            "keep it in a database of its own, or choose another file with --output"
        )
    log = Path(f"{target}.wal")
    if log.exists() and log.stat().st_size:
        raise UsageError(
            f'"{log}" is there: another program writes into that database: let it stop, or remove that file'
        )


def _needs_the_program(info: RollupInfo, relations: Collection[str]) -> bool:
    """Whether a rollup is made of what a view cannot know: prices, a file of the user's, the window that is asked."""
    return not set(info.reads) <= set(relations) or "getvariable(" in info.path.read_text(encoding="utf-8")


def _create(
    lake: Lake, path: Path, *, relative: bool, now: datetime
) -> tuple[tuple[BiRelation, ...], tuple[str, ...]]:
    """Write the database to `path`; its relations, and why a rollup of the user's is not among them."""
    written: list[BiRelation] = []
    left_out: list[str] = []
    with connect() as con:
        if relative:
            con.execute("set file_search_path = $root", {"root": str(lake.root.resolve())})
        con.execute(f"attach {text_literal(str(path))} as file (storage_version '{_STORAGE}')")
        con.execute("use file")
        con.execute(f"create schema {SCHEMA}")
        for view in bi_views(lake, relative=relative):
            written.append(_create_view(con, view))
        there = {relation.name for relation in written}
        for info in catalogue.rollups(lake).values():
            if not catalogue.is_users(info) and _needs_the_program(info, there):
                continue
            try:
                written.append(_create_view(con, rollup_view(info)))
            except (UsageError, duckdb.Error) as error:  # a user's own; the others are as good without it
                left_out.append(f"{info.path}: {error}".splitlines()[0])
        facts: dict[str, Any] = {
            "version": version("llmcost"),
            "written_at": now,
            "lake": str(lake.root.resolve()),
            "definition": definition(lake),
            "relations": [relation.name for relation in written],
        }
        con.execute(
            f"""
            create table {SCHEMA}.about as
            select
                $version as llmcost_version,
                $written_at::timestamptz as written_at,
                $lake as lake,
                $definition as definition,
                $relations::varchar[] as relations
            """,
            facts,
        )
        con.execute(
            f"comment on table {SCHEMA}.about is 'Which llmcost wrote these views, when, and over which lake'"
        )
        con.execute("use memory")
        con.execute("detach file")
    return tuple(written), tuple(left_out)


def _create_view(con: duckdb.DuckDBPyConnection, view: BiView) -> BiRelation:
    """Create a view with its comments. Raises duckdb.Error where its SELECT is none."""
    name = quoted(view.name)
    if view.empty is not None:
        con.register("no_rows", view.empty)
        con.execute(f"create table {SCHEMA}.{name} as from no_rows")
        con.execute(
            f"comment on table {SCHEMA}.{name} is 'Empty: the columns of {view.name}, for days without files'"
        )
        con.unregister("no_rows")
    if len(con.extract_statements(f"create view {name} as {view.select}")) != 1:
        raise duckdb.ParserException("more than one statement")
    con.execute(f"create view {name} as {view.select}")
    con.execute(f"comment on view {name} is {text_literal(view.sentence)}")
    columns = con.table(name).columns
    for column in columns:
        if meaning := view.comments.get(column):
            con.execute(f"comment on column {name}.{quoted(column)} is {text_literal(meaning)}")
    return BiRelation(view.name, view.kind, len(columns), view.sentence)
