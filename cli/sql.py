"""`llmcost sql`: any question, read-only."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .options import ConfigOption, FormatOption, LakeOption, OutputOption, open_warehouse


def sql(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help='One SELECT in DuckDB\'s dialect; "-" reads it from stdin.')
    ],
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Ask anything in SQL, read-only.

    Relations: calls, traces, agent_runs, outcomes, evals, unbilled_spans, trace_outcomes, trace_evals,
    unpriced_models, trace_days, agent_run_days, spans, events; and your own files beside your rollups,
    rollups/revenue.csv (or .parquet) as revenue. docs/cookbook.md has questions to start from.

    \b
    Examples:
      llmcost sql "select model, sum(cost_usd) as cost_usd from calls group by model order by 2 desc"
      llmcost sql "select * from unbilled_spans limit 20" --output unbilled.csv
      llmcost sql - --format json < question.sql
    """
    from .sheet import of_query  # noqa: PLC0415  start-up time
    from .writers import deliver  # noqa: PLC0415

    table = open_warehouse(lake, config).sql(sys.stdin.read() if query == "-" else query)
    deliver(of_query(table), format_, output)
