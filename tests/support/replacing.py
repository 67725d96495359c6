"""A process that replaces the calls of a lake's days: python replacing.py LAKE TIMES TIMES_A_SECOND.

Every version has another number of the same calls, a multiple of STEP, and their coverage, under the fingerprint of
the first: who asks takes it for what the landed spans say.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

from llmcost.sql import coverage
from llmcost.sql.database import connect
from llmcost.sql.replaceable import replace

STEP = 40


def run(lake: Path, times: int, times_a_second: float) -> None:
    """Replace one day after the other."""
    os.fsync = lambda _: None  # the pace is the point, not a power cut
    source = random.Random(22)  # noqa: S311
    files = sorted(lake.glob("calls/day=*/calls.parquet"))
    whole = {path: pq.ParquetFile(path).read() for path in files}
    stamps = {path: {k.decode(): v.decode() for k, v in pq.read_metadata(path).metadata.items()} for path in files}
    con = connect()
    print("begins", flush=True)  # noqa: T201
    started = time.monotonic()
    for number in range(times):
        path = files[number % len(files)]
        some = whole[path].slice(0, STEP * source.randint(1, whole[path].num_rows // STEP))
        con.register("replaced", some)
        told = coverage.figures(con, "replaced").metadata()
        replace(path, some.to_reader, {**stamps[path], coverage.METADATA: told})
        time.sleep(max(0.0, started + (number + 1) / times_a_second - time.monotonic()))


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
