"""From one day's spans and events to that day's calls, traces, agent runs, outcomes and evals.

The day is the unit of derivation: whatever is asked, a day's rows are made by this one function from
the same files, so a materialised day and a computed one cannot differ. A request belongs to the day it started on,
and of a trace or a run each day has its part. Spans and log records of the days beside it are read where they share
a trace, a response or a session with the day; those of earlier days, where they last into the day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa

from ..models.conventions import Conventions
from ..models.conventions import load as load_conventions
from ..models.lake import MARTS, TABLES, Lake
from ..models.layers import Layers
from ..models.prices import PriceBook, PriceKey
from ..models.schema import DAY, EVENTS, LASTING, PROMOTED, SPANS, TELLING
from ..models.settings import Settings
from .convention_tables import convention_tables
from .database import connect, parquet, text_literal
from .inventory import Inventory
from .relations import CHAIN, read

_STEPS = (
    "loaded_spans",
    "repeated_spans",
    "span_classes",
    "tree_spans",
    "told_spans",
    "dumped_spans",
    "model_spans",
    "ancestry",
    "log_spans",
    "candidates",
)
_AFTER_GROUPS = ("aggregate_candidates", "wrappers", "members", "requests", "owners")
OF_TRACES = ("calls", "traces", "run_claims", "unbilled_spans")
"""What each trace has to itself; a trace that shares a response or a session with others, they together."""
OF_THE_DAY = ("agent_runs", "outcomes", "evals")
"""What is summed up over a day's calls, or read from all that was told on it."""
ROWS_OF_A_FILE = 1 << 32
"""A row's key (sid) is its place in its file, and so many times its file's place in the list."""
_MOST_TOKENS = 10**15
"""What a larger count is read as, so that no sum of counts overflows; calls.sql prices no such call."""
_MOST_TWIN_ROUNDS = 50
_OF_LOGS = {"log_id": "varchar", "log_agent_name": "varchar", "log_run_id": "varchar"}
"""What log records alone tell of a request, beside the columns of spans."""
_TYPES = {"string": "varchar", "int64": "bigint", "double": "double", "bool": "boolean"}


@dataclass(frozen=True)
class Rules:
    """Everything but the data that decides what a day's marts hold."""

    conventions: Conventions
    book: PriceBook
    prefer: str
    extra_spellings: Mapping[str, tuple[str, ...]]

    @classmethod
    def load(cls, lake: Lake, settings: Settings) -> Rules:
        """The rules of a lake: its price layers, the settings' conventions and preferences."""
        own = settings.conventions
        extra = {
            column: tuple(words if isinstance(words, list) else [*words.get("plain", ()), *words.get("names", ())])
            for section in ("fields", "dimensions")
            for column, words in own.get(section, {}).items()
        }
        return cls(load_conventions(own), PriceBook(Layers.load(lake.prices)), settings.pricing.prefer, extra)

    def names(self) -> tuple[str, ...]:
        """What goes into a day's fingerprint.

        Of the prices, the user's layers alone: editing them is meant. A new version of the list is not
        among them, so that upgrading a package restates no booked day (`llmcost reprice` does).
        """
        return (chain_version(), self.conventions.fingerprint, self.book.layers.fingerprint, self.prefer)


@cache
def chain_version() -> str:
    """A digest of the chain's SQL: a changed rule makes every day dirty."""
    texts = [path.read_bytes() for path in sorted(CHAIN.glob("*.sql"))]
    modules = ("derive.py", "convention_tables.py", "changed_day.py", "arrivals.py")
    code = [Path(__file__).with_name(name).read_bytes() for name in modules]
    return hashlib.sha256(b"\0".join([*texts, *code])).hexdigest()[:16]


@contextmanager
def derived_day(
    day: date, inventory: Inventory, rules: Rules, *, trace_id: str | None = None, trace_days: Collection[date] = ()
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that holds the marts of `day` as tables named as MARTS, while the context lasts.

    Rows of other days may be among them: take those `where day = $day`. With `trace_id`, only that trace
    and what shares a response with it, and the trace whole where it has spans on all of `trace_days`.
    Reads the files of the day, its neighbours and of spans that last into it; writes nothing.
    """
    with workspace() as con:
        landed = Landed.of(day, inventory, rules, trace_days)
        landed.open(con)
        con.execute(f"create view source_spans as from told_anywhere {_only(trace_id)}")
        derive_traces(con, day, rules)
        for name in OF_THE_DAY:
            make_table(con, name, day)
        yield con


@contextmanager
def workspace() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to derive in; all that was made in it goes with the context."""
    con = connect()
    try:
        con.execute("attach ':memory:' as work (compress)")
        con.execute("use work")
        # One transaction, never committed: each commit would compress every table of the chain again.
        con.begin()
        yield con
    finally:
        con.close()


@dataclass(frozen=True)
class Landed:
    """The landed files that a day is derived from, and how they are read."""

    day: date
    rules: Rules
    spans: Sequence[Path]
    """Of the day, of those beside it, and of those with spans that last into it."""
    ancestors: str
    """Which spans of far days take part, as a condition in SQL; empty for all."""
    events: Sequence[Path]
    logs: Sequence[Path]
    """Files of events whose log records may tell of requests."""

    @classmethod
    def of(cls, day: date, inventory: Inventory, rules: Rules, trace_days: Collection[date] = ()) -> Landed:
        """What `inventory` holds for `day`; all spans of `trace_days`, where these are named."""
        near = inventory.around("spans", day)
        far = [path for other in trace_days for path in inventory.on("spans", other)] or inventory.lasting_into(day)
        ancestors = f"where (day >= date '{day}' - 1 or {LASTING} >= date '{day}')" if far and not trace_days else ""
        # Only landing counts what a file tells: a user's own spelling may find more in its attributes.
        respelled = any(column in TELLING for column in rules.extra_spellings)
        logs = inventory.around("events", day) if respelled else inventory.telling_events(day)
        return cls(day, rules, list(dict.fromkeys([*near, *far])), ancestors, inventory.on("events", day), logs)

    def open(self, con: duckdb.DuckDBPyConnection) -> None:
        """`told_anywhere`: the landed spans, and the log records that tell of a request as a span would."""
        view_of_files(con, "landed_spans", self.spans, SPANS, self.rules, condition=self.ancestors)
        view_of_files(con, "source_events", self.events, EVENTS, self.rules)
        view_of_files(con, "landed_logs", self.logs, EVENTS, self.rules)
        for name, table in convention_tables(self.rules.conventions).items():
            _load(con, name, table)
        make_table(con, "usage_logs", self.day)
        self._tell(con, "told_anywhere", "landed_spans")

    def open_part(self, con: duckdb.DuckDBPyConnection, name: str, files: Collection[int], condition: str) -> None:
        """`name`: the same of some files of spans, by their place in `spans`, and of rows under an SQL condition."""
        some = [path for place, path in enumerate(self.spans) if place in files]
        whole = f"{self.ancestors} and {condition}" if self.ancestors else f"where {condition}"
        view_of_files(con, "some_spans", some, SPANS, self.rules, condition=whole)
        self._tell(con, name, "some_spans")

    def _tell(self, con: duckdb.DuckDBPyConnection, name: str, spans: str) -> None:
        of_logs = ", ".join(f"null::{kind} as {column}" for column, kind in _OF_LOGS.items())
        told = f"select *, false as is_log, {of_logs} from {spans}"
        # Most days have no such record, and a union would cost each scan of theirs.
        if con.execute("select exists (from usage_logs)").fetchone() == (True,):
            told += " union all by name select * exclude (copy) from usage_logs where copy = 1"
        con.execute(f"create or replace view {name} as {told}")


def derive_traces(con: duckdb.DuckDBPyConnection, day: date, rules: Rules) -> None:
    """From `source_spans` to OF_TRACES, and all that is between."""
    for name in _STEPS:
        make_table(con, name, day)
    _group_candidates(con, day)
    for name in _AFTER_GROUPS:
        make_table(con, name, day)
    load_prices(con, rules)
    for name in OF_TRACES:
        make_table(con, name, day)


def make_table(con: duckdb.DuckDBPyConnection, name: str, day: date, file: str | None = None) -> None:
    """Make one relation of the chain, under its own name or that of its `file`."""
    text = read(CHAIN / f"{file or name}.sql").text
    con.execute(f"create or replace table {name} as {text}", {"day": day} if "$day" in text else None)


def _group_candidates(con: duckdb.DuckDBPyConnection, day: date) -> None:
    """Pairs by id and nesting first; then twins by time between the groups those leave, round by round."""
    make_table(con, "same_request", day)
    con.execute("create or replace table pairs as from same_request")
    make_table(con, "groups", day, "call_groups")
    has_logs = con.execute("select exists (from usage_logs)").fetchone() == (True,)
    for name in ("overlapping_twins", *(["log_twins"] if has_logs else [])):
        for _ in range(_MOST_TWIN_ROUNDS):
            make_table(con, name, day)
            found = con.execute(f"insert into pairs from {name}").fetchall()
            if found == [(0,)]:
                break
            make_table(con, "groups", day, "call_groups")


def load_prices(con: duckdb.DuckDBPyConnection, rules: Rules) -> None:
    """Resolve the distinct prices in Python, by the library; the arithmetic stays in SQL."""
    rows = con.execute(read(CHAIN / "price_requests.sql").text).fetchall()
    keys = [PriceKey(*row) for row in sorted(rows, key=repr)]
    prices = rules.book.tables(keys)
    pricing = pa.table({"prefer": [rules.prefer], "price_book": [rules.book.name]})
    for name, table in (
        ("price_keys", prices.keys),
        ("price_rates", prices.rates),
        ("price_terms", prices.terms),
        ("pricing", pricing),
    ):
        _load(con, name, table)


def price_again(con: duckdb.DuckDBPyConnection, day: date, rules: Rules) -> None:
    """Make the `calls` of a derived day anew under the prices of `rules`; the other marts stay."""
    load_prices(con, rules)
    make_table(con, "calls", day)


def _load(con: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    con.register("arriving", table)
    con.execute(f"create or replace table {name} as from arriving")
    con.unregister("arriving")


def view_of_files(
    con: duckdb.DuckDBPyConnection,
    name: str,
    files: Sequence[Path],
    schema: pa.Schema,
    rules: Rules,
    *,
    condition: str = "",
) -> None:
    """A view over landed files with a key (`sid`) for each row; in older ones a user's own spellings are read too."""
    if not files:
        con.register(f"no_{name}", schema.append(DAY).empty_table())
        con.execute(f"create or replace view {name} as select *, 0::bigint as sid from no_{name}")
        return
    types = {column.name: _TYPES.get(str(column.type)) for column in PROMOTED}
    values = {
        column: f"coalesce({column}, {_spelled(words, types[column])})"
        for column, words in rules.extra_spellings.items()
        if types.get(column)
    }
    for column in (column.name for column in PROMOTED if column.unit == "tokens"):
        count = values.get(column, column)
        values[column] = f"case when {count} > {_MOST_TOKENS} then {_MOST_TOKENS} else {count} end"
    replaced = [f"{value} as {column}" for column, value in values.items()]
    relation, added = parquet(con, files, schema.append(DAY).empty_table())
    con.execute(
        f"""
        create or replace view {name} as
        with whole as (
            select *{added},
                cast(file_index as bigint) * {ROWS_OF_A_FILE} + file_row_number as sid
            from {relation}
            {condition}
        )
        select * {f"replace ({', '.join(replaced)})" if replaced else ""}
        from whole
        """
    )


def _only(trace_id: str | None) -> str:
    if trace_id is None:
        return ""
    mine = f"trace_id = {text_literal(trace_id)}"
    of_mine = f"from told_anywhere where {mine}"
    return (
        f"where {mine} or response_id in (select response_id {of_mine})"
        f" or (is_log and session_id in (select session_id {of_mine}))"
    )


def _spelled(words: Sequence[str], kind: str | None) -> str:
    values = ", ".join(f"attributes[{text_literal(word)}]" for word in words if "#" not in word)
    return f"try_cast(coalesce({values}, null) as {kind})"


def empty_relation(name: str) -> pa.Table:
    """A relation of the lake with its columns and no rows: what an empty lake holds."""
    if name in TABLES:
        return {"spans": SPANS, "events": EVENTS}[name].append(DAY).empty_table()
    return _empty_marts()[name]


@cache
def _empty_marts() -> dict[str, pa.Table]:
    rules = Rules(load_conventions(), PriceBook(), "reported", {})
    with derived_day(date(1970, 1, 1), Inventory(), rules) as con:
        return {name: con.sql(f"from {name}").to_arrow_table() for name in MARTS}
