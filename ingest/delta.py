"""The Delta tables `spans` and `events`: one commit a landing, remembered by receiver and segment number.

A file is on disk, fsynced and under its final name before the commit names it, and the commit itself
is on disk before `commit` returns; so what is said to be landed survives a power cut.
"""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction

from ..models.lake import Lake
from ..models.schema import DAY, EVENTS, SPANS
from .journal import sync_file, sync_folder
from .parquet import write_parquet

CHECKPOINT_COMMITS = 100
"""A reader replays at most this many commits after a checkpoint."""

_CONFIGURATION: dict[str, str | None] = {
    "delta.checkpointInterval": str(CHECKPOINT_COMMITS),
    "delta.logRetentionDuration": "interval 1 days",
    "delta.deletedFileRetentionDuration": "interval 1 days",
}


@dataclass(frozen=True, slots=True)
class LandedFile:
    """One Parquet file, written and fsynced, that no commit names yet."""

    path: Path
    day: date
    rows: int
    bytes: int
    first_at: datetime
    last_at: datetime


class LandedTable:
    """One Delta table of a lake, for the one process that lands a receiver's journal."""

    def __init__(self, lake: Lake, name: str, columns: pa.Schema, time_column: str) -> None:
        """Open the table, creating it if there is none."""
        self.name = name
        self.root = lake.table(name)
        self.columns = columns
        self._time_column = time_column
        self._schema = columns.append(DAY)
        self._delta = self._open()
        self._add_missing_columns()

    def landed_number(self, receiver_id: str) -> int:
        """The last segment of `receiver_id` whose rows are in this table; 0 if there is none."""
        self._delta.update_incremental()
        return self._delta.transaction_version(receiver_id) or 0

    def write(self, rows: pa.Table) -> list[LandedFile]:
        """Write `rows` (with their `day`) as one file a day. No reader sees them before `commit`."""
        files = []
        for day, of_day in _by_day(rows):
            times = pc.min_max(of_day.column(self._time_column)).as_py()
            folder = self.root / f"day={day.isoformat()}"
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                sync_folder(self.root)
            path = folder / f"{uuid.uuid4()}.parquet"
            size = write_parquet(of_day, path)
            files.append(LandedFile(path, day, of_day.num_rows, size, times["min"], times["max"]))
        return files

    def commit(self, files: list[LandedFile], *, receiver_id: str, number: int) -> None:
        """Make `files` part of the table and remember that the receiver's segments up to `number` are in it.

        Both or neither. On return the commit is on disk. On an error (OSError, DeltaError) the files are not
        in the table and are removed; so they are if the table has that number already.
        """
        if self.landed_number(receiver_id) >= number:
            discard(files)
            return
        version = self._delta.version()
        try:
            self._delta.create_write_transaction(
                [self._action(file) for file in files],
                mode="append",
                schema=self._schema,
                partition_by=[DAY.name],
                commit_properties=CommitProperties(
                    app_transactions=[Transaction(receiver_id, number)], max_commit_retries=30
                ),
                post_commithook_properties=PostCommitHookProperties(
                    create_checkpoint=False, cleanup_expired_logs=False
                ),
            )
        except (OSError, DeltaError):
            # The error may have come after the commit; only the log knows.
            self._delta = DeltaTable(self.root)
            if (self._delta.transaction_version(receiver_id) or 0) < number:
                discard(files)
                raise
        self._delta.update_incremental()  # a commit leaves the handle at the version before it
        self._sync_log(since=version)
        if version // CHECKPOINT_COMMITS < self._delta.version() // CHECKPOINT_COMMITS:
            self._checkpoint()

    def _open(self) -> DeltaTable:
        try:
            return DeltaTable(self.root)
        except TableNotFoundError:
            return self._create()

    def _create(self) -> DeltaTable:
        try:
            DeltaTable.create(
                self.root,
                schema=self._schema,
                mode="ignore",
                partition_by=[DAY.name],
                name=self.name,
                configuration=_CONFIGURATION,
            )
        except DeltaError as error:
            # Another process may have been quicker by a moment: its first commit is then an error here.
            try:
                return DeltaTable(self.root)
            except TableNotFoundError:
                raise error from None
        sync_folder(self.root)
        sync_folder(self.root.parent)
        return DeltaTable(self.root)

    def _add_missing_columns(self) -> None:
        """Give a table that an older llmcost made the columns it lacks; its old rows hold NULL in them."""
        missing = self._missing_columns()
        if not missing:
            return
        version = self._delta.version()
        try:
            self._delta.alter.add_columns(DeltaSchema.from_arrow(pa.schema(missing)).fields)
        except DeltaError:
            # Another receiver of this lake may have been quicker.
            self._delta = DeltaTable(self.root)
            if self._missing_columns():
                raise
        self._sync_log(since=version)

    def _missing_columns(self) -> list[pa.Field]:
        known = {field.name for field in self._delta.schema().fields}
        return [field for field in self._schema if field.name not in known]

    def _action(self, file: LandedFile) -> AddAction:
        return AddAction(
            path=f"day={file.day.isoformat()}/{file.path.name}",
            size=file.bytes,
            partition_values={DAY.name: file.day.isoformat()},
            modification_time=time.time_ns() // 1_000_000,
            data_change=True,
            stats=json.dumps(
                {
                    "numRecords": file.rows,
                    "minValues": {self._time_column: _instant(file.first_at)},
                    "maxValues": {self._time_column: _instant(file.last_at)},
                    "nullCount": {self._time_column: 0},
                }
            ),
        )

    def _sync_log(self, *, since: int) -> None:
        """Force the commits after version `since` to disk; deltalake itself only writes them."""
        log = self.root / "_delta_log"
        for version in range(since + 1, self._delta.version() + 1):
            sync_file(log / f"{version:020d}.json")
        sync_folder(log)

    def _checkpoint(self) -> None:
        """Sum up the log, then drop what is older than its retention and summed up.

        A reader that finds no checkpoint reads the log, so an error here costs time, not rows: it is
        the caller's to see, and the commit stands.
        """
        self._delta.create_checkpoint()
        log = self.root / "_delta_log"
        for path in (*log.glob(f"{self._delta.version():020d}.checkpoint*.parquet"), log / "_last_checkpoint"):
            sync_file(path)
        sync_folder(log)
        self._delta.cleanup_metadata()


def landed_tables(lake: Lake) -> tuple[LandedTable, LandedTable]:
    """The tables `spans` and `events` of `lake`, created if they are missing."""
    return (
        LandedTable(lake, "spans", SPANS, "started_at"),
        LandedTable(lake, "events", EVENTS, "occurred_at"),
    )


def discard(files: list[LandedFile]) -> None:
    """Remove files that no commit names."""
    for file in files:
        file.path.unlink(missing_ok=True)


def _by_day(rows: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    """The rows of each UTC day, without the `day` column."""
    days = pc.unique(rows.column(DAY.name))
    if len(days) > 1:
        rows = rows.take(pc.sort_indices(rows.column(DAY.name)))
    codes = rows.column(DAY.name).combine_chunks().cast(pa.int32()).to_numpy()
    bare = rows.drop_columns([DAY.name])
    starts = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    for start, end in itertools.pairwise(starts):
        if start < end:
            yield rows.column(DAY.name)[start].as_py(), bare.slice(start, end - start)


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
