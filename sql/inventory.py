"""Which files hold which day: the Delta tables' live files, and the marts'."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import unquote

import duckdb
import pyarrow as pa

from ..models.lake import TABLES, Lake
from ..models.landed_files import total_identity
from ..models.schema import LASTING, TELLING
from .sealed import Sealed

if TYPE_CHECKING:
    from deltalake import DeltaTable

Answered = TypeVar("Answered")

_LONGEST_DAYS = 31
"""How many days after its start a span is still looked at as an ancestor; a broken clock's would last for ever."""
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
    lasting: Mapping[Path, date] = field(default_factory=dict)
    """Files of spans of which one lasts beyond the day after its own: the day it lasts into."""
    versions: tuple[int, ...] = ()
    """Of each table of TABLES the version of its log that was read, -1 where there is none; empty if nobody knows."""

    @classmethod
    def take(cls, lake: Lake) -> Inventory:
        """Read both Delta logs once; a table that nothing has landed in yet is empty."""
        silent: set[Path] = set()
        lasting: dict[Path, date] = {}
        found = {name: _live_files(lake.table(name), silent, lasting) for name in TABLES}
        files = {name: of_table for name, (_, of_table) in found.items()}
        versions = tuple(version for version, _ in found.values())
        # Sealed after the files: it is written before any are removed.
        return cls(files, Sealed.read(lake), frozenset(silent), lasting, versions)

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

    def lasting_into(self, day: date) -> list[Path]:
        """Files of earlier days, beyond the day before, with spans that last into `day`: ancestors of spans there."""
        return [path for far in self._days_lasting_into(day) for path in self.on("spans", far)]

    def _days_lasting_into(self, day: date) -> list[date]:
        if not self.lasting:
            return []
        far = [day - timedelta(days=offset) for offset in range(_LONGEST_DAYS, 1, -1)]
        return [
            begun for begun in far if any(self.lasting.get(path, begun) >= day for path in self.on("spans", begun))
        ]

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
        # All spans of such a day: compaction may merge the file that lasts with those that do not.
        far = [
            f"{begun}={total_identity(path.name for path in self.on('spans', begun)):032x}"
            for begun in self._days_lasting_into(day)
        ]
        return " ".join([digest.hexdigest()[:32], *far])

    def vouches(self, stamp: str | None, day: date, rules: Iterable[str]) -> bool:
        """Whether marts of `day` under this fingerprint are what deriving them now would give.

        A far day whose spans retention took meanwhile does not count: what was inherited from it stands.
        """
        if stamp is None:
            return False
        removed = self.sealed.spans_before
        near, *far = stamp.split(" ")
        kept = [each for each in far if removed is None or date.fromisoformat(each[:10]) >= removed]
        return " ".join([near, *kept]) == self.fingerprint(day, rules)


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


def _live_files(root: Path, silent: set[Path], lasting: dict[Path, date]) -> tuple[int, dict[date, tuple[Path, ...]]]:
    """The version of one table and its files by day; what it says of their rows goes into `silent` and `lasting`."""
    if not (root / "_delta_log").is_dir():
        return -1, {}
    days: dict[date, list[Path]] = {}
    log = _read_log(root)
    for uri in log.uris:
        path = Path(unquote(uri.removeprefix("file://")))
        if not path.exists():
            path = Path(uri)
        if path.name in log.silent:
            silent.add(path)
        day = date.fromisoformat(path.parent.name.removeprefix("day="))
        if log.last_days.get(path.name, day) > day + timedelta(days=1):
            lasting[path] = log.last_days[path.name]
        days.setdefault(day, []).append(path)
    return log.version, {day: tuple(sorted(paths)) for day, paths in days.items()}


class _Log(NamedTuple):
    """A table at one version: its files, the names of those that tell no request, the day each last span ends on."""

    version: int
    uris: list[str]
    silent: set[str]
    last_days: dict[str, date]


def _read_log(root: Path) -> _Log:
    """What a table's log says. It may be cleaned while it is read: then it is read anew."""
    from deltalake import DeltaTable  # noqa: PLC0415  (a command that asks nothing of the lake starts faster)
    from deltalake.exceptions import DeltaError  # noqa: PLC0415

    for _ in range(_TRIES - 1):
        try:
            return _look_into(DeltaTable(root))
        except (DeltaError, OSError):
            time.sleep(_PAUSE_SECONDS)
    return _look_into(DeltaTable(root))


def _look_into(table: DeltaTable) -> _Log:
    actions = pa.table(table.get_add_actions(flatten=True))
    return _Log(table.version(), table.file_uris(), _without_counts(actions), _last_days(actions))


def _last_days(actions: pa.Table) -> dict[str, date]:
    """By file name the UTC day its last span ends on; files that an older llmcost landed do not say."""
    column = f"max.{LASTING}"
    if column not in actions.column_names:
        return {}
    paths, until = actions.column("path").to_pylist(), actions.column(column).to_pylist()
    return {path.rpartition("/")[2]: end.date() for path, end in zip(paths, until, strict=True) if end is not None}


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
