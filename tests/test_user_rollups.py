"""What users put beside their rollups: files as relations, rollups of their own, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.lakes import SmallLake
from support.spans import call
from typer.testing import CliRunner

from llmcost.cli.main import app
from llmcost.models.errors import UsageError
from llmcost.models.lake import Lake
from llmcost.sql.files import Opened, mentioned, open_files

PLAN = """-- What each customer costs beside its plan.
-- grain: one row per customer
-- reads: calls, plans
select
    calls.customer_id, -- customer
    any_value(plans.plan) as plan, -- plan they are on
    sum(calls.cost_usd) as cost_usd, -- booked cost, USD
from calls
left join plans
    on calls.customer_id = plans.customer_id
group by calls.customer_id
order by calls.customer_id
"""


def mini(input_tokens: int) -> Decimal:
    """gpt-4o-mini: $0.15 in per million tokens."""
    return Decimal("0.15") * input_tokens / 1_000_000


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    spans = [
        call("a", "call", input=1000, output=0, attributes={"customer.id": "00123"}),
        call("b", "call", input=2000, output=0, attributes={"customer.id": "globex"}),
    ]
    lake = SmallLake(tmp_path_factory.mktemp("own") / "lake").land(*spans)
    lake.warehouse.refresh()
    return lake


@pytest.fixture
def lake(landed: SmallLake) -> Iterator[SmallLake]:
    """The lake with nothing of the user's."""
    yield landed
    for path in landed.lake.user_rollups.iterdir():
        path.unlink()


def put(lake: SmallLake, name: str, text: str | bytes) -> Path:
    """A file beside the user's rollups."""
    path = lake.lake.user_rollups / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(lake: SmallLake, name: str, **options: Any) -> list[dict[str, Any]]:
    return lake.warehouse.ask(name, **options).table.to_pylist()


# --- Files as relations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plans.csv", "PLANS.csv", "plans.parquet"])
def test_a_file_is_a_relation_named_as_the_file(lake: SmallLake, name: str) -> None:
    """For a rollup whose header reads it, and for SQL; ids keep their zeros, so that they join."""
    put(lake, "plan.sql", PLAN)
    if name.endswith("csv"):
        put(lake, name, "customer_id,plan,fee_usd\n00123,gold,0.1\n00124,silver,2\n")
    else:
        table = {"customer_id": ["00123", "00124"], "plan": ["gold", "silver"], "fee_usd": [0.1, 2.0]}
        pq.write_table(pa.table(table), lake.lake.user_rollups / name)

    assert rows(lake, "plan") == [
        {"customer_id": "00123", "plan": "gold", "cost_usd": mini(1000)},
        {"customer_id": "globex", "plan": None, "cost_usd": mini(2000)},
    ]
    found = lake.warehouse.sql("select sum(fee_usd) as fees from plans where customer_id like '00%'").to_pylist()
    assert found == [{"fees": Decimal("2.1")}]
    assert "plans" in lake.warehouse.sql("show tables").column("name").to_pylist()


def test_any_dimension_is_text_and_money_is_exact(lake: SmallLake) -> None:
    """A column is text when it is a dimension's or an id, whatever its values look like; dates are ISO or text."""
    put(lake, "t.csv", "team,order_id,seats,fee_usd,since,signed\n007,0042,3,0.1,2026-11-01,03/04/2026\n")

    (row,) = lake.warehouse.sql("from t").to_pylist()
    assert (row["team"], row["order_id"], row["seats"], row["fee_usd"]) == ("007", "0042", 3, Decimal("0.1"))
    assert (str(row["since"]), row["signed"]) == ("2026-11-01", "03/04/2026")


def test_the_projects_file_replaces_the_lakes(
    lake: SmallLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its rollups do."""
    put(lake, "plans.csv", "customer_id,plan\n00123,gold\n")
    (tmp_path / "rollups").mkdir()
    (tmp_path / "rollups" / "plans.csv").write_text("customer_id,plan\n00123,lead\n")
    monkeypatch.chdir(tmp_path)

    assert lake.warehouse.sql("select plan from plans").to_pylist() == [{"plan": "lead"}]


def test_a_missing_file_is_named_with_its_place(lake: SmallLake) -> None:
    """Which file to write, and where."""
    path = put(lake, "plan.sql", PLAN)
    with pytest.raises(UsageError) as refused:
        rows(lake, "plan")
    assert str(refused.value) == (
        f'"{path}" reads "plans", which is no relation and no file: write {path.parent}/plans.csv (or .parquet) '
        "with a first line that names its columns, or correct its reads:"
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("plans.csv", "", "it is empty: its first line must name the columns"),
        ("plans.csv", "00123,gold,2026-11-01,7.5\n", 'its first line must name the columns, and "00123" is no name'),
        ("plans.csv", "customer_id,,x\na,b,c\n", 'its first line must name the columns, and "" is no name'),
        ("plans.csv", "customer_id,plan,Plan\na,b,c\n", 'two columns are called "Plan"'),
        ("plans.csv", "customer_id,plan\na,b,c,d,e\n", "Line: 2"),
        ("plans.csv", "customer_id,fee_usd\na,1\nb,dear\n", "Line: 3 .*dear"),
        ("plans.csv", "customer_id,plan\n\xe9,b\n".encode("latin-1"), "it is not UTF-8"),
        ("plans.parquet", b"PAR1 not really", "plans.parquet"),
    ],
)
def test_a_file_that_cannot_be_read_says_which_and_why(
    lake: SmallLake, name: str, content: str | bytes, said: str
) -> None:
    """In one line."""
    path = put(lake, name, content)
    with duckdb.connect() as con, pytest.raises(UsageError, match=f'^cannot read "{path}": .*{said}') as refused:
        open_files(con, lake.lake, ["plans"], path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


def test_a_broken_file_is_in_nobodys_way_who_does_not_name_it(lake: SmallLake) -> None:
    """Who names it is told."""
    put(lake, "plans.csv", "")
    with pytest.raises(UsageError, match="it is empty"):
        lake.warehouse.sql("from plans")
    assert lake.warehouse.sql("select count(*) as calls from calls").to_pylist() == [{"calls": 2}]


def test_a_name_of_ours_and_a_name_of_two_files_are_refused(lake: SmallLake) -> None:
    """No answer is ever about another relation than it says."""
    put(lake, "calls.csv", "cost_usd\n0\n")
    with pytest.raises(
        UsageError, match=r'calls.csv": "calls" is a relation of llmcost already: give the file another'
    ):
        rows(lake, "cost-per-feature")
    put(lake, "plans.csv", "customer_id,plan\na,b\n")
    put(lake, "Plans.csv", "customer_id,plan\na,c\n")
    with pytest.raises(UsageError, match='would both be the relation "plans": keep one'):
        lake.warehouse.sql("from plans")


HOSTILE = (
    "x'; drop view calls; --", 'x" as select 1; --', "x)--", "$x", "{{ 7 }}", "*", "?", "[a-z]*", "x y", "-x", "..x",
    "read_text('", "x\nreads: calls", "\u202ex", "=1+1",
)  # fmt: skip


@pytest.mark.parametrize("word", HOSTILE)
def test_the_name_of_a_file_is_never_sql(lake: SmallLake, word: str) -> None:
    """It is a relation's name or it is refused; what there was stays, and nothing else is there."""
    put(lake, f"{word}.csv", "customer_id,plan\nsecret,b\n")
    with duckdb.connect() as con:
        con.execute("create temp view calls as select 1 as a")
        with pytest.raises(UsageError, match="name it with letters, digits and _ only"):
            open_files(con, lake.lake, [word], Path("asker"))
        assert open_files(con, lake.lake, mentioned(f"show {word}", lake.lake), Path("asker")) == Opened()
        assert con.execute("select table_name from information_schema.tables").fetchall() == [("calls",)]


def test_a_folder_and_headings_with_quotes_are_text(tmp_path: Path) -> None:
    """Of the lake's path as of the file's columns."""
    lake = Lake.create(tmp_path / "it's [a] {{ lake }}*")
    (lake.user_rollups / "odd.csv").write_text('"a\'b","c""d",\'); drop table x; --_id\n1,2,3\n')
    with duckdb.connect() as con:
        open_files(con, lake, ["odd"], Path("asker"))
        assert con.sql("from odd").to_arrow_table().to_pylist() == [
            {"a'b": 1, 'c"d': 2, "'); drop table x; --_id": "3"}
        ]


def test_sql_reads_the_files_it_names_and_no_others(lake: SmallLake) -> None:
    """The lock holds: neither by their path, nor another of the folder."""
    path = put(lake, "plans.csv", "customer_id,plan\na,b\n")
    put(lake, "notes.txt", "secret\n")
    pq.write_table(pa.table({"customer_id": ["a"]}), lake.lake.user_rollups / "other.parquet")
    for query in (
        f"from read_csv('{path}')",
        f"from read_text('{path.parent}/notes.txt')",
        f"from '{path.parent}/*'",
    ):
        with pytest.raises(UsageError, match=r"^SQL: "):
            lake.warehouse.sql(query)
    assert lake.warehouse.sql("from other").to_pylist() == [{"customer_id": "a"}]


# --- What is wrong with a rollup --------------------------------------------------------------------------------

BROKEN = {
    "no-header": ("select 1 as a, -- one\n", "has no header: its first line must be a comment"),
    "no-sql": (PLAN.replace("sum(", "sum((").replace(", plans", ""), "Parser Error: .*line"),
    "no-column": (
        "-- What it costs.\n-- reads: calls\nselect\n    sum(money) as cost_usd, -- booked cost, USD\nfrom calls\n",
        'column "money" not found',
    ),
    "no-relation": (PLAN.replace(", plans", ""), "plans"),
    "no-comment": (
        "-- What it costs.\n-- reads: calls\nselect\n    sum(cost_usd) as cost_usd\nfrom calls\n",
        'column "cost_usd" has no comment: give it a line of its own',
    ),
    "no-end": ("-- What it costs.\n-- reads: calls\n{% if by %}\nselect 1 as a, -- one\n", "template, line 3: "),
    "no-variable": (
        "-- What it costs.\n-- reads: calls\nselect {{ bye }} as a, -- one\n",
        "template: 'bye' is undef",
    ),
}


@pytest.fixture
def broken(lake: SmallLake) -> dict[str, Path]:
    found = {name: put(lake, f"{name.replace('-', '_')}.sql", text) for name, (text, _) in BROKEN.items()}
    return found | {"mangled": put(lake, "mangled.sql", b"-- \xff\nselect 1\n")}


def test_each_broken_rollup_is_listed_with_its_reason_and_the_others_stand(
    lake: SmallLake, broken: dict[str, Path]
) -> None:
    """One line each, with the file."""
    put(lake, "plans.csv", "customer_id,plan\na,b\n")
    put(lake, "plan.sql", PLAN)
    ran = CliRunner().invoke(app, ["rollup", "--list", "--format", "json", "--lake", str(lake.lake.root)])
    listed = {row["rollup"]: row["answers"] for row in json.loads(ran.stdout)["rows"]}

    assert set(broken) == {name for name, answers in listed.items() if answers.startswith("broken: ")}
    assert {name for name, path in broken.items() if str(path) in listed[name]} == set(broken)
    assert listed["plan"] == "What each customer costs beside its plan"
    assert listed["cost-per-feature"] == "What each product feature costs, in all and per request"


def test_asking_a_broken_rollup_says_its_reason(lake: SmallLake, broken: dict[str, Path]) -> None:
    """The same line; and no other rollup minds."""
    for name, (_, said) in BROKEN.items():
        with pytest.raises(UsageError, match=f"{broken[name].name}.*{said}") as refused:
            rows(lake, name)
        assert "\n" not in str(refused.value)
    assert len(rows(lake, "cost-per-customer")) == 2


def test_a_grain_that_a_file_does_not_use_is_refused(lake: SmallLake) -> None:
    """Rows that are not split are not passed off as split."""
    put(lake, "plans.csv", "customer_id,plan\na,b\n")
    put(lake, "plan.sql", PLAN.replace("-- grain", "-- group_by: feature\n-- grain"))
    for options in ({"by": "day"}, {"group_by": ["feature"]}):
        with pytest.raises(UsageError, match=r'its rows are not split by "(day|feature)"'):
            rows(lake, "plan", **options)


def test_a_header_that_was_mended_counts_at_once(lake: SmallLake) -> None:
    """A process that stays reads the user's file as it stands."""
    warehouse = lake.warehouse
    put(lake, "plan.sql", PLAN.replace(", plans", ""))
    with pytest.raises(UsageError, match="plans"):
        warehouse.ask("plan")
    put(lake, "plan.sql", PLAN)
    put(lake, "plans.csv", "customer_id,plan\na,b\n")
    assert warehouse.ask("plan").table.num_rows == 2


# --- llmcost rollup --new ---------------------------------------------------------------------------------------


def test_a_new_rollup_runs_as_it_stands(lake: SmallLake) -> None:
    """By time and by dimension, with sums that are the ledger's; and it is not written over."""
    ran = CliRunner().invoke(app, ["rollup", "--new", "cost-per-region", "--lake", str(lake.lake.root)])
    path = lake.lake.user_rollups / "cost_per_region.sql"

    assert (ran.exit_code, ran.stdout) == (0, f"{path}\n")
    assert f"llmcost rollup cost-per-region --since 7d --lake {lake.lake.root}" in ran.stderr
    for options in ({}, {"by": "day", "group_by": ["feature", "customer_id"]}, {"by": "hour"}):
        answer = lake.warehouse.ask("cost-per-region", **options)
        assert sum(answer.table["cost_usd"].to_pylist()) == mini(1000) + mini(2000)
    assert [info.problem for info in lake.warehouse.rollups() if info.name == "cost-per-region"] == [None]
    with pytest.raises(UsageError, match=r"it is a rollup already, in .*cost_per_region\.sql"):
        lake.warehouse.new_rollup("cost_per_region")


def test_the_join_it_shows_works_once_it_is_taken_in(lake: SmallLake) -> None:
    """Its comments are the code that they say."""
    path = lake.warehouse.new_rollup("budgets")
    text = path.read_text()
    for line in ("any_value(budget.budget_usd)", "left join budget", "    on calls.model"):
        text = text.replace(f"-- {line}", line)
    text = text.replace("reads: calls\n", "reads: calls, budget\n").replace("coalesce(model", "coalesce(calls.model")
    path.write_text(text)
    put(lake, "budget.csv", "model,budget_usd\ngpt-4o-mini-2024-07-18,7\n")

    assert [row["budget_usd"] for row in rows(lake, "budgets")] == [Decimal(7)]


@pytest.mark.parametrize("name", ["", "../x", "a b", "cost-per-feature", "1st", "x/y", "x.sql", "{{ x }}"])
def test_a_name_that_cannot_be_is_refused(lake: SmallLake, name: str) -> None:
    """Nothing is written."""
    with pytest.raises(UsageError, match=r"^--new "):
        lake.warehouse.new_rollup(name)
    assert list(lake.lake.user_rollups.iterdir()) == []
