"""What has landed since a day was made: by the tables' logs, which name each landed file, merged since or not."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..models.lake import TABLES, Lake


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Files by table and day, as they landed: their rows may stand in merged files by now."""

    files: Mapping[str, Mapping[date, tuple[Path, ...]]] = field(default_factory=dict)

    def on(self, table: str, days: Collection[date]) -> list[Path]:
        """Files of some days."""
        return [path for day, paths in self.files.get(table, {}).items() if day in days for path in paths]


def between(lake: Lake, then: Sequence[int], now: Sequence[int]) -> Arrivals | None:
    """What landed after the versions `then` of the tables, up to `now`, both in the order of TABLES.

    None where the logs cannot say it: a commit was cleaned away (they are kept for an hour), rows were taken out, or
    a file that was merged is gone.
    """
    found: dict[str, dict[date, tuple[Path, ...]]] = {}
    try:
        for table, first, last in zip(TABLES, then, now, strict=True):
            landed: dict[date, tuple[Path, ...]] = {}
            for path in _landed(lake.table(table), first, last):
                day = date.fromisoformat(path.parent.name.removeprefix("day="))
                landed[day] = (*landed.get(day, ()), path)
            found[table] = landed
    except _Unsaid:
        return None
    return Arrivals(found)


class _Unsaid(Exception):
    """The log does not say what arrived."""


def _landed(root: Path, first: int, last: int) -> Iterator[Path]:
    for version in range(first + 1, last + 1):
        for action in _actions(root / "_delta_log" / f"{version:020d}.json"):
            if action.get("remove", {}).get("dataChange"):
                raise _Unsaid
            added = action.get("add")
            if added and added["dataChange"]:
                path = root / unquote(added["path"])
                if not path.exists():
                    raise _Unsaid
                yield path


def _actions(commit: Path) -> list[dict[str, Any]]:
    """The actions of one commit, as the Delta protocol has them: a JSON object a line."""
    try:
        return [json.loads(line) for line in commit.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise _Unsaid from error
