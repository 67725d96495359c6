"""`llmcost reconcile` as people and pipelines meet it, and reports as a relation of SQL, rollups and BI tools."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.lakes import NOW, SmallLake
from support.spans import NOON, SpanOf, call
from typer.testing import CliRunner

from llmcost.cli.main import app
from llmcost.models.errors import ReportError, UsageError
from llmcost.sql.bi import write

REPORT = """day,provider,model,requests,input_tokens,output_tokens,billed_cost_usd
2026-11-20,openai,gpt-4o-mini-2024-07-18,2,2000,0,0.0003
2026-11-20,openai,gpt-4.1-mini,1,900,0,0.00036
"""


def mini(input_tokens: int) -> Decimal:
    """gpt-4o-mini: $0.15 in per million tokens."""
    return Decimal("0.15") * input_tokens / 1_000_000


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """A call of two that the report has, and one of a model with more tokens than it has."""
    folder = tmp_path_factory.mktemp("reconciled")
    small = SmallLake(folder / "lake").land(
        SpanOf("a", "root", attributes={"team.id": "support"}, seconds=3),
        call("a", "1", parent="root", input=1000),
        call("b", "1", "gpt-4.1-mini", input=1000),
    )
    (folder / "report.csv").write_text(REPORT)
    (small.lake.user_rollups / "billed.sql").write_text(
        "-- What was billed a day.\n-- grain: one row per day\n-- reads: provider_usage\n"
        "select\n    day, -- UTC day\n    sum(billed_cost_usd) as billed_usd, -- bill, USD\n"
        "from provider_usage\ngroup by day\n"
    )
    imported = run(small, "import", str(folder / "report.csv"), "--from", "csv")
    assert imported.output == "imported csv: 2 rows of 2026-11-20\n", imported.output
    small.warehouse.refresh()
    return small


def run(small: SmallLake, *arguments: str) -> Any:
    """One command, with the lake at its end."""
    return CliRunner().invoke(app, ["reconcile", *arguments, "--lake", str(small.lake.root)])


def test_a_table_says_both_sides_and_the_causes(lake: SmallLake) -> None:
    shown = run(lake, "--since", "2026-11-20", "--until", "2026-11-21").output

    assert "csv: $0.00055 booked, $0.00066 billed, variance -$0.00011 (-16.67%)" in shown
    assert "missing_calls, 1,000 tokens: the report has tokens that no call tells" in shown
    assert "not_in_report, 100 tokens" in shown


def test_json_has_every_row_and_its_causes_to_the_nano_dollar(lake: SmallLake) -> None:
    said = json.loads(run(lake, "--since", "2026-11-20", "--until", "2026-11-21", "--format", "json").output)

    rows = {row["model"]: row for row in said["rows"]}
    assert f"{-mini(1000):.9f}" == rows["gpt-4o-mini"]["variance_usd"]
    assert {"gpt-4o-mini": "missing_calls", "gpt-4.1-mini": "not_in_report"} == {
        each["model"]: each["cause"] for each in said["row_causes"]
    }
    assert "0.000660000" == said["totals"][0]["report_cost_usd"]


def test_a_pipeline_stops_above_the_variance_it_allows(lake: SmallLake) -> None:
    """Signs do not cancel: $0.00015 too little and $0.00004 too much are 28.8% of $0.00066."""
    window = ("--since", "2026-11-20", "--until", "2026-11-21")

    assert 1 == run(lake, *window, "--max-variance", "28.7%").exit_code
    assert 0 == run(lake, *window, "--max-variance", "28.8").exit_code
    assert isinstance(run(lake, "--max-variance", "lots").exception, UsageError)


def test_only_calls_that_are_asked_for_are_compared(lake: SmallLake) -> None:
    said = run(lake, "--since", "2026-11-20", "--until", "2026-11-21", "--where", "team=support", "--format", "json")
    assert 1 == sum(row["calls"] for row in json.loads(said.output)["rows"])


def test_what_cannot_be_asked_or_imported_is_said(lake: SmallLake, tmp_path: Path) -> None:
    (tmp_path / "what.json").write_text("{}")
    assert isinstance(run(lake, "import", str(tmp_path / "what.json")).exception, ReportError)
    assert isinstance(run(lake, "import", str(tmp_path / "none.json")).exception, ReportError)
    assert "not a" not in run(lake, "import", str(tmp_path / "none.json")).output
    assert isinstance(run(lake, "import", str(tmp_path), "--rate", "EUR").exception, UsageError)
    before = CliRunner().invoke(app, ["reconcile", "--lake", "x", "import", str(tmp_path)])
    assert "write --lake and --config after import" in str(before.exception)
    in_environment = {"LLMCOST_LAKE": str(lake.lake.root)}
    heard = CliRunner().invoke(app, ["reconcile", "import", str(tmp_path / "what.json")], env=in_environment)
    assert isinstance(heard.exception, ReportError), "the environment may name the lake for all commands"
    assert "no report speaks of" in str(run(lake, "--since", "2026-10-01", "--until", "2026-10-02").exception)


def test_a_dry_run_writes_nothing(lake: SmallLake, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("day,model,input_tokens\n2026-11-21,gpt-4o,7\n")
    shown = run(lake, "import", str(tmp_path / "more.csv"), "--from", "csv", "--dry-run").output
    assert shown == "csv: 1 rows of 2026-11-21 could be imported; nothing was written\n"
    assert [NOON.date()] == lake.lake.report_days("provider_usage")


def test_reports_are_a_relation_of_sql_of_rollups_and_of_bi_tools(lake: SmallLake, tmp_path: Path) -> None:
    """A user's own rollup may set a bill beside the ledger; nothing of a report is in cost_usd."""
    billed = Decimal("0.0003") + Decimal("0.00036")
    told = "select (select sum(billed_cost_usd) from provider_usage) as b, sum(cost_usd) as c from calls"

    assert [{"day": NOON.date(), "billed_usd": billed}] == lake.warehouse.ask("billed", since="7d").table.to_pylist()
    assert [{"b": billed, "c": mini(1000) + Decimal("0.4") * 1000 / 1_000_000}] == lake.warehouse.sql(
        told
    ).to_pylist()
    write(lake.lake, tmp_path / "bi.duckdb", relative=False, now=NOW)
    with duckdb.connect(str(tmp_path / "bi.duckdb"), read_only=True) as con:
        assert (billed,) == con.execute("select sum(billed_cost_usd) from provider_usage").fetchone()


def test_a_lake_without_reports_has_the_relation_without_rows(tmp_path: Path) -> None:
    small = SmallLake(tmp_path / "lake")
    told = small.warehouse.sql("from provider_usage")
    assert (0, True) == (told.num_rows, {"day", "billed_cost_usd", "input_tokens"} <= set(told.column_names))
