"""`llmcost budget`: how budgets stand, and whether a request may be made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ConfigOption, FormatOption, LakeOption, OutputOption

app = typer.Typer(name="budget", rich_markup_mode=None)
BudgetsOption = Annotated[
    Path | None,
    typer.Option(
        "--budgets", metavar="FILE", help="File of the budgets.", show_default="as set, else budgets.yaml in the lake"
    ),
]


@app.callback(invoke_without_command=True)
def _budget(context: typer.Context) -> None:
    """See how budgets stand, and ask whether a request may be made.

    They stand in budgets.yaml in the lake (setting budgets.file); docs/budgets.md says how they are written. The
    server answers the same question to gateways and agents: POST /v1/budget/decision.

    \b
    Examples:
      llmcost budget status
      llmcost budget check --team support --estimate 0.40
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def status(
    *,
    budgets: BudgetsOption = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Show each budget: what was spent of it in its period, how fast, and where that ends.

    Spent is what calls of the period cost, and at most as much for those without a price (unpriced bound). Projected
    is the period's spend if it goes on as so far. What is reserved for requests under way only the server knows.

    \b
    Examples:
      llmcost budget status
      llmcost budget status --budgets next-quarter.yaml
      llmcost budget status --format json | jq '.rows[] | select(.state != "ok")'
    """
    from .budget_report import of_standings  # noqa: PLC0415  start-up time
    from .budget_sources import opened, this_moment  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    source = opened(lake, config, budgets)
    deliver(of_standings(source.spent(), this_moment()), format_, output)


@app.command()
def check(
    *,
    org: Annotated[str | None, typer.Option("--org", metavar="NAME", help="Organisation of the request.")] = None,
    team: Annotated[str | None, typer.Option("--team", metavar="NAME", help="Its team.")] = None,
    customer: Annotated[str | None, typer.Option("--customer", metavar="NAME", help="Its customer.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="NAME", help="Its user.")] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="NAME", help="Its virtual key.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="A tag; may be repeated.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="NAME", help="The agent that makes it.")] = None,
    agent_run: Annotated[str | None, typer.Option("--agent-run", metavar="ID", help="That agent's run.")] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="The model it asks for.")] = None,
    provider: Annotated[str | None, typer.Option("--provider", metavar="NAME", help="The vendor.")] = None,
    estimate: Annotated[
        str | None, typer.Option("--estimate", metavar="USD", help="What it may cost at most, in US dollars.")
    ] = None,
    budgets: BudgetsOption = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Say whether a request is within its budgets: exits with 0 if it is, with 1 if a hard one blocks it.

    It is under every budget that names one of its entities; of those that are used up the one with the least left
    decides. What is reserved for requests under way only the server knows: POST /v1/budget/decision counts it too.

    \b
    Examples:
      llmcost budget check --team support --user ann --model gpt-4o-mini
      llmcost budget check --key sk-batch --tag nightly --estimate 2.50 || echo not today
      llmcost budget check --agent refund-bot --agent-run run-17 --format json
    """
    from ..models.decisions import asked_of  # noqa: PLC0415  start-up time
    from ..models.errors import UsageError  # noqa: PLC0415
    from .budget_report import of_verdict  # noqa: PLC0415
    from .budget_sources import opened, this_moment  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    said = {"org": org, "team": team, "customer": customer, "user": user, "key": key, "tag": tag, "agent": agent}
    said |= {"agent_run_id": agent_run, "model": model, "provider": provider, "estimated_cost_usd": estimate}
    try:
        asked = asked_of({name: value for name, value in said.items() if value is not None}, {})
    except ValueError as error:
        raise UsageError(f"the request cannot be read: {error}") from error
    source = opened(lake, config, budgets)
    spent, now = source.spent(), this_moment()
    decided = source.decide(spent, asked, now)
    deliver(of_verdict(*decided, asked, spent, now), format_, output)
    if not decided[0].is_allowed:
        raise typer.Exit(1)
