"""`llmcost outcomes import`: a ticket system's file against the calls it is about."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.lakes import NOW, SmallLake
from support.spans import NOON, SpanOf, call, trace_id

from llmcost.cli import main
from llmcost.ingest.outcome_file import read
from llmcost.models.errors import OutcomeFileError

MINI = Decimal("0.15") / 1_000_000
"""gpt-4o-mini: USD per input token."""

Import = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    """Three tickets: one known by trace, one by response, one by session."""
    return SmallLake(tmp_path / "lake").land(
        call("a", "call", input=1000, output=0),
        call("b", "call", input=2000, output=0, response_id="resp-b"),
        call("c", "call", input=4000, output=0, attributes={"session.id": "s-c"}),
    )


@pytest.fixture
def run(lake: SmallLake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Import:
    """`llmcost outcomes import … --lake` of the lake, at NOW: exit code, stdout, stderr."""
    monkeypatch.setattr("llmcost.cli.outcome_report._now", lambda: NOW)

    def call_program(*arguments: object) -> tuple[int, str, str]:
        words = ["llmcost", "outcomes", "import", *map(str, arguments), "--lake", str(lake.lake.root)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stopped:
            main.run()
        shown = capsys.readouterr()
        return int(stopped.value.code or 0), shown.out, shown.err

    return call_program


def resolved(lake: SmallLake) -> tuple[Any, ...]:
    """(successes, failures, pending, cost, value) of the outcome `resolved`."""
    rows = lake.warehouse.ask("cost-per-outcome").table.to_pylist()
    (row,) = [row for row in rows if row["outcome"] == "resolved"]
    return tuple(row[name] for name in ("successes", "failures", "pending", "total_cost_usd", "value_usd"))


def csv_of(folder: Path, *lines: str) -> Path:
    """A CSV file of these lines."""
    path = folder / "tickets.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


HEADER = "outcome,succeeded,trace_id,session_id,response_id,value_usd,observed_at"


def three(folder: Path) -> Path:
    """The three tickets as a file."""
    return csv_of(
        folder,
        HEADER,
        f"resolved,true,{trace_id('a')},,,12.50,2026-11-20T15:00:00Z",
        "resolved,false,,,resp-b,,2026-11-20T15:00:00+01:00",
        "resolved,Pending,,s-c,,,2026-11-21",
    )


def test_outcomes_are_told_by_trace_by_response_and_by_session(lake: SmallLake, run: Import, tmp_path: Path) -> None:
    """Each finds its calls, and pending ones are neither won nor lost."""
    assert run(three(tmp_path))[:2] == (0, f"imported 3 outcomes from {tmp_path / 'tickets.csv'}\n")
    assert resolved(lake) == (1, 1, 1, MINI * 7000, Decimal("12.5"))


def test_a_file_given_twice_changes_nothing(lake: SmallLake, run: Import, tmp_path: Path) -> None:
    """The same rows in another format and order are the same file; no day is made again."""
    run(three(tmp_path))
    lake.warehouse.refresh()
    told = lake.warehouse.sql("from outcomes order by all").to_pylist()
    lines = three(tmp_path).read_text().splitlines()
    rows = [dict(zip(HEADER.split(","), line.split(","), strict=True)) for line in lines[:0:-1]]
    again = tmp_path / "tickets.jsonl"
    again.write_text("\n".join(map(json.dumps, rows)))

    code, out, _ = run(again)

    assert (code, out) == (0, f"nothing to import: {again} holds no outcome that was not imported before\n")
    assert lake.warehouse.refresh().refreshed == ()
    assert lake.warehouse.sql("from outcomes order by all").to_pylist() == told


def test_rows_without_a_time_are_told_now_and_only_once(lake: SmallLake, run: Import, tmp_path: Path) -> None:
    """The clock is not part of what the file says."""
    path = csv_of(tmp_path, "outcome,succeeded,trace_id", f"resolved,true,{trace_id('a')}")
    assert run(path)[1].startswith("imported 1 outcome ")
    assert run(path)[1].startswith("nothing to import")


def test_the_latest_word_holds_whoever_told_it(lake: SmallLake, run: Import, tmp_path: Path) -> None:
    """A span revises the file, and a file the span."""
    path = tmp_path / "tickets.csv"
    for day, verdict in ((20, "false"), (22, "false")):
        csv_of(tmp_path, HEADER, f"resolved,{verdict},{trace_id('a')},,,,2026-11-{day}")
        run(path)
        lake.land(SpanOf("a", "verdict", at=NOON + timedelta(days=1), attributes={"outcome.resolved": True}))
        assert resolved(lake)[:2] == ((1, 0) if day == 20 else (0, 1))


def test_of_two_rows_of_one_time_the_later_holds(lake: SmallLake, run: Import, tmp_path: Path) -> None:
    """A file is read from top to bottom."""
    trace = trace_id("a")
    run(csv_of(tmp_path, "outcome,succeeded,trace_id", f"resolved,true,{trace}", f"resolved,false,{trace}"))
    assert resolved(lake)[:2] == (0, 1)


def test_an_import_reopens_its_day_and_no_other(lake: SmallLake, run: Import, tmp_path: Path) -> None:
    """The rows are part of the day's fingerprint."""
    lake.warehouse.refresh()
    run(csv_of(tmp_path, HEADER, f"resolved,true,{trace_id('a')},,,,2026-11-21"))
    assert [str(day) for day in lake.warehouse.refresh().refreshed] == ["2026-11-21"]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("resolved,maybe,{t},,,,", 'line 2: succeeded is "maybe": write true, false or pending'),
        ("resolved,,{t},,,,", 'line 2: succeeded is "": write true, false or pending'),
        (",true,{t},,,,", "line 2: outcome is empty: name it, such as resolved"),
        ("resolved,true,4bf9,,,,", 'line 2: trace_id is "4bf9": write 32 hex digits'),
        ("resolved,true,,,,,", "line 2: trace_id, session_id and response_id are all empty: fill in one of them"),
        ("resolved,true,{t},,,$5,", 'line 2: value_usd is "$5": write dollars as a plain number, such as 12.50'),
        ("resolved,true,{t},,,NaN,", 'line 2: value_usd is "NaN": write dollars as a plain number, such as 12.50'),
        ("resolved,true,{t},,,,22/11/2026", 'observed_at is "22/11/2026": write it as 2026-11-22T14:03:00Z'),
        ("resolved,true,{t},,,,2062-11-22", 'line 2: observed_at is "2062-11-22", which is yet to come'),
        ("resolved,true", "line 2: it has 2 cells, the header 7"),
    ],
)
def test_one_wrong_row_stops_the_import(lake: SmallLake, run: Import, tmp_path: Path, row: str, fault: str) -> None:
    """The row and the value are named, and the good row beside it is not imported."""
    path = csv_of(tmp_path, HEADER, row.format(t=trace_id("a")), f"resolved,true,{trace_id('a')},,,,")
    code, _, err = run(path)

    assert (code, err.count("\n")) == (2, 1)
    assert "1 of 2 rows are wrong, so nothing was imported" in err
    assert fault in err
    assert lake.warehouse.sql("from outcomes").num_rows == 0
    code, out, _ = run(path, "--skip-bad")
    assert (code, "left out 1 of 2 rows" in out, fault in out, "imported 1 outcome " in out) == (0, True, True, True)


def test_a_dry_run_checks_and_writes_nothing(lake: SmallLake, run: Import, tmp_path: Path) -> None:
    """It answers as the import would."""
    assert "3 outcomes could be imported" in run(three(tmp_path), "--dry-run")[1]
    assert lake.warehouse.sql("from outcomes").num_rows == 0


def test_columns_are_renamed_and_unknown_ones_are_named(lake: SmallLake, run: Import, tmp_path: Path) -> None:
    """An export is taken as it is; what is not read is said."""
    path = csv_of(tmp_path, "Ticket Trace,kind,solved,note", f"{trace_id('a').upper()},resolved,TRUE,fine")
    maps = ("--map", "Ticket Trace=trace_id", "--map", "kind=outcome", "--map", "solved=succeeded")
    code, out, _ = run(path, *maps)

    assert (code, out.splitlines()[0]) == (0, "columns not used: note")
    assert resolved(lake)[:2] == (1, 0)
    assert "no column for outcome and succeeded and one of trace_id" in run(path)[2]
    assert (
        'the file has no column "nope", only Ticket Trace, kind, solved, note'
        in run(path, "--map", "nope=outcome")[2]
    )


def test_parquet_and_stdin_are_read_too(
    lake: SmallLake, run: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed columns stay what they are: truths, instants and decimals."""
    path = tmp_path / "tickets.parquet"
    rows = {
        "outcome": ["resolved"], "succeeded": [True], "response_id": ["resp-b"], "observed_at": [NOON],
        "value_usd": pa.array([Decimal("3.25")], pa.decimal128(9, 2)),
    }  # fmt: skip
    pq.write_table(pa.table(rows), path)
    assert run(path)[0] == 0
    line = json.dumps({"outcome": "resolved", "succeeded": False, "session_id": "s-c", "value_usd": 0.1})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{line}\n\n".encode())))
    assert run("-", "--format", "jsonl")[0] == 0

    assert resolved(lake) == (1, 1, 0, MINI * 6000, Decimal("3.25"))


def test_what_is_no_such_file_is_said_in_one_line(run: Import, tmp_path: Path) -> None:
    """Neither a traceback nor half an import."""
    (tmp_path / "tickets.xlsx").write_bytes(b"PK")
    (tmp_path / "tickets.parquet").write_bytes(b"PK")
    assert "cannot tell the format" in run(tmp_path / "tickets.xlsx")[2]
    assert "this is no parquet" in run(tmp_path / "tickets.parquet")[2]
    assert "No such file" in run(tmp_path / "missing.csv")[2]


def test_text_that_is_no_json_is_a_wrong_row() -> None:
    """So is JSON that is no object."""
    found = read(b'{"outcome": \n["a"]\n{"outcome": "resolved", "succeeded": true, "trace_id": 1}', "jsonl", {}, NOW)
    assert [fault.split(":")[0] for fault in found.faults] == ["line 1", "line 2", "line 3"]
    with pytest.raises(OutcomeFileError, match='the header names "a" twice'):
        read(b"a,a\n1,2\n", "csv", {}, NOW)
