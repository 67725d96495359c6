"""The `.sql` files: reading them, their headers and the comments of their columns.

A file opens with `--` lines: sentences, then facts such as `-- grain: …` and `-- reads: a, b`. A line of the
final select that names a column may end in `-- meaning, unit`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from ..models.errors import UsageError

ALERTS = Path(__file__).with_name("alerts")
AUDITS = Path(__file__).with_name("audits")
BASELINES = Path(__file__).with_name("baselines")
CHAIN = Path(__file__).with_name("chain")
CHARGEBACK = Path(__file__).with_name("chargeback")
DRIVERS = Path(__file__).with_name("drivers")
ROLLUPS = Path(__file__).with_name("rollups")
SIDES = Path(__file__).with_name("sides")
SPEND = Path(__file__).with_name("spend")
VIEWS = Path(__file__).with_name("views")

_COLUMN = re.compile(r"(?:^|[ .)])([a-z_][a-z0-9_]*),?\s+--\s+(.+)$")


_FACTS = (
    "grain", "reads", "group_by", "key", "headline", "where", "next",
    "window", "severity", "cool_down", "param", "argument",
)  # fmt: skip
"""What a header may say after its sentences: of rollups and audits, of alert rules and their baselines."""

_UNITS = ("USD", "tokens", "ms", "percent")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a relation, as its comment says it."""

    name: str
    meaning: str

    @property
    def unit(self) -> str | None:
        """The unit the meaning ends its first part with: `booked cost, USD; NULL when …`."""
        last = self.meaning.partition(";")[0].rpartition(", ")[2]
        return last if last in _UNITS else None


@dataclass(frozen=True, slots=True)
class Relation:
    """One `.sql` file: its text and what its header says."""

    name: str
    path: Path
    text: str
    sentence: str
    grain: str
    reads: tuple[str, ...]
    columns: tuple[Column, ...]
    facts: Mapping[str, str]

    def listed(self, fact: str) -> tuple[str, ...]:
        """The words of a fact that is a list, such as `group_by: feature, team`."""
        return _listed(self.facts, fact)


@cache
def read(path: Path) -> Relation:
    """The relation in `path`, one of ours: read once.

    Raises what `parsed` raises.
    """
    return parsed(path)


def parsed(path: Path) -> Relation:
    """The relation that stands in `path` now.

    Raises UsageError if the file cannot be read or has no header sentence.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f'cannot read "{path}": {error}') from error
    header: list[str] = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        header.append(line[2:].strip())
    facts = {name: value for name in _FACTS for value in [_fact(header, name)] if value}
    sentence = " ".join(line for line in header if not line.startswith(tuple(f"{name}:" for name in _FACTS)))
    if not sentence:
        raise UsageError(f'"{path}" has no header: its first line must be a comment that says what it answers')
    return Relation(
        name=path.stem,
        path=path,
        text=text,
        sentence=sentence,
        grain=facts.get("grain", ""),
        reads=_listed(facts, "reads"),
        columns=columns_of(text),
        facts=facts,
    )


def views() -> list[Relation]:
    """The relations of `sql/views`, each after those it reads."""
    found = {path.stem: read(path) for path in sorted(VIEWS.glob("*.sql"))}
    graph = {name: [other for other in view.reads if other in found] for name, view in found.items()}
    return [found[name] for name in TopologicalSorter(graph).static_order()]


def closure(names: Iterable[str]) -> set[str]:
    """The relations `names` and whatever the views among them read, down to the rows of marts."""
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            path = VIEWS / f"{name}.sql"
            waiting += read(path).reads if path.exists() else ()
    return found


def rows_of(mart: str) -> str:
    """The relation that holds the mart's rows as its files have them.

    The mart's own name, unless a view of that name stands over them: then it is the first that the view reads.
    """
    path = VIEWS / f"{mart}.sql"
    return read(path).reads[0] if path.exists() else mart


def _fact(header: list[str], name: str) -> str | None:
    return next((line.removeprefix(f"{name}:").strip() for line in header if line.startswith(f"{name}:")), None)


def _listed(facts: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in facts.get(name, "").split(",") if word.strip())


def columns_of(text: str) -> tuple[Column, ...]:
    """Commented columns in order; the name is the last word before the comment."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line.lstrip().startswith("--") and (match := _COLUMN.search(line)):
            found.setdefault(match[1], match[2].strip())
    return tuple(Column(name, meaning) for name, meaning in found.items())
