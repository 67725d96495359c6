"""The landed tables: what is committed is read by Delta readers and by plain Parquet readers alike."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from llmcost.ingest import delta_log
from llmcost.ingest.delta import LandedTable, landed_tables
from llmcost.models.lake import Lake
from llmcost.models.schema import DAY, SPANS, TEXT_MAP, TIMESTAMP
from llmcost.sql import Warehouse

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.create(tmp_path / "a lake, with % and spaces")


def rows(*instants: datetime) -> pa.Table:
    """One span an instant, in its UTC day, with a map and a list that hold something."""

    def values(field: pa.Field) -> pa.Array:
        if field.name == "ended_at":
            return pa.array([at + timedelta(seconds=1) for at in instants], TIMESTAMP)
        if field.type == TIMESTAMP:
            return pa.array(instants, TIMESTAMP)
        if field.type == TEXT_MAP:
            return pa.array([[("key", "value"), ("empty", "")]] * len(instants), TEXT_MAP)
        if pa.types.is_list(field.type):
            return pa.array([["a", "b"]] * len(instants), field.type)
        if field.name in ("trace_id", "span_id"):
            return pa.array([f"{number:032x}" for number in range(len(instants))])
        return pa.nulls(len(instants), field.type)

    days = pa.array([at.date() for at in instants], pa.date32())
    return pa.table([*map(values, SPANS), days], schema=SPANS.append(DAY))


def test_rows_come_back_through_delta_and_through_duckdb(lake: Lake) -> None:
    """Maps, lists, instants, and the day from the folder's name; the columns' meanings stand in the log."""
    spans, _ = landed_tables(lake)
    landed = rows(NOON, NOON + timedelta(days=1), NOON)
    files = spans.write(landed)
    assert [(date(2026, 11, 22), 2), (date(2026, 11, 23), 1)] == [(file.day, file.rows) for file in files]
    spans.commit(files, receiver_id="r", number=1)

    table = DeltaTable(lake.table("spans"))
    by_delta = table.to_pyarrow_table().select(landed.column_names).sort_by([("day", "ascending")])
    assert landed.sort_by([("day", "ascending")]).to_pylist() == by_delta.to_pylist()
    assert "Trace id, 32 lower-case hex digits" == table.schema().fields[0].metadata["comment"]
    paths = [unquote(uri) for uri in table.file_uris()]
    by_duckdb = duckdb.execute(
        """
        select day, attributes['key'], tags[2], epoch_us(started_at)
        from read_parquet($paths, hive_partitioning = true) order by started_at limit 1
        """,
        {"paths": paths},
    ).fetchall()
    assert [(date(2026, 11, 22), "value", "b", int(NOON.timestamp()) * 1_000_000)] == by_duckdb


def test_a_file_says_which_instants_it_holds(lake: Lake) -> None:
    """Readers prune by the statistics in the log, so they must be exact to the microsecond."""
    spans, _ = landed_tables(lake)
    last = NOON + timedelta(microseconds=1)
    spans.commit(spans.write(rows(last, NOON)), receiver_id="r", number=1)
    commit = (lake.table("spans") / "_delta_log" / f"{1:020d}.json").read_text().splitlines()
    stats = json.loads(next(json.loads(line)["add"]["stats"] for line in commit if "add" in json.loads(line)))
    assert {
        "numRecords": 2,
        "minValues": {"started_at": "2026-11-22T12:00:00.000000Z"},
        "maxValues": {"started_at": "2026-11-22T12:00:00.000001Z", "ended_at": "2026-11-22T12:00:01.000001Z"},
        "nullCount": {"started_at": 0, "input_tokens": 2, "output_tokens": 2, "reported_cost_usd": 2},
    } == stats


def test_the_table_remembers_each_receivers_last_segment(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Across checkpoints and log clean-up, for every receiver on its own."""
    monkeypatch.setattr(delta_log, "CHECKPOINT_COMMITS", 3)
    spans, _ = landed_tables(lake)
    assert 0 == spans.landed_number("first")
    spans.commit(spans.write(rows(NOON)), receiver_id="second", number=9)
    for number in range(1, 9):
        spans.commit(spans.write(rows(NOON)), receiver_id="first", number=number)
    reopened, _ = landed_tables(lake)
    assert (8, 9, 0) == tuple(reopened.landed_number(receiver) for receiver in ("first", "second", "third"))
    assert 9 == DeltaTable(lake.table("spans")).to_pyarrow_table().num_rows
    assert list((lake.table("spans") / "_delta_log").glob("*.checkpoint*.parquet"))


def test_two_writers_of_one_table_both_land(lake: Lake) -> None:
    """Appends of different receivers do not conflict, though each commits without having seen the other's."""
    one, other = landed_tables(lake)[0], landed_tables(lake)[0]
    for number in range(1, 4):
        one.commit(one.write(rows(NOON)), receiver_id="one", number=number)
        other.commit(other.write(rows(NOON)), receiver_id="other", number=number)
    assert 6 == DeltaTable(lake.table("spans")).to_pyarrow_table().num_rows


def test_one_segment_is_committed_once_even_by_two_writers(lake: Lake) -> None:
    """The second finds the first's commit, and its own files are no part of the table."""
    one, other = landed_tables(lake)[0], landed_tables(lake)[0]
    one.commit(one.write(rows(NOON)), receiver_id="r", number=1)
    other.commit(other.write(rows(NOON)), receiver_id="r", number=1)
    assert 1 == DeltaTable(lake.table("spans")).to_pyarrow_table().num_rows


def test_a_failed_commit_leaves_nothing_behind(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are removed and the segment's number is not remembered."""
    spans, _ = landed_tables(lake)
    files = spans.write(rows(NOON))

    def fail(*_: object, **__: object) -> None:
        raise CommitFailedError("no")

    with monkeypatch.context() as broken:
        broken.setattr(DeltaTable, "create_write_transaction", fail)
        with pytest.raises(CommitFailedError):
            spans.commit(files, receiver_id="r", number=1)
    assert 0 == spans.landed_number("r")
    assert [] == list(lake.table("spans").glob("day=*/*"))


def test_statistics_are_kept_where_they_can_prune(lake: Lake) -> None:
    """An instant's are, a random id's and a map's would only cost."""
    spans, _ = landed_tables(lake)
    (file,) = spans.write(rows(NOON))
    group = pq.ParquetFile(file.path).metadata.row_group(0)
    kept = {group.column(at).path_in_schema for at in range(group.num_columns) if group.column(at).is_stats_set}
    assert {"started_at", "ended_at", "name", "input_tokens"} <= kept
    assert not kept & {"trace_id", "span_id", "attributes.key_value.value"}


def test_a_half_written_file_matches_no_glob(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is whole and synced, its name begins with a dot."""
    seen: list[str] = []
    monkeypatch.setattr("llmcost.ingest.parquet.sync_file", lambda path: seen.append(path.name))
    spans: LandedTable = landed_tables(lake)[0]
    (file,) = spans.write(rows(NOON))
    assert [f".{file.path.name}"] == seen
    assert [file.path] == list(lake.table("spans").glob("day=*/*.parquet"))


def test_a_lake_of_an_older_program_gets_the_columns_that_came_since(lake: Lake) -> None:
    """Landing adds them; what was landed without them is NULL, for derivation and for SQL, in any order of files."""
    older = pa.schema([field for field in SPANS if not field.name.startswith("evaluation_")])
    early = LandedTable(lake, "spans", older, "started_at")
    bare = rows(NOON, NOON - timedelta(days=1)).drop_columns(
        [name for name in SPANS.names if name not in older.names]
    )
    early.commit(early.write(bare), receiver_id="r", number=1)
    warehouse = Warehouse(lake.root, now=lambda: NOON)
    assert warehouse.sql("select evaluation_scores from spans").column(0).null_count == 2
    assert warehouse.refresh().days == 2

    spans, _ = landed_tables(lake)
    both = DeltaTable(lake.table("spans"))
    assert set(SPANS.names) <= {field.name for field in both.schema().fields}
    again, _ = landed_tables(lake)
    assert DeltaTable(lake.table("spans")).version() == both.version()
    landed = rows(NOON)
    at = landed.column_names.index("evaluation_scores")
    landed = landed.set_column(at, "evaluation_scores", pa.array(['[{"name":"kind","score":"1","label":null}]']))
    again.commit(again.write(landed), receiver_id="r", number=2)
    early.commit(early.write(bare), receiver_id="still the older program", number=1)

    assert spans.landed_number("r") == 2
    assert warehouse.sql("select evaluation_scores from spans").column(0).null_count == 4
    assert warehouse.sql("select evaluation_name, score from evals").to_pylist() == [
        {"evaluation_name": "kind", "score": 1.0}
    ]
    assert DeltaTable(lake.table("spans")).to_pyarrow_table().num_rows == 5


def test_processes_that_create_a_table_at_once_all_open_it(tmp_path: Path) -> None:
    """Receivers and workers of a new lake start together; one of them makes the table."""
    with ThreadPoolExecutor(8) as starting:
        for number in range(5):
            lake = Lake.create(tmp_path / str(number))
            opened = list(starting.map(lambda _, lake=lake: landed_tables(lake), range(8)))  # type: ignore[misc]
            assert {0} == {table.landed_number("0" * 12) for tables in opened for table in tables}


def test_a_segment_is_landed_once_though_two_processes_believe_it_is_theirs(lake: Lake) -> None:
    """A lock may fail, as on a network file system: the log refuses the second, whatever it remembers."""
    (one, _), (other, _) = landed_tables(lake), landed_tables(lake)
    assert (0, 0) == (one.landed_number("r"), other.landed_number("r"))
    for table in (one, other):
        table.commit(table.write(rows(NOON, NOON, NOON)), receiver_id="r", number=1)
    assert 3 == len(DeltaTable(lake.table("spans")).to_pyarrow_table())
    assert 1 == other.landed_number("r")
