"""Processes of a fault run: `append`, `compact` or `read` one lake until told to stop or killed.

python upkeep_process.py compact LAKE [STEP]    with a STEP, dies as by kill -9 when it gets there
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from llmcost.ingest import compact as compaction
from llmcost.ingest import delta_log, tiers
from llmcost.ingest.delta import landed_tables
from llmcost.models.lake import Lake
from llmcost.models.schema import DAY, SPANS
from llmcost.models.settings import Upkeep
from llmcost.sql.inventory import Inventory

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
STEPS = ("sorted", "named", "committed", "settled")
ROWS = 20


def append(lake: Lake, receiver: str, commits: int) -> None:
    """Land `commits` segments of spans of its own."""
    spans, _ = landed_tables(lake)
    for number in range(1, commits + 1):
        ids = [f"{receiver}-{number}-{row}" for row in range(ROWS)]
        columns: dict[str, Any] = {"trace_id": ids, "span_id": ids}
        columns |= {name: [NOON] * ROWS for name in ("started_at", "ended_at", "received_at")}
        columns |= {"day": [NOON.date()] * ROWS}
        schema = SPANS.append(DAY)
        rows = pa.table(
            [
                pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(ROWS, field.type)
                for field in schema
            ],
            schema=schema,
        )
        spans.commit(spans.write(rows), receiver_id=receiver, number=number)


def compact(lake: Lake, step: str | None = None) -> None:
    """Merge three files of a tier as soon as they stand, for ever; without the lock, as on another machine."""
    tiers.FAN = 3
    if step:
        _die_at(step)
    while True:
        for merge in compaction.compact(lake, Upkeep(memory_mib=256), now=NOON):
            sys.stdout.write(f"{merge.lost}\n")
            sys.stdout.flush()


def _die_at(step: str) -> None:
    module, name = {
        "sorted": (compaction, "_named"),
        "named": (compaction, "exchange"),
        "committed": (delta_log, "settle"),
        "settled": (compaction, "Compacted"),
    }[step]

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(module, name, die)


def read(lake: Lake) -> None:
    """Say at every look how many rows there are, and how many of them are there twice."""
    for _ in itertools.count():
        inventory = Inventory.take(lake)
        files = [str(path) for path in inventory.on("spans", NOON.date())]
        if files:
            query = "select count(*), count(*) - count(distinct span_id) from read_parquet($files)"
            rows, twice = duckdb.execute(query, {"files": files}).fetchall()[0]
            sys.stdout.write(f"{rows} {twice}\n")
            sys.stdout.flush()


def span_ids(lake: Lake) -> Counter[str]:
    """How often each span stands in the table."""
    return Counter(DeltaTable(lake.table("spans")).to_pyarrow_table(columns=["span_id"])["span_id"].to_pylist())


if __name__ == "__main__":
    what, folder, *rest = sys.argv[1:]
    here = Lake(Path(folder))
    if what == "append":
        append(here, rest[0], int(rest[1]))
    elif what == "compact":
        compact(here, *rest)
    else:
        read(here)
