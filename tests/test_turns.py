"""Several processes derive one day: it never goes back to what one of them saw before."""

from __future__ import annotations

import threading
from pathlib import Path

from support.lakes import NOW, SmallLake
from support.spans import NOON, call

from llmcost.models.settings import Settings
from llmcost.sql.derive import Rules
from llmcost.sql.inventory import Inventory
from llmcost.sql.materialise import _turn, refresh_days

DAY = NOON.date()


def test_an_older_look_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    """One that looked, waited for its turn, and finds that more has landed and been derived meanwhile."""
    small = SmallLake(tmp_path / "lake")
    small.land(call("a", "llm", input=1000, output=0))
    rules, old = Rules.load(small.lake, Settings()), Inventory.take(small.lake)
    small.land(call("b", "llm", input=1000, output=0))
    small.warehouse.refresh()
    assert () == refresh_days(small.lake, old, rules, [DAY], now=NOW).days, "derived already"
    assert (DAY,) == refresh_days(small.lake, old, rules, [DAY], now=NOW, again=[DAY]).days
    assert 2 == small.warehouse.sql("select count(*) as calls from calls").to_pylist()[0]["calls"]
    assert () == small.warehouse.refresh().refreshed


def test_a_day_is_derived_by_one_at_a_time(tmp_path: Path) -> None:
    """Who comes second waits, and then has nothing left to do."""
    small = SmallLake(tmp_path / "lake")
    small.land(call("a", "llm", input=1000, output=0))
    reports = []
    with _turn(small.lake, DAY):
        asking = [threading.Thread(target=lambda: reports.append(small.warehouse.refresh())) for _ in range(2)]
        for thread in asking:
            thread.start()
        asking[0].join(0.5)
        assert not reports
    for thread in asking:
        thread.join()
    assert [(), (DAY,)] == sorted(report.refreshed for report in reports)
