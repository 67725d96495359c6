"""The keeper keeps a lake in order by itself, says what it did, and stops when it is told or left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from support.lakes import SmallLake
from support.spans import NOON, SpanOf, call
from typer.testing import CliRunner

from llmcost.cli.keeper import Duty, Parent, Stopped, keep
from llmcost.cli.keeper_order import Order
from llmcost.cli.main import app
from llmcost.ingest.upkeep import compact_lake, upkeep_lock
from llmcost.models.errors import LakeBusy, LakeMissing, LakeNotWritable
from llmcost.models.lake import Lake
from llmcost.models.settings import Settings, Upkeep
from llmcost.sql.inventory import Inventory
from llmcost.sql.metrics import exposition, write_metrics

PATIENCE_SECONDS = 60
DAY = NOON.date()
_KEEPER = """
import sys
from llmcost.cli import keeper
from llmcost.ingest import tiers
tiers.FAN = 3
sys.exit(keeper.main())
"""


@pytest.fixture
def small(tmp_path: Path) -> SmallLake:
    small = SmallLake(tmp_path / "lake")
    for number in range(3):
        small.land(call(f"t{number}", "llm", input=1_000_000, output=0))
    return small


@pytest.fixture
def keeper(small: SmallLake, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running keeper that merges three files of a tier."""
    process = subprocess.Popen(
        [sys.executable, "-c", _KEEPER], stdin=subprocess.PIPE, stderr=(tmp_path / "log").open("wb")
    )
    settings = Settings().model_copy(update={"lake": small.lake.root, "upkeep": Upkeep(rest_seconds=0.1)})
    order = Order(settings, metrics=tmp_path / "metrics", log_format="json")
    assert process.stdin is not None
    process.stdin.write(order.line())
    process.stdin.flush()
    yield process
    process.kill()
    process.wait()
    process.stdin.close()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def test_it_compacts_derives_and_writes_the_metrics(
    small: SmallLake, keeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """And ends by itself, without a complaint, when its parent is gone."""
    wait_for(tmp_path / "metrics" / "cost.prom")
    assert 1 == len(Inventory.take(small.lake).on("spans", DAY))
    assert small.lake.mart_file("calls", DAY).exists()
    assert keeper.stdin is not None
    keeper.stdin.close()
    assert 0 == keeper.wait(PATIENCE_SECONDS)
    said = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert ["keeping the lake", "compacted", "derived"] == [line["event"] for line in said]
    assert (3, 1) == (said[1]["files_before"], said[1]["files_after"])


def test_it_stops_on_sigterm(keeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    wait_for(tmp_path / "metrics" / "cost.prom")
    keeper.send_signal(signal.SIGTERM)
    assert 0 == keeper.wait(PATIENCE_SECONDS)


def test_a_failed_duty_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    """It is said in one line; the other duties are done, and the next round tries again."""
    ours, theirs = os.pipe()
    parent = Parent(ours)
    done: list[str] = []

    def fail() -> dict[str, object]:
        raise ValueError("no such luck")

    def succeed() -> dict[str, object]:
        done.append("once")
        if len(done) == 2:
            os.close(theirs)
        return {}

    keep([Duty("first", fail), Duty("second", succeed)], parent, rest_seconds=0.0)
    assert ["once", "once"] == done
    assert ["first failed: ValueError: no such luck"] * 2 == [record.getMessage() for record in caplog.records]
    with pytest.raises(Stopped):
        parent.check(1, 2)
    os.close(ours)


def test_an_order_is_read_as_it_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the process that reads it does not count."""
    settings = Settings().model_copy(update={"lake": tmp_path, "upkeep": Upkeep(target_file_mib=5)})
    order = Order(settings, metrics=tmp_path / "metrics", log_format="json")
    monkeypatch.setenv("LLMCOST_UPKEEP__TARGET_FILE_MIB", "9")
    assert order == Order.parse(order.line())


def test_one_at_a_time_is_at_upkeep(small: SmallLake) -> None:
    """The second is told; a look does no harm."""
    with upkeep_lock(small.lake):
        with pytest.raises(LakeBusy, match="wait until it is done"):
            compact_lake(small.lake.root, Upkeep())
        compact_lake(small.lake.root, Upkeep(), dry_run=True)
    compact_lake(small.lake.root, Upkeep())


def test_upkeep_of_what_cannot_be_used_is_a_clear_error(
    tmp_path: Path, small: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmcost.ingest.tiers.FAN", 3)
    with pytest.raises(LakeMissing, match="start one with"):
        compact_lake(tmp_path / "nowhere", Upkeep())
    Inventory.take(small.lake).on("spans", DAY)[0].write_bytes(b"no Parquet")
    with pytest.raises(LakeNotWritable, match="What was done until then stands"):
        compact_lake(small.lake.root, Upkeep())


def test_the_metrics_tell_the_money_by_provider_and_status(small: SmallLake, tmp_path: Path) -> None:
    """To the last digit; what has no price is counted beside it, never as 0 dollars spent on it."""
    small.land(call("u", "llm", model="acme-7b", provider="acme", input=10, output=3))
    small.land(SpanOf("v", "nothing"))
    small.warehouse.refresh()
    cost = 3 * Decimal("0.15")
    text = write_metrics(small.lake, tmp_path / "metrics").read_text()
    assert text == exposition(small.lake)
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert cost == Decimal(values['llmcost_cost_total{provider="openai",status="UNSET"}'])
    assert "3" == values['llmcost_calls_total{provider="openai",status="UNSET"}']
    assert "1" == values['llmcost_unpriced_calls_total{provider="acme",status="UNSET"}']


def test_the_metrics_of_an_empty_lake_are_empty(tmp_path: Path) -> None:
    lines = exposition(Lake.create(tmp_path / "lake")).splitlines()
    assert lines
    assert all(line.startswith("#") for line in lines)


def test_the_commands_say_what_they_would_do_and_what_they_did(
    small: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a table for people, as JSON for programs."""
    monkeypatch.setattr("llmcost.ingest.tiers.FAN", 3)

    def told(*command: str) -> str:
        ended = CliRunner().invoke(app, [*command, "--lake", str(small.lake.root)])
        assert 0 == ended.exit_code, ended.output
        return ended.output

    assert "3 files would be merged" in told("compact", "--dry-run")
    (merge,) = json.loads(told("compact", "--format", "json"))["rows"]
    assert ("spans", 3, 1) == (merge["relation"], merge["files_before"], merge["files_after"])
    assert "nothing is worth merging now" in told("compact")
    assert "nothing to remove" in told("vacuum", "--dry-run")
    leftover = small.lake.table("spans") / f"day={DAY}" / ".half.parquet"
    leftover.write_bytes(b"PAR1")
    os.utime(leftover, (0, 0))
    (row,) = json.loads(told("vacuum", "--format", "json"))["rows"]
    assert {"relation": "spans", "kind": "unfinished", "files": 1, "bytes": 4} == row
    assert not leftover.exists()
