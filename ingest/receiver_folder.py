"""A receiver's folder in the journal: who owns it, which segments wait in it, which numbers are free.

    journal/RECEIVER/lock                 held with flock by the running receiver
    journal/RECEIVER/worker.lock          held with flock by the process that lands
    journal/RECEIVER/NNNNNNNNNNNN.open    the segment being written
    journal/RECEIVER/NNNNNNNNNNNN.seg     closed, waiting to be landed
    journal/RECEIVER/quarantine/          what could not be landed, kept for a person

Numbers only ever grow, because the Delta tables remember the last one landed for each receiver and
take a segment with that number or a lower one for landed already.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .journal import Reading, SegmentUnreadable, close_segment, sync_file, sync_folder

_RECEIVER_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A closed segment that waits to be landed."""

    number: int
    path: Path
    bytes: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """A segment that a dead receiver left open: how much of it was whole, how much was cut.

    `unreadable` is the reason why it was put in quarantine instead, else None.
    """

    path: Path
    whole_bytes: int
    cut_bytes: int
    unreadable: str | None = None


class Lock:
    """An flock on a file, held until released or until the process ends, however it ends."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @classmethod
    def take(cls, path: Path) -> Lock | None:
        """The lock on `path`, or None if another process holds it. Does not wait."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
        return cls(handle)

    def fileno(self) -> int:
        """Its file descriptor; a process that inherits it holds the lock too, for as long as it lives."""
        return self._handle

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._handle)


class ReceiverFolder:
    """Paths and segments of one receiver. Creating this object touches nothing on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def receiver_id(self) -> str:
        """The name under which the Delta tables remember what was landed."""
        return self.root.name

    @property
    def lock(self) -> Path:
        """Locked by the running receiver."""
        return self.root / "lock"

    @property
    def worker_lock(self) -> Path:
        """Locked by the process that lands this folder."""
        return self.root / "worker.lock"

    @property
    def quarantine_root(self) -> Path:
        """Where segments and requests that cannot be landed are kept."""
        return self.root / "quarantine"

    def open_path(self, number: int) -> Path:
        """The segment `number` while it is being written."""
        return self.root / f"{number:012d}.open"

    def waiting(self) -> list[Segment]:
        """Closed segments, oldest first."""
        found = []
        for path in self._named("*.seg"):
            with suppress(FileNotFoundError):  # landed and retired since it was listed
                found.append(Segment(int(path.stem), path, path.stat().st_size))
        return sorted(found)

    def left_bytes(self) -> int:
        """Bytes of segments, closed or left open, that hold what is not known to be landed."""
        return sum(path.stat().st_size for path in (*self._named("*.seg"), *self._named("*.open")))

    def last_number(self) -> int:
        """The highest number any file here bears, quarantine included; 0 if there is none."""
        here = (int(path.stem) for path in self._named("*.*"))
        kept = (int(path.name[:12]) for path in self.quarantine_root.glob("*") if path.name[:12].isdecimal())
        return max((*here, *kept), default=0)

    def recover(self) -> Iterator[Recovered]:
        """Close every segment a dead receiver left open, cut at its last whole frame.

        Only the holder of the receiver's lock may call this.
        """
        for path in sorted(self._named("*.open")):
            try:
                with Reading(path) as reading:
                    for _ in reading:
                        pass
            except SegmentUnreadable as error:
                self._keep(path)
                yield Recovered(path, 0, 0, str(error))
                continue
            if reading.cut_bytes:
                os.truncate(path, reading.whole_bytes)
                sync_file(path)
            close_segment(path, reading.whole_bytes)
            yield Recovered(path, reading.whole_bytes, reading.cut_bytes)

    def retire(self, segments: Iterable[Segment]) -> None:
        """Remove landed segments. One that comes back after a power cut is recognised as landed."""
        for segment in segments:
            segment.path.unlink(missing_ok=True)

    def quarantine(self, segment: Segment) -> Path:
        """Move a segment out of the way of the others; returns where it is kept."""
        return self._keep(segment.path)

    def readmit(self, next_number: int) -> list[Segment]:
        """Put what is in quarantine behind the queue once more, numbered from `next_number`.

        Under its old number it would be taken for landed. Damaged segments stay: what could be read of them is.
        """
        readmitted: list[Segment] = []
        for path in sorted(self.quarantine_root.glob("*.seg")):
            if re.fullmatch(r"\d{12}(\.undecodable)?\.seg", path.name):
                number = next_number + len(readmitted)
                waiting = self.open_path(number).with_suffix(".seg")
                readmitted.append(Segment(number, path, path.stat().st_size))
                path.rename(waiting)
        if readmitted:
            sync_folder(self.root)
        return readmitted

    def _keep(self, path: Path) -> Path:
        self.quarantine_root.mkdir(exist_ok=True)
        kept = self.quarantine_root / path.name
        path.rename(kept)
        sync_folder(self.quarantine_root)
        sync_folder(self.root)
        return kept

    def _named(self, pattern: str) -> Iterator[Path]:
        return (path for path in self.root.glob(pattern) if len(path.stem) == 12 and path.stem.isdecimal())


def claim(journal: Path) -> tuple[ReceiverFolder, Lock]:
    """A receiver folder that no running receiver owns, and the lock that makes it ours.

    One that a stopped receiver left is taken over, that with the largest backlog first: its id stays in
    use and what it acknowledged gets landed. Otherwise a new one is made.
    """
    for folder in sorted(_folders(journal), key=_backlog_bytes, reverse=True):
        if lock := Lock.take(folder.lock):
            return folder, lock
    while True:
        folder = ReceiverFolder(journal / secrets.token_hex(6))
        folder.root.mkdir()
        sync_folder(journal)
        if lock := Lock.take(folder.lock):  # another receiver that starts now may be quicker
            return folder, lock


def abandoned(journal: Path) -> Iterator[tuple[ReceiverFolder, list[Lock]]]:
    """Folders with a backlog that neither a receiver nor a worker holds, and their locks, now the caller's.

    Two receivers ran and one of them was started again: the other's acknowledged requests wait here. What
    it left open has been closed.
    """
    for folder in _folders(journal):
        if not any(folder.root.glob("*.seg")) and not any(folder.root.glob("*.open")):
            continue
        # The worker's first: whoever lands this folder already must not find its receiver's lock taken.
        if (landing := Lock.take(folder.worker_lock)) is None:
            continue
        if (receiving := Lock.take(folder.lock)) is None:
            landing.release()
            continue
        for _ in folder.recover():
            pass
        yield folder, [landing, receiving]


def _folders(journal: Path) -> list[ReceiverFolder]:
    return [ReceiverFolder(path) for path in sorted(journal.iterdir()) if _RECEIVER_ID.fullmatch(path.name)]


def _backlog_bytes(folder: ReceiverFolder) -> int:
    return sum(segment.bytes for segment in folder.waiting())
