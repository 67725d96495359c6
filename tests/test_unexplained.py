"""What an agent's span reports beyond the calls below it: a figure of its own, in no cost."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.lakes import SmallLake
from support.spans import NOON, SpanOf, call, span_id, trace_id

from llmcost.cli.figures import money
from llmcost.cli.trace_tree import summary

MINI = Decimal("0.15") / 1_000_000
"""gpt-4o-mini: USD per input token."""


def agent(span: str, parent: str | None = None, *, name: str = "invoke_agent", **usage: float) -> SpanOf:
    """An agent's span with the usage it reports."""
    keys = {"tokens": "gen_ai.usage.input_tokens", "cost": "gen_ai.usage.cost"}
    attributes = {"gen_ai.operation.name": name, "gen_ai.agent.name": span}
    return SpanOf(
        "t", span, parent=parent, seconds=9, attributes={**attributes, **{keys[k]: v for k, v in usage.items()}}
    )


def runs(lake: SmallLake) -> dict[str, Decimal | None]:
    """agent_run_id -> unexplained_usd."""
    found = lake.warehouse.sql("from agent_runs").to_pylist()
    return {row["agent_run_id"]: row["unexplained_usd"] for row in found}


@pytest.mark.parametrize(
    ("reported", "unexplained"),
    [
        ({}, None),
        ({"tokens": 3000}, Decimal(0)),
        ({"tokens": 3030}, Decimal(0)),
        ({"tokens": 5000}, 2000 * MINI),
        ({"tokens": 1000}, Decimal(0)),
        ({"cost": 0.00045}, Decimal(0)),
        ({"cost": 0.001}, Decimal("0.001") - 3000 * MINI),
        ({"cost": 0.00045, "tokens": 5000}, Decimal(0)),
    ],
)
def test_a_run_is_explained_to_one_percent(
    tmp_path: Path, reported: dict[str, float], unexplained: Decimal | None
) -> None:
    """Cost is compared before tokens; excess tokens have the run's own price; less than the calls is explained."""
    lake = SmallLake(tmp_path / "lake").land(
        agent("solver", **reported),
        call("t", "1", parent="solver", input=1000, output=0),
        call("t", "2", parent="solver", input=2000, output=0, at=NOON + timedelta(seconds=3)),
    )

    assert runs(lake) == {span_id("t", "solver"): unexplained}
    assert lake.warehouse.ask("cost-per-agent-run").coverage.cost_usd == 3000 * MINI


def test_the_outermost_span_of_a_run_decides(tmp_path: Path) -> None:
    """A sub-agent that repeats its parent's calls too is no excess; nor is the same excess two."""
    calls = [call("t", "1", parent="top", input=1000, output=0), call("t", "2", parent="sub", input=2000, output=0)]
    explained = SmallLake(tmp_path / "a").land(agent("top", tokens=3000), agent("sub", "top", tokens=3000), *calls)
    once = SmallLake(tmp_path / "b").land(agent("top", tokens=4000), agent("sub", "top", tokens=3000), *calls)

    assert runs(explained) == {span_id("t", "top"): Decimal(0)}
    assert runs(once) == {span_id("t", "top"): 1000 * MINI}


def test_a_workflow_above_several_runs_speaks_for_none(tmp_path: Path) -> None:
    """Its difference is nobody's in particular; the runs' own figures stand."""
    lake = SmallLake(tmp_path / "lake").land(
        agent("flow", name="invoke_workflow", tokens=99_000),
        agent("a", "flow", tokens=1000),
        agent("b", "flow"),
        call("t", "1", parent="a", input=1000, output=0),
        call("t", "2", parent="b", input=2000, output=0),
    )

    assert runs(lake) == {span_id("t", "a"): Decimal(0), span_id("t", "b"): None}


def test_what_calls_of_unknown_cost_hide_shows_as_unexplained(tmp_path: Path) -> None:
    """The agent knows what the unpriced model cost; the calls do not."""
    lake = SmallLake(tmp_path / "lake").land(
        agent("solver", cost=0.5),
        call("t", "1", parent="solver", input=1000, output=0),
        call("t", "2", "acme-7b", parent="solver", input=2000, output=0, provider="acme"),
    )

    assert runs(lake) == {span_id("t", "solver"): Decimal("0.5") - 1000 * MINI}


def test_it_is_shown_in_the_trace_and_in_the_rollup(tmp_path: Path) -> None:
    """Beside the cost, never in it; and once, however the run is split."""
    lake = SmallLake(tmp_path / "lake").land(
        agent("solver", cost=0.5),
        call("t", "1", parent="solver", input=1000, output=0, attributes={"feature": "triage"}),
        call("t", "2", parent="solver", input=2000, output=0, attributes={"feature": "refund"}),
    )
    excess = Decimal("0.5") - 3000 * MINI
    view = lake.warehouse.trace(trace_id("t"))

    assert (view.cost_usd, view.unexplained_usd) == (3000 * MINI, excess)
    assert any(line.startswith(f"unexplained: agents report {money(excess)} beyond") for line in summary(view))
    for group_by in ([], ["feature"]):
        rows: list[dict[str, Any]] = lake.warehouse.ask("cost-per-agent-run", group_by=group_by).table.to_pylist()
        assert sum(row["unexplained_usd"] or 0 for row in rows) == excess
        assert sum(row["cost_usd"] for row in rows) == 3000 * MINI
