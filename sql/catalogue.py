"""Rollups: finding them, checking what is asked of them, rendering their SQL.

A rollup is one `.sql` file: a built-in one, or the user's in the lake's or the project's `rollups/`
folder. `by` and `group_by` are its only template variables, and both are names from fixed lists, so
nothing a user types becomes SQL text.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from ..models.errors import UsageError
from ..models.lake import Lake
from .answers import RollupInfo
from .relations import ROLLUPS, Relation, columns_of, parsed, read

GRAINS = ("day", "hour")
PROJECT_FOLDER = Path("rollups")
_ENVIRONMENT = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


def rollups(lake: Lake | None) -> dict[str, RollupInfo]:
    """Every rollup by name; a user's file of a built-in name replaces it.

    A user's file that is none has a `problem`; where it is broken further in, asking it says so.
    """
    folders = [ROLLUPS, *user_folders(lake)]
    paths = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.sql"))]
    return {info.name: info for info in map(_info, paths)}


def user_folders(lake: Lake | None) -> list[Path]:
    """Where the user's rollups stand, and the files they read; of two of one name the last folder's counts."""
    return [*([lake.user_rollups] if lake else []), PROJECT_FOLDER]


def is_users(info: RollupInfo) -> bool:
    """Whether the rollup is the user's own file."""
    return info.path.parent != ROLLUPS


def find(name: str, lake: Lake | None) -> RollupInfo:
    """The rollup `name`. Raises UsageError with the nearest names if there is none, and for a broken header."""
    known = rollups(lake)
    wanted = spoken(name)
    if wanted in known:
        if problem := known[wanted].problem:
            raise UsageError(problem)
        return known[wanted]
    raise UsageError(f'unknown rollup "{name}": {nearest(wanted, known)} (all: llmcost rollup --list)')


def spoken(name: str) -> str:
    """A name as it is asked for, whatever its file or who types it makes of it.

    >>> spoken("Cost_per_Outcome ")
    'cost-per-outcome'
    """
    return name.strip().lower().replace("_", "-")


def nearest(wanted: str, known: Collection[str]) -> str:
    """What to say of a name that is not known."""
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.4)
    return f"did you mean {', '.join(near)}?" if near else f"known are {', '.join(sorted(known))}"


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
    except TemplateSyntaxError as error:
        raise UsageError(f'rollup "{info.path}": template, line {error.lineno}: {error.message}') from error
    except (TemplateError, OSError, UnicodeDecodeError, TypeError, ValueError, ArithmeticError) as error:
        raise UsageError(f'rollup "{info.path}": template: {error}') from error


def check_columns(
    info: RollupInfo, text: str, found: Sequence[str], by: str | None = None, group_by: Sequence[str] = ()
) -> None:
    """Check the columns that a user's rollup, rendered as `text`, came out with.

    Raises UsageError for one without a comment, for one named twice, and for one that is not there though its header
    names it, or the question does.
    """
    if not is_users(info):
        return
    for name in (*info.key, *filter(None, [info.headline])):
        if name not in found:
            raise UsageError(f'rollup "{info.path}": its header names "{name}", which is none of its columns')
    for name in filter(None, [by, *group_by]):
        if name not in found:
            raise UsageError(
                f'rollup "{info.path}": its rows are not split by "{name}": its select and group by must use `by` '
                "and `group_by`, as in what `llmcost rollup --new NAME` writes"
            )
    commented = {column.name for column in columns_of(text)}
    for name in found:
        if name not in commented:
            raise UsageError(
                f'rollup "{info.path}": column "{name}" has no comment: give it a line of its own, '
                f'"… as {name}, -- what it means, unit", in lower case'
            )
    for name in _twice(found):
        raise UsageError(f'rollup "{info.path}": two columns are called "{name}"')


def _twice(names: Collection[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]


def check_where(info: RollupInfo, where: Collection[str]) -> None:
    """Raises UsageError for a filter that would leave a rollup's rows half filtered."""
    for name in where:
        if info.where is not None and name not in info.where:
            raise UsageError(
                f'{info.name} cannot be filtered by "{name}": it can by {", ".join(info.where) or "nothing"}, '
                "because what it sets beside the cost is not known for less"
            )


def _info(path: Path) -> RollupInfo:
    try:
        relation = read(path) if path.parent == ROLLUPS else parsed(path)
    except UsageError as error:
        return RollupInfo(spoken(path.stem), "", "", (), (), (), path, problem=str(error))
    return info_of(relation)


def info_of(relation: Relation) -> RollupInfo:
    """What a relation's header says, as of a rollup."""
    return RollupInfo(
        name=spoken(relation.name),
        sentence=relation.sentence,
        grain=relation.grain,
        reads=relation.reads,
        columns=tuple(column for column in relation.columns if "{" not in column.meaning),
        group_by=relation.listed("group_by"),
        path=relation.path,
        key=relation.listed("key"),
        headline=relation.facts.get("headline"),
        where=relation.listed("where") if "where" in relation.facts else None,
    )
