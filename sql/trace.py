"""One trace as a tree with money on it: what was billed, what was not, and why.

A log record that tells a request stands in the tree below the span it was written in, under its log_id.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from ..models.errors import UsageError
from .answers import TraceSpan, TraceView
from .database import connect, rows, text_list
from .derive import Rules, derived_day
from .inventory import Inventory

_SPANS = """
    select
        coalesce(tree_spans.span_id, tree_spans.log_id) as span_id,
        tree_spans.parent_span_id,
        tree_spans.name,
        tree_spans.class as kind_class,
        tree_spans.scope_name,
        tree_spans.started_at,
        (epoch_us(tree_spans.ended_at) - epoch_us(tree_spans.started_at)) / 1000.0 as duration_ms,
        tree_spans.status,
        calls.model,
        coalesce(calls.input_tokens, model_spans.input_tokens) as input_tokens,
        coalesce(calls.output_tokens, model_spans.output_tokens) as output_tokens,
        calls.cost_usd,
        calls.cost_basis,
        calls.day is not null as billed,
        coalesce(unbilled_spans.reason, calls.unpriced_reason) as reason,
        coalesce(unbilled_spans.call_span_id, unbilled_spans.call_log_id) as represented_by
    from tree_spans
    left join model_spans
        on tree_spans.sid = model_spans.sid
    left join calls
        on tree_spans.trace_id = calls.trace_id
        and coalesce(tree_spans.span_id, tree_spans.log_id) = coalesce(calls.span_id, calls.log_id)
    left join unbilled_spans
        on tree_spans.trace_id = unbilled_spans.trace_id
        and coalesce(tree_spans.span_id, tree_spans.log_id) = coalesce(unbilled_spans.span_id, unbilled_spans.log_id)
        and unbilled_spans.reason <> 'sent_again'
    where tree_spans.trace_id = $trace_id
    order by tree_spans.started_at, tree_spans.ended_at desc, tree_spans.span_id
"""

_TOTALS = """
    select
        count(*) as calls,
        sum(cost_usd) as cost_usd,
        count(*) filter (cost_usd is null) as unpriced_calls,
        (select sum(unexplained_usd) from agent_runs where trace_id = $trace_id) as unexplained_usd
    from calls
    where trace_id = $trace_id
"""

_OUTCOMES = """
    select outcome, succeeded, value_usd
    from outcomes
    where trace_id = $trace_id
    qualify row_number() over (partition by outcome order by observed_at desc, received_at desc) = 1
    order by outcome
"""


def view(inventory: Inventory, rules: Rules, trace_id: str) -> TraceView:
    """The trace `trace_id`, or the only one whose id begins so.

    Raises UsageError if there is none, or more than one.
    """
    wanted = trace_id.strip().lower()
    if len(wanted) < 8 or not set(wanted) <= set("0123456789abcdef"):
        raise UsageError(f'"{trace_id}" is no trace id: give 32 hex digits, or its first 8 or more')
    with connect() as con:
        whole, days = _find(con, inventory, wanted, trace_id)
    with derived_day(min(days), inventory, rules, trace_id=whole, trace_days=days) as con:
        spans, totals, outcomes = (rows(con, query, {"trace_id": whole}) for query in (_SPANS, _TOTALS, _OUTCOMES))
    told = tuple((row["outcome"], row["succeeded"], row["value_usd"]) for row in outcomes)
    return TraceView(trace_id=whole, spans=tuple(_in_tree_order(spans)), outcomes=told, **totals[0])


def _find(con: duckdb.DuckDBPyConnection, inventory: Inventory, wanted: str, typed: str) -> tuple[str, list[date]]:
    files = [path for day in inventory.days() for path in inventory.on("spans", day)]
    logged = [path for day in inventory.days() for path in inventory.on("events", day)]
    found = _begun(con, files, wanted, "true")
    if not found:  # a trace of which log records alone tell
        found = _begun(con, logged, wanted, "carrier = 'log'")
    if not found:
        before = inventory.sealed.spans_before
        kept = f"; spans before {before} are not kept any more" if before else ""
        raise UsageError(f'no trace "{typed}" in this lake{kept}: traces are listed by: llmcost sql "from traces"')
    if len(found) > 1:
        several = ", ".join(row["trace_id"] for row in found[:3])
        raise UsageError(f'"{typed}" begins several trace ids, such as {several}')
    return found[0]["trace_id"], found[0]["days"]


def _begun(con: duckdb.DuckDBPyConnection, files: list[Path], wanted: str, condition: str) -> list[dict[str, Any]]:
    """The first traces in `files` whose id begins with `wanted`, each with its days."""
    query = f"""
        select trace_id, list(distinct day) as days
        from read_parquet({text_list(files)}, hive_partitioning = true, hive_types = {{'day': date}})
        where starts_with(trace_id, $wanted)
            and trace_id between $wanted and $wanted || 'g' -- what row groups are pruned by; g follows all hex digits
            and {condition}
        group by trace_id
        order by trace_id
        limit 4
    """
    return rows(con, query, {"wanted": wanted}) if files else []


def _in_tree_order(spans: list[dict[str, Any]]) -> list[TraceSpan]:
    """Depth first, children by start; a span whose parent is not here stands as a root."""
    known = {span["span_id"] for span in spans}
    children: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for span in spans:
        parent = span["parent_span_id"]
        children[parent if parent in known and parent != span["span_id"] else None].append(span)
    ordered: list[TraceSpan] = []
    waiting = [(span, 0) for span in reversed(children[None])]
    while waiting:
        span, depth = waiting.pop()
        ordered.append(TraceSpan(depth=depth, **span))
        waiting += [(child, depth + 1) for child in reversed(children.pop(span["span_id"], []))]
    return ordered
