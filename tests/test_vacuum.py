"""Vacuum removes what nobody needs, and nothing else; whoever was reading it asks again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable
from support.lakes import SmallLake
from support.spans import NOON, call, trace_id

from llmcost.ingest import delta_log
from llmcost.ingest.compact import compact
from llmcost.ingest.delta import landed_tables
from llmcost.ingest.vacuum import vacuum
from llmcost.models.lake import Lake
from llmcost.models.settings import Upkeep
from llmcost.sql import Warehouse
from llmcost.sql.inventory import Inventory

GRACE = timedelta(hours=24)
DAY = NOON.date()


@pytest.fixture
def small(tmp_path: Path) -> SmallLake:
    """Three landings, compacted to one file."""
    small = SmallLake(tmp_path / "lake")
    for number in range(3):
        small.land(call(f"t{number}", "llm", input=10, output=3))
    assert list(compact(small.lake, Upkeep(), now=datetime.now(UTC) + timedelta(hours=2)))
    return small


def age(path: Path, hours: float) -> None:
    """Make a file older, as if nobody had claimed it for so long."""
    at = path.lstat().st_mtime - hours * 3600
    os.utime(path, (at, at), follow_symlinks=False)


def age_all(lake: Lake, hours: float) -> None:
    """Make every file of the landed tables' days older, and what the log says of removals."""
    for path in lake.root.glob("*/day=*/*"):
        age(path, hours)
    for path in lake.root.glob("*/_delta_log/*.json"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join(_aged(line, hours) for line in lines if line) + "\n")


def _aged(line: str, hours: float) -> str:
    action = json.loads(line)
    if "remove" in action:
        action["remove"]["deletionTimestamp"] -= int(hours * 3_600_000)
    return json.dumps(action, separators=(",", ":"))


def vacuumed(lake: Lake, now: datetime | None = None) -> dict[str, str]:
    """What was removed: name -> kind."""
    found = vacuum(lake, grace=GRACE, now=now or datetime.now(UTC))
    return {Path(file.path).name: file.kind for file in found}


def files(lake: Lake) -> set[Path]:
    return set(lake.root.glob("*/day=*/*")) | set(lake.root.glob("*/day=*/.*"))


def test_compacted_files_go_after_the_grace_and_the_live_one_stays(small: SmallLake) -> None:
    """However old the live one is."""
    assert {} == vacuumed(small.lake)
    age_all(small.lake, 25)
    assert ["removed"] * 3 == list(vacuumed(small.lake).values())
    assert set(Inventory.take(small.lake).on("spans", DAY)) == set((small.lake.table("spans")).glob("day=*/*"))
    assert 3 == small.warehouse.sql("from spans").num_rows
    assert {} == vacuumed(small.lake)


def test_leftovers_of_killed_processes_go_after_the_grace(small: SmallLake) -> None:
    """A landing's Parquet that no commit names, half-written files, and a derivation's."""
    spans, _ = landed_tables(small.lake)
    rows = DeltaTable(small.lake.table("spans")).to_pyarrow_table().slice(0, 1)
    (orphan,) = spans.write(rows.select([*spans.columns.names, "day"]))
    small.warehouse.refresh()
    half = orphan.path.with_name(".half.parquet")
    mart = small.lake.mart_file("calls", DAY).with_name(f".calls-{'0' * 32}.tmp")
    for path in (half, mart):
        path.write_bytes(b"PAR1")
    leftovers = {orphan.path.name: "orphan", half.name: "unfinished", mart.name: "unfinished"}
    assert {} == vacuumed(small.lake)
    for path in (orphan.path, half, mart):
        age(path, 25)
    assert leftovers == {
        Path(file.path).name: file.kind
        for file in vacuum(small.lake, grace=GRACE, now=datetime.now(UTC), dry_run=True)
    }
    assert leftovers == vacuumed(small.lake)
    assert small.lake.mart_file("calls", DAY).exists()


def test_nothing_else_is_touched(small: SmallLake, tmp_path: Path) -> None:
    """Neither what is outside, nor what somebody put into the lake, nor where links lead, however old."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.parquet").write_bytes(b"mine")
    spans = small.lake.table("spans")
    (spans / "day=2026-01-01").symlink_to(outside)
    (spans / f"day={DAY}" / "linked.parquet").symlink_to(outside / "precious.parquet")
    (spans / f"day={DAY}" / "notes.txt").write_text("mine")
    (spans / "elsewhere").mkdir()
    (spans / "elsewhere" / "precious.parquet").write_bytes(b"mine")
    (small.lake.root / "precious.parquet").write_bytes(b"mine")
    small.lake.mart("calls").mkdir()
    (small.lake.mart("calls") / "day=2026-01-01").symlink_to(outside)
    mine = {path for path in [*small.lake.root.rglob("*"), *outside.rglob("*")] if path.is_file()}
    for path in mine:
        age(path, 1000)
    age_all(small.lake, 25)
    removed = vacuumed(small.lake)
    assert 3 == len(removed)
    gone = {path.name for path in mine if not path.exists() and not path.is_symlink()}
    assert gone == set(removed)


@pytest.mark.parametrize("years", [1, 40])
def test_a_clock_that_leaps_ahead_makes_nothing_old(small: SmallLake, years: int) -> None:
    """Ages are measured against the newest commit: nothing that landed until then is old by the leap."""
    spans, _ = landed_tables(small.lake)
    rows = DeltaTable(small.lake.table("spans")).to_pyarrow_table().slice(0, 1)
    spans.write(rows.select([*spans.columns.names, "day"]))
    before = files(small.lake)
    assert {} == vacuumed(small.lake, datetime.now(UTC) + timedelta(days=365 * years))
    assert before == files(small.lake)


def test_a_landing_whose_file_was_vacuumed_fails_and_can_be_done_again(small: SmallLake) -> None:
    """Suspended for days between writing and committing: the commit is not made."""
    spans, _ = landed_tables(small.lake)
    rows = DeltaTable(small.lake.table("spans")).to_pyarrow_table().slice(0, 1)
    rows = rows.select([*spans.columns.names, "day"])
    written = spans.write(rows)
    age(written[0].path, 25)
    assert {written[0].path.name: "orphan"} == vacuumed(small.lake)
    with pytest.raises(FileNotFoundError):
        spans.commit(written, receiver_id="test", number=4)
    assert 3 == spans.landed_number("test")
    spans.commit(spans.write(rows), receiver_id="test", number=4)
    assert 4 == DeltaTable(small.lake.table("spans")).to_pyarrow_table().num_rows


def test_a_landing_that_was_slow_claims_its_file(small: SmallLake) -> None:
    """Once committed it is live; and a moment before, it is young again."""
    spans, _ = landed_tables(small.lake)
    rows = DeltaTable(small.lake.table("spans")).to_pyarrow_table().slice(0, 1)
    written = spans.write(rows.select([*spans.columns.names, "day"]))
    age(written[0].path, 25)
    spans.commit(written, receiver_id="test", number=4)
    assert time.time() - written[0].path.stat().st_mtime < 3600
    assert {} == vacuumed(small.lake)


def test_an_idle_tables_log_is_summed_up_and_cleaned(small: SmallLake) -> None:
    """It has too few commits for landing to have done it."""
    log = small.lake.table("spans") / "_delta_log"
    assert not list(log.glob("*.checkpoint*.parquet"))
    for path in log.glob("*.json"):
        age(path, 2)
    newest = max(log.glob("*.json"))
    os.utime(newest)
    vacuumed(small.lake)
    assert list(log.glob("*.checkpoint*.parquet"))
    assert [newest] == sorted(log.glob("*.json"))
    spans, _ = landed_tables(small.lake)
    assert 3 == spans.landed_number("test")
    assert not delta_log.tidy(DeltaTable(small.lake.table("spans")), small.lake.table("spans"), datetime.now(UTC))


QUESTIONS: dict[str, Callable[[Warehouse], int]] = {
    "sql": lambda warehouse: warehouse.sql("from spans").num_rows,
    "rollup": lambda warehouse: warehouse.ask("cost-per-feature", since="2026-11-18").coverage.calls,
    "refresh": lambda warehouse: warehouse.refresh().calls,
    "reprice": lambda warehouse: int(warehouse.reprice(since="2026-11-18").total["calls"]),
    "trace": lambda warehouse: 2 + warehouse.trace(trace_id("t1")).calls,
    "doctor": lambda warehouse: 3 * any("3 calls" in finding.message for finding in warehouse.doctor()),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_reader_whose_files_were_vacuumed_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """It took its inventory, then the files were compacted and vacuumed: twice in a row, even."""
    small = SmallLake(tmp_path / "lake")
    for number in range(3):
        small.land(call(f"t{number}", "llm", input=10, output=3))
    stale = Inventory.take(small.lake)
    assert list(compact(small.lake, Upkeep(), now=datetime.now(UTC) + timedelta(hours=2)))
    for path in stale.on("spans", DAY):
        path.unlink()
    take = Inventory.take
    answers = [stale, stale]
    monkeypatch.setattr(Inventory, "take", lambda lake: answers.pop() if answers else take(lake))
    assert 3 == QUESTIONS[question](small.warehouse)
    assert [] == answers


def test_a_file_that_is_gone_for_good_is_an_error_in_the_end(small: SmallLake) -> None:
    """Never a partial answer."""
    small.land(call("t9", "llm", input=10, output=3))
    Inventory.take(small.lake).on("spans", DAY)[0].unlink()
    with pytest.raises(Exception, match="parquet"):
        small.warehouse.sql("from spans")
