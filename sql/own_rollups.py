"""The user's own rollups: checking their files without a question, and starting a new one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from ..models.errors import LakeNotWritable, UsageError
from ..models.lake import Lake
from ..models.windows import Window
from . import catalogue
from .answers import RollupInfo
from .database import reason
from .files import open_files
from .session import window_session

_START = Path(__file__).with_name("new_rollup.sql")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_ANY_WINDOW = Window(datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=1))


def checked(lake: Lake, infos: Iterable[RollupInfo]) -> list[RollupInfo]:
    """The rollups, those of the user with their `problem`: header, template, SQL and the comments of columns.

    They are bound against relations without rows, and not run.
    """
    found = list(infos)
    if not any(catalogue.is_users(info) for info in found):
        return found
    with window_session(lake, [], _ANY_WINDOW, tz="UTC", where={}) as con:
        return [replace(info, problem=info.problem or _problem(con, lake, info)) for info in found]


def _problem(con: duckdb.DuckDBPyConnection, lake: Lake, info: RollupInfo) -> str | None:
    if not catalogue.is_users(info):
        return None
    try:
        text = catalogue.render(info)
        open_files(con, lake, info.reads, info.path)
        catalogue.check_columns(info, text, con.sql(text).columns)
    except UsageError as error:
        return str(error)
    except duckdb.Error as error:
        return f'rollup "{info.path}": {reason(error)}'
    return None


def start(lake: Lake, name: str) -> Path:
    """Write the start of a rollup to the lake's folder; its path.

    Raises UsageError for what is no name or is a rollup already, LakeNotWritable where the folder takes no file.
    """
    wanted = name.strip().lower().replace("_", "-")
    if not _NAME.fullmatch(wanted):
        raise UsageError(f'--new "{name}": a name has letters, digits and -, such as cost-per-region')
    path = lake.user_rollups / f"{wanted.replace('-', '_')}.sql"
    if known := catalogue.rollups(lake).get(wanted):
        raise UsageError(f'--new "{name}": it is a rollup already, in "{known.path}": choose another name')
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(_START.read_text(encoding="utf-8"))
    except FileExistsError:
        raise UsageError(f'--new "{name}": "{path}" is there already: choose another name') from None
    except OSError as error:
        raise LakeNotWritable(f'cannot write "{path}": {error.strerror}: write it to ./rollups instead') from error
    return path
