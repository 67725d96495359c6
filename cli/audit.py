"""`llmcost audit`: whether the warehouse keeps its promises, and yours."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import (
    ConfigOption,
    FormatOption,
    LakeOption,
    OutputOption,
    SinceOption,
    TzOption,
    UntilOption,
    open_warehouse,
)


def audit(
    name: Annotated[str | None, typer.Argument(help="Which audit; all without it.", show_default=False)] = None,
    *,
    since: SinceOption = "7d",
    until: UntilOption = None,
    tz: TzOption = "UTC",
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Look for what must not be; exits with 1 if there is any.

    An audit is a query that returns offenders: each row is a failure. Yours are .sql files in the lake's audits/
    folder, or in ./audits: a comment that says what must hold, reads: and next: (what to do), then a select.

    \b
    Examples:
      llmcost audit
      llmcost audit outcomes-have-calls --since 30d
      llmcost audit --format json | jq '.rows[] | select(.result != "ok")'
    """
    from .sheet import of_audits  # noqa: PLC0415  start-up time
    from .waiting import progress_bar  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    warehouse = open_warehouse(lake, config)
    with progress_bar("deriving days") as progress:
        results = warehouse.audit(name, since=since, until=until, tz=tz, progress=progress)
    deliver(of_audits(results), format_, output)
    if any(result.has_failed for result in results):
        raise typer.Exit(1)
