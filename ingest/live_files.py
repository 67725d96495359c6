"""The files that a landed table consists of at one version, as its log tells them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from ..models.landed_files import tier


@dataclass(frozen=True, slots=True)
class LiveFile:
    """One file of a table; `name` is its path below the table's root as the log has it."""

    name: str
    day: date
    bytes: int
    rows: int
    added_at: datetime

    @property
    def tier(self) -> int:
        """How often its rows were merged."""
        return tier(Path(self.name).name)


def live_files(delta: DeltaTable) -> list[LiveFile]:
    """Every file of the version that `delta` holds, by name.

    Files of a program that keeps no count of rows have -1 of them.
    """
    actions = pa.table(delta.get_add_actions(flatten=True))
    columns = ("path", "partition.day", "size_bytes", "num_records", "modification_time")
    rows = zip(*(actions.column(column).to_pylist() for column in columns), strict=True)
    return sorted(
        (
            LiveFile(name, day, size, -1 if count is None else count, datetime.fromtimestamp(added / 1000, UTC))
            for name, day, size, count, added in rows
        ),
        key=lambda file: file.name,
    )


def names(files: Iterable[LiveFile]) -> set[str]:
    """Their names."""
    return {file.name for file in files}
