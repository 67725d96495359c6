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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.lakes import BenchLake


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 5], help="lake sizes, in millions of spans")
    parser.add_argument("--spans-a-day", type=int, default=1_000_000, help="spans on each day")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmcost-bench-") as folder:
        lake = BenchLake(Path(folder) / "lake", options.spans_a_day, judged=False)
        print(f"{'spans':>12} {'days':>5} {'calls':>12} {'CPU s per 1M':>13} {'wall s':>8} {'peak RSS MiB':>13}")
        first = None
        for millions in options.millions:
            days = max(1, round(millions * 1_000_000 / options.spans_a_day))
            lake.land(days - lake.spans // options.spans_a_day)
            row = derive(lake)
            first = first or row["cpu"]
            print(
                f"{row['spans']:>12,} {days:>5} {row['calls']:>12,} {row['cpu']:>13.2f} {row['wall']:>8.1f} "
                f"{row['rss']:>13,.0f}   {row['cpu'] / first:.2f}x",
                flush=True,
            )
        print(json.dumps({"ratio_of_last_to_first": round(row["cpu"] / first, 3)}))


def derive(lake: BenchLake) -> dict[str, float]:
    """Derive every day of the lake from scratch and write its marts; returns what it cost."""
    for mart in lake.lake.mart("calls").glob("day=*/*"):
        mart.unlink()
    cpu, wall = time.process_time(), time.monotonic()
    report = lake.warehouse.refresh()
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"spans": lake.spans, "calls": report.calls, "cpu": cpu / lake.spans * 1e6, "wall": wall, "rss": rss}


if __name__ == "__main__":
    main()
