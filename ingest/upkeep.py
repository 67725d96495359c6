"""Compaction and vacuum of a lake as one call each: the lake opened, the lock held, errors in clear words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
from deltalake.exceptions import DeltaError

from ..models.errors import LakeBusy, LakeNotWritable
from ..models.lake import Lake
from ..models.settings import Upkeep
from .compact import Compacted, compact
from .receiver_folder import Lock
from .vacuum import Vacuumed, vacuum

Progress = Callable[[int, int], None]


def compact_lake(
    root: Path,
    settings: Upkeep,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Compacted]:
    """Merge what is worth it now; what was done, merge by merge. `stop` may end it between two.

    Raises LakeBusy if another process is at upkeep of the lake, LakeError if it cannot be used.
    """
    lake = Lake.open(root)
    with _upkeep(lake, dry_run=dry_run):
        return list(compact(lake, settings, now=datetime.now(UTC), dry_run=dry_run, progress=progress, stop=stop))


def vacuum_lake(
    root: Path, settings: Upkeep, *, dry_run: bool = False, progress: Progress | None = None
) -> list[Vacuumed]:
    """Remove what nobody needs; what was removed, file by file.

    Raises LakeBusy if another process is at upkeep of the lake, LakeError if it cannot be used.
    """
    lake = Lake.open(root)
    grace = timedelta(hours=settings.vacuum_grace_hours)
    with _upkeep(lake, dry_run=dry_run):
        return list(vacuum(lake, grace=grace, now=datetime.now(UTC), dry_run=dry_run, progress=progress))


@contextmanager
def upkeep_lock(lake: Lake) -> Iterator[None]:
    """Keep other processes from upkeep of the lake. Raises LakeBusy if one is at it.

    For economy: commits are safe without it, and on a network file system it may not hold.
    """
    lock = Lock.take(lake.upkeep_lock)
    if lock is None:
        raise LakeBusy(
            f'another process is at upkeep of "{lake.root}": wait until it is done, '
            "or leave it to llmcost serve, which does it by itself"
        )
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _upkeep(lake: Lake, *, dry_run: bool) -> Iterator[None]:
    try:
        if dry_run:
            yield
        else:
            with upkeep_lock(lake):
                yield
    except (OSError, DeltaError, duckdb.Error) as error:
        raise LakeNotWritable(
            f'upkeep of "{lake.root}" stopped: {error}: '
            "is the disk full, or the lake read-only? What was done until then stands"
        ) from error
