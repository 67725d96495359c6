"""Rows of `calls` as statements and exports read them, without a lake: any history in a few milliseconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from llmcost.models.schema import DIMENSIONS
from llmcost.sql.database import connect

START = datetime(2026, 10, 1, tzinfo=UTC)
_SCHEMA = pa.schema(
    [
        ("started_at", pa.timestamp("us", "UTC")),
        *((name, pa.string()) for name in (*DIMENSIONS, "provider", "model", "service_tier", "cost_basis")),
        ("is_batch", pa.bool_()),
        *((f"{name}_cost_usd", pa.decimal128(18, 9)) for name in ("list", "contract", "output")),
        ("cost_usd", pa.decimal128(18, 9)),
        *(
            (f"{name}_tokens", pa.int64())
            for name in (
                "input", "output", "cache_read", "cache_write_5m", "cache_write_1h",
                "audio_input", "reasoning", "audio_output",
            )
        ),
        ("tags", pa.list_(pa.string())),
        ("unpriced_reason", pa.string()),
    ]
)  # fmt: skip


@contextmanager
def calls_of(rows: Sequence[dict[str, Any]], tz: str = "UTC") -> Iterator[duckdb.DuckDBPyConnection]:
    """A session whose `calls` are these rows; what a row does not say is NULL."""
    told = [{"started_at": START, "provider": "openai", "model": "m", "is_batch": False, **row} for row in rows]
    with connect() as con:
        con.register("rows_of_calls", pa.Table.from_pylist(told, _SCHEMA))
        con.execute("set variable tz = $tz", {"tz": tz})
        con.execute(
            "create temp view calls as select *, "
            "cast(timezone(getvariable('tz'), started_at) as date) as local_day, "
            "cast(started_at as date) as day from rows_of_calls"
        )
        yield con


def nano(amount: int) -> Decimal:
    """Nano-dollars in USD."""
    return Decimal(amount).scaleb(-9)
