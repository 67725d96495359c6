"""Restatements: what a changed price book did to days that were booked already, recorded for good.

One line of JSON a day in the lake's prices/restatements.jsonl, one append a refresh.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from ..models.errors import LakeNotWritable
from ..models.lake import Lake
from .answers import Restatement
from .database import connect, rows
from .steady import ask_steady

_COMPARED = """
    select
        any_value(booked.price_book) as book_before,
        count(*) as calls,
        count(*) filter (booked.cost_usd is distinct from calls.cost_usd) as changed,
        coalesce(sum(booked.cost_usd), 0) as cost_before,
        coalesce(sum(calls.cost_usd), 0) as cost_after,
        count(*) filter (booked.cost_usd is null) as unpriced_before,
        count(*) filter (calls.cost_usd is null) as unpriced_after
    from calls
    inner join booked
        on calls.trace_id is not distinct from booked.trace_id
        and calls.span_id is not distinct from booked.span_id
        and calls.log_id is not distinct from booked.log_id
    where calls.day = $day
"""


def booked_under(lake: Lake, day: date) -> str | None:
    """The price book of a day's booked calls; None where there is no file, or no call in it."""
    found = _booked(lake, day, "select price_book from read_parquet($booked) limit 1")
    return found["price_book"][0].as_py() if found else None


def booked_calls(lake: Lake, day: date) -> pa.Table | None:
    """`trace_id`, `span_id`, `log_id`, `cost_usd` and `price_book` of each call booked on `day`; None without a file.

    A file of an older llmcost has no `log_id`: NULL then, as for a call that spans tell. In memory, because a failed
    read would end the transaction of who compares them, and could not be tried again.
    """
    found = _booked(
        lake, day, "select columns('^(trace_id|span_id|log_id|cost_usd|price_book)$') from read_parquet($booked)"
    )
    if found is not None and "log_id" not in found.column_names:
        found = found.append_column("log_id", pa.nulls(len(found), pa.string()))
    return found


def _booked(lake: Lake, day: date, query: str) -> pa.Table | None:
    def read(source: Lake) -> pa.Table | None:
        path = source.mart_file("calls", day)
        if not path.exists():
            return None
        with connect() as con:
            return con.sql(query, params={"booked": str(path)}).to_arrow_table()

    return ask_steady(lake, [day], read, ("calls",))


def compared(con: duckdb.DuckDBPyConnection, day: date, lake: Lake, book: str, now: datetime) -> Restatement | None:
    """What replacing a booked day by the `calls` that `con` holds restates; None under one book, or at one cost."""
    booked = None if booked_under(lake, day) in (None, book) else booked_calls(lake, day)
    if not booked:
        return None
    con.register("booked", booked)
    row = rows(con, _COMPARED, {"day": day})[0]
    con.unregister("booked")
    if not row.pop("changed"):
        return None
    return Restatement(day=day, restated_at=now, book_after=book, **row)


@contextmanager
def record(lake: Lake) -> Iterator[list[Restatement]]:
    """A list whose restatements are appended when the context ends, however it ends; durable on return.

    One write of all lines, in append mode: writers do not tear each other's. A process that is killed inside
    the context leaves its days without a line; their calls name the new book all the same.
    """
    restated: list[Restatement] = []
    try:
        yield restated
    finally:
        if restated:
            _append(lake.restatements, "".join(_line(each) for each in restated).encode())


def _append(path: Path, lines: bytes) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        is_new = not path.exists()
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if os.write(handle, lines) < len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(handle)
        finally:
            os.close(handle)
        if is_new:
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise LakeNotWritable(
            f'cannot record a restatement in "{path}": {error.strerror}: is the disk full?'
        ) from error


def _line(restatement: Restatement) -> str:
    """Every digit of the money as text, instants and days in ISO 8601."""
    plain = {
        name: value if isinstance(value, int) else value.isoformat() if isinstance(value, date) else str(value)
        for name, value in asdict(restatement).items()
    }
    return json.dumps(plain) + "\n"
