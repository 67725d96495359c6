"""`llmcost doctor`: whether the lake is well."""

from __future__ import annotations

import typer

from .figures import one_line
from .options import ConfigOption, LakeOption, open_warehouse

_MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def doctor(lake: LakeOption = None, config: ConfigOption = None) -> None:
    """Check the lake; exits with 1 if a check fails.

    \b
    Examples:
      llmcost doctor
      llmcost doctor --lake /srv/llmcost && echo well
    """
    findings = open_warehouse(lake, config).doctor()
    for finding in findings:
        typer.echo(f"{_MARKS[finding.status]}  {finding.check}: {one_line(finding.message)}")
        if finding.next_step and finding.status != "ok":
            typer.echo(f"      {one_line(finding.next_step)}")
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(1)
