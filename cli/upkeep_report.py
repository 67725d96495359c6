"""What compaction and vacuum did, as sheets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .sheet import Sheet

if TYPE_CHECKING:
    from ..ingest.compact import Compacted
    from ..ingest.vacuum import Vacuumed

_MEGA = 1_000_000


def of_compaction(done: Sequence[Compacted], *, dry_run: bool) -> Sheet:
    """One row a merge."""
    import pyarrow as pa  # noqa: PLC0415  start-up time

    table = pa.table(
        {
            "relation": pa.array([each.table for each in done], pa.string()),
            "day": pa.array([each.day for each in done], pa.date32()),
            "files_before": pa.array([each.files_before for each in done], pa.int64()),
            "files_after": pa.array([each.files_after for each in done], pa.int64()),
            "bytes_before": pa.array([each.bytes_before for each in done], pa.int64()),
            "bytes_after": pa.array([each.bytes_after for each in done], pa.int64()),
        }
    )
    before = sum(each.files_before for each in done if not each.lost)
    after = sum(each.files_after or 0 for each in done)
    said = f"{before:,} files would be merged" if dry_run else f"{before:,} files became {after:,}"
    lost = sum(each.lost for each in done)
    notes = [said if done else "nothing is worth merging now"]
    if lost:
        notes.append(f"{lost:,} merges were given up: another process had changed those files")
    return Sheet(table, facts={"dry_run": dry_run, "given_up": lost}, notes=tuple(notes))


def of_vacuum(done: Sequence[Vacuumed], *, dry_run: bool) -> Sheet:
    """One row a relation and kind of file."""
    import pyarrow as pa  # noqa: PLC0415  start-up time

    files: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for each in done:
        key = (each.path.split("/")[0], each.kind)
        files[key] += 1
        sizes[key] += each.bytes
    keys = sorted(files)
    table = pa.table(
        {
            "relation": pa.array([key[0] for key in keys], pa.string()),
            "kind": pa.array([key[1] for key in keys], pa.string()),
            "files": pa.array([files[key] for key in keys], pa.int64()),
            "bytes": pa.array([sizes[key] for key in keys], pa.int64()),
        }
    )
    verb = "would be removed" if dry_run else "removed"
    said = f"{len(done):,} files of {sum(sizes.values()) / _MEGA:,.1f} MB {verb}" if done else "nothing to remove"
    return Sheet(table, facts={"dry_run": dry_run}, notes=(said,))
