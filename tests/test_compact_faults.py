"""Compactors that are killed, and several at once, beside receivers that land and a reader that reads."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import upkeep_process
from support.upkeep_process import ROWS, STEPS, append, span_ids

from llmcost.ingest.compact import compact
from llmcost.models.lake import Lake
from llmcost.models.settings import Upkeep

PATIENCE_SECONDS = 60
COMMITS = 12


def start(what: str, lake: Lake, *rest: object) -> subprocess.Popen[str]:
    program = [sys.executable, upkeep_process.__file__, what, lake.root, *rest]
    return subprocess.Popen([*map(str, program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wanted(*receivers: str, commits: int = COMMITS) -> dict[str, int]:
    return {f"{name}-{n}-{row}": 1 for name in receivers for n in range(1, commits + 1) for row in range(ROWS)}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lake]:
    """Lakes whose compactor died at each step of its first merge."""
    lakes = {step: Lake.create(tmp_path_factory.mktemp(step) / "lake") for step in STEPS}
    for lake in lakes.values():
        append(lake, "a", 7)
    for dying in [start("compact", lakes[step], step) for step in STEPS]:
        dying.communicate(timeout=PATIENCE_SECONDS)
        assert dying.returncode == -9
    return lakes


@pytest.mark.parametrize("step", STEPS)
def test_a_compactor_that_is_killed_loses_and_doubles_nothing(
    killed: dict[str, Lake], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whichever step; the next one takes up where it stopped, and landing goes on."""
    monkeypatch.setattr("llmcost.ingest.tiers.FAN", 3)
    assert wanted("a", commits=7) == span_ids(killed[step])
    append(killed[step], "b", 7)
    assert list(compact(killed[step], Upkeep(), now=upkeep_process.NOON))
    assert wanted("a", "b", commits=7) == span_ids(killed[step])


def test_two_compactors_two_receivers_and_a_reader_agree(tmp_path: Path) -> None:
    """The compactors are killed at random moments, and nobody holds the lock: 0 rows lost, 0 doubled, ever."""
    source = random.Random(22)  # noqa: S311  (which moment to kill at)
    lake = Lake.create(tmp_path / "lake")
    appending = [start("append", lake, name, COMMITS) for name in ("a", "b")]
    reader = start("read", lake)
    compacting = [start("compact", lake), start("compact", lake)]
    kills, deadline = 0, time.monotonic() + PATIENCE_SECONDS
    while any(process.poll() is None for process in appending) or kills < 3:
        assert time.monotonic() < deadline
        victim = source.randrange(2)
        assert compacting[victim].stdout is not None
        compacting[victim].stdout.readline()  # it works; now at a random moment
        time.sleep(source.random() * 0.15)
        compacting[victim].kill()
        compacting[victim].communicate()
        kills += 1
        compacting[victim] = start("compact", lake)
        if all(process.poll() is not None for process in appending):
            break
    errors = [process.communicate()[1] for process in appending]
    assert [0, 0] == [process.returncode for process in appending], errors
    for process in compacting:
        process.kill()
        process.communicate()
    reader.kill()
    looks = [tuple(map(int, line.split())) for line in reader.communicate()[0].splitlines() if len(line.split()) == 2]
    assert {0} == {twice for _, twice in looks}
    assert looks == sorted(looks)
    assert wanted("a", "b") == span_ids(lake)
