"""The lake's record of what retention removed: which days are sealed, and how much arrived too late for them.

`retention.json`, replaced whole. Written before anything is removed, so that no process takes a day whose spans are
going for one that has few of them.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

from ..models.errors import LakeNotWritable
from ..models.lake import Lake


@dataclass(frozen=True, slots=True)
class Sealed:
    """Days before `spans_before` have no spans any more, and so on; None where nothing was removed yet.

    `leaving_*` are rows that were derived and are going; `boundary_*` those that the day `*_before` had when it was
    sealed, because it reads the day before; `late_*` the rows that were removed though they came after their day was
    sealed.
    """

    spans_before: date | None = None
    events_before: date | None = None
    marts_before: date | None = None
    leaving_spans: int = 0
    leaving_events: int = 0
    boundary_spans: int = 0
    boundary_events: int = 0
    late_spans: int = 0
    late_events: int = 0

    @classmethod
    def read(cls, lake: Lake) -> Sealed:
        """The record of `lake`; nothing is sealed where there is none. Raises LakeNotWritable if it is no record."""
        try:
            found = json.loads(lake.retention.read_text(encoding="utf-8"))
            known = {field.name: found[field.name] for field in fields(cls) if found.get(field.name) is not None}
            values: dict[str, Any] = {
                name: date.fromisoformat(value) if name.endswith("before") else int(value)
                for name, value in known.items()
            }
            return cls(**values)
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError) as error:
            raise LakeNotWritable(
                f'cannot read "{lake.retention}" ({error}): put it back from a backup; it says which days are '
                "sealed, and without it they would be derived from what is left of them"
            ) from error

    def write(self, lake: Lake) -> None:
        """Replace the record of `lake`; on disk on return. Raises LakeNotWritable."""
        temporary = lake.retention.with_name(f".{lake.retention.name}.{os.getpid()}")
        try:
            with temporary.open("w", encoding="utf-8") as handle:
                json.dump(asdict(self), handle, default=str)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(lake.retention)
            _sync_folder(lake.root)
        except OSError as error:
            raise LakeNotWritable(f'cannot write "{lake.retention}": {error.strerror or error}') from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def holds(self, day: date) -> bool:
        """Whether `day` is sealed: some of what its marts were made from is gone, or they are."""
        return (
            (self.spans_before is not None and day <= self.spans_before)
            or (self.events_before is not None and day <= self.events_before)
            or (self.marts_before is not None and day < self.marts_before)
        )


def landed_rows(root: Path) -> dict[date, int]:
    """How many rows a landed table has on each day, by its log."""
    if not (root / "_delta_log").is_dir():
        return {}
    import pyarrow as pa  # noqa: PLC0415  start-up time
    from deltalake import DeltaTable  # noqa: PLC0415

    actions = pa.table(DeltaTable(root).get_add_actions(flatten=True))
    days: dict[date, int] = {}
    for day, rows in zip(
        actions.column("partition.day").to_pylist(), actions.column("num_records").to_pylist(), strict=True
    ):
        days[day] = days.get(day, 0) + (rows or 0)
    return days


def late_rows(lake: Lake, sealed: Sealed) -> dict[str, int]:
    """Table -> rows that came after their day was sealed, and so are in no mart."""
    late = {"spans": sealed.late_spans, "events": sealed.late_events}
    for table, before, leaving, boundary in (
        ("spans", sealed.spans_before, sealed.leaving_spans, sealed.boundary_spans),
        ("events", sealed.events_before, sealed.leaving_events, sealed.boundary_events),
    ):
        if before is not None:
            rows = landed_rows(lake.table(table))
            late[table] += max(0, sum(count for day, count in rows.items() if day < before) - leaving)
            late[table] += max(0, rows.get(before, 0) - boundary)
    return late


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
