"""Several Parquet files of one day become few, sorted by trace, in bounded memory; no answer changes.

Sorted by trace, a question for one trace reads one row group of a file. Copies of a span that an exporter sent
twice go where nobody can tell: they are like the copy that stands in all but the time of receipt, and have neither
usage, cost, score nor outcome. The others are left to the chain (sql/chain/repeated_spans.sql), which lists them
in `unbilled_spans`: what stands among copies that differ may depend on settings that come later.
"""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from .delta import LandedFile, discard, lasting, null_counts
from .parquet import ROW_GROUP_ROWS, ParquetFile

_SILENT = """
    input_tokens is null and output_tokens is null and reported_cost_usd is null
    and coalesce(cardinality(outcome_attributes), 0) = 0
    and coalesce(evaluation_name, evaluation_label, evaluation_scores) is null
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a merge may use: memory before it spills, and the folder to spill to."""

    memory_bytes: int
    spill: Path


def merge_files(
    sources: Sequence[Path], folder: Path, *, columns: pa.Schema, time_column: str, rows_a_file: int, bounds: Bounds
) -> list[LandedFile]:
    """Write the rows of `sources` to files in `folder`, the day's, of `rows_a_file` rows each; returns those files.

    `columns` are those of the table, of which older sources may lack some. Memory is bounded by `bounds` and a few
    row groups. Raises OSError or duckdb.Error; none of the files is then left.
    """
    day = date.fromisoformat(folder.name.removeprefix("day="))
    written: list[LandedFile] = []
    try:
        with duckdb.connect(config=_config(bounds)) as con:
            sorted_rows = _cut(_sorted_rows(con, sources, columns, time_column), rows_a_file)
            for _, pieces in itertools.groupby(sorted_rows, key=itemgetter(0)):
                with _Filling(folder / f"{uuid.uuid4()}.parquet", columns, time_column) as file:
                    for _, piece in pieces:
                        file.write(piece)
                written.append(file.landed(day))
    except BaseException:
        discard(written)
        raise
    return written


def _config(bounds: Bounds) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "memory_limit": f"{bounds.memory_bytes}B",
        "temp_directory": str(bounds.spill),
        "threads": 1,  # upkeep takes what landing leaves
    }


def _sorted_rows(
    con: duckdb.DuckDBPyConnection, sources: Sequence[Path], columns: pa.Schema, time_column: str
) -> Iterator[pa.Table]:
    """The rows that stay, in order, as tables of at most a row group.

    Where rows tie they keep the order in which a reader of the sources meets them.
    """
    files = "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in sources) + "]"
    con.execute("set timezone = 'UTC'")
    con.execute(
        f"create view landed as select *, file_index, file_row_number "
        f"from read_parquet({files}, hive_partitioning = false, union_by_name = true)"
    )
    known = {row[0] for row in con.execute("describe landed").fetchall()}
    chosen = ", ".join(f'"{name}"' for name in columns.names if name in known)
    relation = "landed"
    if time_column == "started_at" and _superseded(con, columns, known):
        relation = "landed anti join superseded using (file_index, file_row_number)"
    ordered = con.sql(
        f"select {chosen} from {relation} order by trace_id, {time_column}, span_id, file_index, file_row_number"
    )
    for batch in ordered.to_arrow_reader(ROW_GROUP_ROWS):
        yield _as_landed(pa.table(batch), columns)


def _superseded(con: duckdb.DuckDBPyConnection, columns: pa.Schema, known: set[str]) -> int:
    """Find the copies that go; returns how many."""
    if not {"input_tokens", "output_tokens", "reported_cost_usd", "outcome_attributes", "evaluation_scores"} <= known:
        return 0
    same = ", ".join(f'"{name}"' for name in columns.names if name in known and name != "received_at")
    con.execute(
        f"""
        create temp table superseded as
        with repeated as (
            select trace_id, span_id from landed where {_SILENT} group by trace_id, span_id having count(*) > 1
        )
        select file_index, file_row_number
        from landed semi join repeated using (trace_id, span_id)
        where {_SILENT}
        qualify row_number() over (partition by {same} order by received_at, file_index, file_row_number) > 1
        """
    )
    return len(con.execute("select 1 from superseded").fetchall())


def _as_landed(rows: pa.Table, columns: pa.Schema) -> pa.Table:
    """The rows with all columns of the table, in its types."""
    return pa.table(
        [
            rows.column(field.name).cast(field.type)
            if field.name in rows.column_names
            else pa.nulls(len(rows), field.type)
            for field in columns
        ],
        schema=columns,
    )


def _cut(tables: Iterator[pa.Table], rows: int) -> Iterator[tuple[int, pa.Table]]:
    """The tables, cut where a file of `rows` rows is full, each with its file's number."""
    done = 0
    for table in tables:
        at = 0
        while at < len(table):
            piece = table.slice(at, rows - done % rows)
            yield done // rows, piece
            at += len(piece)
            done += len(piece)


class _Filling:
    """A target while it is written, and what a commit will say of it."""

    def __init__(self, path: Path, columns: pa.Schema, time_column: str) -> None:
        self._file = ParquetFile(path, columns, sorted_by="trace_id")
        self._time_column = time_column
        self._times: list[datetime] = []
        self._trace_ids: list[str | None] = []
        self._nulls: Counter[str] = Counter()
        self._lasting: list[datetime] = []
        self.rows = 0

    def write(self, rows: pa.Table) -> None:
        self._file.write(rows)
        self.rows += len(rows)
        self._nulls.update(null_counts(rows))
        self._lasting += [until] if (until := lasting(rows)) else []
        self._times += pc.min_max(rows.column(self._time_column)).as_py().values()
        self._trace_ids += [rows.column("trace_id")[at].as_py() for at in (0, -1)]

    def landed(self, day: date) -> LandedFile:
        """The file, once its context has ended."""
        first, last = self._trace_ids[0], self._trace_ids[-1]
        ids = None if first is None or last is None else (first, last)
        first_at, last_at = min(self._times), max(self._times)
        return LandedFile(
            self._file.path,
            day,
            self.rows,
            self._file.bytes,
            first_at,
            last_at,
            self._nulls,
            max(self._lasting, default=None),
            ids,
        )

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)
