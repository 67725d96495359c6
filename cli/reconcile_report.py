"""A reconciliation as a sheet, and imports of reports with the lines that say what they did."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.errors import UsageError
from . import figures
from .sheet import Sheet

if TYPE_CHECKING:
    from ..ingest.report_store import Stored
    from ..ingest.reports import Report
    from ..models.lake import Lake
    from ..sql.reconciliation import CauseAmount, Reconciliation, Totals

_SHOWN_CAUSES = 6


def of_reconciliation(answer: Reconciliation) -> Sheet:
    """Rows of both sides; under them each report in all, its causes ranked, and what was not compared."""
    window = answer.window
    notes: list[str] = [f"{window.first_day} to {window.last_day} (UTC), variance is telemetry less report"]
    for totals in answer.totals:
        notes += _total_lines(totals)
    return Sheet(
        answer.table,
        facts={
            "window": {"since": window.since, "until": window.until},
            "by": answer.by,
            "group_by": list(answer.group_by),
            "totals": [_total_facts(totals) for totals in answer.totals],
            "row_causes": answer.causes.to_pylist(),
            "notes": list(answer.notes),
        },
        notes=(*notes, *answer.notes),
        title="reconcile: what telemetry tells beside what was reported",
    )


def _total_lines(totals: Totals) -> list[str]:
    said = []
    if totals.variance_usd is not None and totals.report_cost_usd is not None:
        word = "billed" if totals.is_billed else "estimated there"
        said.append(
            f"{figures.money(totals.cost_usd)} booked, {figures.money(totals.report_cost_usd)} {word}, "
            f"variance {_exact(totals.variance_usd)}{_share(totals.variance_usd, totals.report_cost_usd)}"
        )
    if totals.variance_tokens is not None and totals.report_tokens is not None:
        said.append(
            f"{totals.tokens:,} of {totals.report_tokens:,} tokens, variance {totals.variance_tokens:+,}"
            f"{_share(Decimal(totals.variance_tokens), Decimal(totals.report_tokens))}"
        )
    for coverage, what in ((totals.token_coverage, "tokens"), (totals.cost_coverage, "money")):
        if coverage is not None:
            said.append(f"coverage of {what} {figures.share(coverage)}")
    lines = [f"{totals.report}: {'; '.join(said)}"]
    lines += [f"  {_cause_line(each, totals)}" for each in totals.causes[:_SHOWN_CAUSES]]
    if len(totals.causes) > _SHOWN_CAUSES:
        lines.append(f"  and {len(totals.causes) - _SHOWN_CAUSES} smaller causes: --format json")
    if totals.unexplained_usd:
        lines.append(f"  {_exact(totals.unexplained_usd)} unexplained")
    return lines


def _cause_line(each: CauseAmount, totals: Totals) -> str:
    worth = "" if totals.variance_usd is not None else " at our prices"
    about = f", {each.tokens:,} tokens" if each.tokens else ""
    factor = f", billed at {each.factor.normalize():f} times the booked price" if each.factor is not None else ""
    return f"{_exact(each.amount_usd)}{worth} {each.cause.value}{about}{factor}: {each.cause.meaning}"


def _exact(amount: Decimal) -> str:
    """A signed amount: dollars and cents, and more places where it is small."""
    shown = figures.money(amount)
    return shown if amount < 0 else f"+{shown}"


def _share(part: Decimal, whole: Decimal) -> str:
    return f" ({part * 100 / whole:+.2f}%)" if whole else ""


def _total_facts(totals: Totals) -> dict[str, object]:
    facts = {name: getattr(totals, name) for name in totals.__dataclass_fields__ if name != "causes"}
    causes = [
        {
            "cause": each.cause.value,
            "amount_usd": each.amount_usd,
            "tokens": each.tokens,
            "factor": each.factor,
            "says": each.cause.meaning,
        }
        for each in totals.causes
    ]
    return facts | {"causes": causes}


def import_files(
    files: Sequence[Path],
    kind: str | None,
    mapping: Path | None,
    *,
    account: str,
    rates: Mapping[str, Decimal],
    replace: bool,
    dry_run: bool,
    lake: Path | None,
    config: Path | None,
) -> Iterator[str]:
    """Read, check and import files; yields what to tell the user. Raises ReportError for what cannot be imported."""
    from ..ingest.report_file import read_report  # noqa: PLC0415  start-up time
    from ..ingest.report_store import store  # noqa: PLC0415

    opened = _opened(lake, config)
    report = read_report(files, kind, mapping)
    yield from report.notes
    if dry_run:
        yield f"{_described(report)} could be imported; nothing was written"
        return
    yield from _stored(report, store(opened, report, _now(), account=account, rates=rates, replace=replace))


def fetch_reports(
    provider: str,
    since: str,
    until: str | None,
    *,
    key_file: Path | None,
    base_url: str | None,
    account: str,
    replace: bool,
    lake: Path | None,
    config: Path | None,
) -> Iterator[str]:
    """Fetch every report of a provider's API and import it; yields what to tell the user.

    Nothing is written before all of it was fetched. Raises ReportError and UsageError.
    """
    from ..ingest.report_fetch import APIS, pages  # noqa: PLC0415  start-up time
    from ..ingest.report_file import report_of  # noqa: PLC0415
    from ..ingest.report_store import store  # noqa: PLC0415
    from ..models.windows import window, zone  # noqa: PLC0415

    api, opened, now = APIS[provider], _opened(lake, config), _now()
    key = _key(key_file, api.key_variable)
    asked = window(since, until, now=now, tz=zone("UTC"))
    first, last = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (asked.first_day, asked.last_day))
    found = []
    for endpoint in api.endpoints:
        told: list[Any] = list(pages(api, endpoint, key, first, last + timedelta(days=1), base_url=base_url))
        if any(page["data"] for page in told):
            found.append(report_of(endpoint.kind, told, part=endpoint.part))
        else:
            yield f"{endpoint.path} has nothing for {asked.first_day} to {asked.last_day}"
    for report in found:
        yield from _stored(report, store(opened, report, now, account=account, replace=replace))


def _key(path: Path | None, variable: str) -> str:
    try:
        key = path.read_text(encoding="utf-8").strip() if path else os.environ.get(variable, "").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f'cannot read the key file "{path}": {error}') from None
    if not key or not key.isascii() or any(letter.isspace() for letter in key):
        raise UsageError(f"no admin key: set {variable}, or name a file that holds nothing else with --key-file")
    return key


def _opened(lake: Path | None, config: Path | None) -> Lake:
    from ..models.lake import Lake  # noqa: PLC0415  start-up time
    from ..models.settings import load  # noqa: PLC0415

    return Lake.open(load(config, lake=lake).lake)


def _now() -> datetime:
    return datetime.now(UTC)


def _described(report: Report) -> str:
    days = f"{report.first_day}" + (f" to {report.last_day}" if report.last_day != report.first_day else "")
    return f"{report.source}: {len(report.rows):,} rows of {days}"


def _stored(report: Report, stored: Stored) -> Iterator[str]:
    replaced = f", in place of {stored.replaced:,}" if stored.replaced else ""
    yield f"imported {_described(report)}{replaced}"
    if stored.partial_periods:
        first = stored.partial_periods[0]
        yield f"not over yet, import it again later: what is told from {first[0]:%Y-%m-%d %H:%M} UTC on"
