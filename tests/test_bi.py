"""The database for BI tools: views that say what the program says, and stay true while the lake grows."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from support.lakes import NOW, SmallLake
from support.spans import NOON, SpanOf, call
from typer.testing import CliRunner

from llmcost.cli.main import app
from llmcost.models.errors import LakeNotWritable, UsageError
from llmcost.models.lake import MARTS
from llmcost.sql.bi import write
from llmcost.sql.relations import CHAIN

DAY = timedelta(days=1)
ASK_THE_PROGRAM = {"cache_misses", "cost_per_route", "customer_margin", "free_tier_abusers", "model_substitution"}
"""Rollups of the window, of prices or of a file of the user's: no view can know these."""
ROLLUPS = sorted({path.stem for path in CHAIN.with_name("rollups").glob("*.sql")} - ASK_THE_PROGRAM)


def mini(input_tokens: int, output_tokens: int) -> Decimal:
    """gpt-4o-mini: $0.15 in, $0.60 out per million tokens."""
    return Decimal("0.15") * input_tokens / 1_000_000 + Decimal("0.60") * output_tokens / 1_000_000


def two_days(folder: Path) -> SmallLake:
    """A resolved case on one day, a failed one and a call of an unknown model on the next."""
    ann = {"user.id": "ann", "customer.id": "acme", "app.feature": "support"}
    return SmallLake(folder).land(
        SpanOf("a", "root", attributes=ann, seconds=5),
        call("a", "call", parent="root", input=1000, output=100),
        SpanOf("a", "verdict", "outcome", "root", attributes={"outcome.resolved": True}),
        SpanOf("b", "root", at=NOON + DAY, attributes=ann, seconds=5),
        call("b", "call", parent="root", at=NOON + DAY, input=2000, output=300),
        call("b", "odd", "acme-7b", parent="root", at=NOON + DAY, input=10, output=10),
        SpanOf("b", "verdict", "outcome", "root", at=NOON + DAY, attributes={"outcome.resolved": False}),
    )


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """Its database is written, in a folder that a glob, a shell and SQL would each read in their own way."""
    small = two_days(tmp_path_factory.mktemp("bi") / "Ann's [old] lake, 100%?")
    small.warehouse.bi()
    return small


@pytest.fixture
def copy(lake: SmallLake, tmp_path: Path) -> SmallLake:
    """The lake again, for a test that changes it."""
    return lake.copy(tmp_path / "lake")


def opened(path: Path) -> duckdb.DuckDBPyConnection:
    """The database as a BI tool opens it."""
    return duckdb.connect(str(path), read_only=True)


def the_sum(path: Path, relation: str = "calls", column: str = "cost_usd") -> Decimal | None:
    with opened(path) as con:
        row = con.execute(f"select sum({column}) from {relation}").fetchone()
    assert row is not None
    return row[0]


def test_calls_sum_to_what_the_calls_cost(lake: SmallLake) -> None:
    assert mini(1000, 100) + mini(2000, 300) == the_sum(lake.lake.database)


@pytest.mark.parametrize("name", ROLLUPS)
def test_a_rollups_view_is_the_rollup_by_day(lake: SmallLake, name: str) -> None:
    """Row for row, over all days of the lake."""
    expected = lake.warehouse.rollup(name, since="2026-11-01", by="day")
    with opened(lake.lake.database) as con:
        found = con.table(name).pl()

    assert expected.height > 0
    assert expected.rows() == found.rows()
    assert expected.columns == found.columns


@pytest.mark.parametrize("name", [*MARTS, "trace_outcomes", "trace_evals", "unpriced_models"])
def test_a_relations_view_has_the_rows_and_columns_that_llmcost_sql_has(lake: SmallLake, name: str) -> None:
    expected = lake.warehouse.query(f"from {name} order by all")
    with opened(lake.lake.database) as con:
        found = con.sql(f"from {name} order by all").pl()

    assert expected.columns == found.columns
    assert expected.rows() == found.rows()


def test_a_new_day_is_seen_without_writing_the_database_again(copy: SmallLake) -> None:
    copy.warehouse.bi()
    copy.land(call("c", "call", at=NOON + 2 * DAY, input=7000, output=0)).warehouse.refresh()

    assert mini(1000, 100) + mini(2000, 300) + mini(7000, 0) == the_sum(copy.lake.database)


def test_the_days_of_calls_are_those_of_the_time_zone_a_session_sets(lake: SmallLake) -> None:
    """UTC where it sets none: 12:00 UTC is tomorrow's first hour on the date line."""
    query = "select local_day, local_hour from calls order by started_at limit 1"
    with opened(lake.lake.database) as con:
        assert (NOON.date(), "2026-11-20T12") == con.execute(query).fetchone()
        con.execute("set variable tz = 'Pacific/Auckland'")
        assert (NOON.date() + DAY, "2026-11-21T01") == con.execute(query).fetchone()


def test_an_empty_lake_has_every_relation_and_fills_up(tmp_path: Path) -> None:
    small = SmallLake(tmp_path / "lake")
    written = small.warehouse.bi()
    with opened(small.lake.database) as con:
        assert {each.name: 0 for each in written.relations} == {
            each.name: len(con.table(each.name).fetchall()) for each in written.relations
        }
    assert the_sum(small.lake.database) is None

    small.land(call("a", "call", input=1000, output=100)).warehouse.refresh()

    assert mini(1000, 100) == the_sum(small.lake.database)


def test_a_mart_without_files_and_a_file_without_the_newest_column_break_nothing(copy: SmallLake) -> None:
    """As in a lake whose old days are sealed, and were derived before the mart or the column was there."""
    copy.warehouse.refresh()
    for file in copy.lake.mart("evals").rglob("*.parquet"):
        file.unlink()
    first = copy.lake.mart_file("calls", NOON.date())
    pq.write_table(pq.ParquetFile(first).read().drop_columns(["log_id"]), first)

    write(copy.lake, copy.lake.database, relative=False, now=NOW)

    assert mini(1000, 100) + mini(2000, 300) == the_sum(copy.lake.database)
    assert the_sum(copy.lake.database, "evals", "score") is None


def test_a_question_about_one_day_reads_the_files_of_that_day(lake: SmallLake) -> None:
    with opened(lake.lake.database) as con:
        plan = con.execute("explain analyze select sum(cost_usd) from calls where day = '2026-11-20'").fetchall()

    assert "Scanning Files: 1/2" in str(plan)


def test_views_and_columns_carry_their_comments(lake: SmallLake) -> None:
    """What the .sql files say is what a BI tool shows beside a field."""
    with opened(lake.lake.database) as con:
        of_views = dict(con.execute("select view_name, comment from duckdb_views() where not internal").fetchall())
        of_columns = {
            (view, column): comment
            for view, column, comment in con.execute(
                "select table_name, column_name, comment from duckdb_columns() where schema_name = 'main'"
            ).fetchall()
            if view in of_views
        }
    assert of_views["cost_per_feature"] == (
        "What each product feature costs, in all and per request. One row per feature and day."
    )
    assert of_columns["calls", "cost_usd"] == "the booked cost, USD; NULL when unknown"
    assert of_columns["cost_per_feature", "day"] == "day of the call in the time zone asked for"
    assert of_columns["calls", "work_id"].startswith("what it was made for")
    assert [] == [view for view, comment in of_views.items() if not comment]
    assert [] == [column for column, comment in of_columns.items() if not comment]


def test_who_has_the_database_open_keeps_the_old_one_while_it_is_replaced(copy: SmallLake) -> None:
    """Even a tool that opened it to write, which locks it against every other opener."""
    copy.warehouse.bi()
    reader = (
        "import duckdb, sys\n"
        f"con = duckdb.connect({str(copy.lake.database)!r})\n"
        "print('open', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(con.execute('select count(*) from calls').fetchone()[0], flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", reader], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        before = copy.lake.database.stat().st_ino

        copy.warehouse.bi()

        assert copy.lake.database.stat().st_ino != before
        assert mini(1000, 100) + mini(2000, 300) == the_sum(copy.lake.database)
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "3\n"
    assert [] == [path.name for path in copy.lake.root.glob(".llmcost.duckdb*")]


def test_a_file_that_llmcost_did_not_write_is_not_replaced(copy: SmallLake, tmp_path: Path) -> None:
    precious = tmp_path / "precious.duckdb"
    duckdb.connect(str(precious)).execute("create table mine as select 1 as one").close()
    with pytest.raises(UsageError, match="llmcost bi did not write it"):
        copy.warehouse.bi(precious)

    written = copy.warehouse.bi(tmp_path / "own.duckdb").path
    duckdb.connect(str(written)).execute("create table mine as select 1 as one").close()
    with pytest.raises(UsageError, match="holds mine, which llmcost bi did not write"):
        copy.warehouse.bi(written)
    with opened(written) as con:
        assert [(1,)] == con.table("mine").fetchall()


def test_a_folder_that_is_not_there_is_said(copy: SmallLake, tmp_path: Path) -> None:
    with pytest.raises(LakeNotWritable, match="choose another file with --output"):
        copy.warehouse.bi(tmp_path / "missing" / "x.duckdb")


def test_a_relative_database_reads_the_lake_where_it_is_told_to_look(copy: SmallLake, tmp_path: Path) -> None:
    """For a lake that is copied, or mounted elsewhere: by file_search_path, or from the working directory."""
    copy.warehouse.bi(relative=True)
    moved = copy.lake.root.rename(tmp_path / "moved")

    with duckdb.connect(
        str(moved / "llmcost.duckdb"), read_only=True, config={"file_search_path": str(moved)}
    ) as con:
        assert (mini(1000, 100) + mini(2000, 300),) == con.execute("select sum(cost_usd) from calls").fetchone()
    asked = "execute('select sum(cost_usd) from calls').fetchone()[0]"
    from_there = f"import duckdb; print(duckdb.connect('llmcost.duckdb').{asked})"
    ended = subprocess.run([sys.executable, "-c", from_there], cwd=moved, check=True, capture_output=True, text=True)
    assert mini(1000, 100) + mini(2000, 300) == Decimal(ended.stdout)


def test_a_rollup_of_ones_own_is_a_view_and_one_that_fails_is_said(copy: SmallLake) -> None:
    header = "-- Mine.\n-- grain: one row\n-- reads: calls\n"
    (copy.lake.user_rollups / "mine.sql").write_text(
        f"{header}select sum(cost_usd) as cost_usd, -- cost, USD\nfrom calls"
    )
    (copy.lake.user_rollups / "wrong.sql").write_text(f"{header}select nothing from calls")
    (copy.lake.user_rollups / "traces.sql").write_text(f"{header}select 1 as one from calls")

    written = copy.warehouse.bi()

    assert "mine" in [each.name for each in written.relations]
    assert ["traces.sql", "wrong.sql"] == sorted(Path(line.split(": ")[0]).name for line in written.left_out)
    assert mini(1000, 100) + mini(2000, 300) == the_sum(copy.lake.database, "mine")


def test_doctor_says_that_the_database_is_older_than_its_relations(copy: SmallLake) -> None:
    assert ["ok"] == [each.status for each in copy.warehouse.doctor() if each.check == "bi"]

    (copy.lake.user_rollups / "mine.sql").write_text("-- Mine.\n-- grain: one row\n-- reads: calls\nselect 1 as one")
    (found,) = [each for each in copy.warehouse.doctor() if each.check == "bi"]
    assert ("warn", "write it again: llmcost bi") == (found.status, found.next_step)


def test_the_command_says_what_it_wrote(copy: SmallLake) -> None:
    ended = CliRunner().invoke(app, ["bi", "--lake", str(copy.lake.root), "--format", "json"])
    said = json.loads(ended.stdout)

    assert str(copy.lake.database) == said["path"]
    relations = {row["relation"] for row in said["rows"]}
    assert {*MARTS, *ROLLUPS} <= relations
    assert (set(), []) == (ASK_THE_PROGRAM & relations, said["left_out"])


def test_older_duckdbs_can_read_the_file(lake: SmallLake) -> None:
    """The storage version in its header is the one DuckDB 1.0 wrote."""
    header = lake.lake.database.read_bytes()[:20]

    assert (b"DUCK", 64) == (header[8:12], int.from_bytes(header[12:20], "little"))


def test_other_libraries_read_the_marts_as_they_are(lake: SmallLake) -> None:
    """Polars and pyarrow, by the folders' day and the columns' own types."""
    root = lake.lake.mart("calls")
    expected = mini(1000, 100) + mini(2000, 300)

    assert expected == sum(filter(None, pq.read_table(root, partitioning=None)["cost_usd"].to_pylist()), Decimal(0))
