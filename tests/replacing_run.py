"""Marts that are replaced all the time, and readers of every kind beside it: no error, no total that never was.

    python tests/replacing_run.py --times 3000 [--reader polars]    a minute of each reader, or of one

Every version that is written has another number of calls at one price (tests/support/replacing.py), so a right total
is a number of calls that was written, at exactly that many times the price. tests/test_replaceable.py has its short
form.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.compute as pc
import pyarrow.dataset as ds

sys.path.insert(0, str(Path(__file__).parent))

from support import replacing
from support.lakes import NOW, SmallLake
from support.load import CALL_USD, calls, new_ids

from llmcost.models.lake import Lake
from llmcost.sql import Warehouse


def three_days(folder: Path) -> SmallLake:
    """400 calls on each of three days, all at one price; derived."""
    small = SmallLake(folder)
    source = random.Random(1)  # noqa: S311
    for days in range(3):
        at = NOW - timedelta(days=days, hours=1)
        small.land_requests([calls(new_ids(source, 400), source, int(at.timestamp()) * 10**9)])
    small.warehouse.refresh()
    return small


def by_duckdb(lake: Lake, options: str = "") -> tuple[int, Decimal]:
    with duckdb.connect() as con:
        files = f"read_parquet('{lake.root}/calls/*/*.parquet' {options})"
        found = con.execute(f"select count(*), sum(cost_usd) from {files}").fetchall()
    return found[0][0], found[0][1]


def by_pyarrow(lake: Lake) -> tuple[int, Decimal]:
    files = [str(path) for path in sorted(lake.mart("calls").glob("*/*.parquet"))]
    column = ds.dataset(files).to_table(columns=["cost_usd"]).column("cost_usd")
    return len(column), pc.sum(column).as_py()


def by_polars(lake: Lake) -> tuple[int, Decimal]:
    found = pl.scan_parquet(f"{lake.root}/calls/*/*.parquet").select(pl.len(), pl.col("cost_usd").sum())
    rows, cost = found.collect().row(0)
    return rows, cost


def by_rollup(lake: Lake) -> tuple[int, Decimal]:
    answer = Warehouse(lake.root, now=lambda: NOW).ask("cost-per-feature", since="7d")
    of_the_rows = sum(answer.table.column("calls").to_pylist()), sum(answer.table.column("cost_usd").to_pylist())
    assert of_the_rows == (answer.coverage.calls, answer.coverage.cost_usd)
    return answer.coverage.calls, answer.coverage.cost_usd


def by_sql(lake: Lake) -> tuple[int, Decimal]:
    """The same file twice in one query."""
    query = "select a.n, a.usd, b.n as m from (select count(*) as n, sum(cost_usd) as usd from calls) as a, "
    row = Warehouse(lake.root, now=lambda: NOW).sql(query + "(select count(*) as n from calls) as b").to_pylist()[0]
    assert row["n"] == row["m"]
    return row["n"], row["usd"]


READERS: dict[str, Callable[[Lake], tuple[int, Decimal]]] = {
    "duckdb": by_duckdb,
    "duckdb by day": lambda lake: by_duckdb(lake, ", hive_partitioning = true, union_by_name = true"),
    "pyarrow": by_pyarrow,
    "polars": by_polars,
    "rollup": by_rollup,
    "sql": by_sql,
}


@dataclass
class Seen:
    """What a reader saw: how many answers, which of them were wrong, and what failed."""

    answers: int = 0
    wrong: list[tuple[int, Decimal]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def beside_a_writer(lake: Lake, reader: str, *, times: int) -> Seen:
    """Read again and again while another process replaces the calls of one day after the other, 50 times a second."""
    program = [sys.executable, replacing.__file__, str(lake.root), str(times), "50"]
    seen = Seen()
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()  # it begins
        while writer.poll() is None:
            try:
                rows, cost = READERS[reader](lake)
            except (Exception, pl.exceptions.PanicException) as error:
                seen.errors.append(repr(error))
                continue
            seen.answers += 1
            if rows % replacing.STEP or cost != rows * CALL_USD:
                seen.wrong.append((rows, cost))
        assert (0, "") == (writer.returncode, writer.communicate()[1])
    return seen


def main() -> None:
    """Say what each reader saw; exit 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3000)
    parser.add_argument("--reader", choices=READERS, action="append")
    options = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory(prefix="llmcost-") as folder:
        lake = three_days(Path(folder) / "lake").lake
        for reader in options.reader or READERS:
            seen = beside_a_writer(lake, reader, times=options.times)
            faults += len(seen.wrong) + len(seen.errors)
            told = f"{seen.answers:,} answers, {len(seen.wrong)} wrong, {len(seen.errors)} errors"
            print(f"{reader}: {told} {[*seen.wrong, *seen.errors][:2] or ''}", flush=True)  # noqa: T201
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
