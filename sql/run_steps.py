"""What agents' runs have done on a day: tokens, cost and retries of their calls, tools and depth of their spans."""

from __future__ import annotations

import fnmatch
from datetime import date

import duckdb
import pyarrow as pa

from ..models import conventions
from ..models.budgets import Budgets
from ..models.lake import Lake
from ..models.settings import Settings
from ..models.verdicts import RunFigures
from .database import parquet, rows
from .derive import empty_relation
from .inventory import Inventory
from .relations import CHAIN, SPEND, read

_SEEN = ("trace_id", "span_id", "parent_span_id", "scope_name", "name", "operation", "agent_run_id")


def run_figures(
    con: duckdb.DuckDBPyConnection, lake: Lake, settings: Settings, budgets: Budgets, day: date
) -> dict[str, RunFigures]:
    """Figures of each run with calls on `day`, by its id; `con` holds the day's `bounded_calls`.

    Spans are opened only where a limit is about tools or depth, and of limited agents only.
    """
    calls = rows(con, read(SPEND / "run_calls.sql").text)
    stepping = [each.agent for each in budgets.runs if each.tool_calls is not None or each.depth is not None]
    traces = [
        (row["agent_run_id"], trace)
        for row in calls
        if any(fnmatch.fnmatchcase(row["agent_name"] or "", agent) for agent in stepping)
        for trace in row["trace_ids"]
        if trace is not None
    ]
    steps = _steps(con, lake, settings, day, traces) if traces else {}
    return {
        row["agent_run_id"]: RunFigures(
            tokens=row["tokens"], cost=row["cost"], retries=row["retries"], **steps.get(row["agent_run_id"], {})
        )
        for row in calls
    }


def _steps(
    con: duckdb.DuckDBPyConnection, lake: Lake, settings: Settings, day: date, traces: list[tuple[str, str]]
) -> dict[str, dict[str, int]]:
    """Tool calls and depth by run."""
    files = Inventory.take(lake).on("spans", day)
    if not files:
        return {}
    known = conventions.load(settings.conventions)
    _offer(con, "run_traces", agent_run_id=[run for run, _ in traces], trace_id=[trace for _, trace in traces])
    _offer(
        con,
        "convention_span_rules",
        scope=[rule.scope for rule in known.span_rules],
        name=[rule.name for rule in known.span_rules],
        **{"class": [rule.operation for rule in known.span_rules]},
    )
    _offer(
        con,
        "convention_operations",
        operation=[glob for _, glob in known.operations],
        **{"class": [name for name, _ in known.operations]},
    )
    _offer(con, "convention_evaluators", scope=list(known.evaluator_scopes))
    relation, added = parquet(con, files, empty_relation("spans"))
    con.execute(
        f"""
        create or replace temp table loaded_spans as
        select {", ".join(_SEEN)} from (select *{added} from {relation})
        where trace_id in (select trace_id from run_traces)
        """
    )
    con.execute(f"create or replace temp table span_classes as {read(CHAIN / 'span_classes.sql').text}")
    found = rows(con, read(SPEND / "run_steps.sql").text)
    return {row["agent_run_id"]: {"tool_calls": row["tool_calls"], "depth": row["depth"]} for row in found}


def _offer(con: duckdb.DuckDBPyConnection, table: str, /, **columns: list[str]) -> None:
    """A small table of texts; `rank` is precedence, lowest first."""
    arrays = {column: pa.array(values, pa.string()) for column, values in columns.items()}
    height = len(next(iter(columns.values())))
    con.register("arriving", pa.table({**arrays, "rank": pa.array(range(height), pa.int32())}))
    con.execute(f"create or replace temp table {table} as from arriving")
    con.unregister("arriving")
