"""Which files hold which day: the Delta tables' live files, and the marts'."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

import duckdb
import pyarrow as pa

from ..models.lake import TABLES, Lake
from ..models.landed_files import total_identity
from ..models.schema import TELLING
from .sealed import Sealed

Answered = TypeVar("Answered")

_TRIES = 4
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Inventory:
    """The live files of one moment: table -> day -> files, as absolute paths in a stable order."""

    files: Mapping[str, Mapping[date, tuple[Path, ...]]] = field(default_factory=dict)
    sealed: Sealed = field(default_factory=Sealed)
    """Days that must not be derived any more."""
    silent: frozenset[Path] = frozenset()
    """Files that are known to hold no count and no cost, so that nothing in them tells a request."""

    @classmethod
    def take(cls, lake: Lake) -> Inventory:
        """Read both Delta logs once; a table that nothing has landed in yet is empty."""
        silent: set[Path] = set()
        files = {name: _live_files(lake.table(name), silent) for name in TABLES}
        # Sealed after the files: it is written before any are removed.
        return cls(files, Sealed.read(lake), frozenset(silent))

    def is_whole(self) -> bool:
        """Whether all files are still there; a file that was compacted is vacuumed after a time of grace."""
        return all(path.exists() for days in self.files.values() for paths in days.values() for path in paths)

    def days(self) -> list[date]:
        """Days that may have rows, in order: those of spans and events, and the eve of requests that records tell.

        A log record lands on the day its request ended, and the request belongs to the day it started on.
        """
        landed = {day for table in self.files.values() for day in table}
        telling = {day for day in self.files.get("events", {}) if self._tells(day)}
        return sorted(landed | {day - timedelta(days=1) for day in telling})

    def _tells(self, day: date) -> bool:
        """Whether a log record of that day may tell of a request."""
        return not self.silent.issuperset(self.on("events", day))

    def around(self, table: str, day: date) -> list[Path]:
        """Files of a day and of the days beside it."""
        return [path for offset in (-1, 0, 1) for path in self.on(table, day + timedelta(days=offset))]

    def on(self, table: str, day: date) -> tuple[Path, ...]:
        """Files of one day."""
        return self.files.get(table, {}).get(day, ())

    def telling_events(self, day: date) -> list[Path]:
        """Files of a day and of the days beside it whose log records may tell of requests."""
        return [path for path in self.around("events", day) if path not in self.silent]

    def fingerprint(self, day: date, rules: Iterable[str]) -> str:
        """What the marts of `day` depend on: its input files, and the rules they are read by.

        Compacting the files does not change it (models/landed_files.py).
        """
        digest = hashlib.sha256()
        around = [day + timedelta(days=offset) for offset in (-1, 0, 1)]
        inputs = [("spans", near) for near in around]
        # All events of a day or none: merging a file that tells requests with one that does not changes nothing.
        inputs += [("events", near) for near in around if near == day or self._tells(near)]
        for table, of_day in inputs:
            total = total_identity(path.name for path in self.on(table, of_day))
            digest.update(f"{table}/{of_day} {total:032x}\n".encode())
        for rule in rules:
            digest.update(f"{rule}\n".encode())
        return digest.hexdigest()[:32]


def ask_current(lake: Lake, question: Callable[[Inventory], Answered]) -> Answered:
    """Answer `question` from the inventory of the moment; anew where a file of it was vacuumed before it was read.

    So `question` may be asked more than once, and must give its whole answer before it returns.
    """
    for _ in range(_TRIES - 1):
        inventory = Inventory.take(lake)
        try:
            return question(inventory)
        except Exception as error:
            if inventory.is_whole() and not _is_of_a_file(error):
                raise
    return question(Inventory.take(lake))


def _is_of_a_file(error: BaseException) -> bool:
    """Whether a file, of a mart perhaps, could not be read."""
    return isinstance(error, duckdb.IOException) or isinstance(error.__cause__, duckdb.IOException)


def _live_files(root: Path, silent: set[Path]) -> dict[date, tuple[Path, ...]]:
    """The files of one table by day; those that tell no request are put into `silent`."""
    if not (root / "_delta_log").is_dir():
        return {}
    days: dict[date, list[Path]] = {}
    live, tells_nothing = _read_log(root)
    for uri in live:
        path = Path(unquote(uri.removeprefix("file://")))
        if not path.exists():
            path = Path(uri)
        if path.name in tells_nothing:
            silent.add(path)
        days.setdefault(date.fromisoformat(path.parent.name.removeprefix("day=")), []).append(path)
    return {day: tuple(sorted(paths)) for day, paths in days.items()}


def _read_log(root: Path) -> tuple[list[str], set[str]]:
    """The table's live files, and the names of those that tell no request.

    The log may be cleaned while it is read: then it is read anew.
    """
    from deltalake import DeltaTable  # noqa: PLC0415  (a command that asks nothing of the lake starts faster)
    from deltalake.exceptions import DeltaError  # noqa: PLC0415

    for _ in range(_TRIES - 1):
        try:
            table = DeltaTable(root)
            return table.file_uris(), _without_counts(pa.table(table.get_add_actions(flatten=True)))
        except (DeltaError, OSError):
            time.sleep(_PAUSE_SECONDS)
    table = DeltaTable(root)
    return table.file_uris(), _without_counts(pa.table(table.get_add_actions(flatten=True)))


def _without_counts(actions: pa.Table) -> set[str]:
    """Names of the files whose statistics say that every TELLING column is NULL; no statistics say nothing."""
    columns = [f"null_count.{name}" for name in TELLING]
    if not {"num_records", *columns} <= set(actions.column_names):
        return set()
    rows = actions.select(["path", "num_records", *columns]).to_pylist()
    return {
        row["path"].rpartition("/")[2]
        for row in rows
        if row["num_records"] is not None and all(row[column] == row["num_records"] for column in columns)
    }


def mart_days(lake: Lake, name: str) -> list[date]:
    """Days that have a file of mart `name`, in order."""
    folders = lake.mart(name).glob("day=*")
    found = (date.fromisoformat(folder.name.removeprefix("day=")) for folder in folders)
    return sorted(day for day in found if lake.mart_file(name, day).exists())
