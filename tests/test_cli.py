"""What the shell sees: output, exit codes, one line for a user's error, and never a traceback."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.fake_warehouse import NOW, RESTATED, TABLE, FakeWarehouse

from llmcost.cli import main
from llmcost.cli.options import Format
from llmcost.cli.sheet import Sheet, of_query
from llmcost.cli.tables import fitting, text_columns
from llmcost.cli.writers import render, write_whole
from llmcost.models.errors import LakeTooNew, LandingError, UsageError
from llmcost.sql.answers import Finding


@dataclass
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """The program, in this process, over a warehouse of canned answers."""
    monkeypatch.setattr("llmcost.sql.warehouse.Warehouse", FakeWarehouse)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLMCOST_LAKE", raising=False)

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["llmcost", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main.run()
        out, err = capsysbinary.readouterr()
        assert isinstance(stopped.value.code, int)
        return Outcome(stopped.value.code, out.decode(), err.decode())

    return call


# Help


COMMANDS = (
    "serve",
    "rollup",
    "why",
    "trace",
    "sql",
    "refresh",
    "doctor",
    "compact",
    "vacuum",
    "prices",
    "reprice",
    "outcomes",
    "demo",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example_of_it(run: Run, command: str) -> None:
    shown = run(command, "--help")
    assert shown.code == 0
    assert "Examples:" in shown.out
    assert f"llmcost {command}" in shown.out.split("Examples:")[1]


def test_the_program_alone_prints_its_help_with_every_command_and_the_exit_codes(run: Run) -> None:
    shown = run()
    assert shown.code == 0
    assert all(f"  {command}" in shown.out for command in COMMANDS)
    assert "Exit codes:" in shown.out


def test_version_is_the_package_s(run: Run) -> None:
    shown = run("--version")
    assert (shown.code, shown.out) == (0, "llmcost 0.1.0\n")


# Errors


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["rolup"], 2, "Did you mean 'rollup'?"),
        (["rollup", "cost-per-outcome", "--top", "0"], 2, "greater than or equal to 1"),
        (["rollup", "cost-per-outcome", "--format", "xls"], 2, "'xls' is not one of"),
        (["rollup", "cost-per-outcme"], 2, 'no rollup is called "cost-per-outcme"'),
        (["rollup", "cost-per-outcme", "--list"], 2, "did you mean cost-per-outcome?"),
        (["rollup", "cost-per-outcome", "--where", "feature"], 2, "write DIM=VALUE"),
        (["rollup", "cost-per-outcome", "--where", "=x"], 2, "write DIM=VALUE"),
        (["rollup", "cost-per-outcome", "--where", "team=a", "--where", "team=b"], 2, 'names "team" twice'),
        (["rollup", "cost-per-outcome", "--output", "week.xls"], 2, 'cannot tell the format of "week.xls"'),
        (["rollup", "cost-per-outcome", "--output", "no/such/folder/week.csv"], 2, "No such file or directory"),
        (["rollup", "cost-per-outcome", "--config", "gone.toml"], 2, 'cannot read the settings file "gone.toml"'),
        (["why", "cost-per-feature"], 2, 'why "cost-per-feature": what can be explained is cost-per-outcome'),
        (["why"], 2, "Missing argument 'name'"),
        (["reprice", "--as-of", "May"], 2, '--as-of "May" is not a day such as 2026-11-22'),
        (["sql", "boom"], 2, "Parser Error: syntax error LINE 1: boom"),
        (["doctor", "--lake", "nowhere"], 3, "start one with: llmcost serve --lake nowhere"),
    ],
)
def test_a_users_error_is_one_line_and_an_exit_code(run: Run, arguments: list[str], code: int, said: str) -> None:
    shown = run(*arguments)
    assert (shown.code, shown.out) == (code, "")
    assert shown.err.startswith("llmcost: ")
    assert said in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"), [(LakeTooNew("newer"), 3), (LandingError("stuck"), 4), (UsageError("no"), 2)]
)
def test_every_branch_of_the_error_tree_has_its_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(FakeWarehouse, "doctor", fail)
    assert run("doctor").code == code


def test_ctrl_c_is_quiet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeWarehouse, "doctor", stop)
    shown = run("doctor")
    assert (shown.code, shown.out, shown.err) == (130, "", "")


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    """`llmcost … | head` prints no traceback, from a real process with a real pipe."""
    script = "import sys; from llmcost.cli import main; sys.argv=['llmcost', '--help']; main.run()"
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


# Questions


def test_the_demo_without_the_sdk_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("llmcost.cli.demo_run", "llmcost.cli.demo_send"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    shown = run("demo")
    assert shown.code == 2
    assert "pip install 'llmcost[demo]'" in shown.err


def test_every_option_of_rollup_reaches_the_question(run: Run) -> None:
    shown = run(
        "rollup", "cost-per-outcome", "--since", "2026-11-01", "--until", "2026-12-01", "--by", "day",
        "--group-by", "feature", "--group-by", "team", "--where", "team=a=b", "--tz", "Europe/Berlin", "--top", "5",
        "--compare", "previous",
    )  # fmt: skip
    assert shown.code == 0
    assert FakeWarehouse.last.asked == [
        {
            "name": "cost-per-outcome",
            "since": "2026-11-01",
            "until": "2026-12-01",
            "by": "day",
            "group_by": ("feature", "team"),
            "where": {"team": "a=b"},
            "tz": "Europe/Berlin",
            "top": 5,
            "compare": "previous",
        }
    ]


def test_the_lake_comes_from_the_option_then_the_environment_then_the_default(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("doctor")
    assert FakeWarehouse.last.lake == Path("llmcost-lake")
    monkeypatch.setenv("LLMCOST_LAKE", "from-environment")
    run("doctor")
    assert FakeWarehouse.last.lake == Path("from-environment")
    run("doctor", "--lake", "from-option")
    assert FakeWarehouse.last.lake == Path("from-option")


def test_refresh_all_asks_for_every_day(run: Run) -> None:
    shown = run("refresh", "--all")
    assert FakeWarehouse.last.asked == [{"since": None, "until": None}]
    assert shown.out == "1 of 7 days derived in 0.3 s: 12,400 calls, $1,234.50\n"


def test_doctor_exits_with_1_only_when_a_check_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("doctor").code == 0
    warned = (Finding("prices", "warn", "3 calls have no price", "llmcost prices show MODEL"),)
    monkeypatch.setattr(FakeWarehouse, "findings", warned)
    monkeypatch.setattr(FakeWarehouse, "doctor", lambda _: list(warned))
    shown = run("doctor")
    assert (shown.code, shown.out) == (0, "warn  prices: 3 calls have no price\n      llmcost prices show MODEL\n")
    failed = [Finding("journal", "fail", "a segment cannot be landed", None)]
    monkeypatch.setattr(FakeWarehouse, "doctor", lambda _: failed)
    assert run("doctor").code == 1


def test_rollup_without_a_name_lists_them(run: Run) -> None:
    assert "What one success really costs" in run("rollup").out
    assert run("rollup").out == run("rollup", "--list").out


def test_rollup_list_with_a_name_tells_its_columns(run: Run) -> None:
    shown = run("rollup", "cost-per-outcome", "--list")
    assert "Total over successes" in shown.out
    assert "--group-by takes: feature, team" in shown.out


def test_prices_show_says_what_was_matched_and_by_which_book(run: Run) -> None:
    shown = run("prices", "show", "gpt-5-mini")
    assert "openai/gpt-5-mini: US dollars per million tokens" in shown.out
    assert "price book genai-prices 0.2.3" in shown.out


@pytest.mark.parametrize("command", [("refresh",), ("rollup", "cost-per-outcome"), ("reprice", "--apply")])
def test_a_restatement_is_one_line_on_stderr(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """What the day costs now is not what it cost; rows on stdout stay rows."""
    line = "restated 2 days: $20.00 -> $19.00 under genai-prices 0.2.4; calls without a price 4 -> 0\n"
    quiet = run(*command)
    monkeypatch.setattr(FakeWarehouse, "restated", (RESTATED, RESTATED))
    told = run(*command)

    assert quiet.err == ("no booked cost changed\n" if command[0] == "reprice" else "")
    assert (told.code, told.err, told.out) == (0, line, quiet.out)


def test_reprice_shows_the_difference_and_says_that_nothing_was_written(run: Run) -> None:
    shown = run("reprice", "--since", "30d", "--as-of", "2026-01-31", "--book", "layers")
    assert FakeWarehouse.last.asked == [
        {"since": "30d", "until": None, "as_of": date(2026, 1, 31), "book": Path("layers"), "apply": False}
    ]
    assert "2 days, 9 calls, 7 of them at another price: $10.00 -> $9.50, -5%" in shown.out
    assert "calls without a price: 2 -> 0" in shown.out
    assert "booked under genai-prices 0.2.3" in shown.out
    assert "nothing was written" in shown.out


def test_reprice_as_json_has_the_whole_difference(run: Run) -> None:
    answer = json.loads(run("reprice", "--format", "json").out)
    assert list(answer) == ["window", "books_before", "book_after", "applied", "total", "models", "rows"]
    assert answer["applied"] is False
    assert answer["total"]["cost_after_usd"] == "9.5"
    assert answer["rows"][0]["day"] == "2026-11-21"


def test_prices_unmatched_says_what_to_do_about_them(run: Run) -> None:
    shown = run("prices", "unmatched").out
    assert "acme-7b" in shown
    assert "4,321 tokens without a price: write [[list]] or [[alias]] entries to prices/own.toml" in shown


def test_prices_check_exits_with_2_only_for_a_problem(run: Run) -> None:
    assert run("prices", "check", "good.toml").code == 0
    shown = run("prices", "check", "wrong.toml")
    assert (shown.code, "[[list]] entry 1 (a)" in shown.out) == (2, True)
    assert shown.err == ('llmcost: price file "wrong.toml": 1 of 1 entries cannot be used: see the column problem\n')


def test_prices_diff_of_one_file_is_against_the_list(run: Run) -> None:
    assert "the pinned list -> a.toml: US dollars per million tokens" in run("prices", "diff", "a.toml").out
    assert FakeWarehouse.last.asked == [{"old": None, "new": Path("a.toml"), "models": ()}]
    run("prices", "diff", "a.toml", "b.toml", "--model", "x", "--model", "y")
    assert FakeWarehouse.last.asked == [{"old": Path("a.toml"), "new": Path("b.toml"), "models": ("x", "y")}]


def test_a_trace_is_a_tree_that_says_what_was_billed_and_what_was_not(run: Run) -> None:
    shown = run("trace", "4bf92f35").out.splitlines()
    assert shown[1].startswith("POST /refunds")
    assert shown[2].startswith("  chat claude-haiku-4-5")
    assert shown[2].endswith("$0.0043  list")
    assert shown[3].endswith(f"not billed: same response id, counted as {'b' * 16}")
    assert "trace 4bf92f3577b34da6a3ce929d0e0e4736: 1 calls, $0.0043" in shown
    assert "outcome resolved: no" in shown


# Formats


def test_a_table_never_shows_an_unknown_price_as_zero(run: Run) -> None:
    rows = run("rollup", "cost-per-outcome").out.splitlines()
    unpriced = next(row for row in rows if row.startswith("unattributed"))
    assert unpriced.split() == ["unattributed", "0", "unknown", "–"]  # noqa: RUF001  the dash we print


def test_the_coverage_stands_under_the_table(run: Run) -> None:
    shown = run("rollup", "cost-per-outcome").out
    assert "2026-11-15 12:00 UTC to 2026-11-22 12:00 UTC: 12,400 calls, $1,234.50 in all" in shown
    assert "no price known for 3 calls with 4,321 tokens: they are in no cost above" in shown
    assert "share of cost without an owner: feature 4.2%" in shown
    assert "newest span" in shown


def test_json_keeps_every_digit_and_holds_the_coverage(run: Run) -> None:
    answer = json.loads(run("rollup", "cost-per-outcome", "--format", "json").out)
    assert list(answer) == ["rollup", "window", "rows", "coverage"]
    assert answer["rows"][0]["cost_per_success_usd"] == "0.100000001"
    assert answer["rows"][2]["total_cost_usd"] is None
    assert answer["window"]["until"] == NOW.isoformat()
    assert answer["coverage"]["unpriced_tokens"] == 4321


def test_csv_keeps_every_digit_and_runs_no_formula(run: Run) -> None:
    shown = run("rollup", "cost-per-outcome", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(shown.out)))
    assert [Decimal(row["total_cost_usd"] or "0") for row in rows[:2]] == [Decimal("1234.5"), Decimal("0.0042")]
    assert [row["feature"] for row in rows] == ["refund-bot", "'=1+1", ""]
    assert "1,234.50 in all" in shown.err


def test_markdown_is_a_table_with_numbers_to_the_right(run: Run) -> None:
    lines = run("rollup", "cost-per-outcome", "--format", "md").out.splitlines()
    assert lines[2] == "| feature | successes | total_cost_usd | cost_per_success_usd |"
    assert lines[3] == "| --- | ---: | ---: | ---: |"


def test_parquet_comes_back_as_it_was(run: Run) -> None:
    shown = run("rollup", "cost-per-outcome", "--output", "week.parquet")
    assert (shown.code, shown.out) == (0, "")
    assert "wrote 3 rows to week.parquet" in shown.err
    assert pq.read_table("week.parquet").equals(TABLE)


def test_output_takes_its_format_from_the_extension(run: Run) -> None:
    for name, begin in (("a.csv", "feature,"), ("a.json", "{"), ("a.md", "**cost"), ("a.txt", "cost-per-outcome:")):
        assert run("rollup", "cost-per-outcome", "-o", name).code == 0
        assert Path(name).read_text().startswith(begin)


def test_an_output_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "week.csv"
    target.write_text("last week")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left on device"):
        write_whole(target, b"this week")
    assert target.read_text() == "last week"
    assert list(tmp_path.iterdir()) == [target]


def test_sql_writes_what_it_was_asked(run: Run) -> None:
    assert run("sql", "select 1", "--format", "csv").out.startswith("feature,successes")


@pytest.mark.parametrize("format_", [each for each in Format if each is not Format.PARQUET])
def test_whatever_a_query_returns_can_be_written(format_: Format) -> None:
    """Two columns of one name, maps, structs, bytes, NaN: what DuckDB hands back for a free question."""
    odd = pa.table(
        [
            pa.array([1]),
            pa.array([2]),
            pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string())),
            pa.array([{"x": Decimal("0.1")}]),
            pa.array([b"z"]),
            pa.array([float("nan")]),
            pa.array([None]),
        ],
        names=["a", "a", "map", "struct", "bytes", "nan", "null"],
    )
    text = render(of_query(odd), format_).decode()
    assert "NaN" not in text
    if format_ is Format.JSON:
        row = {"a": 1, "a_2": 2, "map": {"k": "v"}, "struct": {"x": "0.1"}, "bytes": "7a", "nan": None, "null": None}
        assert json.loads(text) == {"rows": [row]}


@pytest.mark.parametrize("format_", list(Format))
def test_no_rows_are_written_in_every_format(format_: Format) -> None:
    assert render(Sheet(TABLE.slice(0, 0)), format_)


def test_a_narrow_terminal_gets_the_first_columns_whole() -> None:
    columns = text_columns(Sheet(TABLE))
    assert [column.name for column in fitting(columns, 40)] == ["feature", "successes", "total_cost_usd"]
    assert fitting(columns, 200) == columns


# why


def test_why_opens_with_one_sentence_and_names_the_segment(run: Run) -> None:
    shown = run("why", "cost-per-outcome", "--where", "team=support", "--group-by", "feature", "--compare", "28d")
    assert shown.code == 0
    assert shown.out.splitlines()[0] == (
        "cost per resolved rose 60%, from $0.100 to $0.160: success rate (resolved) fell from 80% to 50%, "
        "most of it feature refund-bot (+60%)"
    )
    assert "4bf92f3577b34da6a3ce929d0e0e4736" in shown.out
    asked = FakeWarehouse.last.asked[0]
    assert (asked["compare"], asked["group_by"], asked["where"]) == ("28d", ("feature",), {"team": "support"})
    assert (asked["since"], asked["until"], asked["outcome"], asked["tz"]) == ("7d", None, None, "UTC")


def test_why_as_json_holds_the_sentence_and_the_segments(run: Run) -> None:
    told = json.loads(run("why", "cost-per-outcome", "--format", "json").out)
    assert told["sentence"].startswith("cost per resolved rose 60%")
    assert told["change_per_success_usd"] == "0.06"
    assert told["drivers"][0]["leading"]["value"] == "refund-bot"
