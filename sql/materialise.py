"""Marts on disk: one Parquet file a day, replaced atomically, with the fingerprint of its inputs.

A cache that never changes an answer: a file whose fingerprint matches holds exactly what computing the
day would give; any other is made again. `calls` is written last, so its fingerprint vouches for all.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from ..models.errors import LakeNotWritable
from ..models.lake import MARTS, Lake
from .derive import Rules, derived_day
from .inventory import Inventory

_FINGERPRINT = "llmcost.fingerprint"
_ORDER = (*(name for name in MARTS if name != "calls"), "calls")


def dirty_days(lake: Lake, inventory: Inventory, rules: Rules, days: Iterable[date]) -> list[date]:
    """The days among `days` whose marts are missing or were made from other inputs or rules."""
    names = rules.names()
    landed = set(inventory.days())
    return [day for day in days if day in landed and _stamp(lake, day) != inventory.fingerprint(day, names)]


def refresh_days(
    lake: Lake,
    inventory: Inventory,
    rules: Rules,
    days: Iterable[date],
    progress: Callable[[int, int], None] | None = None,
) -> list[date]:
    """Make the marts of the dirty days among `days`; returns which those were.

    Interrupted anywhere, each mart file is the old or the new one whole, and an unfinished day stays dirty.
    Raises LakeNotWritable where a mart cannot be written.
    """
    dirty = dirty_days(lake, inventory, rules, days)
    for done, day in enumerate(dirty):
        if progress:
            progress(done, len(dirty))
        fingerprint = inventory.fingerprint(day, rules.names())
        with derived_day(day, inventory, rules) as con:
            for name in _ORDER:
                _write(con, name, day, lake.mart_file(name, day), fingerprint)
    if progress and dirty:
        progress(len(dirty), len(dirty))
    return dirty


@contextmanager
def fresh(
    lake: Lake,
    inventory: Inventory,
    rules: Rules,
    days: Sequence[date],
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Lake]:
    """A lake whose marts of `days` are clean: this one; or, where it may not be written, a passing copy.

    The copy holds links to the clean days and its own files for the dirty ones.
    """
    try:
        refresh_days(lake, inventory, rules, days, progress)
    except LakeNotWritable:
        with tempfile.TemporaryDirectory(prefix="llmcost-") as folder:
            copy = Lake(Path(folder))
            dirty = set(dirty_days(lake, inventory, rules, days))
            for name in MARTS:
                for day in set(days) - dirty:
                    if lake.mart_file(name, day).exists():
                        copy.mart_file(name, day).parent.mkdir(parents=True)
                        copy.mart_file(name, day).symlink_to(lake.mart_file(name, day).resolve())
            refresh_days(copy, inventory, rules, dirty, progress)
            yield copy
    else:
        yield lake


def _stamp(lake: Lake, day: date) -> str | None:
    try:
        metadata = pq.read_metadata(lake.mart_file("calls", day)).metadata or {}
    except (OSError, ValueError):
        return None
    stamp = metadata.get(_FINGERPRINT.encode())
    return stamp.decode() if stamp else None


def _write(con: duckdb.DuckDBPyConnection, name: str, day: date, target: Path, fingerprint: str) -> None:
    temporary = target.with_name(f".{name}-{uuid.uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        con.execute(
            f"copy (select * from {name} where day = $day) to $path "
            f"(format parquet, compression zstd, kv_metadata {{'{_FINGERPRINT}': '{fingerprint}'}})",
            {"day": day, "path": str(temporary)},
        )
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(target)
    except (OSError, duckdb.IOException) as error:
        raise LakeNotWritable(
            f'cannot write "{target}": {error}: is the disk full, or the lake read-only?'
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
