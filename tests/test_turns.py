"""Several processes derive one day: it never goes back to what one of them saw before."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.lakes import NOW, SmallLake
from support.spans import NOON, call

from llmcost.models.settings import Settings
from llmcost.sql.derive import Rules
from llmcost.sql.inventory import Inventory
from llmcost.sql.materialise import dirty_days, refresh_days
from llmcost.sql.turns import turn

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
    with turn(small.lake, DAY):
        asking = [threading.Thread(target=lambda: reports.append(small.warehouse.refresh())) for _ in range(2)]
        for thread in asking:
            thread.start()
        asking[0].join(0.5)
        assert not reports
    for thread in asking:
        thread.join()
    assert [(), (DAY,)] == sorted(report.refreshed for report in reports)


def test_who_waits_takes_what_was_made_of_all_that_it_saw(tmp_path: Path) -> None:
    """Something lands all the time: who waited for a day that was derived meanwhile does not derive it once more."""
    small = SmallLake(tmp_path / "lake")
    small.land(call("a", "llm", input=1000, output=0))
    rules, asked = Rules.load(small.lake, Settings()), Inventory.take(small.lake)
    small.warehouse.refresh()
    small.land(call("b", "llm", input=1000, output=0))
    small.warehouse.refresh()
    small.land(call("c", "llm", input=1000, output=0))
    assert [DAY] == dirty_days(small.lake, asked, rules, [DAY]), "it saw less, so the stamp is not its own"

    assert () == refresh_days(small.lake, asked, rules, [DAY], now=NOW).days, "b is in, and c came after it asked"
    assert (DAY,) == refresh_days(small.lake, Inventory.take(small.lake), rules, [DAY], now=NOW).days


@pytest.mark.parametrize("wrong", ["", "[]", "{}", '{"versions": [9, 9], "rules": [], "stamp": "x"}', "garbage \xff"])
def test_a_word_that_is_none_is_not_taken(tmp_path: Path, wrong: str) -> None:
    """Of a process that was killed, of other rules, or of marts that are others by now: the day is derived."""
    small = SmallLake(tmp_path / "lake")
    small.land(call("a", "llm", input=1000, output=0))
    small.warehouse.refresh()
    small.land(call("b", "llm", input=1000, output=0))
    small.lake.turn(DAY).write_text(wrong, encoding="latin-1")

    assert (DAY,) == small.warehouse.refresh().refreshed


def test_the_word_holds_for_its_rules_and_its_marts_only(tmp_path: Path) -> None:
    """A changed price file, a lost mart: each asks for the day again, though nothing landed since."""
    small = SmallLake(tmp_path / "lake")
    small.land(call("a", "llm", input=1000, output=0))
    small.warehouse.refresh()
    (small.lake.prices / "own.toml").write_text('[[override]]\nmodel = "gpt-4o-mini*"\ninput = 1\noutput = 2\n')
    assert (DAY,) == small.warehouse.refresh().refreshed

    small.lake.mart_file("calls", DAY).unlink()
    assert (DAY,) == small.warehouse.refresh().refreshed
