"""What spans take on disk and cost to write, beside pyarrow's own defaults.

    python bench/storage.py --spans 200000

Decodes a seeded load once, then writes the same table alternately with the writer of landing and with
pyarrow's defaults (snappy, and zstd). The wire is the serialised requests, 512 spans each.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from generator import Generator

from llmcost.ingest.columns import Decoder
from llmcost.ingest.journal import Request
from llmcost.ingest.landing import decodable_at_once
from llmcost.ingest.parquet import write_parquet
from llmcost.ingest.wire import Signal
from llmcost.models import conventions, settings

RECEIVED_US = 1_795_000_100_000_000
PER_REQUEST = 512
SPANS_A_FILE = 100_000
"""About what a closed segment of 64 MiB holds."""

WRITERS: dict[str, Callable[[pa.Table, Path], object]] = {
    "llmcost": write_parquet,
    "pyarrow, snappy": pq.write_table,
    "pyarrow, zstd": partial(pq.write_table, compression="zstd"),
}
LOADS = {"lean": (False, "drop"), "content, dropped": (True, "drop"), "content, kept": (True, "keep")}


def landed(spans: int, *, content: bool, policy: str) -> tuple[pa.Table, int]:
    """The rows of a seeded load, and its bytes on the wire."""
    bodies = list(Generator(content=content).requests(spans, PER_REQUEST))
    decoder = Decoder(conventions.load(), policy, settings.Landing())
    requests = decodable_at_once(Request(Signal.TRACES, RECEIVED_US, body) for body in bodies)
    tables = [decoder.decode(some).spans.drop_columns(["day"]) for some in requests]
    return pa.concat_tables(tables), sum(map(len, bodies))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--spans", type=int, default=200_000)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    print(f"{'load':<20}{'writer':<18}{'B a span':>9}{'x wire':>8}{'x snappy':>10}{'CPU-s/1M':>10}")
    for load, (content, policy) in LOADS.items():
        rows, wire = landed(chosen.spans, content=content, policy=policy)
        used, sizes = defaultdict(list), defaultdict(int)
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(chosen.rounds):
                for name, write in WRITERS.items():
                    sizes[name] = 0
                    started = time.process_time()
                    for number, first in enumerate(range(0, rows.num_rows, SPANS_A_FILE)):
                        path = Path(folder) / f"{number}.parquet"
                        write(rows.slice(first, SPANS_A_FILE), path)
                        sizes[name] += path.stat().st_size
                    used[name].append(time.process_time() - started)
        for name in WRITERS:
            size, cpu = sizes[name], statistics.median(used[name]) * 1e6 / rows.num_rows
            print(
                f"{load:<20}{name:<18}{size / rows.num_rows:>9.1f}{size / wire:>8.3f}"
                f"{size / sizes['pyarrow, snappy']:>10.2f}{cpu:>10.2f}"
            )


if __name__ == "__main__":
    main()
