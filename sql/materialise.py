"""Marts on disk: one Parquet file a day, replaced atomically, with the fingerprint of its inputs.

A cache that never changes an answer: a file whose fingerprint matches holds exactly what computing the
day would give; any other is made again. `calls` is written last, so its fingerprint vouches for all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
from .arrivals import Arrivals, between
from .changed_day import changed_day
from .derive import Rules, derived_day
from .inventory import Inventory
from .replaceable import ROW_GROUP_ROWS, replace
from .restatements import compared, record
from .sealed import Sealed
from .turns import Turn, Word, turn

FINGERPRINT = "llmcost.fingerprint"
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
    return [
        day
        for day in days
        if day in open_days and not Word.of(lake, day).vouches(_stamp(lake, day), inventory, day, names)
    ]


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
            with turn(lake, day) as mine:
                if day not in again and mine.word.has_seen(_stamp(lake, day), inventory, rules.names()):
                    continue
                current = Inventory.take(lake)
                if day in again or dirty_days(lake, current, rules, [day]):
                    making = _Making(lake, current, rules, day, mine)
                    restated.extend(making.make(now, whole=day in again))
                    made += [day] if making.has_written else []
    if progress and dirty:
        progress(len(dirty), len(dirty))
    return Refreshed(tuple(made), tuple(restated))


@dataclass
class _Making:
    """One day being made, by the process whose turn it is."""

    lake: Lake
    inventory: Inventory
    rules: Rules
    day: date
    turn: Turn
    has_written: bool = False

    def make(self, now: datetime, *, whole: bool) -> list[Restatement]:
        """Make the day's marts, unless retention sealed it meanwhile; what that restates, if anything.

        Only of what arrived since they were made, where the turn's word says what that was, unless `whole`.
        """
        word, fingerprint = self.turn.word, self.inventory.fingerprint(self.day, self.rules.names())
        arrived = None if whole else self._arrived(word, fingerprint)
        if arrived is not None:
            with changed_day(self.day, self.inventory, self.rules, arrived, self.lake) as changed:
                if changed is not None:
                    return self._write(*changed, fingerprint, now)
        with derived_day(self.day, self.inventory, self.rules) as con:
            return self._write(con, _ORDER, fingerprint, now)

    def _arrived(self, word: Word, fingerprint: str) -> Arrivals | None:
        """What the marts lack; None where nobody can tell, or where they are of other rules, or not all there."""
        if word.fingerprint is None or not word.holds(_stamp(self.lake, self.day)):
            return None
        if (word.rules, word.book) != (self.rules.names(), self.rules.book.name):
            return None
        far, was_far = ([each[:10] for each in of.split(" ")[1:]] for of in (fingerprint, word.fingerprint))
        if far != was_far or not all(self.lake.mart_file(name, self.day).exists() for name in MARTS):
            return None
        return between(self.lake, word.versions, self.inventory.versions)

    def _write(
        self, con: duckdb.DuckDBPyConnection, marts: Collection[str], fingerprint: str, now: datetime
    ) -> list[Restatement]:
        if Sealed.read(self.lake).holds(self.day):
            return []  # its marts stand, and may know more than our inventory did
        restatement = compared(con, self.day, self.lake, self.rules.book.name, now)
        if marts:
            self.turn.leave(Word(is_writing=True))
            _write_all(con, self.day, self.lake, fingerprint, marts)
            self.has_written = True
        names, stamp = self.rules.names(), _stamp(self.lake, self.day)
        self.turn.leave(Word(stamp, fingerprint, self.inventory.versions, names, self.rules.book.name))
        return [restatement] if restatement else []


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


def _write_all(
    con: duckdb.DuckDBPyConnection, day: date, lake: Lake, fingerprint: str, marts: Collection[str] = _ORDER
) -> None:
    for name in marts:
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
