"""Which files of a day are worth merging now: few live files for few rewritings of each byte.

While a day grows its files are merged like the levels of a log-structured tree: FAN files of one tier become one
of the next, sooner where they fill a file of the target size. A receiver that lands a file a second so keeps at
most FAN - 1 files a tier, a hundred in all, and rewrites a byte three times a day. When the day is over and quiet,
what is left becomes files of the target size; a file is not rewritten for a few late rows.

Pure: no clock, no disk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from .live_files import LiveFile

FAN = 32
"""Files of one tier that are merged into one of the next."""

QUIET = timedelta(hours=1)
"""A day that ended this long ago, and whose newest file is this old, is merged for good."""

WORTH = 8
"""A file is merged with smaller ones only where they hold at least an eighth of it."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Files of one day that shall become files of about the target size; `tier` is that of the new ones."""

    day: date
    sources: tuple[LiveFile, ...]
    tier: int

    @property
    def bytes(self) -> int:
        """Size of all sources."""
        return sum(file.bytes for file in self.sources)


def merges(files: Iterable[LiveFile], *, target_bytes: int, now: datetime) -> list[Merge]:
    """What to merge of a table's live files, the oldest day first. No file is in two merges."""
    of_days: dict[date, list[LiveFile]] = defaultdict(list)
    for file in files:
        if file.bytes < target_bytes // 2:  # the others are as they shall be
            of_days[file.day].append(file)
    found: list[Merge] = []
    for day, of_day in sorted(of_days.items()):
        found += (_final if _is_over(day, of_day, now) else _tiers)(of_day, target_bytes)
    return found


def _is_over(day: date, files: Sequence[LiveFile], now: datetime) -> bool:
    end = datetime.combine(day, time(), UTC) + timedelta(days=1)
    return now - end >= QUIET and now - max(file.added_at for file in files) >= QUIET


def _tiers(files: Sequence[LiveFile], target_bytes: int) -> Iterator[Merge]:
    of_tiers: dict[int, list[LiveFile]] = defaultdict(list)
    for file in sorted(files, key=lambda file: (file.added_at, file.name)):
        waiting = of_tiers[file.tier]
        waiting.append(file)
        if len(waiting) > 1 and (len(waiting) == FAN or sum(each.bytes for each in waiting) >= target_bytes):
            yield _merge(waiting)
            of_tiers[file.tier] = []


def _final(files: Sequence[LiveFile], target_bytes: int) -> Iterator[Merge]:
    worth: list[LiveFile] = []
    smaller = 0
    for file in sorted(files, key=lambda file: (file.bytes, file.name)):
        if worth and file.bytes > WORTH * smaller:
            break
        worth.append(file)
        smaller += file.bytes
    waiting: list[LiveFile] = []
    for file in worth:
        waiting.append(file)
        if sum(each.bytes for each in waiting) >= target_bytes:
            yield _merge(waiting)
            waiting = []
    if len(waiting) > 1:
        yield _merge(waiting)


def _merge(files: Sequence[LiveFile]) -> Merge:
    sources = tuple(sorted(files, key=lambda file: file.name))
    return Merge(sources[0].day, sources, 1 + max(file.tier for file in sources))
