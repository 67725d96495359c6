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

from ..models.errors import LakeNotWritable
from ..models.lake import Lake
from .answers import Restatement
from .database import rows

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
    inner join read_parquet($booked) as booked
        on calls.trace_id is not distinct from booked.trace_id
        and calls.span_id is not distinct from booked.span_id
        and calls.log_id is not distinct from booked.log_id
    where calls.day = $day
"""


def booked_under(booked: Path) -> str | None:
    """The price book of a day's calls file; None where there is no file, or no call in it."""
    if not booked.exists():
        return None
    with duckdb.connect() as con:
        found = con.execute("select price_book from read_parquet(?) limit 1", [str(booked)]).fetchone()
    return found[0] if found else None


def compared(con: duckdb.DuckDBPyConnection, day: date, booked: Path, book: str, now: datetime) -> Restatement | None:
    """What replacing `booked` by the `calls` that `con` holds restates; None under one book, or at one cost."""
    if booked_under(booked) in (None, book):
        return None
    row = rows(con, _COMPARED, {"booked": str(booked), "day": day})[0]
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
