"""The log of a Delta table on disk: made durable, summed up in checkpoints, cleaned of what those sum up.

deltalake writes commits but does not force them to disk, and sums up only where it is asked to.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from .journal import sync_file, sync_folder

CHECKPOINT_COMMITS = 100
"""A reader replays at most this many commits after a checkpoint."""

RETENTION_SECONDS = 3600
"""How long commits that a checkpoint sums up, and the names of removed files in it, are kept.

At a commit a second a day of them would be 86,400 files to list on every opening and 5 MB to write with
every checkpoint; nothing of ours reads an older version of a table.
"""

CONFIGURATION: dict[str, str | None] = {
    "delta.checkpointInterval": str(CHECKPOINT_COMMITS),
    "delta.logRetentionDuration": f"interval {RETENTION_SECONDS // 3600} hours",
    "delta.deletedFileRetentionDuration": f"interval {RETENTION_SECONDS // 3600} hours",
}


def settle(delta: DeltaTable, root: Path, *, after: int) -> DeltaTable:
    """Make what was committed after version `after` durable, and checkpoint where it is due; the table to go on with.

    After a checkpoint it is opened anew: a table that only follows the log keeps 0.4 MB of memory for each commit.
    """
    sync_commits(root, after=after, until=delta.version())
    if after // CHECKPOINT_COMMITS == delta.version() // CHECKPOINT_COMMITS:
        return delta
    checkpoint(delta, root)
    return DeltaTable(root)


def sync_commits(root: Path, *, after: int, until: int) -> None:
    """Force the commits after version `after` up to `until` to disk."""
    for version in range(after + 1, until + 1):
        sync_file(commit_path(root, version))
    sync_folder(root / "_delta_log")


def checkpoint(delta: DeltaTable, root: Path) -> None:
    """Sum up the log, then drop what is older than its retention and summed up.

    A reader that finds no checkpoint reads the log, so an error here costs time, not rows: it is
    the caller's to see, and the commit stands.
    """
    delta.create_checkpoint()
    log = root / "_delta_log"
    for path in (*log.glob(f"{delta.version():020d}.checkpoint*.parquet"), log / "_last_checkpoint"):
        sync_file(path)
    sync_folder(log)
    delta.cleanup_metadata()


def tidy(delta: DeltaTable, root: Path, now: datetime) -> bool:
    """Checkpoint and clean the log of a table that hardly commits any more; whether there was anything to do.

    Landings do it every CHECKPOINT_COMMITS; what is left is the log of a table that fell idle in between.
    """
    log = root / "_delta_log"
    old = now.timestamp() - RETENTION_SECONDS
    expired = []
    for path in log.glob("*.json"):
        with contextlib.suppress(FileNotFoundError):  # another process cleans, too
            if path.stat().st_mtime < old and int(path.stem) < delta.version():
                expired.append(path)
    if not expired:
        return False
    with contextlib.suppress(DeltaError, FileNotFoundError):
        checkpoint(delta, root)
    return True


def commit_path(root: Path, version: int) -> Path:
    """The file of one commit."""
    return root / "_delta_log" / f"{version:020d}.json"
