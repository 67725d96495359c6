"""The Python face: what docs/python.md shows is true, and a type checker knows it."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pytest
from mypy import api
from support.lakes import NOW
from test_bi import two_days

from llmcost.sql import Warehouse
from llmcost.sql.questions import RollupOptions

ROOT = Path(__file__).parent.parent


def test_the_session_in_the_docs_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = two_days(tmp_path / "lake").lake.root

    def opened(path: Path) -> Warehouse:
        return Warehouse(path, now=lambda: NOW)

    monkeypatch.setattr("llmcost.sql.Warehouse", opened)
    ran = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False, globs={"lake": lake})
    assert (0, True) == (ran.failed, ran.attempted > 5)


def test_rollup_takes_the_keywords_that_ask_takes() -> None:
    """With the same types: a keyword added to one belongs in the other."""
    asked = inspect.get_annotations(Warehouse.ask)
    ours = inspect.get_annotations(RollupOptions)
    assert asked.keys() - {"self", "name", "return"} == ours.keys()


def test_a_users_file_is_checked_strictly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    """A frame is a frame, and a grain that there is not is an error."""
    monkeypatch.chdir(tmp_path)
    theirs = tmp_path / "theirs.py"
    theirs.write_text(
        "import polars as pl\nfrom llmcost.sql import Warehouse\n"
        'frame: pl.DataFrame = Warehouse("lake").rollup("cost-per-outcome", since="7d", group_by=["feature"])\n'
        'other: pl.DataFrame = Warehouse("lake").query("from calls")\n'
        'wrong = Warehouse("lake").rollup("cost-per-outcome", by="week", group=["feature"])\n'
    )
    monkeypatch.setenv("MYPYPATH", str(ROOT / ".typing"))
    assert pytestconfig.cache is not None
    options = ["--strict", "--ignore-missing-imports", "--follow-imports=silent", "--explicit-package-bases"]
    said, errors, _ = api.run([*options, "--cache-dir", str(pytestconfig.cache.mkdir("mypy")), str(theirs)])

    assert "" == errors
    assert [5, 5] == [int(line.split(":")[1]) for line in said.splitlines() if ": error: " in line], said
