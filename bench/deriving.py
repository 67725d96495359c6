"""What spans -> calls costs, in CPU-seconds per million spans, as a lake grows.

    python bench/deriving.py --millions 1 5 20

One day of a million seeded spans is decoded once; further days are copies of it under other trace ids and
dates, made in SQL. Every day is then derived from scratch, one after the other, as `llmcost refresh` does.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.generator import START_NS, Generator
from llmcost.ingest.columns import Decoder
from llmcost.ingest.wire import Signal
from llmcost.models import conventions
from llmcost.models.lake import Lake
from llmcost.models.settings import Settings
from llmcost.sql.derive import Rules
from llmcost.sql.inventory import Inventory
from llmcost.sql.materialise import refresh_days

PER_REQUEST = 512
BATCH = 200


@dataclass(frozen=True)
class Request:
    """A request as the journal gives it back."""

    signal: int
    received_at_us: int
    body: bytes
    forced: bytes = b""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 5], help="lake sizes, in millions of spans")
    parser.add_argument("--spans-a-day", type=int, default=1_000_000, help="spans on each day")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmcost-bench-") as folder:
        lake = Lake.create(Path(folder))
        base = base_day(lake, options.spans_a_day)
        print(f"{'spans':>12} {'days':>5} {'calls':>12} {'CPU s per 1M':>13} {'wall s':>8} {'peak RSS MiB':>13}")
        first = None
        for millions in options.millions:
            days = max(1, round(millions * 1_000_000 / options.spans_a_day))
            inventory = Inventory({"spans": {day: (path,) for day, path in copies(lake, base, days)}})
            row = derive(lake, inventory, days * options.spans_a_day)
            first = first or row["cpu"]
            print(
                f"{row['spans']:>12,} {days:>5} {row['calls']:>12,} {row['cpu']:>13.2f} {row['wall']:>8.1f} "
                f"{row['rss']:>13,.0f}   {row['cpu'] / first:.2f}x",
                flush=True,
            )
        print(json.dumps({"ratio_of_last_to_first": round(row["cpu"] / first, 3)}))


def base_day(lake: Lake, spans: int) -> Path:
    """One day's Parquet file of seeded spans, all within the generator's first UTC day."""
    decoder = Decoder(conventions.load(), "drop", Settings().landing)
    path = lake.root / "base.parquet"
    bodies = Generator().requests(spans, PER_REQUEST)
    writer: pq.ParquetWriter | None = None
    for batch in batches(bodies):
        decoded = decoder.decode([Request(Signal.TRACES, START_NS // 1000, body) for body in batch])
        table: pa.Table = decoded.spans.drop_columns("day")
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=1)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    return path


def batches(bodies: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Requests by BATCH."""
    waiting: list[bytes] = []
    for body in bodies:
        waiting.append(body)
        if len(waiting) == BATCH:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def copies(lake: Lake, base: Path, days: int) -> Iterator[tuple[date, Path]]:
    """`days` days of the same work under other trace ids; days are made once and kept."""
    begin = datetime.fromtimestamp(START_NS / 1e9, UTC).date()
    for number in range(days):
        day = begin + timedelta(days=number)
        path = lake.table("spans") / f"day={day}" / "copy.parquet"
        if not path.exists():
            path.parent.mkdir(parents=True)
            duckdb.execute(
                f"""
                copy (
                    select * replace (
                        md5(trace_id || {number}) as trace_id,
                        response_id || '-{number}' as response_id,
                        started_at + interval {number} day as started_at,
                        ended_at + interval {number} day as ended_at
                    )
                    from read_parquet('{base}')
                ) to '{path}' (format parquet, compression zstd, row_group_size 122880)
                """
            )
        yield day, path


def derive(lake: Lake, inventory: Inventory, spans: int) -> dict[str, float]:
    """Derive every day of the lake and write its marts; returns what it cost."""
    for mart in lake.mart("calls").glob("day=*/*"):
        mart.unlink()
    rules = Rules.load(lake, Settings())
    cpu, wall = time.process_time(), time.monotonic()
    refresh_days(lake, inventory, rules, inventory.days(), now=datetime.now(UTC))
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    calls = duckdb.sql(f"select count(*) from '{lake.mart('calls')}/**/*.parquet'").fetchall()[0][0]
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"spans": spans, "calls": calls, "cpu": cpu / spans * 1e6, "wall": wall, "rss": rss}


if __name__ == "__main__":
    main()
