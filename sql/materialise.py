"""Marts on disk: one Parquet file a day, replaced atomically, with the fingerprint of its inputs.

A cache that never changes an answer: a file whose fingerprint matches holds exactly what computing the
day would give; any other is made again. `calls` is written last, so its fingerprint vouches for all.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ..models.errors import LakeNotWritable
from ..models.lake import MARTS, Lake
from . import coverage
from .answers import Restatement
from .derive import Rules, derived_day
from .inventory import Inventory
from .replaceable import ROW_GROUP_ROWS, replace
from .restatements import compared, record
from .sealed import Sealed

FINGERPRINT = "llmcost.fingerprint"
_MOST_BYTES = 1 << 16
_ORDER = (*(name for name in MARTS if name != "calls"), "calls")


@dataclass(frozen=True)
class Refreshed:
    """What a refresh made again, and which booked costs that changed."""

    days: tuple[date, ...] = ()
    restated: tuple[Restatement, ...] = ()


@dataclass(frozen=True)
class FreshMarts:
    """Clean marts: the lake that holds them, and what making them restated."""

    lake: Lake
    restated: tuple[Restatement, ...] = ()


def dirty_days(lake: Lake, inventory: Inventory, rules: Rules, days: Iterable[date]) -> list[date]:
    """The days among `days` whose marts are missing or were made from other inputs or rules; no sealed ones."""
    names = rules.names()
    open_days = {day for day in inventory.days() if not inventory.sealed.holds(day)}
    return [day for day in days if day in open_days and not inventory.vouches(_stamp(lake, day), day, names)]


def refresh_days(
    lake: Lake,
    inventory: Inventory,
    rules: Rules,
    days: Iterable[date],
    progress: Callable[[int, int], None] | None = None,
    *,
    now: datetime,
    again: Collection[date] = (),
) -> Refreshed:
    """Make the marts of the dirty days among `days`, and of `again`; `now` dates what that restates.

    Processes take turns at a day, and whoever has its turn looks anew at what has landed: so a day never goes
    back to what an older look saw. Where another process made it meanwhile from at least what `inventory` saw, that
    is fresh enough: else all who wait would derive it one after another, because something has always landed since.
    Interrupted anywhere, each mart file is the old or the new one whole, and an unfinished day stays dirty. Raises
    LakeNotWritable where a mart cannot be written.
    """
    dirty = sorted({*dirty_days(lake, inventory, rules, days), *again})
    made: list[date] = []
    with record(lake) as restated:
        for done, day in enumerate(dirty):
            if progress:
                progress(done, len(dirty))
            with _turn(lake, day) as turn:
                if day not in again and turn.has_seen(inventory, rules, _stamp(lake, day)):
                    continue
                current = Inventory.take(lake)
                if day in again or dirty_days(lake, current, rules, [day]):
                    restated.extend(_make(lake, current, rules, day, now))
                    turn.tell(current, rules, _stamp(lake, day))
                    made.append(day)
    if progress and dirty:
        progress(len(dirty), len(dirty))
    return Refreshed(tuple(made), tuple(restated))


def _make(lake: Lake, inventory: Inventory, rules: Rules, day: date, now: datetime) -> list[Restatement]:
    """Make the marts of one day, unless retention sealed it meanwhile; what that restates, if anything."""
    fingerprint = inventory.fingerprint(day, rules.names())
    with derived_day(day, inventory, rules) as con:
        if Sealed.read(lake).holds(day):
            return []  # its marts stand, and may know more than our inventory did
        restatement = compared(con, day, lake, rules.book.name, now)
        _write_all(con, day, lake, fingerprint)
    return [restatement] if restatement else []


@dataclass(frozen=True, slots=True)
class _Turn:
    """A turn at a day, and in its lock's file the word of who had the last one: what its marts were made from.

    Only a word: without it, or where the marts are others by now, the day is derived.
    """

    handle: int

    def tell(self, inventory: Inventory, rules: Rules, stamp: str | None) -> None:
        """Leave word that the marts under `stamp` were made from `inventory` by `rules`."""
        with suppress(OSError):
            word = json.dumps({"versions": inventory.versions, "rules": rules.names(), "stamp": stamp}).encode()
            os.ftruncate(self.handle, 0)
            os.pwrite(self.handle, word, 0)

    def has_seen(self, inventory: Inventory, rules: Rules, stamp: str | None) -> bool:
        """Whether the marts, whose stamp this is, were made by `rules` from at least what `inventory` holds."""
        try:
            told = json.loads(os.pread(self.handle, _MOST_BYTES, 0))
            same = stamp is not None and told["stamp"] == stamp and told["rules"] == list(rules.names())
            versions = zip(told["versions"], inventory.versions, strict=True)
            return same and bool(inventory.versions) and all(theirs >= ours for theirs, ours in versions)
        except (OSError, ValueError, TypeError, KeyError):
            return False


@contextmanager
def _turn(lake: Lake, day: date) -> Iterator[_Turn]:
    """Wait until no other process derives `day`. Raises LakeNotWritable."""
    path = lake.turn(day)
    try:
        path.parent.mkdir(exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as error:
        raise LakeNotWritable(f'cannot write "{path}": {error.strerror}: is the lake read-only?') from error
    try:
        with suppress(OSError):  # a file system without locks: the last writer stands, and the next look mends it
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield _Turn(handle)
    finally:
        os.close(handle)


@contextmanager
def fresh(
    lake: Lake,
    inventory: Inventory,
    rules: Rules,
    days: Sequence[date],
    progress: Callable[[int, int], None] | None = None,
    *,
    now: datetime,
) -> Iterator[FreshMarts]:
    """A lake whose marts of `days` are clean: this one; or, where it may not be written, a passing copy.

    The copy holds links to the clean days and its own files for the dirty ones; it books nothing, so it
    restates nothing.
    """
    try:
        refreshed = refresh_days(lake, inventory, rules, days, progress, now=now)
    except LakeNotWritable:
        with tempfile.TemporaryDirectory(prefix="llmcost-") as folder:
            copy = Lake(Path(folder))
            dirty = set(dirty_days(lake, inventory, rules, days))
            for name in MARTS:
                for day in set(days) - dirty:
                    if lake.mart_file(name, day).exists():
                        copy.mart_file(name, day).parent.mkdir(parents=True)
                        copy.mart_file(name, day).symlink_to(lake.mart_file(name, day).resolve())
            for done, day in enumerate(sorted(dirty)):
                if progress:
                    progress(done, len(dirty))
                with derived_day(day, inventory, rules) as con:
                    _write_all(con, day, copy, "passing")
            yield FreshMarts(copy)
    else:
        yield FreshMarts(lake, refreshed.restated)


def _write_all(con: duckdb.DuckDBPyConnection, day: date, lake: Lake, fingerprint: str) -> None:
    for name in _ORDER:
        write_mart(con, name, day, lake.mart_file(name, day), fingerprint)


def _stamp(lake: Lake, day: date) -> str | None:
    try:
        metadata = pq.read_metadata(lake.mart_file("calls", day)).metadata or {}
    except (OSError, ValueError):
        return None
    stamp = metadata.get(FINGERPRINT.encode())
    return stamp.decode() if stamp else None


def _told(con: duckdb.DuckDBPyConnection, name: str, day: date) -> dict[str, str]:
    if name != "calls":
        return {}
    return {coverage.METADATA: coverage.figures(con, "calls where day = $day", {"day": day}).metadata()}


def write_mart(con: duckdb.DuckDBPyConnection, name: str, day: date, target: Path, fingerprint: str) -> None:
    """Replace one mart of one day by what `con` holds. Raises LakeNotWritable."""
    columns = con.table(name)
    # Parquet has no integer of 128 bits: a sum of counts is DOUBLE, as in DuckDB's own files.
    sums = [column for column, kind in zip(columns.columns, columns.types, strict=True) if kind == "HUGEINT"]
    as_double = ", ".join(f"{column}::double as {column}" for column in sums)
    replaced = f"replace ({as_double})" if sums else ""

    def rows() -> pa.RecordBatchReader:
        query = f"select * {replaced} from {name} where day = $day"
        return con.sql(query, params={"day": day}).to_arrow_reader(ROW_GROUP_ROWS)

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace(target, rows, {FINGERPRINT: fingerprint, **_told(con, name, day)})
    except (OSError, duckdb.IOException) as error:
        raise LakeNotWritable(
            f'cannot write "{target}": {error}: is the disk full, or the lake read-only?'
        ) from error
