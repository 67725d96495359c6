"""Rollups: finding them, checking what is asked of them, rendering their SQL.

A rollup is one `.sql` file: a built-in one, or the user's in the lake's or the project's `rollups/`
folder. `by` and `group_by` are its only template variables, and both are names from fixed lists, so
nothing a user types becomes SQL text.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from ..models.errors import UsageError
from ..models.lake import Lake
from .answers import RollupInfo
from .relations import ROLLUPS, Relation, read

GRAINS = ("day", "hour")
PROJECT_FOLDER = Path("rollups")
_ENVIRONMENT = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


def rollups(lake: Lake | None) -> dict[str, RollupInfo]:
    """Every rollup by name; a user's file of a built-in name replaces it."""
    folders = [ROLLUPS, *([lake.user_rollups] if lake else []), PROJECT_FOLDER]
    paths = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.sql"))]
    return {info.name: info for info in (info_of(read(path)) for path in paths)}


def find(name: str, lake: Lake | None) -> RollupInfo:
    """The rollup `name`. Raises UsageError with the nearest names if there is none."""
    known = rollups(lake)
    wanted = name.strip().lower().replace("_", "-")
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else f"known are {', '.join(sorted(known))}"
    raise UsageError(f'unknown rollup "{name}": {hint} (all: llmcost rollup --list)')


def render(info: RollupInfo, by: str | None = None, group_by: Sequence[str] = ()) -> str:
    """The rollup's SQL, a plain SELECT. Raises UsageError for a grain or dimension it does not have."""
    if by is not None and by not in GRAINS:
        raise UsageError(f'--by "{by}": accepted are {", ".join(GRAINS)}')
    for name in group_by:
        if name not in info.group_by:
            raise UsageError(
                f'{info.name} cannot be grouped by "{name}": it can by {", ".join(info.group_by) or "nothing"}'
            )
    try:
        template = _ENVIRONMENT.from_string(info.path.read_text(encoding="utf-8"))
        return template.render(by=by, group_by=list(dict.fromkeys(group_by)))
    except (TemplateError, OSError) as error:
        raise UsageError(f'rollup "{info.path}": {error}') from error


def info_of(relation: Relation) -> RollupInfo:
    """What a relation's header says, as of a rollup."""
    allowed = next(
        (line[2:].strip().removeprefix("group_by:") for line in relation.text.splitlines() if "-- group_by:" in line),
        "",
    )
    return RollupInfo(
        name=relation.name.replace("_", "-"),
        sentence=relation.sentence,
        grain=relation.grain,
        reads=relation.reads,
        columns=tuple(column for column in relation.columns if "{" not in column.meaning),
        group_by=tuple(word.strip() for word in allowed.split(",") if word.strip()),
        path=relation.path,
    )
