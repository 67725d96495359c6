"""Audits: queries that return offenders, so that a returned row is a failure; ours and the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa

from ..models.errors import UsageError
from ..models.lake import Lake
from . import catalogue
from .answers import Audited, RollupInfo
from .database import parquet_by_day, reason, rows
from .files import open_files
from .relations import AUDITS, Relation, parsed

PROJECT_FOLDER = Path("audits")
SHOWN = 5
"""Offending rows that a result names; it counts all."""

_SUMS = "sum-of-"
_LEDGER = ("ledger_cost_usd", "cost_usd")
Audit = Callable[[duckdb.DuckDBPyConnection], Audited]


def audits(lake: Lake, name: str | None = None) -> list[Audit]:
    """All audits, those of files first, then one for each rollup's sum; or the one called `name`.

    Raises UsageError with the nearest names if there is none.
    """
    found: dict[str, Audit] = {}
    for folder in (AUDITS, lake.user_audits, PROJECT_FOLDER):
        for path in sorted(folder.glob("*.sql")):
            found[catalogue.spoken(path.stem)] = _of_file(lake, path)
    for info in sorted(catalogue.rollups(lake).values(), key=lambda info: info.name):
        found[f"{_SUMS}{info.name}"] = _of_rollup(lake, info)
    if name is None:
        return list(found.values())
    wanted = catalogue.spoken(name)
    if wanted not in found:
        raise UsageError(f'unknown audit "{name}": {catalogue.nearest(wanted, found)}')
    return [found[wanted]]


def calls_around(con: duckdb.DuckDBPyConnection, lake: Lake, days: Sequence[date]) -> None:
    """Make the relation `calls_around`: the calls of the look-back too, whatever the window."""
    files = [path for day in days if (path := lake.mart_file("calls", day)).exists()]
    source = parquet_by_day(files) if files else "calls"
    con.execute(f"create temp view calls_around as select * from {source}")


def run(con: duckdb.DuckDBPyConnection, chosen: Iterable[Audit]) -> list[Audited]:
    """What each audit finds in a session over a window, and over the look-back around it."""
    return [audit(con) for audit in chosen]


def _of_file(lake: Lake, path: Path) -> Audit:
    name = catalogue.spoken(path.stem)

    def audit(con: duckdb.DuckDBPyConnection) -> Audited:
        try:
            relation = parsed(path)
            open_files(con, lake, relation.reads, path)
            offenders, shown = _offenders(con, relation)
        except UsageError as error:
            return Audited(name, "", "broken", problem=str(error), next_step=f"mend {path}")
        except duckdb.Error as error:
            return Audited(name, "", "broken", problem=f'audit "{path}": {reason(error)}', next_step=f"mend {path}")
        next_step = relation.facts.get("next") or f"the query is in {path}"
        return Audited(name, relation.sentence, "fail" if offenders else "ok", offenders, shown, next_step)

    return audit


def _offenders(con: duckdb.DuckDBPyConnection, relation: Relation) -> tuple[int, pa.Table]:
    """How many rows an audit returns, and the first of them."""
    reader = con.sql(relation.text).to_arrow_reader(10_000)
    count, shown = 0, reader.schema.empty_table()
    for batch in reader:
        if shown.num_rows < SHOWN:
            shown = pa.concat_tables([shown, pa.Table.from_batches([batch])]).slice(0, SHOWN)
        count += batch.num_rows
    return count, shown


def _of_rollup(lake: Lake, info: RollupInfo) -> Audit:
    name = f"{_SUMS}{info.name}"
    sentence = f"The rows of {info.name} sum to the ledger, to the nano-dollar."

    def audit(con: duckdb.DuckDBPyConnection) -> Audited:
        try:
            if info.problem:
                raise UsageError(info.problem)
            text = catalogue.render(info)
            open_files(con, lake, info.reads, info.path)
            found = con.sql(text)
            catalogue.check_columns(info, text, found.columns)
            column = next((name for name in _LEDGER if name in found.columns), None)
            if column is None:
                step = f"give {info.path} a column cost_usd, or ledger_cost_usd where its rows overlap"
                return Audited(name, sentence, "not checked", next_step=step)
            summed = _total(con, f'select "{column}" as cost_usd from ({text}) as asked')
        except UsageError as error:
            return Audited(name, sentence, "broken", problem=str(error), next_step=f"mend {info.path}")
        except duckdb.Error as error:
            said = f'rollup "{info.path}": {reason(error)}'
            return Audited(name, sentence, "broken", problem=said, next_step=f"mend {info.path}")
        ledger = _total(con, "from calls")
        if summed == ledger:
            return Audited(name, sentence, "ok")
        row = {"rollup": info.name, "column": column, "rollup_usd": summed, "ledger_usd": ledger}
        step = f"{info.path} counts calls twice or leaves some out; a part of the ledger is not called {column}"
        shown = pa.Table.from_pylist([row | {"difference_usd": summed - ledger}])
        return Audited(name, sentence, "fail", 1, shown, step)

    return audit


def _total(con: duckdb.DuckDBPyConnection, source: str) -> Decimal:
    (row,) = rows(
        con, f"select cast(coalesce(sum(cost_usd), 0) as decimal(38, 9)) as total from ({source}) as summed"
    )
    total: Decimal = row["total"]
    return total
