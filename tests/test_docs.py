"""What the documents show is what the program does.

Times differ from run to run: dates, ages and durations are blanked on both sides before they are compared. A line
of `…` in a document stands for lines left out.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from llmcost.cli.main import app

ROOT = Path(__file__).parent.parent
_BLANKS = (
    (r"\d{4}-\d{2}-\d{2}T[\d:.]+Z", "TIME"),
    (r"\d{4}-\d{2}-\d{2} \d{2}:\d{2} UTC", "TIME"),
    (r"newest span .*", "AGE"),
    (r"--since \d+d", "--since DAYS"),
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
)


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Session:
    """A command as README shows it, and the lines that it says follow."""

    line: int
    command: str
    output: tuple[str, ...]


def sessions() -> Iterator[Session]:
    """Every command of every ```console block of README."""
    inside, begun, command = False, 0, ""
    output: list[str] = []
    for number, text in enumerate((ROOT / "README.md").read_text(encoding="utf-8").splitlines(), 1):
        if text.startswith("```"):
            if inside:
                yield Session(begun, command, tuple(output))
            inside, output, command = text == "```console", [], ""
        elif inside and text.startswith("$ ") and not command:
            begun, command = number, text.removeprefix("$ ")
        elif inside:
            output.append(text)


def blanked(text: str) -> str:
    for pattern, blank in _BLANKS:
        text = re.sub(pattern, blank, text)
    return text.rstrip()


def missing_line(documented: tuple[str, ...], printed: str) -> str | None:
    """The first documented line that does not follow, in order, in what was printed."""
    rest = iter([blanked(line) for line in printed.splitlines()])
    for line in documented:
        wanted = blanked(line)
        if wanted not in ("", "…") and not any(wanted == found for found in rest):
            return line
    return None


@dataclass(frozen=True)
class Demo:
    folder: Path
    ended: subprocess.CompletedProcess[str]


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LLMCOST_")}
    program = [sys.executable, "-m", "llmcost.cli", *command]
    return subprocess.run(
        program, cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=180
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    return Demo(folder, _run(folder, "demo"))


def test_the_demo_counts_every_known_dollar_once(demo: Demo) -> None:
    assert demo.ended.returncode == 0, demo.ended.stderr
    assert "difference $0.000000000" in demo.ended.stdout


def test_a_second_demo_replaces_the_first_and_nothing_else(demo: Demo, tmp_path: Path) -> None:
    assert (demo.folder / "llmcost-demo-lake" / "demo.json").is_file()
    (tmp_path / "precious").write_text("mine")
    refused = _run(tmp_path, "demo", "--lake", ".")
    assert refused.returncode == 2
    assert "is not an earlier demo's lake, and is not empty" in refused.stderr
    assert (tmp_path / "precious").read_text() == "mine"


# `llmcost serve` runs until it is stopped: what it prints is pinned by the receiver's own tests.
ENDING = [session for session in sessions() if not session.command.startswith("llmcost serve")]


@pytest.mark.parametrize("session", ENDING, ids=lambda session: f"README:{session.line}")
def test_readme_shows_what_the_program_prints(demo: Demo, session: Session) -> None:
    if session.command == "make demo":
        printed = demo.ended.stderr + demo.ended.stdout
    else:
        program, *arguments = shlex.split(session.command)
        assert program == "llmcost"
        ended = _run(demo.folder, *arguments)
        assert ended.returncode == 0, ended.stderr
        printed = ended.stdout
    absent = missing_line(session.output, printed)
    assert absent is None, f"README line after {session.line} is not printed any more: {absent!r}, but:\n{printed}"


def test_the_reference_pages_are_what_the_program_says() -> None:
    assert _generator().stale() == [], "run: python docs/generate.py"


def test_every_command_is_documented() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    groups = {group.typer_instance.info.name for group in app.registered_groups if group.typer_instance}
    documented = {command[0] for command in _generator().COMMANDS if command}
    assert commands | groups == documented


def test_every_page_that_a_document_links_is_there() -> None:
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links {target}"
