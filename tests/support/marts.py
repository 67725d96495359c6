"""Small lakes of booked calls: rows written straight into the marts, without spans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from llmcost.models.lake import Lake
from llmcost.models.prices import PriceBook
from llmcost.models.windows import window, zone
from llmcost.sql import catalogue
from llmcost.sql.derive import empty_relation
from llmcost.sql.files import EXPECTED, open_files
from llmcost.sql.inventory import mart_days
from llmcost.sql.session import window_session

from .lakes import NOW
from .spans import NOON

Row = dict[str, Any]


def booked(work: str, cost: str | None, at: datetime = NOON, **columns: Any) -> Row:
    """A call of trace `work` that cost `cost` US dollars; None is unknown."""
    seconds = columns.pop("seconds", 1)
    row = {
        "trace_id": work,
        "span_id": f"{work} {at.isoformat()}",
        "started_at": at,
        "ended_at": at + timedelta(seconds=seconds),
        "duration_ms": seconds * 1000.0,
        "operation": "chat",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "status": "UNSET",
        "is_batch": False,
        "traffic_type": "inference",
        "cost_usd": Decimal(cost) if cost is not None else None,
        "cost_basis": "list" if cost is not None else None,
        "unpriced_reason": None if cost is not None else "model_not_in_price_book",
    }
    return row | columns


def outcome(work: str, name: str, succeeded: bool | None, at: datetime = NOON) -> Row:
    """A verdict on trace `work`."""
    return {"trace_id": work, "outcome": name, "succeeded": succeeded, "observed_at": at, "received_at": at}


def evaluation(work: str, name: str, passed: bool | None, at: datetime = NOON) -> Row:
    """An evaluation of trace `work`."""
    return {"trace_id": work, "evaluation_name": name, "passed": passed, "evaluated_at": at, "received_at": at}


def write_marts(folder: Path, **marts: Sequence[Row]) -> Lake:
    """A lake whose marts hold these rows, each on the UTC day of its first instant."""
    lake = Lake.create(folder)
    for name, rows in marts.items():
        schema = empty_relation(name).schema
        schema = schema.remove(schema.get_field_index("day"))
        by_day: dict[Any, list[Row]] = {}
        for row in rows:
            at = next(row[key] for key in ("started_at", "observed_at", "evaluated_at") if key in row)
            by_day.setdefault(at.astimezone(zone("UTC")).date(), []).append(row)
        for day, of_day in by_day.items():
            file = lake.mart_file(name, day)
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(of_day, schema=schema), file)
    return lake


@contextmanager
def session(
    lake: Lake,
    *,
    since: str = "7d",
    until: str | None = None,
    tz: str = "UTC",
    where: Mapping[str, str] | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The connection a rollup is asked in, at the lakes' NOW: many questions for the price of one."""
    asked = window(since, until, now=NOW, tz=zone(tz))
    days = mart_days(lake, "calls")
    with window_session(lake, days, asked, tz=tz, where=where or {}, book=PriceBook()) as con:
        open_files(con, lake, EXPECTED, Path("a test"))
        yield con


def answer(
    con: duckdb.DuckDBPyConnection, name: str, by: str | None = None, group_by: Sequence[str] = ()
) -> list[Row]:
    """A built-in rollup's rows."""
    text = catalogue.render(catalogue.rollups(None)[name], by, group_by)
    rows: list[Row] = con.sql(text).to_arrow_table().to_pylist()
    return rows


def ledger(rows: Sequence[Row]) -> Decimal:
    """What a rollup's rows sum to: cost_usd, or ledger_cost_usd where rows overlap."""
    column = "ledger_cost_usd" if rows and "ledger_cost_usd" in rows[0] else "cost_usd"
    return sum((row[column] for row in rows if row[column] is not None), Decimal(0))
