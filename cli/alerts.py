"""`llmcost alerts`: what is unusual now, who is told, and whether they can be."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer

from .options import ConfigOption, FormatOption, LakeOption, OutputOption, open_warehouse

app = typer.Typer(name="alerts", rich_markup_mode=None)
PATIENCE_SECONDS = 60.0
"""How long a look waits for another process that is at it."""

RuleOption = Annotated[str | None, typer.Option("--rule", metavar="NAME", help="Only this rule.", show_default="all")]


@app.callback(invoke_without_command=True)
def _alerts(context: typer.Context) -> None:
    """Look for spend that is not as usual, and tell people once.

    A rule is a query that returns violations; yours are .sql files in the lake's alerts/ folder, or in ./alerts.
    Where notices go stands in llmcost.toml, [alerts.channels.NAME]. llmcost serve looks once a minute by itself.

    \b
    Examples:
      llmcost alerts check --dry-run
      llmcost alerts list
      llmcost alerts test
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def check(
    rule: RuleOption = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look only: tell nobody, remember nothing, fire again next time.")
    ] = False,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Exit with 0 though alerts are open, for timers that mail failures.")
    ] = False,
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Look at all rules now, tell what began and what is over; exits with 1 while an alert is open or a rule broken.

    An alert fires once for its rule, entity and period, and is resolved when it is over. What a channel does not take
    waits in the lake for the next look.

    \b
    Examples:
      llmcost alerts check
      llmcost alerts check --rule tenant-spend-delta --dry-run --format json
      */5 * * * *  llmcost alerts check --exit-zero --lake /srv/llmcost
    """
    from .alert_channels import Sender, printed  # noqa: PLC0415  start-up time
    from .alert_report import of_round  # noqa: PLC0415
    from .alert_round import go_round  # noqa: PLC0415
    from .waiting import progress_bar  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    warehouse = open_warehouse(lake, config)
    out = sys.stdout if format_ is None or output else sys.stderr  # what --format writes is a program's to read
    sender, now = Sender(warehouse.settings.alerts, out=partial(printed, out)), datetime.now(UTC)
    with progress_bar("deriving days") as progress:
        gone = go_round(
            warehouse, sender, now, rule=rule, dry_run=dry_run, wait_seconds=PATIENCE_SECONDS, progress=progress
        )
    deliver(of_round(gone, warehouse.settings.alerts, now, rule=rule, is_dry=dry_run), format_, output)
    for each in gone.undelivered:
        what = "given up" if each.given_up else "waits"
        typer.echo(f"{each.channel}: {each.notice.alert.rule} {what}: {each.reason}", err=True)
    if gone.problems or (gone.state.open and not exit_zero):
        raise typer.Exit(1)


@app.command("list")
def list_(
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """List the rules as the settings leave them: thresholds, severity, cool-down, and whether they are on.

    \b
    Examples:
      llmcost alerts list
      llmcost alerts list --format json | jq -r '.rows[] | select(.state == "off") | .rule'
    """
    from ..sql.alert_rules import rules  # noqa: PLC0415  start-up time
    from .alert_report import of_rules  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    warehouse = open_warehouse(lake, config)
    deliver(of_rules(rules(warehouse.lake, warehouse.settings.alerts)), format_, output)


@app.command()
def status(
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what is open as the last look left it, and which notices wait for their channel. Looks at nothing.

    \b
    Examples:
      llmcost alerts status
      llmcost alerts status --format json | jq .waiting
    """
    from .alert_file import AlertFile  # noqa: PLC0415  start-up time
    from .alert_report import of_status  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    warehouse = open_warehouse(lake, config)
    deliver(of_status(AlertFile(warehouse.lake).read(), warehouse.settings.alerts), format_, output)


@app.command()
def test(
    channel: Annotated[
        str | None, typer.Option("--channel", metavar="NAME", help="Only this channel.", show_default="all")
    ] = None,
    *,
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Send a made-up notice through each channel; exits with 1 if one does not take it.

    PagerDuty is told at once that it is over.

    \b
    Examples:
      llmcost alerts test
      llmcost alerts test --channel oncall
    """
    from .alert_channels import Sender, printed  # noqa: PLC0415  start-up time
    from .alert_report import of_test  # noqa: PLC0415
    from .alert_trial import try_channels  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    settings = open_warehouse(lake, config).settings.alerts
    sender = Sender(settings, out=partial(printed, sys.stdout if format_ is None else sys.stderr))
    tried = try_channels(settings, sender, datetime.now(UTC), channel)
    deliver(of_test(tried, settings), format_, output)
    if any(sent.result != "delivered" for sent in tried.values()):
        raise typer.Exit(1)
