"""Turns at a day: one process at a time derives it, and leaves word of what it made the marts from."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import date

from ..models.errors import LakeNotWritable
from ..models.lake import Lake
from .inventory import Inventory

_MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Word:
    """What the marts of a day were made from, as the last one who had its turn at it says.

    It stands in the file that the turn locks. Only a word: it holds for the marts that bear `stamp`, and without it
    the day is derived whole. One that was left in the middle of writing says that the marts are not of one moment.
    """

    stamp: str | None = None
    """What the marts bear."""
    fingerprint: str | None = None
    """All that is in them: more than the stamp says, where what came later changed nothing of the day."""
    versions: tuple[int, ...] = ()
    """Of the tables, as Inventory has them."""
    rules: tuple[str, ...] = ()
    book: str = ""
    is_writing: bool = False

    @classmethod
    def of(cls, lake: Lake, day: date) -> Word:
        """The word on `day`; an empty one where there is none."""
        try:
            return cls.parse(lake.turn(day).read_bytes())
        except OSError:
            return cls()

    @classmethod
    def parse(cls, text: bytes) -> Word:
        """The word that a turn's file holds; an empty one where it is none."""
        try:
            said = json.loads(text)
            return cls(**said | {name: tuple(said[name]) for name in ("versions", "rules")})
        except (ValueError, TypeError, KeyError):
            return cls()

    def vouches(self, stamp: str | None, inventory: Inventory, day: date, rules: Sequence[str]) -> bool:
        """Whether the marts, which bear `stamp`, are what deriving `day` now would give."""
        if self.is_writing:
            return False
        known = self.fingerprint if self.holds(stamp) else None
        return inventory.vouches(stamp, day, rules) or inventory.vouches(known, day, rules)

    def holds(self, stamp: str | None) -> bool:
        """Whether it is about the marts that bear `stamp`."""
        return stamp is not None and not self.is_writing and self.stamp == stamp

    def has_seen(self, stamp: str | None, inventory: Inventory, rules: Sequence[str]) -> bool:
        """Whether the marts, which bear `stamp`, were made by `rules` from at least what `inventory` holds."""
        if not self.holds(stamp) or self.rules != tuple(rules) or len(self.versions) != len(inventory.versions):
            return False
        versions = zip(self.versions, inventory.versions, strict=True)
        return bool(inventory.versions) and all(theirs >= ours for theirs, ours in versions)


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn at a day, held: the word of the last one, and a place for the next."""

    handle: int

    @property
    def word(self) -> Word:
        """What the last one left; an empty word where that is nothing, or none."""
        with suppress(OSError):
            return Word.parse(os.pread(self.handle, _MOST_BYTES, 0))
        return Word()

    def leave(self, word: Word) -> None:
        """Leave word; where it says that marts are being written it is on disk on return, before any of them is."""
        text = json.dumps(asdict(word)).encode()
        with suppress(OSError):
            os.ftruncate(self.handle, 0)
            os.pwrite(self.handle, text, 0)
            if word.is_writing:
                os.fsync(self.handle)


@contextmanager
def turn(lake: Lake, day: date) -> Iterator[Turn]:
    """Wait until no other process derives `day`. Raises LakeNotWritable."""
    path = lake.turn(day)
    try:
        path.parent.mkdir(exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as error:
        raise LakeNotWritable(f'cannot write "{path}": {error.strerror}: is the lake read-only?') from error
    try:
        with suppress(OSError):  # a file system without locks: the last writer stands, and the next look mends it
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield Turn(handle)
    finally:
        os.close(handle)
