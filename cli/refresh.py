"""`llmcost refresh`: derive ahead of time."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import ConfigOption, LakeOption, SinceOption, UntilOption, open_warehouse


def refresh(
    since: SinceOption = "7d",
    until: UntilOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every day of the lake; --since is not looked at.")
    ] = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Derive changed days now, so that later questions are fast.

    A day is derived anew when its spans, your price files or the settings changed. This changes no answer: a day
    that is not ready is derived when it is asked for. Where that changes a cost that was booked under another
    price book, it is said and recorded.

    \b
    Examples:
      llmcost refresh
      llmcost refresh --since 30d
      llmcost refresh --all
    """
    from .figures import money  # noqa: PLC0415  start-up time
    from .sheet import restatement_line  # noqa: PLC0415
    from .waiting import progress_bar  # noqa: PLC0415

    with progress_bar("deriving days") as progress:
        report = open_warehouse(lake, config).refresh(
            since=None if everything else since, until=until, progress=progress
        )
    typer.echo(
        f"{len(report.refreshed):,} of {report.days:,} days derived in {report.seconds:.1f} s: "
        f"{report.calls:,} calls, {money(report.cost_usd)}"
    )
    if report.restated:
        typer.echo(restatement_line(report.restated), err=True)
