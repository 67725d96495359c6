"""Compaction: small files of a day become few large ones, while receivers land and readers read.

A merge writes its files, then exchanges them for its sources in one commit; killed anywhere before that it leaves
files that no commit names, for vacuum. No day gets dirty: the names of the new files carry the identity of the old.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from ..models.lake import TABLES, Lake
from ..models.landed_files import compacted_names
from ..models.schema import DAY, TIME_COLUMNS
from ..models.settings import MIB, Upkeep
from .delta import LandedFile, add_action, discard
from .exchange import exchange
from .journal import sync_folder
from .live_files import live_files
from .merge import Bounds, merge_files
from .tiers import Merge, merges


@dataclass(frozen=True, slots=True)
class Compacted:
    """What one merge did, or would do: files and bytes of one day of one table, before and after.

    `files_after` and `bytes_after` are None for a merge that was only looked for. `lost` means that another process
    removed a source meanwhile, and nothing was changed.
    """

    table: str
    day: date
    files_before: int
    bytes_before: int
    files_after: int | None = None
    bytes_after: int | None = None
    lost: bool = False


def compact(
    lake: Lake,
    settings: Upkeep,
    *,
    now: datetime,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    dry_run: bool = False,
) -> Iterator[Compacted]:
    """Merge what is worth it in all tables, one merge at a time; see tiers.py for what is.

    Between merges, `stop` may end it. Raises OSError, DeltaError or duckdb.Error if the lake cannot be read or
    written; what was merged before stands. Only the holder of the upkeep lock may call it, but for a `dry_run`.
    """
    if not dry_run:
        shutil.rmtree(lake.spill, ignore_errors=True)  # of a compaction that was killed
    target_bytes = settings.target_file_mib * MIB
    planned = [
        (name, merge)
        for name in TABLES
        if (lake.table(name) / "_delta_log").is_dir()
        for merge in merges(live_files(DeltaTable(lake.table(name))), target_bytes=target_bytes, now=now)
    ]
    for done, (name, merge) in enumerate(planned):
        if stop():
            return
        if progress:
            progress(done, len(planned))
        yield _looked_for(name, merge) if dry_run else _merge(lake, name, merge, settings)
    if progress and planned:
        progress(len(planned), len(planned))


def _looked_for(table: str, merge: Merge) -> Compacted:
    return Compacted(table, merge.day, len(merge.sources), merge.bytes)


def _merge(lake: Lake, name: str, merge: Merge, settings: Upkeep) -> Compacted:
    root = lake.table(name)
    sources = [root / file.name for file in merge.sources]
    rows = sum(file.rows if file.rows >= 0 else pq.read_metadata(path).num_rows
               for file, path in zip(merge.sources, sources, strict=True))  # fmt: skip
    count = max(1, round(merge.bytes / (settings.target_file_mib * MIB)))
    files = merge_files(
        sources,
        root / f"day={merge.day.isoformat()}",
        columns=_columns(root),
        time_column=TIME_COLUMNS[name],
        rows_a_file=max(1, -(-rows // count)),
        bounds=Bounds(settings.memory_mib * MIB, lake.spill),
    )
    if not files:  # no rows at all, so nothing to carry the sources' identity
        return Compacted(name, merge.day, len(sources), merge.bytes, lost=True)
    files = _named(files, merge)
    # After an error here the commit may stand, so the files are left: if no commit names them, vacuum finds them.
    if not exchange(root, merge.sources, [add_action(file, TIME_COLUMNS[name], data_change=False) for file in files]):
        discard(files)
        return Compacted(name, merge.day, len(sources), merge.bytes, lost=True)
    return Compacted(name, merge.day, len(sources), merge.bytes, len(files), sum(file.bytes for file in files))


def _columns(root: Path) -> pa.Schema:
    """The columns of the table's files: its own, because a newer llmcost may have added some that we do not know."""
    return pa.schema([field for field in pa.schema(DeltaTable(root).schema().to_arrow()) if field.name != DAY.name])


def _named(files: list[LandedFile], merge: Merge) -> list[LandedFile]:
    """The files under names that carry the identity of the merge's sources; on disk."""
    names = compacted_names((Path(source.name).name for source in merge.sources), merge.tier, len(files))
    named = [
        replace(file, path=file.path.rename(file.path.with_name(name)))
        for file, name in zip(files, names, strict=True)
    ]
    sync_folder(files[0].path.parent)
    return named
