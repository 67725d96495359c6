"""The landing worker: a process of its own, because decoding holds the interpreter's lock.

Its first line on stdin is the order (JSON). After that one byte says why to look: `s`, a segment was
closed; `d`, land everything that is closed and exit. The end of stdin means that the receiver is
gone: finish the landing at hand and exit, the rest waits for the next start.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import sys
import time
from pathlib import Path

import pyarrow as pa
from deltalake.exceptions import DeltaError

from ..models import conventions
from ..models.lake import Lake
from .columns import Decoder
from .delta import landed_tables
from .landing import Landed, Lander
from .logs import configure, fields
from .memory import keep_freed_memory
from .receiver_folder import Lock, ReceiverFolder, Segment, abandoned
from .worker_order import Order

log = logging.getLogger("llmcost.ingest.worker")

TRIES_A_SEGMENT = 5
"""Landings of one segment begun and not finished, by an error or a crash, before it is put aside."""

_LOOK_SECONDS = 1.0
_BACK_OFF_SECONDS = (0.5, 1, 2, 5, 10)


class Wishes:
    """What the receiver, or a signal, wants of the worker."""

    def __init__(self, stdin: int) -> None:
        os.set_blocking(stdin, False)
        self._stdin = stdin
        self._selector = selectors.DefaultSelector()
        self._selector.register(stdin, selectors.EVENT_READ)
        self.drain = False
        self.orphaned = False

    def wait(self, seconds: float) -> None:
        """Return when there is something to do, at the latest after `seconds`."""
        if self.drain or self._selector.select(seconds):
            self.look()

    def look(self) -> None:
        """Take in what has been said, without waiting."""
        try:
            said = os.read(self._stdin, 4096)
        except BlockingIOError:
            return
        if not said:
            self.orphaned = True
        elif b"d" in said:
            self.drain = True


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


class Worker:
    """Lands what is closed, oldest first, until told to stop."""

    def __init__(self, lander: Lander, folder: ReceiverFolder, wishes: Wishes) -> None:
        self._lander = lander
        self._folder = folder
        self._wishes = wishes
        self._tries = Tries(folder.root / "tries")
        self._failures = 0
        self._alone_until = 0

    def run(self, *, until_empty: bool = False) -> None:
        """Return when orphaned, or when nothing waits and a drain is wished or `until_empty`."""
        while True:
            self._wishes.look()
            if self._wishes.orphaned:
                return
            waiting = self._folder.waiting()
            if not waiting and (until_empty or self._wishes.drain):
                return
            if not waiting:
                self._wishes.wait(_LOOK_SECONDS)
                continue
            try:
                self._land(waiting)
                self._failures = 0
            except (OSError, DeltaError) as error:
                self._hold_on(error)

    def _land(self, waiting: list[Segment]) -> None:
        before = self._tries.begin(waiting[0].number)
        if before >= TRIES_A_SEGMENT:
            kept = self._folder.quarantine(waiting[0])
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
            self._pause(0.1 * 2**before)
            return
        self._tries.forget()
        _report(landed, time.monotonic() - started)

    def _hold_on(self, error: Exception) -> None:
        """The lake cannot be written: keep everything, wait, try again."""
        seconds = _BACK_OFF_SECONDS[min(self._failures, len(_BACK_OFF_SECONDS) - 1)]
        self._failures += 1
        log.error("cannot write the lake, will try again: %s", error, extra=fields(wait_seconds=seconds))
        self._pause(seconds)

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._wishes.orphaned and (left := deadline - time.monotonic()) > 0:
            self._wishes.look()
            time.sleep(min(left, 0.1))


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
        facts["lag_seconds"] = round(time.time() - landed.oldest_us / 1e6, 3)
    if landed.undecodable:
        facts["undecodable_requests"] = landed.undecodable
    facts |= {f"note_{name}": count for name, count in sorted(landed.notes.items())}
    log.info("landed", extra=fields(**facts))


def main() -> int:
    """Take the order from stdin and land until told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the receiver decides
    order = Order.parse(_first_line(0))
    configure(order.log_format)
    keep_freed_memory()
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own would not keep what it frees
    wishes = Wishes(0)
    signal.signal(signal.SIGTERM, lambda *_: setattr(wishes, "drain", True))
    lake = Lake(Path(order.lake))
    folder = ReceiverFolder(lake.journal / order.receiver_id)
    lock = Lock.take(folder.root / "worker.lock")
    while lock is None:  # a worker that lost its receiver is finishing its last landing
        wishes.wait(0.1)
        if wishes.orphaned:
            return 0
        lock = Lock.take(folder.root / "worker.lock")
    decoder = Decoder(conventions.load(order.conventions), order.content.policy, order.landing)
    try:
        tables = landed_tables(lake)
    except (OSError, DeltaError) as error:
        log.error("cannot open the lake's tables: %s", error)
        return 1
    for left in abandoned(lake.journal):
        log.info("landing what a receiver that is gone left", extra=fields(receiver=left.receiver_id))
        for _ in left.recover():
            pass
        Worker(Lander(left, decoder, *tables), left, wishes).run(until_empty=True)
    Worker(Lander(folder, decoder, *tables), folder, wishes).run()
    return 0


def _first_line(stdin: int) -> bytes:
    """One line, byte by byte: what follows it belongs to the wishes."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(stdin, 1)
        if not byte:
            raise SystemExit("llmcost.ingest.worker is started by: llmcost serve")
        line += byte
    return line


if __name__ == "__main__":
    sys.exit(main())
