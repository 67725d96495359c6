"""What stands under a rollup is the same from the files' metadata as from their rows."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.lakes import NOW, SmallLake
from support.spans import NOON, call

from llmcost.models.windows import Window
from llmcost.sql import coverage
from llmcost.sql.answers import Coverage
from llmcost.sql.inventory import mart_days
from llmcost.sql.session import window_session

MIDNIGHT = datetime.combine(NOON.date(), time(), UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """Three days of calls with and without owners and prices."""
    small = SmallLake(tmp_path_factory.mktemp("covered") / "lake")
    for n in range(-24, 48, 5):
        owner = {"user.id": "ann"} if n % 2 else {"app.feature": "chat"}
        model = "acme-7b" if n % 3 else "gpt-4o-mini-2024-07-18"
        small.land(
            call(f"t{n}", "call", model, at=MIDNIGHT + n * HOUR, input=1000 + n, output=n % 7, attributes=owner)
        )
    small.warehouse.refresh()
    return small


WINDOWS = {
    "days": (MIDNIGHT - DAY, MIDNIGHT + 2 * DAY),
    "a day": (MIDNIGHT, MIDNIGHT + DAY),
    "cut at both ends": (MIDNIGHT - 9 * HOUR, MIDNIGHT + DAY + 4 * HOUR),
    "an hour": (MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR),
    "nothing": (NOW, NOW + HOUR),
}


def of(small: SmallLake, asked: Window, *, whole: bool) -> Coverage:
    """The coverage of a window, from metadata where it may be, or from rows alone."""
    days = mart_days(small.lake, "calls")
    with window_session(small.lake, days, asked, tz="UTC", where={}) as con:
        return coverage.of_window(con, small.lake, days, asked, whole=whole)


@pytest.mark.parametrize("name", WINDOWS)
def test_metadata_and_rows_tell_the_same(lake: SmallLake, name: str) -> None:
    """Whole days from their files' metadata, cut ones from their rows."""
    asked = Window(*WINDOWS[name])

    assert of(lake, asked, whole=False) == of(lake, asked, whole=True)


def test_whole_days_are_not_read(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is the point of it."""
    monkeypatch.setattr(coverage, "figures", lambda *_: pytest.fail("read"))

    assert 10 == of(lake, Window(MIDNIGHT, MIDNIGHT + 2 * DAY), whole=True).calls


@pytest.mark.parametrize("told", [{}, {"llmcost.coverage": '{"form": 0, "unowned": {}}'}])
def test_files_that_tell_nothing_are_read(tmp_path: Path, told: dict[str, str]) -> None:
    """Those of an older llmcost, and those whose figures meant something else."""
    small = SmallLake(tmp_path / "lake").land(call("t", "call", input=1000, output=0))
    small.warehouse.refresh()
    path = small.lake.mart_file("calls", NOON.date())
    kept = {key: value for key, value in (pq.read_metadata(path).metadata or {}).items() if b"coverage" not in key}
    pq.write_table(pq.read_table(path, partitioning=None).replace_schema_metadata({**kept, **told}), path)

    found = of(small, Window(MIDNIGHT, MIDNIGHT + DAY), whole=True)
    assert (1, Decimal("0.15") * 1000 / 1_000_000) == (found.calls, found.cost_usd)


def test_a_filter_is_heeded(lake: SmallLake) -> None:
    """Metadata is of all calls; a filtered answer covers its own."""
    asked = lake.warehouse.ask("cost-per-feature", since="2026-11-19", until="2026-11-22", where={"user_id": "ann"})

    assert 0 < asked.coverage.calls < lake.warehouse.ask("cost-per-feature", since="2026-11-19").coverage.calls
