"""One question's connection: the lake's relations as views over marts that are fresh.

What a user types reaches it as values of session variables, never as SQL text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import MappingProxyType

import duckdb
import pyarrow.parquet as pq

from ..models.errors import UsageError
from ..models.lake import MARTS, REPORTS, TABLES, Lake
from ..models.prices import PriceBook
from ..models.schema import DIMENSIONS, PROVIDER_USAGE
from ..models.windows import Window
from .database import connect, parquet, parquet_by_day
from .derive import empty_relation
from .inventory import Inventory
from .model_rates import offer_model_rates
from .relations import CHAIN, closure, read, rows_of, views

FILTERS = frozenset(
    {*DIMENSIONS, "provider", "model", "operation", "service_tier", "status", "service_name", "cost_basis"}
)
"""Columns of `calls` that --where may name."""
_TOLD_LATER = ("outcomes", "evals")


@contextmanager
def window_session(
    lake: Lake,
    days: Sequence[date],
    asked: Window,
    *,
    tz: str,
    where: Mapping[str, str],
    book: PriceBook | None = None,
    wanted: Collection[str] | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Relations over the marts of `days`; calls are those of the window that match `where`.

    All of them, or those that are `wanted` and what these read: each relation costs a look into its files. With
    `book`, model_rates too: what it says that each model of the window costs. Raises UsageError for a filter that
    `calls` does not have.
    """
    with connect() as con:
        _relations(con, lake, days, asked=asked, tz=tz, where=where, wanted=wanted)
        if book:
            offer_model_rates(con, _files(lake, "calls", days, asked), asked, book)
        yield con


@contextmanager
def lake_session(
    lake: Lake,
    inventory: Inventory,
    days: Sequence[date],
    more: Callable[[duckdb.DuckDBPyConnection], Sequence[Path]] = lambda _: (),
) -> Iterator[duckdb.DuckDBPyConnection]:
    """All relations of the lake, landed tables too; the connection can read nothing else and write nothing.

    `more` makes further relations, and says which files they read when they are asked.
    """
    with connect() as con:
        _relations(con, lake, days)
        landed = {name: [path for day in days for path in inventory.on(name, day)] for name in TABLES}
        for name, files in landed.items():
            _view(con, name, files)
        marts = [lake.mart_file(name, day) for name in MARTS for day in days]
        marts += [lake.mart_file(name, day) for name in REPORTS for day in lake.report_days(name)]
        _lock(con, [*marts, *(path for files in landed.values() for path in files), *more(con)])
        yield con


def _relations(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    days: Sequence[date],
    *,
    asked: Window | None = None,
    tz: str = "UTC",
    where: Mapping[str, str] = MappingProxyType({}),
    wanted: Collection[str] | None = None,
) -> None:
    """Create calls (of the window and filters) and the other relations as views.

    What is told of calls later, outcomes and evals, is that of all `days`; everything else of the window's.
    """
    for column in where.keys() - FILTERS:
        raise UsageError(f'--where "{column}": accepted are {", ".join(sorted(FILTERS))}')
    variables: dict[str, object] = {"tz": tz, **{f"where_{column}": value for column, value in where.items()}}
    if asked:
        variables |= {"since": asked.since, "until": asked.until}
    needed = None if wanted is None else closure(wanted)
    if needed is None or "calls" in needed:
        variables["all_have_traces"] = all(map(_has_traces, _files(lake, "calls", days, asked)))
    for name, value in variables.items():
        con.execute(f"set variable {name} = $value", {"value": value})
    conditions = ["started_at >= getvariable('since') and started_at < getvariable('until')"] if asked else []
    conditions += [f"{column} = getvariable('where_{column}')" for column in where]
    for name in MARTS:
        if needed is None or rows_of(name) in needed:
            files = _files(lake, name, days, None if name in _TOLD_LATER else asked)
            _view(con, name, files, conditions if name == "calls" else ())
    for name in REPORTS:
        if needed is None or name in needed:
            _reports(con, lake, name, asked)
    for view in views():
        if needed is None or view.name in needed:
            con.execute(f"create temp view {view.name} as {view.text}")


def _reports(con: duckdb.DuckDBPyConnection, lake: Lake, name: str, asked: Window | None) -> None:
    """A view over the reports whose periods start on a UTC day of the window, or on any; they know no filter."""
    days = [day for day in lake.report_days(name) if asked is None or asked.first_day <= day <= asked.last_day]
    if days:
        relation, added = parquet(con, [lake.mart_file(name, day) for day in days], PROVIDER_USAGE.empty_table())
        con.execute(f"create temp view {name} as select *{added} from {relation}")
    else:
        con.register(name, PROVIDER_USAGE.empty_table())


def _files(lake: Lake, name: str, days: Sequence[date], asked: Window | None) -> list[Path]:
    # what began before the window is of it for work, never for a call
    first = asked.first_day if asked and name == "calls" else date.min
    of_the_window = (day for day in days if first <= day and (asked is None or day <= asked.last_day))
    return [path for day in of_the_window if (path := lake.mart_file(name, day)).exists()]


def _view(con: duckdb.DuckDBPyConnection, name: str, files: Sequence[Path], conditions: Sequence[str] = ()) -> None:
    """A view over the Parquet files of a mart or landed table, or over no rows of the right columns."""
    select = "select *"
    if files and (name in TABLES or _lacks_columns(name, files[-1])):
        source, added = parquet(con, files, empty_relation(name))
        select += added
    elif files:
        source = parquet_by_day(files)
    else:
        con.register(f"no_{name}", empty_relation(name))
        source = f"no_{name}"
    condition = f"where {' and '.join(conditions)}" if conditions else ""
    con.execute(f"create temp view {rows_of(name)} as {select} from {source} {condition}")


def _has_traces(calls: Path) -> bool:
    """Whether every call in the file has a trace, as its footer says: then nothing else need be read to group it."""
    footer = pq.read_metadata(calls)
    place = footer.schema.names.index("trace_id")
    groups = (footer.row_group(number).column(place).statistics for number in range(footer.num_row_groups))
    return all(group is not None and group.has_null_count and group.null_count == 0 for group in groups)


def _lacks_columns(mart: str, file: Path) -> bool:
    """Whether an older llmcost made this file of a mart: a sealed day keeps the columns it had."""
    wanted = {column.name for column in read(CHAIN / f"{mart}.sql").columns} - {"day"}
    return not wanted <= set(pq.read_schema(file).names)


def _lock(con: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    """From here on the connection reads these files, and nothing else of the machine."""
    con.execute("set allowed_paths = $paths", {"paths": list(map(str, files))})
    con.execute("set enable_external_access = false")
    con.execute("set lock_configuration = true")
