"""Marts that are replaced while anybody reads them."""

from __future__ import annotations

import io
import random
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import replacing_run
from replacing_run import READERS
from support.lakes import NOW, SmallLake

from llmcost.models.lake import MARTS, Lake
from llmcost.sql import steady
from llmcost.sql.derive import Rules, derived_day
from llmcost.sql.inventory import Inventory
from llmcost.sql.replaceable import Live, replace
from llmcost.sql.steady import ask_steady

TODAY = NOW.date()


def versions(count: int, seed: int = 1) -> list[pa.Table]:
    """Tables that grow and shrink, each unlike the others."""
    source = random.Random(seed)  # noqa: S311
    heights = [source.choice((0, 1, 10, 1000, 5000, 20_000)) for _ in range(count)]
    return [
        pa.table(
            {
                "id": [source.randbytes(8).hex() for _ in range(height)],
                "user": [f"user-{source.randrange(50)}" for _ in range(height)],
                "cost": pa.array([Decimal(number)] * height, pa.decimal128(18, 9)),
                "tags": pa.array([["a", f"b{number}"]] * height, pa.list_(pa.string())),
            }
        )
        for number, height in enumerate(heights)
    ]


def put(path: Path, table: pa.Table, **metadata: str) -> None:
    replace(path, lambda: table.to_reader(max_chunksize=8192), metadata)


def test_who_holds_the_old_footer_or_the_old_length_finds_whole_rows(tmp_path: Path) -> None:
    """After each of many replacements, wherever the rows stood and however many came and went."""
    path = tmp_path / "calls.parquet"
    old: tuple[pa.Table, pq.FileMetaData, int] | None = None
    for table in versions(60):
        put(path, table)
        assert table.equals(pq.ParquetFile(path).read())
        if old:
            rows, footer, length = old
            assert rows.equals(pq.ParquetFile(path, metadata=footer).read())
            at_the_old_length = pq.ParquetFile(io.BytesIO(path.read_bytes()[:length])).read()
            assert (table if length == path.stat().st_size else rows).equals(at_the_old_length)
        old = table, pq.read_metadata(path), path.stat().st_size


def test_a_file_of_any_other_writer_is_kept_too(tmp_path: Path) -> None:
    """DuckDB's, with its Bloom filters behind the rows."""
    path = tmp_path / "calls.parquet"
    query = "select 'user-' || (i % 9) as name, i from range(5000) as t(i)"
    duckdb.execute(f"copy ({query}) to '{path}' (format parquet)")
    rows, footer, before = pq.ParquetFile(path).read(), pq.read_metadata(path), path.read_bytes()
    put(path, versions(40)[3])
    assert rows.equals(pq.ParquetFile(path, metadata=footer).read())
    column = footer.row_group(0).column(0)
    filters = slice(column.bloom_filter_offset, column.bloom_filter_offset + column.bloom_filter_length)
    assert before[filters] == path.read_bytes()[filters]


def test_a_file_is_at_most_four_times_as_long_as_its_rows_ever_were(tmp_path: Path) -> None:
    """Over 200 versions that grow and shrink; on disk it takes its own rows and the old ones."""
    path, plain = tmp_path / "calls.parquet", tmp_path / "plain.parquet"
    tables = versions(12, seed=2)
    sizes: list[int] = []
    for number in range(200):
        table = tables[number * 7 % len(tables)]
        plain.unlink(missing_ok=True)
        put(plain, table)
        with plain.open("rb") as file:
            live = Live.read(file)
        sizes.append(live.end - live.start + live.length - live.footer)
        put(path, table)
        status = path.stat()
        assert status.st_size <= 4 * max(sizes) + 4 * 4096
        assert status.st_blocks * 512 <= sum(sizes[-2:]) + 8 * 4096
    assert {path, plain} == set(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "footer"])
def test_a_damaged_file_is_replaced_by_a_plain_one(tmp_path: Path, damage: str) -> None:
    """Nobody can be reading it."""
    path, plain = tmp_path / "calls.parquet", tmp_path / "plain.parquet"
    first, second = versions(40)[3], pa.table({"id": ["x"]})
    put(plain, second)
    put(path, first)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[:-5], "text": b"no Parquet", "footer": whole[-40:]}[damage])
    put(path, second)
    assert plain.read_bytes() == path.read_bytes()


def test_two_writers_of_one_file_keep_the_version_that_they_replace(tmp_path: Path) -> None:
    """The other one was faster: what it wrote is kept, not what was there before."""
    path = tmp_path / "calls.parquet"
    before, others, mine = (pa.table({"id": [word] * 9}) for word in ("before", "others", "mine"))
    put(path, before)
    calls_of_rows = 0

    def rows() -> pa.RecordBatchReader:
        nonlocal calls_of_rows
        calls_of_rows += 1
        if calls_of_rows == 1:
            put(path, others)
        return mine.to_reader()

    replace(path, rows, {})
    assert 2 == calls_of_rows
    assert mine.equals(pq.ParquetFile(path).read())
    put(tmp_path / "same.parquet", before)
    put(tmp_path / "same.parquet", others)
    footer = pq.read_metadata(tmp_path / "same.parquet")
    assert others.equals(pq.ParquetFile(path, metadata=footer).read())


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    return replacing_run.three_days(tmp_path_factory.mktemp("marts") / "lake")


@pytest.mark.parametrize("name", MARTS)
def test_a_mart_has_the_rows_and_types_that_duckdb_would_write(lake: SmallLake, name: str, tmp_path: Path) -> None:
    """As DuckDB, pyarrow and polars see them; whether a column may be NULL aside, which DuckDB tells by the rows."""
    rules, inventory = Rules.load(lake.lake, lake.settings), Inventory.take(lake.lake)
    path, copied = lake.lake.mart_file(name, TODAY), tmp_path / "copied.parquet"
    with derived_day(TODAY, inventory, rules) as con:
        con.execute(
            f"copy (select * from {name} where day = $day) to $path (format parquet, compression zstd)",
            {"day": TODAY, "path": str(copied)},
        )
    ours, theirs = ([(f.name, f.type) for f in pq.read_schema(each)] for each in (path, copied))
    assert theirs == ours
    assert pl.read_parquet_schema(copied) == pl.read_parquet_schema(path)
    described = [duckdb.sql(f"describe from read_parquet('{each}')").fetchall() for each in (copied, path)]
    assert described[0] == described[1]
    for one, other in ((path, copied), (copied, path)):
        assert [] == duckdb.sql(f"from read_parquet('{one}') except all from read_parquet('{other}')").fetchall()


def test_statistics_and_bloom_filters_leave_rows_out(lake: SmallLake) -> None:
    """A day without a user is not read for that user."""
    group = pq.read_metadata(lake.lake.mart_file("calls", TODAY)).row_group(0)
    columns = {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}
    assert (TODAY, TODAY) == (columns["day"].statistics.min, columns["day"].statistics.max)
    assert columns["feature"].bloom_filter_offset
    with duckdb.connect() as con:
        pruned = con.execute(
            "select bloom_filter_excludes from parquet_bloom_probe($file, 'feature', 'nothing')",
            {"file": str(lake.lake.mart_file("calls", TODAY))},
        ).fetchall()
    assert [(True,)] == pruned


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_beside_a_writer_is_always_right(lake: SmallLake, reader: str) -> None:
    """Days replaced 50 times a second: no error, and no total that was never written."""
    seen = replacing_run.beside_a_writer(lake.lake, reader, times=70)
    assert seen.answers, seen
    assert ([], []) == (seen.errors, seen.wrong)


@pytest.fixture
def two_days(tmp_path: Path) -> tuple[Lake, list[date]]:
    """A lake with calls of one row on two days."""
    lake, days = Lake(tmp_path / "lake"), [TODAY - timedelta(days=1), TODAY]
    for day in days:
        lake.mart_file("calls", day).parent.mkdir(parents=True)
        lake.mart_file("calls", day).write_text(f"{day} first")
    return lake, days


def renew(path: Path, text: str) -> None:
    path.with_suffix(".tmp").write_text(text)
    path.with_suffix(".tmp").replace(path)


@pytest.mark.parametrize("fails", [False, True], ids=["an answer", "an error"])
def test_a_question_is_asked_again_where_a_mart_was_replaced(two_days: tuple[Lake, list[date]], fails: bool) -> None:
    """What it said, or that it failed, does not count; the file that changed is held still for the next try."""
    lake, days = two_days
    asked: list[list[Path]] = []

    def question(source: Lake) -> list[str]:
        paths = [source.mart_file("calls", day) for day in days]
        asked.append(paths)
        read = [path.read_text() for path in paths]
        renew(lake.mart_file("calls", TODAY), f"{TODAY} after try {len(asked)}")
        if fails and len(asked) == 1:
            raise duckdb.IOException("torn")
        return read

    assert [f"{days[0]} first", f"{TODAY} after try 1"] == ask_steady(lake, days, question)
    assert 2 == len(asked)
    assert asked[0][0] == asked[1][0]
    assert asked[0][1] != asked[1][1]
    assert not asked[1][1].exists()


def test_a_question_ends_though_each_try_finds_another_file_replaced(tmp_path: Path) -> None:
    """In the end it is asked of copies."""
    lake, days = Lake(tmp_path), [TODAY - timedelta(days=days) for days in range(9)]
    for day in days:
        lake.mart_file("calls", day).parent.mkdir(parents=True)
        lake.mart_file("calls", day).write_text("0")
    tries = 0

    def question(source: Lake) -> list[str]:
        nonlocal tries
        read = [source.mart_file("calls", day).read_text() for day in days]
        renew(lake.mart_file("calls", days[tries]), str(tries + 1))
        tries += 1
        return read

    assert ["1", "2", "3", *"000000"] == ask_steady(lake, days, question)
    assert steady._TRIES == tries


def test_an_error_without_a_replaced_mart_is_raised_at_once(two_days: tuple[Lake, list[date]]) -> None:
    """Asking again would say the same."""
    asked = 0

    def question(_: Lake) -> None:
        nonlocal asked
        asked += 1
        raise duckdb.IOException("the disk is gone")

    with pytest.raises(duckdb.IOException, match="the disk is gone"):
        ask_steady(*two_days, question)
    assert 1 == asked


def test_a_mart_that_retention_takes_meanwhile_is_in_no_answer(two_days: tuple[Lake, list[date]]) -> None:
    """The next try finds none."""
    lake, days = two_days

    def question(source: Lake) -> int:
        found = [path for day in days if (path := source.mart_file("calls", day)).exists()]
        lake.mart_file("calls", days[0]).unlink(missing_ok=True)
        return len(found)

    assert 1 == ask_steady(lake, days, question)
