"""Questions over mart files that stay the same while they are asked.

A mart is replaced whole, but a question reads many, some of them twice: one that was replaced in between would give
an answer of two moments. So the files are looked at before and after. The few that change under a question's hands,
those of today as a rule, are copied for the next try; so it ends, however often they are replaced.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeVar

from ..models.lake import MARTS, Lake

Answered = TypeVar("Answered")

_TRIES = 4

Identity = tuple[int, int, int] | None
"""Inode, time and size of a file; None where there is none."""


def ask_steady(
    lake: Lake, days: Collection[date], question: Callable[[Lake], Answered], marts: Collection[str] = MARTS
) -> Answered:
    """Answer `question` from files of `marts` on `days` of which none was replaced meanwhile.

    So `question` may be asked more than once, must give its whole answer before it returns, and must take the
    marts' paths from the lake it is given. Its error is raised if nothing was replaced.
    """
    paths = {lake.mart_file(name, day) for name in marts for day in days}
    held: set[Path] = set()
    for _ in range(_TRIES - 1):
        with _holding(lake, held) as source:
            before = {path: _identity(path) for path in paths - held}
            try:
                answer = question(source)
            except Exception:
                replaced = _replaced(before)
                if not replaced:
                    raise
            else:
                replaced = _replaced(before)
                if not replaced:
                    return answer
        held |= replaced
    with _holding(lake, paths) as source:
        return question(source)


def _replaced(before: Mapping[Path, Identity]) -> set[Path]:
    return {path for path, identity in before.items() if _identity(path) != identity}


@dataclass(frozen=True)
class _Holding(Lake):
    """A lake some of whose marts are copies in another folder."""

    copies: Lake
    held: frozenset[Path]

    def mart_file(self, name: str, day: date) -> Path:
        path = super().mart_file(name, day)
        return self.copies.mart_file(name, day) if path in self.held else path


@contextlib.contextmanager
def _holding(lake: Lake, held: Collection[Path]) -> Iterator[Lake]:
    if not held:
        yield lake
        return
    with tempfile.TemporaryDirectory(prefix="llmcost-") as folder:
        for path in held:
            copy = Path(folder) / path.relative_to(lake.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # retention took it: then it is in no answer
                shutil.copyfile(path, copy)
        yield _Holding(lake.root, Lake(Path(folder)), frozenset(held))


def _identity(path: Path) -> Identity:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
