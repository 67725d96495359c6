"""The house: cli and ingest and sql stand on models, and on nothing else of ours but what is listed here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "models": {"models"},
    "ingest": {"ingest", "models"},
    "sql": {"sql", "models"},
    "cli": {"cli", "ingest", "sql", "models"},
}
FILES = sorted(file for room in MAY_IMPORT for file in (ROOT / room).rglob("*.py"))


def imported_rooms(file: Path) -> Iterator[tuple[str, int]]:
    """(room, line) of every import of ours, wherever in the file it stands."""
    package = ("llmcost", *file.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = package[: len(package) - node.level + 1]
        names = [node.module.split(".")] if node.module else [[alias.name] for alias in node.names]
        for name in names:
            full = (*base, *name)
            yield (full[1] if len(full) > 1 else ""), node.lineno


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_down_only(file: Path) -> None:
    room = file.relative_to(ROOT).parts[0]
    upward = [f"line {line}: {other}" for other, line in imported_rooms(file) if other not in MAY_IMPORT[room]]
    assert not upward, f"{room} may import {sorted(MAY_IMPORT[room])}; see README, How it works"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_inside_the_package_our_imports_are_relative(file: Path) -> None:
    absolute = [
        node.lineno
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "llmcost" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "llmcost")
    ]
    assert not absolute, f"{file.name}: write `from ..models import …` on lines {absolute}"


COMMANDS = [file for file in sorted((ROOT / "cli").glob("*.py")) if not file.name.startswith("demo_")]
"""The demo's own modules are loaded by the demo only."""


@pytest.mark.parametrize("file", COMMANDS, ids=lambda file: file.name)
def test_a_command_starts_without_loading_the_engine(file: Path) -> None:
    """What costs start-up time is imported where it is used."""
    heavy = {"duckdb", "polars", "pyarrow", "grpc", "rich", "opentelemetry", "genai_prices", "pydantic"}
    top = [
        node
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    named = {
        name.split(".")[0]
        for node in top
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if not getattr(node, "level", 0)
    }
    assert not named & heavy
    ours = {node.module for node in top if isinstance(node, ast.ImportFrom) and node.level > 1}
    assert ours <= {"models.errors"}
