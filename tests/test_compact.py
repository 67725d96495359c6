"""Compaction: fewer files, the same rows, the same answers, no day derived again."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from support import captures
from support.lakes import SmallLake
from support.spans import NOON, SpanOf, call, trace_id
from support.traces import Forest

from llmcost.ingest import delta_log, tiers
from llmcost.ingest.compact import Compacted, compact
from llmcost.ingest.delta import LandedTable, add_action, landed_tables
from llmcost.ingest.exchange import exchange
from llmcost.ingest.live_files import LiveFile, live_files
from llmcost.ingest.merge import Bounds, merge_files
from llmcost.models.lake import Lake
from llmcost.models.landed_files import compacted_names, total_identity
from llmcost.models.schema import EVENTS, SPANS, TIME_COLUMNS
from llmcost.models.settings import MIB, Upkeep
from llmcost.sql.derive import Rules
from llmcost.sql.inventory import Inventory
from llmcost.sql.materialise import dirty_days

LATER = NOON + timedelta(days=5)
DAY = NOON.date()


def compacted(lake: Lake, now: datetime = LATER) -> list[Compacted]:
    """What a compaction did. Commits bear today's date, so the clock is past both."""
    return list(compact(lake, Upkeep(), now=max(now, datetime.now(UTC) + timedelta(hours=2))))


def merged(folder: Path, inventory: Inventory, rows_a_file: int = 10**9) -> Inventory:
    """The same rows with all files of a day merged."""
    files: dict[str, dict[date, tuple[Path, ...]]] = {"spans": {}, "events": {}}
    for table, columns in (("spans", SPANS), ("events", EVENTS)):
        for day in inventory.files.get(table, {}):
            target = folder / table / f"day={day}"
            target.mkdir(parents=True)
            made = merge_files(
                inventory.on(table, day), target, columns=columns, time_column=TIME_COLUMNS[table],
                rows_a_file=rows_a_file, bounds=Bounds(256 * MIB, folder / "spill"),
            )  # fmt: skip
            files[table][day] = tuple(sorted(file.path for file in made))
    return Inventory(files)


def contents(marts: dict[str, pa.Table]) -> dict[str, Counter[str]]:
    """Every row of every mart, in no order."""
    return {
        name: Counter(json.dumps(row, default=str, sort_keys=True) for row in table.to_pylist())
        for name, table in marts.items()
    }


def test_every_capture_means_the_same_after_compaction(tmp_path: Path) -> None:
    """Shuffled, a third of the requests sent twice, in forty batches: every mart has the same rows."""
    source = random.Random(5)  # noqa: S311  (an order for tests)
    requests = [request for name in captures.names() for request in captures.requests(name, logs=True)]
    again = source.sample(requests, len(requests) // 3)
    requests += [captures.RawRequest(r.signal, r.received_at_us + 5_000_000, r.body) for r in again]
    source.shuffle(requests)
    before = captures.land(tmp_path / "before", [requests[at::40] for at in range(40)])
    after = merged(tmp_path / "after", before, rows_a_file=1500)
    assert contents(captures.derive(tmp_path, before)) == contents(captures.derive(tmp_path, after))
    assert sum(map(len, after.files["spans"].values())) < sum(map(len, before.files["spans"].values()))


def test_the_synthetic_traces_mean_the_same_after_compaction(tmp_path: Path) -> None:
    """Seeded traces of every shape, whichever of their spans share a file."""
    before = Forest(20261122).grow(300).land(tmp_path / "before")
    after = merged(tmp_path / "after", before)
    assert contents(captures.derive(tmp_path, before)) == contents(captures.derive(tmp_path, after))


def test_a_copy_that_tells_nothing_goes_and_one_that_does_stays(tmp_path: Path) -> None:
    """What exporters sent twice: the chain lists copies with usage, so those are its to drop."""
    small = SmallLake(tmp_path / "lake")
    for _ in range(3):
        small.land(SpanOf("t", "silent"), call("t", "llm", input=10, output=3))
    small.land(SpanOf("t", "silent", seconds=2))
    before = small.warehouse.sql("select reason, count(*) as n from unbilled_spans group by all").to_pylist()
    assert [4] == [merge.files_before for merge in compacted(small.lake)]
    found = small.warehouse.sql("select span_id, count(*) as n from spans group by all order by n").to_pylist()
    assert [2, 3] == [row["n"] for row in found]
    small.warehouse.refresh()
    assert [{"reason": "sent_again", "n": 2}] == before
    assert before == small.warehouse.sql("select reason, count(*) as n from unbilled_spans group by all").to_pylist()


def test_compaction_makes_no_day_dirty(tmp_path: Path) -> None:
    """Neither the first time nor when compacted files are compacted again with late ones."""
    small = SmallLake(tmp_path / "lake")
    rules = Rules.load(small.lake, small.settings)
    for wave in range(2):
        for number in range(5):
            small.land(call(f"t{wave}{number}", "llm", input=10, output=3, at=NOON + timedelta(days=number % 2)))
        small.warehouse.refresh()
        calls = small.warehouse.sql("from calls order by trace_id").to_pylist()
        assert compacted(small.lake)
        inventory = Inventory.take(small.lake)
        assert [] == dirty_days(small.lake, inventory, rules, inventory.days())
        assert calls == small.warehouse.sql("from calls order by trace_id").to_pylist()
    assert [1, 1] == [len(inventory.on("spans", day)) for day in inventory.days()]
    small.land(call("late", "llm", input=10, output=3))
    inventory = Inventory.take(small.lake)
    assert [DAY, DAY + timedelta(days=1)] == dirty_days(small.lake, inventory, rules, inventory.days())


@given(st.lists(st.text("abcdef", min_size=1), min_size=1, unique=True), st.lists(st.integers(1, 4), max_size=5))
def test_however_files_are_merged_their_identity_stays(names: list[str], counts: list[int]) -> None:
    files = [f"{name}.parquet" for name in names]
    whole = total_identity(files)
    source = random.Random(len(names))  # noqa: S311
    for at, count in enumerate(counts, start=1):
        source.shuffle(files)
        files = [*files[2:], *compacted_names(files[:2], at, count)]
        assert total_identity(files) == whole
        assert total_identity(files[1:]) != whole
        assert total_identity([*files, files[0]]) != whole


def test_a_question_for_a_trace_reads_one_row_group(tmp_path: Path) -> None:
    """Sorted by trace, with the least and greatest id of each row group and of the file in the log."""
    small = SmallLake(tmp_path / "lake")
    for number in range(4):
        small.land(SpanOf(f"t{number}", "one"), SpanOf(f"t{number}", "two"))
    compacted(small.lake)
    (path,) = Inventory.take(small.lake).on("spans", DAY)
    ids = pq.read_table(path, columns=["trace_id"], partitioning=None).column(0).to_pylist()
    assert ids == sorted(ids)
    groups = pq.ParquetFile(path).metadata
    at = groups.schema.names.index("trace_id")
    statistics = groups.row_group(0).column(at).statistics
    assert (ids[0], ids[-1]) == (statistics.min, statistics.max)
    stats = DeltaTable(small.lake.table("spans")).get_add_actions(flatten=True)
    assert [ids[0]] == stats.column("min.trace_id").to_pylist()
    assert small.warehouse.trace(trace_id("t2")[:9]).trace_id == trace_id("t2")


def test_transactions_outlive_compaction_checkpoints_and_cleaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that was landed long ago is not landed again."""
    monkeypatch.setattr(delta_log, "CHECKPOINT_COMMITS", 4)
    monkeypatch.setitem(delta_log.CONFIGURATION, "delta.logRetentionDuration", "interval 0 seconds")
    monkeypatch.setattr(tiers, "FAN", 3)
    small = SmallLake(tmp_path / "lake")
    for number in range(12):
        small.land(call(f"t{number}", "llm", input=10, output=3))
        compacted(small.lake, NOON)
    log = small.lake.table("spans") / "_delta_log"
    assert not (log / f"{1:020d}.json").exists()
    assert list(log.glob("*.checkpoint*.parquet"))
    spans, _ = landed_tables(small.lake)
    assert 12 == spans.landed_number("test")
    small.number = 11
    small.land(call("t11", "llm", input=10, output=3))
    assert 12 == small.warehouse.sql("from spans").num_rows


def test_the_second_compactor_of_the_same_files_changes_nothing(tmp_path: Path) -> None:
    """It looked before the first committed; its own files are no part of the table."""
    small = SmallLake(tmp_path / "lake")
    for number in range(3):
        small.land(call(f"t{number}", "llm", input=10, output=3))
    root = small.lake.table("spans")
    seen = live_files(DeltaTable(root))
    compacted(small.lake)
    after = live_files(DeltaTable(root))
    made = merge_files(
        [root / file.name for file in seen[1:]], root / f"day={DAY}", columns=SPANS, time_column="started_at",
        rows_a_file=10, bounds=Bounds(256 * MIB, small.lake.spill),
    )  # fmt: skip
    assert not exchange(root, seen[1:], [add_action(file, "started_at", data_change=False) for file in made])
    assert after == live_files(DeltaTable(root))


def test_a_column_that_only_the_table_knows_is_kept(tmp_path: Path) -> None:
    """A newer llmcost lands a column that this one does not know, beside files without it."""
    small = SmallLake(tmp_path / "lake").land(call("t", "old", input=1, output=1))
    newer = pa.schema([*SPANS, pa.field("mood", pa.string())])
    table = LandedTable(small.lake, "spans", newer, "started_at")
    rows = DeltaTable(small.lake.table("spans")).to_pyarrow_table().drop_columns(["mood"])
    rows = rows.append_column("mood", pa.array(["calm"])).select([*newer.names, "day"])
    table.commit(table.write(rows), receiver_id="newer", number=1)
    assert [2] == [merge.files_before for merge in compacted(small.lake)]
    assert {None, "calm"} == set(DeltaTable(small.lake.table("spans")).to_pyarrow_table()["mood"].to_pylist())


def test_a_dry_run_says_what_would_be_merged_and_merges_nothing(tmp_path: Path) -> None:
    small = SmallLake(tmp_path / "lake")
    for number in range(3):
        small.land(call(f"t{number}", "llm", input=10, output=3))
    before = live_files(DeltaTable(small.lake.table("spans")))
    now = datetime.now(UTC) + timedelta(hours=2)
    (would,) = compact(small.lake, Upkeep(), now=now, dry_run=True)
    assert ("spans", DAY, 3, None) == (would.table, would.day, would.files_before, would.files_after)
    assert before == live_files(DeltaTable(small.lake.table("spans")))


def file(number: int, size: int, tier: int = 0, at: datetime = NOON) -> LiveFile:
    name = f"{number}.parquet" if not tier else compacted_names([f"{number}"], tier, 1)[0]
    return LiveFile(f"day={DAY}/{name}", DAY, size, 1, at)


def test_a_day_that_trickles_keeps_few_files_and_rewrites_a_byte_four_times() -> None:
    """A file of 10 kB a second for a day, and a merge of what stands every twenty seconds."""
    target = 128 * MIB
    files: list[LiveFile] = []
    start = datetime(2026, 11, 20, tzinfo=UTC)
    landed = written = most = 0

    def upkeep(now: datetime) -> None:
        nonlocal files, written
        for merge in tiers.merges(files, target_bytes=target, now=now):
            gone = {source.name for source in merge.sources}
            files = [each for each in files if each.name not in gone]
            name = compacted_names([source.name for source in merge.sources], merge.tier, 1)[0]
            files.append(LiveFile(f"day={DAY}/{name}", DAY, merge.bytes, 1, now))
            written += merge.bytes

    for second in range(0, 86_400, 20):
        now = start + timedelta(seconds=second)
        files += [file(second + each, 10_000, at=now) for each in range(20)]
        landed += 200_000
        upkeep(now)
        most = max(most, len(files))
    assert most <= 4 * tiers.FAN
    upkeep(start + timedelta(hours=25, minutes=5))
    assert sum(each.bytes for each in files) == landed
    assert len(files) <= landed // target + 2
    assert written <= 4 * landed


def test_a_large_file_is_not_rewritten_for_a_few_late_rows() -> None:
    """Unless they are an eighth of it; nor are files of the target size ever."""
    sizes = [40 * MIB, 1 * MIB, 70 * MIB]
    files = [file(number, size) for number, size in enumerate(sizes)]
    assert [] == tiers.merges(files, target_bytes=128 * MIB, now=LATER)
    (merge,) = tiers.merges([*files, file(3, 4 * MIB)], target_bytes=128 * MIB, now=LATER)
    assert 45 * MIB == merge.bytes


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 90 * MIB), st.integers(0, 3)), max_size=80),
    st.sampled_from([NOON, LATER]),
)
def test_no_file_is_merged_twice_and_no_merge_is_too_large(shapes: Iterable[tuple[int, int]], now: datetime) -> None:
    files = [file(number, size, tier) for number, (size, tier) in enumerate(shapes)]
    target = 64 * MIB
    found = tiers.merges(files, target_bytes=target, now=now)
    names = [source.name for merge in found for source in merge.sources]
    assert len(names) == len(set(names))
    assert all(len(merge.sources) > 1 and merge.bytes < 1.5 * target for merge in found)
    assert all(merge.tier > max(source.tier for source in merge.sources) for merge in found)


def test_what_is_landed_before_the_day_is_over_waits_for_its_like() -> None:
    """Thirty-one files of one tier are left alone, thirty-two are not; late files of an old day too."""
    files = [file(number, 1000) for number in range(tiers.FAN)]
    for now in (NOON, LATER):
        fresh = [LiveFile(each.name, each.day, each.bytes, 1, now) for each in files]
        assert [] == tiers.merges(fresh[1:], target_bytes=MIB, now=now)
        assert 1 == len(tiers.merges(fresh, target_bytes=MIB, now=now))
