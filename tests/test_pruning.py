"""A question opens the files of its own days: those of other days may be unreadable."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.lakes import SmallLake
from support.spans import NOON, SpanOf, call

from llmcost.models.lake import MARTS
from llmcost.sql.inventory import mart_days

DAY = timedelta(days=1)
WINDOW = {"since": "2026-11-18", "until": "2026-11-20"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """A call and an outcome on each of six days, derived."""
    small = SmallLake(tmp_path_factory.mktemp("six days") / "lake")
    for n in range(-4, 2):
        told = {"outcome.resolved": True, "app.feature": "chat"}
        small.land(
            SpanOf(f"t{n}", "root", at=NOON + n * DAY, attributes=told),
            call(f"t{n}", "call", parent="root", at=NOON + n * DAY, input=1000 + n, output=1),
        )
    small.warehouse.refresh()
    return small


def test_files_of_other_days_are_not_opened(lake: SmallLake) -> None:
    """Every built-in rollup, with the files of other days broken; later outcomes and scores are looked for."""
    before: dict[str, Any] = {
        info.name: lake.warehouse.ask(info.name, **WINDOW).table for info in lake.warehouse.rollups()
    }
    days = mart_days(lake.lake, "calls")
    assert 6 == len(days)
    for name in MARTS:
        for day in days:
            is_later = name in {"outcomes", "evals"} and day > NOON.date() - 2 * DAY
            if str(day) not in {"2026-11-18", "2026-11-19"} and not is_later and name != "calls":
                lake.lake.mart_file(name, day).write_bytes(b"no Parquet")
    # a broken calls file would be made again where its day is looked at: it is looked at for outcomes only
    for day in days:
        if day < NOON.date() - 2 * DAY:
            lake.lake.mart_file("calls", day).write_bytes(b"no Parquet")

    for name, rows in before.items():
        assert rows == lake.warehouse.ask(name, **WINDOW).table, name
    assert b"no Parquet" == Path(lake.lake.mart_file("calls", days[0])).read_bytes()
