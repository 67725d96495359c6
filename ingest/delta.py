"""The Delta tables `spans` and `events`: one commit a landing, remembered by receiver and segment number.

A file is on disk, fsynced and under its final name before the commit names it, and the commit itself
is on disk before `commit` returns; so what is said to be landed survives a power cut.
"""

from __future__ import annotations

import itertools
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
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
from ..models.schema import DAY, EVENTS, LASTING, SPANS, TELLING, TIME_COLUMNS
from . import delta_log
from .journal import sync_folder
from .parquet import write_parquet


@dataclass(frozen=True, slots=True)
class LandedFile:
    """One Parquet file, written and fsynced, that no commit names yet."""

    path: Path
    day: date
    rows: int
    bytes: int
    first_at: datetime
    last_at: datetime
    null_counts: Mapping[str, int]
    """Of the columns TELLING."""
    lasting_until: datetime | None = None
    """The greatest LASTING, in a file of spans."""
    trace_ids: tuple[str, str] | None = None
    """The least and the greatest, where the file is sorted by them."""


class LandedTable:
    """One Delta table of a lake, for the one process that lands a receiver's journal."""

    def __init__(self, lake: Lake, name: str, columns: pa.Schema, time_column: str) -> None:
        """Open the table, creating it if there is none."""
        self.name = name
        self.root = lake.table(name)
        self.columns = columns
        self._time_column = time_column
        self._schema = columns.append(DAY)
        self._numbers: dict[str, int] = {}
        self._delta = self._open()
        self._add_missing_columns()

    def landed_number(self, receiver_id: str) -> int:
        """The last segment of `receiver_id` whose rows are in this table; 0 if there is none.

        The log is read at the first question only: nobody else lands for a receiver while its lock is held, and
        following the log costs more than landing a small segment. So ask only with the lock.
        """
        if receiver_id not in self._numbers:
            self._delta.update_incremental()
            self._numbers[receiver_id] = self._delta.transaction_version(receiver_id) or 0
        return self._numbers[receiver_id]

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
            files.append(
                LandedFile(
                    path, day, of_day.num_rows, size, times["min"], times["max"], null_counts(of_day), lasting(of_day)
                )
            )
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
            claim(file.path for file in files)
            self._delta.create_write_transaction(
                [add_action(file, self._time_column) for file in files],
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
            self._numbers.pop(receiver_id, None)
            self._delta = DeltaTable(self.root)
            if self.landed_number(receiver_id) < number:
                discard(files)
                raise
        self._numbers[receiver_id] = number
        self._delta.update_incremental()  # a commit leaves the handle at the version before it
        self._delta = delta_log.settle(self._delta, self.root, after=version)

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
                configuration=delta_log.CONFIGURATION,
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
        self._delta = delta_log.settle(self._delta, self.root, after=version)

    def _missing_columns(self) -> list[pa.Field]:
        known = {field.name for field in self._delta.schema().fields}
        return [field for field in self._schema if field.name not in known]


def landed_tables(lake: Lake) -> tuple[LandedTable, LandedTable]:
    """The tables `spans` and `events` of `lake`, created if they are missing."""
    return (
        LandedTable(lake, "spans", SPANS, TIME_COLUMNS["spans"]),
        LandedTable(lake, "events", EVENTS, TIME_COLUMNS["events"]),
    )


def add_action(file: LandedFile, time_column: str, *, data_change: bool = True) -> AddAction:
    """What a commit says of a new file; `data_change` is False where its rows only moved there."""
    least, greatest = {time_column: _instant(file.first_at)}, {time_column: _instant(file.last_at)}
    nulls = {time_column: 0, **file.null_counts}
    if file.lasting_until is not None:
        greatest[LASTING] = _instant(file.lasting_until)
    if file.trace_ids is not None:
        least["trace_id"], greatest["trace_id"] = file.trace_ids
        nulls["trace_id"] = 0
    return AddAction(
        path=f"day={file.day.isoformat()}/{file.path.name}",
        size=file.bytes,
        partition_values={DAY.name: file.day.isoformat()},
        modification_time=time.time_ns() // 1_000_000,
        data_change=data_change,
        stats=json.dumps({"numRecords": file.rows, "minValues": least, "maxValues": greatest, "nullCount": nulls}),
    )


def null_counts(rows: pa.Table) -> dict[str, int]:
    """How many rows are without each of the columns TELLING."""
    return {name: rows.column(name).null_count for name in TELLING}


def lasting(rows: pa.Table) -> datetime | None:
    """When the last of some spans ends; None for events."""
    if LASTING not in rows.column_names:
        return None
    until: datetime | None = pc.max(rows.column(LASTING)).as_py()
    return until


def claim(paths: Iterable[Path]) -> None:
    """Set the age of files that a commit is about to name, or to remove, to nothing: vacuum goes by it.

    Raises FileNotFoundError if one is gone.
    """
    for path in paths:
        os.utime(path)


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
