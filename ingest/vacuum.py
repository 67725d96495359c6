"""Vacuum: what nobody needs any more is removed from the lake's own folders, after a time of grace.

Three kinds: landed files that a commit took out (their rows live on elsewhere, or were to go), files that a killed
landing, compaction or derivation left and no commit ever named, and log files that a checkpoint sums up.

Why nothing in use can go. A file that the table's newest version names stays. Any other must be older than the
grace, and landing and compaction set a file's time to now when they commit it or take it out (delta.claim): its age
says how long nobody claimed it. Ages are measured against the newest commit, not against the clock: should the clock
leap ahead, nothing gets older by it until something is committed; and a commit whose files are gone fails before it
is made, and lands them again from the journal. So a lake that is not written keeps its last files; they are few.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from deltalake import DeltaTable

from ..models.lake import MARTS, TABLES, Lake
from . import delta_log
from .live_files import live_files

Kind = Literal["removed", "orphan", "unfinished"]
"""Taken out by a commit that the log still has; named by no version that is left; interrupted while written."""

_DAY = re.compile(r"day=\d{4}-\d{2}-\d{2}")
_MART_LEFTOVER = re.compile(rf"\.(?:{'|'.join(MARTS)})-[0-9a-f]{{32}}\.tmp")


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """One file that was removed, or would be; `path` is below the lake."""

    path: str
    kind: Kind
    bytes: int
    at: datetime


def vacuum(
    lake: Lake,
    *,
    grace: timedelta,
    now: datetime,
    progress: Callable[[int, int], None] | None = None,
    dry_run: bool = False,
) -> Iterator[Vacuumed]:
    """Remove what is older than `grace`, one file at a time; clean the logs of tables that hardly commit.

    Symbolic links are neither followed nor removed. Raises OSError or DeltaError if the lake cannot be read or
    written. Only the holder of the upkeep lock may call it, but for a `dry_run`.
    """
    # Found first, then compared with what is live: what is committed in between is live.
    found = [*_landed(lake), *_marts(lake)]
    tables = {name: DeltaTable(lake.table(name)) for name in TABLES if _has_log(lake.table(name))}
    newest = max((_newest_commit(lake.table(name), table.version()) for name, table in tables.items()), default=None)
    if newest is None:
        return
    before = min(now, newest) - grace
    live = {lake.table(name) / file.name for name, table in tables.items() for file in live_files(table)}
    removed = {path: at for name in tables for path, at in _removed(lake.table(name))}
    gone = [
        file for file in found if file.path not in live and max(file.at, removed.get(file.path, file.at)) < before
    ]
    for done, file in enumerate(gone):
        if progress:
            progress(done, len(gone))
        kind: Kind = "removed" if file.path in removed else file.kind
        if dry_run or _remove(file.path, before):
            yield Vacuumed(str(file.path.relative_to(lake.root)), kind, file.bytes, file.at)
    if progress and gone:
        progress(len(gone), len(gone))
    if not dry_run:
        for name, table in tables.items():
            delta_log.tidy(table, lake.table(name), now)


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    kind: Kind
    bytes: int
    at: datetime


def _landed(lake: Lake) -> Iterator[_Found]:
    """Parquet of the landed tables' days, whole or half written."""
    for name in TABLES:
        for path, status in _files_of_days(lake.table(name)):
            if path.name.endswith(".parquet"):
                yield _found(path, status, "unfinished" if path.name.startswith(".") else "orphan")


def _marts(lake: Lake) -> Iterator[_Found]:
    """What derivations that were killed left beside the marts."""
    for name in MARTS:
        for path, status in _files_of_days(lake.mart(name)):
            if _MART_LEFTOVER.fullmatch(path.name):
                yield _found(path, status, "unfinished")


def _found(path: Path, status: os.stat_result, kind: Kind) -> _Found:
    return _Found(path, kind, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _files_of_days(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Regular files in the day folders of `root`; no symbolic link is followed."""
    if root.is_symlink() or not root.is_dir():
        return
    with os.scandir(root) as folders:
        days = [
            Path(each.path) for each in folders if each.is_dir(follow_symlinks=False) and _DAY.fullmatch(each.name)
        ]
    for day in sorted(days):
        with os.scandir(day) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        yield Path(entry.path), status


def _has_log(root: Path) -> bool:
    return (root / "_delta_log").is_dir()


def _newest_commit(root: Path, version: int) -> datetime:
    """When the newest version was committed: by its own word, and not later than the time of its file."""
    path = delta_log.commit_path(root, version)
    at = path.stat().st_mtime
    for action in _actions(path):
        with contextlib.suppress(KeyError, TypeError):
            at = min(at, action["commitInfo"]["timestamp"] / 1000)
    return datetime.fromtimestamp(at, UTC)


def _removed(root: Path) -> Iterator[tuple[Path, datetime]]:
    """Files that commits took out, as far as the log still tells: other programs do not set a file's time."""
    for path in (root / "_delta_log").glob("*.json"):
        with contextlib.suppress(FileNotFoundError):  # cleaned meanwhile
            for action in _actions(path):
                if "remove" in action:
                    at = (action["remove"].get("deletionTimestamp") or 0) / 1000
                    yield root / action["remove"]["path"], datetime.fromtimestamp(at, UTC)


def _actions(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(('{"commitInfo"', '{"remove"')):
                yield json.loads(line)


def _remove(path: Path, before: datetime) -> bool:
    """Remove a file, unless somebody claimed it meanwhile; whether it is gone by this."""
    try:
        if path.lstat().st_mtime >= before.timestamp():
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    return True
