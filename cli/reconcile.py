"""`llmcost reconcile`: telemetry beside what providers bill."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..models.errors import UsageError
from .figures import one_line
from .options import (
    ConfigOption,
    FormatOption,
    LakeOption,
    OutputOption,
    UntilOption,
    WhereOption,
    open_warehouse,
    parse_where,
)

app = typer.Typer(name="reconcile", rich_markup_mode=None)


class ReportKind(StrEnum):
    """Reports that can be imported."""

    OPENAI_USAGE = "openai-usage"
    OPENAI_COSTS = "openai-costs"
    ANTHROPIC_USAGE = "anthropic-usage"
    ANTHROPIC_COSTS = "anthropic-costs"
    AWS_CUR = "aws-cur"
    FOCUS = "focus"
    LITELLM = "litellm"
    LANGFUSE = "langfuse"
    CSV = "csv"


class Fetched(StrEnum):
    """Providers whose API can be asked."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


SinceDaysOption = Annotated[
    str, typer.Option("--since", metavar="WHEN", help="Start: 7d, 4w, a date; the whole UTC day it is in.")
]
AccountOption = Annotated[
    str,
    typer.Option("--account", metavar="NAME", help="Whose report, where you import several of one kind."),
]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Let it replace periods that were cut otherwise, such as days by hours.")
]


@app.callback(invoke_without_command=True)
def reconcile(
    context: typer.Context,
    *,
    since: SinceDaysOption = "30d",
    until: UntilOption = None,
    by: Annotated[str | None, typer.Option("--by", metavar="day", help="One row for each UTC day.")] = None,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            "--group-by",
            metavar="DIM",
            help="Split by provider, model, project, service_tier or key_id; several with commas or repeated.",
            show_default="model, and project where the settings say what that is",
        ),
    ] = None,
    report: Annotated[
        list[str] | None,
        typer.Option("--report", metavar="NAME", help="Only this report, such as openai; may be repeated."),
    ] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", metavar="NAME", help="Only this vendor's calls and lines.")
    ] = None,
    where: WhereOption = None,
    max_variance: Annotated[
        str | None,
        typer.Option(
            "--max-variance",
            metavar="PERCENT",
            help="Exit with 1 where a report's rows differ by more in all, signs aside: 2 or 2%.",
        ),
    ] = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Compare telemetry with what providers and gateways report: tokens, money, and why they differ.

    Variance is telemetry less report: below 0 telemetry misses something. Each cause says how many dollars of it it
    explains, and what is left is unexplained. A bill is never mixed into the booked cost. --format json has the
    causes of every row.

    \b
    Examples:
      llmcost reconcile import costs.json
      llmcost reconcile --since 2026-11-01 --until 2026-12-01
      llmcost reconcile --since 7d --by day --group-by model,service_tier --report anthropic
      llmcost reconcile --since 30d --max-variance 2%
    """
    if context.invoked_subcommand is not None:
        # what the environment says is said to both
        if any(_is_typed(context, name) for name in ("lake", "config")):
            raise UsageError(f"write --lake and --config after {context.invoked_subcommand}, which they are for")
        return
    from .reconcile_report import of_reconciliation  # noqa: PLC0415  start-up time
    from .waiting import progress_bar  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    limit = parse_percent(max_variance) if max_variance is not None else None
    conditions = parse_where(where or ())
    with progress_bar("deriving days") as progress:
        answer = open_warehouse(lake, config).reconcile(
            since=since,
            until=until,
            by=by,
            group_by=[name.strip() for names in group_by or () for name in names.split(",") if name.strip()],
            reports=tuple(report or ()),
            provider=provider,
            where=conditions,
            progress=progress,
        )
    deliver(of_reconciliation(answer), format_, output)
    worst = answer.worst_percent()
    if limit is not None and worst is not None and worst > limit:
        typer.echo(f"variance {worst:.2f}% is above --max-variance {limit}%", err=True)
        raise typer.Exit(1)


@app.command(name="import")
def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="JSON, JSON lines, CSV or Parquet, also .gz; or a folder.")
    ],
    *,
    kind: Annotated[
        ReportKind | None,
        typer.Option("--from", help="What report it is.", show_default="what its shape says"),
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option("--mapping", metavar="FILE", help="TOML that says which column of a CSV is which.")
    ] = None,
    account: AccountOption = "",
    rate: Annotated[
        list[str] | None,
        typer.Option("--rate", metavar="CURRENCY=USD", help="US dollars for one of another currency: EUR=1.08."),
    ] = None,
    replace: ReplaceOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check, change nothing.")] = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Import a provider's or gateway's report from files: all of them together, or none.

    What it says of a period replaces what the same kind of report of the same account said of it before, and adds to
    nothing: import as often as you like. A report that was filtered, or of a second organisation, needs an --account
    of its own. An AWS export speaks for all its time: import all of its files at once.

    \b
    Examples:
      llmcost reconcile import usage.json costs.json --dry-run
      llmcost reconcile import usage.json
      llmcost reconcile import exports/cur/ --from aws-cur
      llmcost reconcile import invoice.csv --mapping invoice.toml --rate EUR=1.08
      llmcost reconcile import spend_logs.csv --from litellm
    """
    from .reconcile_report import import_files  # noqa: PLC0415  start-up time

    lines = import_files(
        files,
        kind.value if kind else None,
        mapping,
        account=account,
        rates=parse_rates(rate or ()),
        replace=replace,
        dry_run=dry_run,
        lake=lake,
        config=config,
    )
    for line in lines:
        typer.echo(one_line(line))


@app.command()
def fetch(
    provider: Annotated[Fetched, typer.Argument(help="Whose API.")],
    *,
    since: SinceDaysOption = "7d",
    until: UntilOption = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="File with the admin key.",
            show_default="OPENAI_ADMIN_KEY or ANTHROPIC_ADMIN_KEY of the environment",
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", metavar="URL", help="Another address of the API.", show_default="the provider's"),
    ] = None,
    account: AccountOption = "",
    replace: ReplaceOption = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Fetch usage and costs from a provider's API and import them, by UTC day.

    It needs an admin key, and reads only. Where the server is busy it waits and asks again. A day that is not over is
    imported as far as it is told; fetch it again later.

    \b
    Examples:
      OPENAI_ADMIN_KEY=… llmcost reconcile fetch openai --since 30d
      llmcost reconcile fetch anthropic --since 2026-11-01 --until 2026-12-01 --key-file /run/secrets/anthropic-admin
    """
    from .reconcile_report import fetch_reports  # noqa: PLC0415  start-up time

    lines = fetch_reports(
        provider.value,
        since,
        until,
        key_file=key_file,
        base_url=base_url,
        account=account,
        replace=replace,
        lake=lake,
        config=config,
    )
    for line in lines:
        typer.echo(one_line(line))


def parse_percent(text: str) -> Decimal:
    """Read --max-variance.

    >>> parse_percent("2%"), parse_percent("0.5")
    (Decimal('2'), Decimal('0.5'))
    """
    number = _number(text.strip().removesuffix("%"))
    if number is None or number < 0:
        raise UsageError(f'cannot read --max-variance "{text}": write a percentage such as 2%')
    return number


def parse_rates(pairs: Sequence[str]) -> dict[str, Decimal]:
    """Read repeated `--rate CURRENCY=USD`.

    >>> parse_rates(["eur=1.08"])
    {'EUR': Decimal('1.08')}
    """
    rates: dict[str, Decimal] = {}
    for pair in pairs:
        currency, _, value = pair.partition("=")
        number = _number(value)
        if number is None or number <= 0 or not currency.strip().isalpha():
            raise UsageError(f'cannot read --rate "{pair}": write what one is worth in US dollars, such as EUR=1.08')
        rates[currency.strip().upper()] = number
    return rates


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
