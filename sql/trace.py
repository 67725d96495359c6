"""One trace as a tree with money on it: what was billed, what was not, and why."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import Any

from ..models.errors import UsageError
from ..models.lake import Lake
from .answers import TraceSpan, TraceView
from .derive import Rules, connect, derive_day, text_list
from .inventory import Inventory

_SPANS = """
    select
        tree_spans.span_id,
        tree_spans.parent_span_id,
        tree_spans.name,
        tree_spans.class,
        tree_spans.scope_name,
        tree_spans.started_at,
        (epoch_us(tree_spans.ended_at) - epoch_us(tree_spans.started_at)) / 1000.0 as duration_ms,
        tree_spans.status,
        calls.model,
        coalesce(calls.input_tokens, model_spans.input_tokens) as input_tokens,
        coalesce(calls.output_tokens, model_spans.output_tokens) as output_tokens,
        calls.cost_usd,
        calls.cost_basis,
        calls.span_id is not null as billed,
        coalesce(unbilled_spans.reason, calls.unpriced_reason) as reason,
        unbilled_spans.call_span_id as represented_by
    from tree_spans
    left join model_spans
        on tree_spans.sid = model_spans.sid
    left join calls
        on tree_spans.trace_id = calls.trace_id and tree_spans.span_id = calls.span_id
    left join unbilled_spans
        on tree_spans.trace_id = unbilled_spans.trace_id
        and tree_spans.span_id = unbilled_spans.span_id
        and unbilled_spans.reason <> 'sent_again'
    where tree_spans.trace_id = $trace_id
    order by tree_spans.started_at, tree_spans.ended_at desc, tree_spans.span_id
"""

_OUTCOMES = """
    select outcome, succeeded, value_usd
    from outcomes
    where trace_id = $trace_id
    qualify row_number() over (partition by outcome order by observed_at desc, received_at desc) = 1
    order by outcome
"""


def view(lake: Lake, rules: Rules, trace_id: str) -> TraceView:
    """The trace `trace_id`, or the only one whose id begins so.

    Raises UsageError if there is none, or more than one.
    """
    inventory = Inventory.take(lake)
    wanted = trace_id.strip().lower()
    if len(wanted) < 8 or not set(wanted) <= set("0123456789abcdef"):
        raise UsageError(f'"{trace_id}" is no trace id: give 32 hex digits, or its first 8 or more')
    con = connect()
    try:
        whole, day = _find(con, inventory, wanted, trace_id)
        derive_day(con, day, inventory, rules, trace_id=whole)
        bound = {"trace_id": whole}
        rows = con.execute(_SPANS, bound).fetchall()
        calls, cost, unpriced = con.execute(
            """
            select count(*), sum(cost_usd), count(*) filter (cost_usd is null)
            from calls
            where trace_id = $trace_id
            """,
            bound,
        ).fetchall()[0]
        outcomes = con.execute(_OUTCOMES, bound).fetchall()
    finally:
        con.close()
    return TraceView(whole, tuple(_in_tree_order(rows)), cost, calls, unpriced, tuple(outcomes))


def _find(con: Any, inventory: Inventory, wanted: str, typed: str) -> tuple[str, date]:
    files = [str(path) for day in inventory.days() for path in inventory.on("spans", day)]
    found: list[tuple[str, date]] = []
    if files:
        found = con.execute(
            f"""
            select trace_id, min(day)
            from read_parquet({text_list(files)}, hive_partitioning = true, hive_types = {{'day': date}})
            where starts_with(trace_id, $wanted)
            group by trace_id
            order by trace_id
            limit 4
            """,
            {"wanted": wanted},
        ).fetchall()
    if not found:
        raise UsageError(f'no trace "{typed}" in this lake: traces are listed by: llmcost sql "from traces"')
    if len(found) > 1:
        raise UsageError(f'"{typed}" begins several trace ids, such as {", ".join(row[0] for row in found[:3])}')
    return found[0]


def _in_tree_order(rows: list[tuple[Any, ...]]) -> list[TraceSpan]:
    """Depth first, children by start; a span whose parent is not here stands as a root."""
    children: dict[str | None, list[tuple[Any, ...]]] = defaultdict(list)
    known = {row[0] for row in rows}
    for row in rows:
        parent = row[1] if row[1] in known and row[1] != row[0] else None
        children[parent].append(row)
    ordered: list[TraceSpan] = []
    waiting = [(row, 0) for row in reversed(children[None])]
    while waiting:
        row, depth = waiting.pop()
        ordered.append(TraceSpan(row[0], row[1], depth, *row[2:]))
        waiting += [(child, depth + 1) for child in reversed(children.pop(row[0], []))]
    return ordered
