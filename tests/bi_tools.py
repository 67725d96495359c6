"""Tools of other people over a lake, beside what llmcost says: python tests/bi_tools.py LAKE.

Run by hand, with the interpreter of an environment that has them: pip install duckdb duckdb-engine "sqlalchemy<2.1"
pandas polars pyarrow. It writes nothing; `llmcost bi --lake LAKE` first. A tool that is not installed is said.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

QUERY = "select sum(cost_usd) from calls"


def duckdb_(lake: Path) -> object:
    """The database, opened read-only."""
    import duckdb

    row = duckdb.connect(str(lake / "llmcost.duckdb"), read_only=True).execute(QUERY).fetchone()
    return row and row[0]


def duckdb_attached(lake: Path) -> object:
    """The database beside another one."""
    import duckdb

    con = duckdb.connect()
    path = str(lake / "llmcost.duckdb").replace("'", "''")
    con.execute(f"attach '{path}' as spend (read_only)")
    row = con.execute("select sum(cost_usd) from spend.calls").fetchone()
    return row and row[0]


def sqlalchemy_(lake: Path) -> object:
    """Through duckdb-engine, with reflection: what most BI tools do."""
    from sqlalchemy import create_engine, inspect, text

    engine = create_engine(f"duckdb:///{lake / 'llmcost.duckdb'}", connect_args={"read_only": True})
    assert "cost_per_outcome" in inspect(engine).get_view_names()
    assert "work_id" in [column["name"] for column in inspect(engine).get_columns("calls")]
    with engine.connect() as con:
        return con.execute(text(QUERY)).scalar()


def polars_(lake: Path) -> object:
    """The files themselves."""
    import polars as pl

    scan = pl.scan_parquet(lake / "calls" / "day=*" / "calls.parquet", hive_partitioning=True)
    return scan.select(pl.col("cost_usd").sum()).collect().item()


def pandas_(lake: Path) -> object:
    """The files themselves; `day` stands in them, so it is not taken from the folders."""
    import pandas as pd

    return pd.read_parquet(lake / "calls", partitioning=None)["cost_usd"].sum()


def pyarrow_(lake: Path) -> object:
    """The files themselves."""
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    return pc.sum(ds.dataset(lake / "calls", format="parquet").to_table(columns=["cost_usd"])["cost_usd"]).as_py()


TOOLS: dict[str, Callable[[Path], object]] = {
    "duckdb": duckdb_,
    "duckdb, attached": duckdb_attached,
    "sqlalchemy": sqlalchemy_,
    "polars": polars_,
    "pandas": pandas_,
    "pyarrow": pyarrow_,
}


def main(lake: Path) -> int:
    """Print what each says; 1 if two differ or one failed."""
    said = []
    for name, ask in TOOLS.items():
        try:
            answer: object = ask(lake)
        except ImportError as error:
            print(f"{name:18} not installed: {error.name}")  # noqa: T201
            continue
        except Exception as error:
            answer = f"failed: {' '.join(str(error).split())[:90]}"
        said.append(answer)
        print(f"{name:18} {answer}")  # noqa: T201
    return 0 if len(set(map(str, said))) == 1 else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
