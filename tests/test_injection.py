"""Whatever a sender writes stays text: in SQL, on paths, in spreadsheets, on terminals, in Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from support.lakes import SmallLake
from support.spans import NOON, SpanOf, call, trace_id

from llmcost.cli import trace_tree
from llmcost.cli.options import Format
from llmcost.cli.sheet import Sheet, of_query
from llmcost.cli.tables import print_table
from llmcost.cli.writers import render
from llmcost.ingest.receiver_folder import ReceiverFolder, abandoned
from llmcost.models.errors import LlmcostError, UsageError
from llmcost.models.schema import DIMENSIONS
from llmcost.sql.session import FILTERS

ESC, RIGHT_TO_LEFT = "\x1b[2J\x1b]0;owned\x07", "\u202egnp.exe"
HOSTILE = (
    "'); drop table calls; --", "' or '1'='1", '"quoted"', "$where_team", "$$a$$", "getvariable('tz')", "{{ 7*7 }}",
    "{% raw %}", "*?[a-z]", "%_", "../../etc/passwd", "/etc/passwd", "nul\x00byte", "line\nbreak", "tab\tstop", ESC,
    RIGHT_TO_LEFT, "a|b", "<script>alert(1)</script>", "=1+1", "+1", "-1", "@SUM(A1)", "\\", "`x`", "a=b&c", "\u202f",
)  # fmt: skip
WEEK = {"since": (NOON - timedelta(days=1)).isoformat(), "until": (NOON + timedelta(days=1)).isoformat()}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """A lake in which each word is every name of a call of its own."""
    lake = SmallLake(tmp_path_factory.mktemp("hostile") / "lake")
    spans = []
    for word in HOSTILE:
        named = dict.fromkeys(("gen_ai.request.model", "gen_ai.response.model", "gen_ai.provider.name"), word)
        attributes = {name: word for name in DIMENSIONS if name != "traffic_type"} | named
        attributes |= {"gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 1, "cost_usd": 0.25, word: word}
        attributes |= {"user.id": word, "customer.id": word, "gen_ai.agent.name": word, "session.id": word}
        attributes |= {"gen_ai.operation.name": "chat"}
        told = {"outcome.name": word, "outcome.success": True}
        resource = {"service.name": word}
        spans.append(
            SpanOf(word, "call", word, scope=word, attributes=attributes, resource=resource, events={word: told})
        )
    return lake.land(*spans)


def test_every_word_comes_back_as_it_was_sent(hostile: SmallLake) -> None:
    """Landed, derived, materialised, asked: one row a word, in each dimension and name."""
    names = ("user_id", "customer_id", "team", "org", "key_id", "feature", "session_id", "service_name")
    found = hostile.warehouse.sql(f"select {', '.join(names)} from calls").to_pylist()
    assert sorted((word,) * len(names) for word in HOSTILE) == sorted(tuple(row.values()) for row in found)
    outcomes = hostile.warehouse.sql("select outcome from outcomes").column("outcome").to_pylist()
    assert sorted(HOSTILE) == sorted(outcomes)


@pytest.mark.parametrize(
    "column",
    sorted(FILTERS - {"operation", "service_tier", "status", "cost_basis", "traffic_type", "model", "provider"}),
)
def test_a_filter_finds_its_word_and_no_other(hostile: SmallLake, column: str) -> None:
    """Values are bound, never SQL: each word finds one call, and globs match nothing but themselves."""
    for word in HOSTILE[:12]:
        where = {column: word}
        answer = hostile.warehouse.ask("cost-per-feature", **WEEK, where=where)
        assert 1 == answer.coverage.calls, word


@pytest.mark.parametrize("word", HOSTILE)
def test_names_that_are_asked_for_are_looked_up_not_run(hostile: SmallLake, word: str) -> None:
    """A rollup, a grain, a dimension, a filter, a window, a zone, a trace."""
    warehouse = hostile.warehouse
    for ask in (
        lambda: warehouse.ask(word, **WEEK),
        lambda: warehouse.ask("cost-per-feature", **WEEK, by=word),
        lambda: warehouse.ask("cost-per-feature", **WEEK, group_by=[word]),
        lambda: warehouse.ask("cost-per-feature", **WEEK, where={word: "x"}),
        lambda: warehouse.ask("cost-per-feature", since=word),
        lambda: warehouse.ask("cost-per-feature", **WEEK, tz=word),
        lambda: warehouse.trace(word),
    ):
        with pytest.raises(LlmcostError):
            ask()


def test_nothing_a_sender_writes_becomes_a_path(hostile: SmallLake) -> None:
    """Days come from instants, everything else of a path is ours."""
    hostile.warehouse.refresh()
    days = {path.name for path in hostile.lake.root.rglob("day=*")}
    assert {f"day={NOON.date()}"} == days
    assert not [path for path in hostile.lake.root.rglob("*") if "passwd" in path.name]


@pytest.mark.parametrize("name", ["..", "../../x", "0123456789AB", "0123456789ab.", "0123456789abc", "x\ny", "$HOME"])
def test_only_a_receivers_own_name_is_a_receiver(tmp_path: Path, name: str) -> None:
    """A folder of another name in the journal is never landed, nor removed."""
    (tmp_path / name).mkdir(exist_ok=True, parents=True)
    (tmp_path / name / "000000000001.seg").write_bytes(b"")
    assert [] == [folder for folder in abandoned(tmp_path) if isinstance(folder, ReceiverFolder)]


# --- llmcost sql reads the lake and nothing else --------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    lake = SmallLake(tmp_path_factory.mktemp("small") / "lake").land(call("t", "c", input=10, output=10))
    lake.warehouse.refresh()
    (lake.lake.root.parent / "secret.csv").write_text("a\nsecret\n")
    lake.lake.tokens.write_text('{"version": 1, "tokens": []}')
    return lake


def escapes(lake: Path) -> Iterator[str]:
    outside, tokens, target = lake.parent / "secret.csv", lake / "tokens.json", lake.parent / "stolen"
    part = next(lake.glob("calls/day=*/calls.parquet"))
    for path in (outside, tokens, "/etc/passwd", f"{part.parent}/../../../secret.csv", lake / "llmcost.json"):
        yield f"select * from read_csv('{path}')"
        yield f"select * from read_text('{path}')"
        yield f"select * from read_blob('{path}')"
        yield f"select * from read_json('{path}')"
        yield f"select * from '{path}'"
    yield f"select * from glob('{lake.parent}/*')"
    yield f"select * from read_csv('{lake.parent}/*.csv')"
    yield "select * from read_parquet('http://127.0.0.1:1/x.parquet')"
    yield "select * from read_csv('https://127.0.0.1:1/x.csv')"
    yield "select * from read_parquet('s3://bucket/x.parquet')"
    yield f"select * from sqlite_scan('{outside}', 'a')"
    yield f"select * from parquet_metadata('{lake.parent}/x.parquet')"
    yield f"copy (select 1) to '{target}'"
    yield f"copy calls to '{part}'"
    yield f"attach '{target}'"
    yield f"attach '{outside}' as other (read_only)"
    yield f"export database '{target}'"
    yield f"import database '{target}'"
    yield from (
        "install httpfs",
        "load httpfs",
        "install spatial from community",
        "force install json",
        "update extensions",
    )
    yield from ("set enable_external_access = true", "set lock_configuration = false", "reset allowed_paths")
    yield from ("set allowed_paths = ['/']", "set allow_unsigned_extensions = true", "set home_directory = '/'")
    yield from (
        "pragma enable_external_access",
        "pragma database_list",
        "pragma enable_profiling",
        "call pragma_version()",
    )
    yield f"pragma profiling_output = '{target}'"
    yield from ("create table x (a int)", "create view x as select 1", "insert into calls select * from calls")
    yield from (
        "drop view calls",
        "delete from calls",
        "update calls set team = 'x'",
        "alter table calls rename to x",
    )
    yield from (
        "create secret s (type s3)",
        "create macro f() as 1",
        "detach memory",
        "use memory",
        "checkpoint",
        "vacuum",
    )
    yield from ("prepare x as select 1", "set variable tz = 'x'", "begin", "explain analyze select 1", "")
    yield f"select 1; copy (select 1) to '{target}'"
    yield f"with x as (select 1) select * from x; attach '{target}'"
    yield "select * from query('copy (select 1) to ''never''')"
    yield f"select * from query_table('{outside}')"


def test_sql_reads_the_lake_and_nothing_else(small: SmallLake) -> None:
    """Read, write, attach, install, load, configure: refused in one clear line, and nothing is left behind."""
    root = small.lake.root
    before = sorted(root.parent.rglob("*"))
    for query in escapes(root):
        with pytest.raises(UsageError, match=r"^SQL: "):
            small.warehouse.sql(query)
            pytest.fail(f"was answered: {query}")
    assert before == sorted(root.parent.rglob("*"))
    assert [{"n": 1}] == small.warehouse.sql("select count(*) as n from calls").to_pylist()


# --- Outputs ----------------------------------------------------------------------------------------------------

WORDS = pa.table(
    {
        "word": pa.array(HOSTILE),
        "cost_usd": pa.array([Decimal("-0.5")] * len(HOSTILE)),
        "delta": pa.array([-1] * len(HOSTILE)),
    }
)


def test_csv_text_is_no_formula_and_numbers_are_numbers() -> None:
    """The sign that a spreadsheet would run gets an apostrophe; a negative amount stays one; headings too."""
    odd = WORDS.rename_columns(["=cmd()", "cost_usd", "delta"])
    heading, *found = csv.reader(io.StringIO(render(Sheet(odd), Format.CSV).decode(), newline=""))
    assert "'=cmd()" == heading[0]
    assert [("-0.5", "-1")] * len(HOSTILE) == [(row[1], row[2]) for row in found]
    for sent, row in zip(HOSTILE, found, strict=True):
        assert row[0] == (f"'{sent}" if sent[0] in "=+-@\t\r\n" else sent)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_every_start_of_a_formula_is_known(start: str) -> None:
    """As OWASP lists them."""
    assert b"'" in render(Sheet(pa.table({"a": [f"{start}1+1"]})), Format.CSV).splitlines()[1][:2]


@pytest.mark.parametrize("format_", [Format.TABLE, Format.MD, Format.JSON])
def test_nothing_steers_a_terminal_or_turns_text_around(format_: Format) -> None:
    """In cells, headings, titles and notes."""
    sheet = Sheet(
        WORDS.rename_columns([ESC, "cost_usd", "delta"]),
        title=f"title {ESC}",
        notes=(f"note {RIGHT_TO_LEFT}", "c1 \x9b31m"),
    )
    shown = render(sheet, format_).decode()
    assert not [sign for sign in shown if sign != "\n" and not sign.isprintable() and sign != "\u202f"]


def test_json_says_the_same_with_escapes() -> None:
    """Who parses it gets what was sent."""
    assert list(HOSTILE) == [row["word"] for row in json.loads(render(Sheet(WORDS), Format.JSON))["rows"]]


def test_markdown_keeps_its_rows_and_columns() -> None:
    """No pipe, line break or tag of a sender's makes one of its own."""
    text = render(of_query(WORDS.rename_columns(["a|b\nc", "cost_usd", "delta"])), Format.MD).decode()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert 2 + len(HOSTILE) == len(lines)
    assert {4} == {line.replace("\\\\", "").replace("\\|", "").count("|") for line in lines}
    assert "<script" not in text


def test_a_table_keeps_its_rows() -> None:
    """A line break in a cell is no line."""
    stream = io.StringIO()
    print_table(Sheet(WORDS), stream)
    assert 1 + len(HOSTILE) == len(stream.getvalue().splitlines())


def test_a_trace_is_drawn_without_control_characters(hostile: SmallLake, capsys: pytest.CaptureFixture[str]) -> None:
    """Span names, models and outcomes are others' words."""
    for word in (ESC, RIGHT_TO_LEFT):
        trace_tree.print_trace(hostile.warehouse.trace(trace_id(word)))
        shown = capsys.readouterr().out
        assert "outcome " in shown
        assert not [sign for sign in shown if sign != "\n" and not sign.isprintable()]
