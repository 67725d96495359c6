"""What acts on the demo's figures: a budget, an alert and a gate over its lake, and the files that they read."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import typer

from ..sql.gate_answer import Limits
from ..sql.warehouse import Warehouse
from .alert_channels import Sender, printed
from .alert_report import of_round
from .alert_round import go_round
from .budget_report import of_standings
from .budget_sources import opened
from .gate_report import of_report
from .tables import print_table

_BUDGETS = """\
# Read again whenever it changes; docs/budgets.md says what else may stand here.
budgets:
  org: {limit: 40, hard: true}                 # the whole lake, a month
  agents:
    refund-haiku: {limit: 8}
    refund-sonnet: {limit: 8}
"""
_RULE = Path(__file__).parent / "snippets" / "dear_outcomes.sql"


def write_files(warehouse: Warehouse) -> None:
    """Put the demo's budgets and its alert rule into its lake."""
    warehouse.lake.budgets.write_text(_BUDGETS)
    warehouse.lake.alerts.mkdir(exist_ok=True)
    (warehouse.lake.alerts / _RULE.name).write_text(_RULE.read_text(encoding="utf-8"))


def print_governance(warehouse: Warehouse, since: str) -> None:
    """Show how the budgets stand, what the alert rule finds, and whether the cheap agent may replace the dear one."""
    lake, now, settings = warehouse.lake.root, datetime.now(UTC), warehouse.settings.alerts
    typer.echo(f"\n$ llmcost budget status --lake {lake}\n")
    print_table(of_standings(opened(lake, None, None).spent(), now), sys.stdout)
    typer.echo(f"\n$ llmcost alerts check --dry-run --rule dear-outcomes --lake {lake}\n")
    found = go_round(
        warehouse, Sender(settings, out=partial(printed, sys.stdout)), now, rule="dear-outcomes", dry_run=True
    )
    print_table(of_round(found, settings, now, rule="dear-outcomes", is_dry=True), sys.stdout)
    baseline, candidate = {"agent_name": "refund-sonnet"}, {"agent_name": "refund-haiku"}
    typer.echo(
        f"\n$ llmcost gate --baseline agent_name=refund-sonnet --candidate agent_name=refund-haiku --since {since} "
        f"--where feature=refund-bot --max-cost-increase 0 --lake {lake}\n"
    )
    limits = Limits(0.02, 0.10, 0.0)
    report = warehouse.gate(baseline, candidate, since=since, where={"feature": "refund-bot"}, limits=limits)
    print_table(of_report(report), sys.stdout)
