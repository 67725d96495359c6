"""Retention removes spans by age; what was derived from them stays, and is never derived from what is left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from support.lakes import NOW, SmallLake
from support.spans import SpanOf, call

from llmcost.ingest.compact import compact
from llmcost.ingest.exchange import take_out
from llmcost.ingest.vacuum import vacuum
from llmcost.models.errors import LakeNotWritable, UsageError
from llmcost.models.lake import MARTS
from llmcost.models.settings import Retention, Settings, Upkeep
from llmcost.sql import Warehouse
from llmcost.sql.inventory import Inventory, mart_days
from llmcost.sql.retention import Retained
from llmcost.sql.sealed import Sealed

MIDNIGHT = datetime(2026, 11, 19, tzinfo=UTC)
BEFORE = MIDNIGHT.date()
KEEP = Settings().model_copy(update={"retention": Retention(spans_days=3)})


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """Two calls and an outcome on each of the five days before NOW's, one trace across each midnight; derived."""
    small = SmallLake(tmp_path_factory.mktemp("derived") / "lake", Settings())
    spans = []
    told, kept = {"outcome.resolved": True, "user.id": "ann"}, {"e": {"outcome.kept": True}}
    for days in range(1, 6):
        at, word = NOW - timedelta(days=days), str(days)
        spans += [
            SpanOf(word, "root", at=at, seconds=13 * 3600, attributes=told, events=kept),
            call(word, "llm", parent="root", at=at + timedelta(seconds=1), input=1_000_000, output=0),
            call(word, "late", parent="root", at=at + timedelta(hours=12, seconds=1), input=1_000_000, output=0),
        ]
    small.land(*spans[:9])
    small.land(*spans[9:])
    small.warehouse.refresh()
    return small


@pytest.fixture
def small(derived: SmallLake, tmp_path: Path) -> SmallLake:
    """A copy of that lake."""
    return derived.copy(tmp_path / "lake", KEEP)


def retained(warehouse: Warehouse) -> list[Retained]:
    return warehouse.retain(take_out)


def marts(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    """Every mart whole."""
    return {name: warehouse.sql(f"select * from {name} order by all").to_pylist() for name in MARTS}


def late(warehouse: Warehouse) -> list[str]:
    return [finding.message for finding in warehouse.doctor() if finding.check == "retention"]


def test_removed_days_are_answered_as_before(small: SmallLake) -> None:
    """By every mart and rollup; owners inherited across midnight, costs to the last digit."""
    fresh = SmallLake(small.lake.root, Settings()).warehouse
    rollup = {"since": "60d", "by": "day", "group_by": ["user_id"]}
    before, asked = marts(fresh), fresh.ask("cost-per-outcome", **rollup)
    assert retained(small.warehouse) == [Retained("spans", BEFORE, 2)]
    assert BEFORE == min(Inventory.take(small.lake).files["spans"])
    age = datetime.now(UTC) + timedelta(days=2)
    small.land(call("new", "llm", at=NOW + timedelta(days=1), input=1, output=1))
    assert list(compact(small.lake, Upkeep(), now=age)) != []
    assert list(vacuum(small.lake, grace=timedelta(hours=-1), now=age))
    small.warehouse.refresh()
    after = marts(small.warehouse)
    assert before == {
        name: [row for row in rows if row.get("trace_id") != after_trace(after)] for name, rows in after.items()
    }
    again = small.warehouse.ask("cost-per-outcome", **rollup)
    assert asked.table.equals(again.table)
    assert asked.coverage.calls == again.coverage.calls == 10


def after_trace(found: dict[str, list[dict[str, Any]]]) -> object:
    """The trace that landed last."""
    return max(found["calls"], key=lambda row: row["started_at"])["trace_id"]


def test_the_day_before_the_kept_ones_is_sealed_too(small: SmallLake) -> None:
    """It inherits from a trace that began on the removed day; a late span does not make it forget that."""
    before = marts(small.warehouse)
    retained(small.warehouse)
    assert Sealed.read(small.lake).holds(BEFORE)
    assert not Sealed.read(small.lake).holds(BEFORE + timedelta(days=1))
    small.land(call("x", "llm", at=MIDNIGHT + timedelta(hours=1), input=5, output=5))
    assert before == marts(small.warehouse)


def test_spans_that_come_too_late_are_told(small: SmallLake) -> None:
    """Whether their day is gone or the first that is left; and still when the next pass removed them."""
    retained(small.warehouse)
    assert ["spans before 2026-11-19 are removed; what was derived from them stands"] == late(small.warehouse)
    for hours in (-30, 1):
        small.land(call(f"x{hours}", "llm", at=MIDNIGHT + timedelta(hours=hours), input=5, output=5))
    assert "2 spans came after their day was sealed" in late(small.warehouse)[0]
    retained(small.warehouse)
    assert "2 spans came after their day was sealed" in late(small.warehouse)[0]
    small.land(call("new", "llm", at=NOW + timedelta(days=2), input=1, output=1))
    tomorrow = Warehouse(small.lake.root, KEEP, now=lambda: NOW + timedelta(days=2))
    retained(tomorrow)
    assert Sealed.read(small.lake).spans_before == BEFORE + timedelta(days=2)
    assert "2 spans came after their day was sealed" in late(tomorrow)[0]
    assert 10 + 1 == tomorrow.sql("from calls").num_rows


def test_spans_that_were_in_time_are_derived_before_they_go(small: SmallLake) -> None:
    """Though nobody had asked since they landed."""
    small.warehouse.refresh()
    small.land(call("x", "llm", at=MIDNIGHT - timedelta(days=3), input=5, output=5))
    retained(small.warehouse)
    assert 11 == small.warehouse.sql("from calls").num_rows
    assert "came after" not in late(small.warehouse)[0]


def test_a_clock_that_leaps_ahead_removes_nothing(small: SmallLake) -> None:
    leapt = Warehouse(small.lake.root, KEEP, now=lambda: NOW + timedelta(days=4000))
    assert [Retained("spans", BEFORE, 2)] == retained(leapt)
    assert [] == retained(leapt)


def test_nothing_goes_without_a_setting(small: SmallLake) -> None:
    """For ever is the default."""
    assert [] == retained(SmallLake(small.lake.root, Settings()).warehouse)
    assert not small.lake.retention.exists()


def test_a_pass_that_stopped_after_the_record_is_finished_by_the_next(small: SmallLake) -> None:
    """Nothing is counted as late, and no day is derived from what is left."""
    before = marts(small.warehouse)

    def fail(*_: object) -> bool:
        raise OSError("killed")

    with pytest.raises(OSError, match="killed"):
        small.warehouse.retain(fail)
    assert Sealed.read(small.lake).spans_before == BEFORE
    assert before == marts(small.warehouse)
    assert [Retained("spans", BEFORE, 2)] == retained(small.warehouse)
    assert before == marts(small.warehouse)
    assert ["spans before 2026-11-19 are removed; what was derived from them stands"] == late(small.warehouse)


def test_compaction_meanwhile_hinders_nothing(small: SmallLake) -> None:
    """The files to go were merged just then: those that hold their rows go instead."""
    calls: list[object] = []

    def slow(root: Path, paths: Any) -> bool:
        if not calls:
            calls.append(list(compact(small.lake, Upkeep(), now=datetime.now(UTC) + timedelta(hours=2))))
        return take_out(root, paths)

    assert small.warehouse.retain(slow)
    assert BEFORE == min(Inventory.take(small.lake).files["spans"])
    assert "came after" not in late(small.warehouse)[0]


def test_sealed_days_cannot_be_priced_again(small: SmallLake) -> None:
    """The error says from which day on they can; what is kept can."""
    retained(small.warehouse)
    with pytest.raises(UsageError, match="ask for --since 2026-11-20"):
        small.warehouse.reprice(since="30d", apply=True)
    assert 5 == int(small.warehouse.reprice(since="2026-11-20").total["calls"])


def test_events_and_marts_have_an_age_of_their_own(small: SmallLake) -> None:
    """Outcomes outlive their events; days whose marts are gone are in no answer, and not derived again."""
    keep = Settings().model_copy(update={"retention": Retention(events_days=2, marts_days=4)})
    warehouse = SmallLake(small.lake.root, keep).warehouse
    outcomes = warehouse.sql("select * from outcomes where day >= '2026-11-18' order by all").to_pylist()
    done = {each.relation: each.before for each in retained(warehouse)}
    assert {"events": BEFORE + timedelta(days=1), "marts": BEFORE - timedelta(days=1)} == done
    assert outcomes == warehouse.sql("select * from outcomes order by all").to_pylist()
    assert warehouse.sql("select min(day) as day from calls").to_pylist() == [{"day": BEFORE - timedelta(days=1)}]
    assert 0 == len(warehouse.refresh().refreshed)


def test_a_record_that_cannot_be_read_stops_every_question(small: SmallLake) -> None:
    """Rather than derive sealed days from what is left of them."""
    small.lake.retention.write_text("{")
    with pytest.raises(LakeNotWritable, match="put it back from a backup"):
        small.warehouse.sql("from calls")


def test_the_table_says_that_rows_went(small: SmallLake) -> None:
    """Readers of the Delta table's changes see the removal, unlike that of a compaction."""
    retained(small.warehouse)
    table = DeltaTable(small.lake.table("spans"))
    log = (small.lake.table("spans") / "_delta_log" / f"{table.version():020d}.json").read_text()
    assert '"dataChange":true' in log


def test_sealed_days_lack_what_came_later(small: SmallLake) -> None:
    """A day whose spans are gone keeps its columns: later ones are NULL there, beside days that have them or not."""
    retained(small.warehouse)
    cost = small.warehouse.ask("cost-per-feature", since="60d").coverage.cost_usd
    for days in ([BEFORE], mart_days(small.lake, "calls")):
        for path in (small.lake.mart_file("calls", day) for day in days):
            metadata = pq.read_metadata(path).metadata
            table = pq.read_table(path, partitioning=None)
            older = [name for name in table.column_names if name != "cache_savings_usd"]
            pq.write_table(table.select(older).replace_schema_metadata(metadata), path)
        found = small.warehouse.sql(f"select cache_savings_usd from calls where day = '{BEFORE}'")
        assert set(found["cache_savings_usd"].to_pylist()) == {None}
        assert small.warehouse.ask("cost-per-feature", since="60d").coverage.cost_usd == cost
