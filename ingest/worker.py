"""The landing worker: a process of its own, because decoding holds the interpreter's lock.

It lands the folders it was given, by turns, and what receivers that are gone left behind. `child` says
how it is told what to do.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from deltalake.exceptions import DeltaError

from ..models import conventions
from ..models.lake import Lake
from . import child
from .columns import Decoder
from .delta import LandedTable, landed_tables
from .landing import Landed, Lander
from .logs import configure, fields
from .memory import keep_freed_memory
from .metrics import metrics
from .orders import WorkerOrder
from .receiver_folder import Lock, ReceiverFolder, Segment, abandoned

log = logging.getLogger("llmcost.ingest.worker")

TRIES_A_SEGMENT = 5
"""Landings of one segment begun and not finished, by an error or a crash, before it is put aside."""

_LOOK_SECONDS = 1.0
_LOOK_FOR_ABANDONED_SECONDS = 10.0
_BACK_OFF_SECONDS = (0.5, 1, 2, 5, 10)


class Tries:
    """How often the landing of a segment was begun, kept in a file so that it outlives a crash."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, number: int) -> int:
        """Count one more beginning for segment `number`; returns how many there were before."""
        try:
            last_number, before = map(int, self._path.read_text().split())
        except (OSError, ValueError):
            last_number, before = number, 0
        if last_number != number:
            before = 0
        self._path.write_text(f"{number} {before + 1}\n")
        return before

    def forget(self) -> None:
        """The landing ended, or its failure was not the segment's fault."""
        self._path.unlink(missing_ok=True)


class Queue:
    """The closed segments of one folder, landed oldest first; trouble with one folder holds up no other."""

    def __init__(self, lander: Lander, folder: ReceiverFolder, locks: list[Lock]) -> None:
        self.folder = folder
        self._lander = lander
        self._locks = locks
        self._tries = Tries(folder.root / "tries")
        self._failures = 0
        self._alone_until = 0
        self._rests_until = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self.folder.waiting()

    def close(self) -> None:
        """Let another process have this folder."""
        for lock in self._locks:
            lock.release()

    def step(self) -> bool:
        """Land one group, if one waits and this queue is not resting after a failure; whether it did."""
        if time.monotonic() < self._rests_until or not (waiting := self.folder.waiting()):
            return False
        try:
            self._land(waiting)
            self._failures = 0
        except (OSError, DeltaError) as error:
            self._hold_on(error)
        return True

    def _land(self, waiting: list[Segment]) -> None:
        before = self._tries.begin(waiting[0].number)
        if before >= TRIES_A_SEGMENT:
            kept = self.folder.quarantine(waiting[0])
            self._tries.forget()
            log.error("a segment cannot be landed and is kept in quarantine", extra=fields(file=kept, tries=before))
            return
        # After a failure one at a time, so that the neighbours of a bad segment land.
        alone = before > 0 or waiting[0].number <= self._alone_until
        group = waiting[:1] if alone else self._lander.next_group(waiting)
        started = time.monotonic()
        try:
            landed = self._lander.land(group)
        except (OSError, DeltaError):
            self._tries.forget()
            raise
        except Exception as error:
            self._alone_until = group[-1].number
            log.error(
                "landing failed: %s: %s", type(error).__name__, error,
                extra=fields(segment=group[0].number, segments=len(group), tries=before + 1),
            )  # fmt: skip
            self._rest(0.1 * 2**before)
            return
        self._tries.forget()
        _report(landed, time.monotonic() - started)

    def _hold_on(self, error: Exception) -> None:
        """The lake cannot be written: keep everything, wait, try again."""
        seconds = _BACK_OFF_SECONDS[min(self._failures, len(_BACK_OFF_SECONDS) - 1)]
        self._failures += 1
        log.error("cannot write the lake, will try again: %s", error, extra=fields(wait_seconds=seconds))
        self._rest(seconds)

    def _rest(self, seconds: float) -> None:
        self._rests_until = time.monotonic() + seconds


class Worker:
    """Lands what is closed in its folders until told to stop."""

    def __init__(
        self, lake: Lake, decoder: Decoder, tables: tuple[LandedTable, LandedTable], wishes: child.Wishes
    ) -> None:
        self._lake = lake
        self._decoder = decoder
        self._tables = tables
        self._wishes = wishes
        self._queues: list[Queue] = []
        self._left: list[Queue] = []
        self._looked_at = -_LOOK_FOR_ABANDONED_SECONDS

    def add(self, folder: ReceiverFolder, lock: Lock) -> None:
        """Land `folder` too; `lock` is its worker's lock."""
        self._queues.append(self._queue(folder, [lock]))

    def run(self, *, lands_abandoned: bool) -> None:
        """Return when orphaned, or when a drain is wished and nothing waits."""
        while True:
            self._wishes.look()
            if self._wishes.orphaned:
                return
            if lands_abandoned:
                self._look_for_abandoned()
            # Not any(): each of them has its turn.
            worked = [queue.step() for queue in (*self._queues, *self._left)]
            child.say(child.ALIVE)
            if any(worked):
                continue
            if self._wishes.drain and all(queue.is_empty for queue in self._queues):
                return
            self._wishes.wait(_LOOK_SECONDS)
            if self._wishes.drain:
                time.sleep(0.01)  # a queue that rests after a failure still holds something

    def _look_for_abandoned(self) -> None:
        if time.monotonic() - self._looked_at < _LOOK_FOR_ABANDONED_SECONDS:
            return
        self._looked_at = time.monotonic()
        for queue in [queue for queue in self._left if queue.is_empty]:
            queue.close()
            self._left.remove(queue)
        for folder, locks in abandoned(self._lake.journal):
            log.info("landing what a receiver that is gone left", extra=fields(receiver=folder.receiver_id))
            self._left.append(self._queue(folder, locks))

    def _queue(self, folder: ReceiverFolder, locks: list[Lock]) -> Queue:
        return Queue(Lander(folder, self._decoder, *self._tables), folder, locks)


def _report(landed: Landed, seconds: float) -> None:
    facts: dict[str, object] = {
        "spans": landed.rows["spans"],
        "events": landed.rows["events"],
        "requests": landed.requests,
        "segments": landed.segments,
        "files": landed.files,
        "bytes": landed.bytes,
        "seconds": round(seconds, 3),
    }
    if landed.oldest_us is not None:
        lag = time.time() - landed.oldest_us / 1e6
        facts["lag_seconds"] = round(lag, 3)
        metrics().landing_lag_seconds.observe(lag)
    if landed.undecodable:
        metrics().undecodable_requests.inc(landed.undecodable)
        facts["undecodable_requests"] = landed.undecodable
    facts |= {f"note_{name}": count for name, count in sorted(landed.notes.items())}
    log.info("landed", extra=fields(**facts))


def main() -> int:
    """Take the order from stdin and land until told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    line = child.read_order()
    if not line:
        sys.exit("llmcost.ingest.worker is started by: llmcost serve")
    order = WorkerOrder.parse(line)
    configure(order.log_format)
    keep_freed_memory()
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own would not keep what it frees
    wishes = child.Wishes()
    signal.signal(signal.SIGTERM, lambda *_: setattr(wishes, "drain", True))
    lake = Lake(Path(order.lake))
    folders = [ReceiverFolder(lake.journal / receiver_id) for receiver_id in order.receiver_ids]
    locks = _locks(folders, wishes)
    if locks is None:
        return 0
    decoder = Decoder(
        conventions.load(order.conventions), order.content.policy, order.landing, order.privacy, coded=True
    )
    try:
        tables = landed_tables(lake)
    except (OSError, DeltaError) as error:
        log.error("cannot open the lake's tables: %s", error)
        return 1
    worker = Worker(lake, decoder, tables, wishes)
    for folder, lock in zip(folders, locks, strict=True):
        worker.add(folder, lock)
    child.say(child.READY)
    worker.run(lands_abandoned=order.lands_abandoned)
    return 0


def _locks(folders: Sequence[ReceiverFolder], wishes: child.Wishes) -> list[Lock] | None:
    """The workers' locks of `folders`, waited for; None if the parent is gone meanwhile.

    A worker that lost its parent may still be finishing its last landing.
    """
    locks: list[Lock] = []
    for folder in folders:
        while (lock := Lock.take(folder.worker_lock)) is None:
            wishes.wait(0.1)
            child.say(child.ALIVE)
            if wishes.orphaned:
                return None
        locks.append(lock)
    return locks


if __name__ == "__main__":
    sys.exit(main())
