"""A lake of an older llmcost: it opens, lands more, and rolls up to the same money.

data/fixtures/lake-of-the-first-landing was written by the first llmcost whose `serve` landed (commit 9b442da): two
requests landed, of two traces with three calls and an outcome each, and a third acknowledged and left in the journal
by kill -9. Its tables lack the columns that were added since.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from deltalake import DeltaTable
from support.otlp import span_ids, trace_request
from support.server import Server, landed_span_ids

from llmcost.models import schema
from llmcost.models.lake import Lake
from llmcost.sql import Warehouse

FIRST = Path(__file__).parent.parent / "data" / "fixtures" / "lake-of-the-first-landing"
NOW = datetime(2026, 11, 22, 15, tzinfo=UTC)


def cost(*calls: tuple[int, int]) -> Decimal:
    """Of calls of gpt-5-mini, $0.25 a million tokens in and $2 out."""
    return sum((i * Decimal("0.25") + o * Decimal(2) for i, o in calls), Decimal()) / 1_000_000


LANDED = cost((1000, 100), (2000, 50)), cost((400, 10))
WAITING = cost((5000, 500))


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIRST, tmp_path / "lake"))


def cost_per_outcome(lake: Path) -> dict[str, Decimal]:
    rows = Warehouse(lake, now=lambda: NOW).rollup("cost-per-outcome", since="1d", group_by=["feature"]).to_dicts()
    [resolved] = [row for row in rows if row["feature"] == "support"]
    return {name: resolved[name] for name in ("successes", "failures", "total_cost_usd")}


def test_it_answers_as_it_is(lake: Path) -> None:
    """Before anything of today's has written to it."""
    told = {"successes": 1, "failures": 1, "total_cost_usd": sum(LANDED)}
    assert told == cost_per_outcome(lake)


def test_what_it_had_acknowledged_lands_and_more_after_it(lake: Path) -> None:
    """The segment that the old receiver left open is read; new rows stand beside the old ones."""
    ids = span_ids(3)
    with Server(lake) as server:
        server.wait_until_landed()
        server.send(trace_request(ids))
        assert 0 == server.stop()
    told = {"successes": 2, "failures": 1, "total_cost_usd": sum(LANDED) + WAITING}
    assert told == cost_per_outcome(lake)
    assert {span_id.hex() for span_id in ids} <= landed_span_ids(lake).keys()
    assert {1} == set(landed_span_ids(lake).values())


def test_columns_that_it_lacked_are_null_in_its_old_rows(lake: Path) -> None:
    """And are there for the new ones."""
    before = {field.name for field in DeltaTable(lake / "spans").schema().fields}
    added = set(schema.SPANS.names) - before
    assert "evaluation_id" in added, "the fixture must be older than today's schema"
    with Server(lake) as server:
        server.wait_until_landed()
        assert 0 == server.stop()
    rows = DeltaTable(lake / "spans").to_pyarrow_table().to_pylist()
    old = [row for row in rows if row["trace_id"] == f"{1:032x}"]
    assert 4 == len(old)
    assert all(row[name] is None for row in old for name in added)
    assert set(schema.SPANS.names) <= rows[0].keys()


def test_an_older_llmcost_says_that_a_newer_lake_is_too_new(lake: Path) -> None:
    """The format's version is looked at before anything else."""
    from llmcost.models.errors import LakeTooNew

    (lake / "llmcost.json").write_text('{"format_version": 99}\n')
    with pytest.raises(LakeTooNew, match="has format 99, this llmcost reads up to 1: upgrade with"):
        Lake.open(lake)
