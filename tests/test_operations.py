"""docs/operations.md: its quotes are the program's words, its backup works."""

from __future__ import annotations

import ast
import errno
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from support.otlp import span_ids, trace_request
from support.server import Server, landed_span_ids

from llmcost.models.settings import Settings
from llmcost.sql import Warehouse

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ERRNO_WORDS = {os.strerror(code) for code in errno.errorcode}
A_VALUE = "\0"


def words_of_the_program() -> Iterator[str]:
    """Every string of the source, values put into it replaced by A_VALUE."""
    for file in sorted(file for room in ("models", "ingest", "sql", "cli") for file in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%[sd]", A_VALUE, node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else A_VALUE for part in node.values)
                yield "".join(map(str, parts))


def quotes() -> list[str]:
    """What the failure table quotes in its first column."""
    table = PAGE.partition("## When something is wrong")[2]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    return [quote for row in rows for quote in re.findall(r"`([^`]+)`", row) if quote != "landing_notes"]


@pytest.fixture(scope="module")
def spoken() -> list[str]:
    return list(words_of_the_program())


@pytest.mark.parametrize("quote", quotes())
def test_what_the_table_quotes_is_what_the_program_says(quote: str, spoken: list[str]) -> None:
    if quote in ERRNO_WORDS:
        return
    # Between values nothing is left out, except at the end.
    pattern = ".*?".join(re.escape(piece) for piece in quote.rstrip("… ").split("…"))
    assert any(re.search(pattern, words, re.DOTALL) for words in spoken), f"no part of the program says: {quote}"


def test_the_table_has_every_line_that_is_for_a_person() -> None:
    """What landing logs as an error is explained."""
    said = [re.escape(quote.rstrip("… ")).replace("…", ".*") for quote in quotes()]
    unexplained = []
    for file in sorted((ROOT / "ingest").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr != "error" or ast.unparse(node.func.value) != "log":
                continue
            line = re.sub(r"\{.*?\}|%s", "x", ast.unparse(node.args[0]).strip("f'\""))
            if not any(re.search(pattern, line) for pattern in said):
                unexplained.append(f"{file.name}: {line}")
    assert unexplained == []


def test_settings_are_named_as_they_are() -> None:
    sections = Settings.model_fields
    for section, name in re.findall(r"`(\w+)\.(\w+)`", PAGE):
        if section in sections:
            assert name in getattr(Settings(), section).model_dump(), f"{section}.{name}"


def backup_script() -> str:
    """The procedure of the page, as it stands there."""
    found = re.search(r"```sh\n(LAKE=.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def take_backup(lake: Path, copy: Path) -> None:
    first, _, rest = backup_script().partition("\n")
    assert first == "LAKE=/srv/llmcost COPY=/backup/llmcost"
    script = f'LAKE="{lake}" COPY="{copy}"\n{rest}'
    subprocess.run(["/bin/sh", "-euc", script], check=True, stderr=subprocess.PIPE)


def costs(lake: Path, spans: set[str]) -> dict[str, object]:
    """What each of these calls costs."""
    calls = Warehouse(lake).sql("select span_id, input_tokens, cost_usd from calls").to_pylist()
    return {call["span_id"]: (call["input_tokens"], call["cost_usd"]) for call in calls if call["span_id"] in spans}


def test_a_lake_copied_while_it_is_written_holds_what_was_acknowledged_before(tmp_path: Path) -> None:
    """By the page's own commands; restored elsewhere it starts, has nothing twice, and costs the same."""
    lake, copy = tmp_path / "lake", tmp_path / "elsewhere" / "copy"
    copy.parent.mkdir()
    acknowledged: list[bytes] = []
    begun, over = threading.Event(), threading.Event()
    with Server(lake, landing__segment_seconds=0.2) as server:

        def send() -> None:
            with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                call = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
                for number in range(100_000):
                    if over.is_set():
                        return
                    ids = span_ids(4, seed=number)
                    call(trace_request(ids), timeout=30)
                    acknowledged.extend(ids)
                    if number == 100:
                        begun.set()

        sender = threading.Thread(target=send)
        sender.start()
        assert begun.wait(60)
        before = {span_id.hex() for span_id in list(acknowledged)}
        take_backup(lake, copy)
        over.set()
        sender.join()
        server.wait_until_landed()
        assert 0 == server.stop()
    with Server(copy) as server:
        server.wait_until_landed()
        assert 0 == server.stop()
    landed = landed_span_ids(copy)
    assert not before - landed.keys()
    assert {1} == set(landed.values())
    assert landed.keys() <= {span_id.hex() for span_id in acknowledged}
    assert len(before) == len(costs(copy, before))
    assert costs(lake, before) == costs(copy, before)


def test_a_backup_keeps_the_days_that_were_booked(tmp_path: Path) -> None:
    """Marts are copied with their fingerprints: a restored lake derives, and so prices, nothing again."""
    lake, copy = tmp_path / "lake", tmp_path / "copy"
    with Server(lake) as server:
        server.send(trace_request(span_ids(5)))
        server.wait_until_landed()
        assert 0 == server.stop()
    booked = Warehouse(lake).sql("select * from calls order by span_id").to_pylist()
    Warehouse(lake).refresh()
    take_backup(lake, copy)
    marts = {path: path.stat().st_ino for path in copy.glob("calls/*/calls.parquet")}
    assert 1 == len(marts)
    assert booked == Warehouse(copy).sql("select * from calls order by span_id").to_pylist()
    assert marts == {path: path.stat().st_ino for path in copy.glob("calls/*/calls.parquet")}
