"""One commit that takes exact files out of a landed table and puts others in their place, or none.

deltalake's transaction takes removes beside adds, but when another commit came between it checks only for
conflicts of reads: two compactors that remove the same file are both let through, and its rows are there twice.
So a transaction here is tried without retries: it then is the version after the one that was looked at, or
fails. Whoever comes second looks again, and takes nothing out that is not there any more.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from ..models.schema import DAY
from . import delta_log
from .delta import claim
from .live_files import LiveFile, live_files, names

MOST_TRIES = 60
_PAUSE_SECONDS = 0.02


def exchange(root: Path, out: Sequence[LiveFile], into: Sequence[AddAction], *, data_change: bool = False) -> bool:
    """Commit `into` for `out` in the table at `root`: both or neither; on disk when this returns True.

    False where a file of `out` is not in the table any more: another process was quicker, nothing was changed.
    The removed files stay on disk, for readers of older versions, until they are vacuumed. `data_change` is True
    where rows go for good. Raises OSError or DeltaError; the files of `into` are then not in the table.
    """
    arriving = {action.path for action in into}
    leaving = names(out)
    claim(root / name for name in sorted(arriving))
    for _ in range(MOST_TRIES):
        delta = DeltaTable(root)
        if not leaving <= names(live_files(delta)):
            return False
        before = delta.version()
        claim(root / name for name in sorted(leaving))
        try:
            delta.create_write_transaction(
                [*into, *(_removal(file, data_change=data_change) for file in out)],
                mode="append",
                schema=delta.schema(),
                partition_by=[DAY.name],
                commit_properties=CommitProperties(max_commit_retries=0),
                post_commithook_properties=PostCommitHookProperties(
                    create_checkpoint=False, cleanup_expired_logs=False
                ),
            )
        except (OSError, DeltaError) as error:
            # The error may have come after the commit; only the log knows.
            delta = DeltaTable(root)
            if not _is_done(delta, arriving, leaving):
                if not isinstance(error, CommitFailedError):
                    raise
                failure = error
                time.sleep(_PAUSE_SECONDS * random.random())  # noqa: S311  (so that two do not meet again)
                continue
        delta.update_incremental()
        delta_log.settle(delta, root, after=before)
        return True
    raise failure


def take_out(root: Path, paths: Collection[Path]) -> bool:
    """Take exactly the files `paths` and their rows out of the table at `root`, in one commit; see exchange."""
    wanted = {str(path.relative_to(root)) for path in paths}
    out = [file for file in live_files(DeltaTable(root)) if file.name in wanted]
    return len(out) == len(wanted) and exchange(root, out, [], data_change=True)


def _is_done(delta: DeltaTable, arriving: set[str], leaving: set[str]) -> bool:
    """Whether the table is as the exchange leaves it. Another's removal of the same files brings other names."""
    live = names(live_files(delta))
    return arriving <= live and not leaving & live


def _removal(file: LiveFile, *, data_change: bool) -> RemoveAction:
    return RemoveAction(
        path=file.name,
        data_change=data_change,
        deletion_timestamp=time.time_ns() // 1_000_000,
        size=file.bytes,
        partition_values={DAY.name: file.day.isoformat()},
    )
