"""`llmcost gate`: whether a candidate may replace a baseline."""

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
    WhereOption,
    open_warehouse,
    parse_where,
)


def gate(
    *,
    baseline: Annotated[
        list[str],
        typer.Option("--baseline", metavar="DIM=VALUE", help="What calls of the baseline have; may be repeated."),
    ],
    candidate: Annotated[
        list[str],
        typer.Option("--candidate", metavar="DIM=VALUE", help="What calls of the candidate have; may be repeated."),
    ],
    since: SinceOption = "7d",
    until: UntilOption = None,
    where: WhereOption = None,
    max_pass_rate_drop: Annotated[
        float,
        typer.Option(
            "--max-pass-rate-drop",
            metavar="PART",
            help="By how much the pass rate, and the success rate of an outcome, may be lower: 0.02 is two points.",
        ),
    ] = 0.02,
    max_latency_increase: Annotated[
        float,
        typer.Option(
            "--max-latency-increase",
            metavar="PART",
            help="By how much latency, p50 and p95, may be higher: 0.10 is a tenth.",
        ),
    ] = 0.10,
    max_cost_increase: Annotated[
        float | None,
        typer.Option(
            "--max-cost-increase",
            metavar="PART",
            help="By how much cost per successful eval and per outcome may be higher; below 0: must be lower.",
            show_default="not judged",
        ),
    ] = None,
    confidence: Annotated[float, typer.Option("--confidence", metavar="PART", help="Of the intervals.")] = 0.95,
    evaluator: Annotated[
        str | None,
        typer.Option("--evaluator", metavar="NAME", help="Whose verdicts count.", show_default="the most told"),
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option("--outcome", metavar="NAME", help="Which outcome is a success.", show_default="the most told"),
    ] = None,
    tz: TzOption = "UTC",
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Say whether a candidate may replace a baseline: a prompt version, a model, a route, shadow traffic.

    Pass rate, latency and cost of both, with the interval of each change. It passes where every judged measure is
    shown to be within its limit, fails where one is shown to be beyond, and else says what it lacks. A limit of inf
    is not judged. --format md is for a pull request, --format json holds every figure.

    \b
    Examples:
      llmcost gate --baseline prompt_version=v3 --candidate prompt_version=v4
      llmcost gate --baseline model=gpt-4o --candidate model=gpt-4o-mini --where feature=refunds --max-cost-increase 0
      llmcost gate --baseline deployment=prod --candidate traffic_type=shadow --since 2d --format md --output gate.md
      llmcost gate --baseline tags=control --candidate tags=canary --max-latency-increase inf --evaluator helpful

    \b
    Exit codes:
      0  pass
      1  fail: the candidate is worse than a limit allows
      2  the question is wrong
      3  not enough data, or no lake
    """
    from ..sql.gate_answer import Limits, Verdict  # noqa: PLC0415  start-up time
    from . import sheet  # noqa: PLC0415
    from .gate_report import of_report  # noqa: PLC0415
    from .waiting import progress_bar  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    sides = parse_where(baseline, "--baseline"), parse_where(candidate, "--candidate")
    conditions = parse_where(where or ())
    with progress_bar("deriving days") as progress:
        report = open_warehouse(lake, config).gate(
            *sides,
            since=since,
            until=until,
            where=conditions,
            limits=Limits(max_pass_rate_drop, max_latency_increase, max_cost_increase),
            confidence=confidence,
            evaluator=evaluator,
            outcome=outcome,
            tz=tz,
            progress=progress,
        )
    deliver(of_report(report), format_, output)
    if report.restated:
        typer.echo(sheet.restatement_line(report.restated), err=True)
    if report.verdict is not Verdict.PASS:
        raise typer.Exit(1 if report.verdict is Verdict.FAIL else 3)
