"""Reports into the lake: one Parquet file a UTC day, replaced whole.

A report's word on a period is one word: what is imported replaces all that the same part of the same source and
account said of that period before, and adds to nothing. A row of one request replaces that request. So a file
imported twice, in parts or in any order gives the same table.
"""

from __future__ import annotations

import fcntl
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..models.errors import LakeNotWritable, ReportError
from ..models.lake import Lake
from ..models.schema import PROVIDER_USAGE, PROVIDER_USAGE_COLUMNS
from .parquet import write_parquet
from .reports import Report, Usage, usd

_NAME = "provider_usage"
_ORDER = [(name, "ascending") for name in (
    "source", "account", "report", "period_start", "period_end", "record_id", "provider", "model", "project_id",
    "key_id", "service_tier", "line_item",
)]  # fmt: skip
_PERIOD = ("report", "period_start", "period_end")


@dataclass(frozen=True, slots=True)
class Stored:
    """What an import did: rows written, rows of earlier imports that they replaced, periods not over yet."""

    rows: int
    replaced: int
    partial_periods: tuple[tuple[datetime, datetime], ...]


def store(
    lake: Lake,
    report: Report,
    now: datetime,
    *,
    account: str = "",
    rates: Mapping[str, Decimal] | None = None,
    replace: bool = False,
) -> Stored:
    """Write a report's rows; on disk on return, a day's file at a time.

    `rates` are US dollars for one of another currency. With `replace`, overlapping periods of another length go too.
    Raises ReportError for a currency without a rate and, without `replace`, for such periods: then nothing is
    written. Raises LakeNotWritable.
    """
    by_day: dict[date, list[dict[str, Any]]] = defaultdict(list)
    for row in report.rows:
        by_day[row.day].append(_stored(row, report.source, account, now, rates or {}))
    try:
        with _alone(lake):
            days = _with_overlapping(lake, by_day)
            coming = _Coming.of(report)
            kept = {day: _kept(lake, day, coming, report, account, replace=replace) for day in days}
            for day in days:
                rows = pa.Table.from_pylist(by_day.get(day, []), PROVIDER_USAGE)
                _write(lake.mart_file(_NAME, day), pa.concat_tables([kept[day][0], rows]).sort_by(_ORDER))
    except OSError as error:
        raise LakeNotWritable(f'cannot write "{lake.mart(_NAME)}": {error.strerror or error}') from error
    partial = {(row.period_start, row.period_end) for row in report.rows if row.period_end > now}
    return Stored(len(report.rows), sum(replaced for _, replaced in kept.values()), tuple(sorted(partial)))


@dataclass(frozen=True, slots=True)
class _Coming:
    """What an import speaks of: requests by their ids, periods by part, start and end."""

    records: frozenset[str]
    periods: frozenset[tuple[str, datetime, datetime]]

    @classmethod
    def of(cls, report: Report) -> _Coming:
        return cls(
            frozenset(row.record_id for row in report.rows if row.record_id is not None),
            frozenset((r.report, r.period_start, r.period_end) for r in report.rows if r.record_id is None),
        )


def _stored(row: Usage, source: str, account: str, now: datetime, rates: Mapping[str, Decimal]) -> dict[str, Any]:
    amount, rate = usd(row, rates)
    told = {column.name: getattr(row, column.name, None) for column in PROVIDER_USAGE_COLUMNS}
    return told | {
        "day": row.day,
        "source": source,
        "account": account,
        "billed_cost_usd": amount if row.is_billed else None,
        "estimated_cost_usd": None if row.is_billed else amount,
        "currency": None if row.cost is None else (row.currency or "USD").upper(),
        "usd_rate": rate,
        "is_partial": row.period_end > now,
        "imported_at": now,
    }


def _with_overlapping(lake: Lake, by_day: Mapping[date, Sequence[Mapping[str, Any]]]) -> list[date]:
    """The days to write, and those with files between them and as far back as a month reaches."""
    first = min(by_day).toordinal() - 31
    last = max(row["period_end"].date() for rows in by_day.values() for row in rows).toordinal()
    near = {day for day in lake.report_days(_NAME) if first <= day.toordinal() <= last}
    return sorted({*by_day, *near})


def _kept(
    lake: Lake,
    day: date,
    coming: _Coming,
    report: Report,
    account: str,
    *,
    replace: bool,
) -> tuple[pa.Table, int]:
    """The rows of a day's file that an import leaves, and how many it replaces."""
    path = lake.mart_file(_NAME, day)
    if not path.exists():
        return PROVIDER_USAGE.empty_table(), 0
    before = pq.ParquetFile(path).read().cast(PROVIDER_USAGE)
    same = pc.and_(pc.equal(before["source"], report.source), pc.equal(before["account"], account)).to_pylist()
    stays = []
    told = zip(same, before["record_id"].to_pylist(), *(before[name].to_pylist() for name in _PERIOD), strict=True)
    for is_same, record, part, start, end in told:
        if not is_same:
            stays.append(True)
        elif record is not None or coming.records:
            stays.append(record not in coming.records)
        elif report.is_whole:
            stays.append(not report.first_day <= day <= report.last_day)
        else:
            overlap = any(part == name and start < until and end > since for name, since, until in coming.periods)
            if overlap and (part, start, end) not in coming.periods and not replace:
                raise ReportError(
                    f"the lake has {report.source} of {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} as one period, "
                    "and this report cuts that time otherwise: import it with --account NAME, or with --replace"
                )
            stays.append(not overlap)
    return before.filter(pa.array(stays, pa.bool_())), stays.count(False)


def _write(path: Path, rows: pa.Table) -> None:
    if rows.num_rows == 0:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(rows, path)


@contextmanager
def _alone(lake: Lake) -> Iterator[None]:
    """One import at a time: each reads what it replaces."""
    folder = lake.mart(_NAME)
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
