"""A day made anew only where something landed: the traces that arrived, what hangs on them, the rest as it stood.

Deriving a day costs what the day holds, and something lands every second. But what lands changes few traces: its own,
and those that share a response with them, or a session that log records tell of. These are derived from all their
spans, as if the day had no others, and replace their rows in the marts: the chain never looks from one trace at
another that it shares nothing with. What a day sums up over its calls is summed up again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta

import duckdb

from ..models.lake import MARTS, Lake
from ..models.schema import EVENTS, SPANS
from .arrivals import Arrivals
from .database import text_literal
from .derive import ROWS_OF_A_FILE, Landed, Rules, derive_traces, make_table, view_of_files, workspace
from .inventory import Inventory

_OF_CALLS = ("traces", "agent_runs", "unbilled_spans", "calls")
"""As they are to be written: the fingerprint of `calls` vouches for all."""
MOST_SHARE = 0.3
"""Of the day's spans: where more of them are to be derived again, the day is derived whole."""
_MOST_ROUNDS = 50
_MOST_TRIES = 3

_HASHED = "case when {0} is not null then hash({0}) end as {1}"

# Traces, responses and sessions by their hashes: two that collide are derived together, no more.
_PLACES = f"""
    select
        sid,
        day,
        is_log,
        {_HASHED.format("trace_id", "trace")},
        {_HASHED.format("response_id", "response")},
        case when session_id in (select session_id from usage_logs) then hash(session_id) end as session,
        null::ubigint as run,
    from (
        select sid, day, trace_id, response_id, session_id, false as is_log from landed_spans
        union all
        select sid, day, trace_id, response_id, session_id, true as is_log from usage_logs
    )
"""

# Traces of runs of which some agent's span claims something: what all of them claim is kept as one sum.
_CLAIMING = f"""
    select {_HASHED.format("calls.trace_id", "trace")}, {_HASHED.format("calls.agent_run_id", "run")}
    from stood_calls as calls
    semi join (from stood_agent_runs where unexplained_usd is not null) as runs
        on calls.agent_run_id = runs.agent_run_id
"""

_REACHED = """
    insert into affected
    select distinct trace
    from places
    where
        trace is not null
        and trace not in (select trace from affected)
        and (
            response in (select response from touched where response is not null)
            or session in (select session from touched where session is not null)
            or run in (select run from touched where run is not null)
        )
"""

# Traces of a run that claimed something before and does so now: derived apart, its sum would lose what they claimed.
_LEFT_OUT = f"""
    insert into affected
    select distinct trace
    from ({_CLAIMING})
    where
        trace is not null
        and trace not in (select trace from affected)
        and run in (select hash(agent_run_id) from run_claims)
"""

# A log record without a trace has nothing that its rows could be found again by: all of those are derived again.
_TOUCHED = """
    create view touched as
    from places
    where
        trace in (select trace from affected)
        or (is_log and trace is null)
        or session in (select session from arrived_sessions)
"""

_KEPT = "trace_id is not null and hash(trace_id) not in (select trace from affected)"


@contextmanager
def changed_day(
    day: date, inventory: Inventory, rules: Rules, arrived: Arrivals, stood: Lake
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Sequence[str]] | None]:
    """A connection that holds the marts of `day` as relations named as MARTS, and which of them are to be written.

    `stood` holds the marts as they were made, by the same rules, of all that `inventory` holds but what `arrived`.
    None where it is as cheap to derive the day whole. Reads, writes nothing.
    """
    landed = Landed.of(day, inventory, rules)
    with workspace() as con:
        landed.open(con)
        for name in MARTS:
            path = stood.mart_file(name, day)
            con.execute(f"create view stood_{name} as from read_parquet({text_literal(str(path))})")
        _find_affected(con, day, arrived, landed)
        is_touched = _is_true(con, f"exists (from touched where day = date '{day}')")
        if is_touched and not _derive_affected(con, day, landed):
            yield None
        else:
            if is_touched:
                _put_together(con, day)
            told = _tell_again(con, day)
            yield con, [*told, *(_OF_CALLS if is_touched else ())]


def _find_affected(con: duckdb.DuckDBPyConnection, day: date, arrived: Arrivals, landed: Landed) -> None:
    """`places`: what each span or log record shares with others. `affected`: the traces to derive again."""
    con.execute(f"create table places as {_PLACES}")
    con.execute(f"insert into places by name select false as is_log, * from ({_CLAIMING})")
    days = {date.fromisoformat(path.parent.name.removeprefix("day=")) for path in landed.spans}
    view_of_files(con, "arrived_spans", arrived.on("spans", days), SPANS, landed.rules)
    view_of_files(con, "arrived_events", arrived.on("events", _around(day)), EVENTS, landed.rules)
    con.execute("create table affected as select distinct hash(trace_id) as trace from arrived_spans")
    con.execute("create table arrived_sessions (session ubigint)")
    if landed.logs:
        con.execute("insert into affected select hash(trace_id) from arrived_events where trace_id is not null")
        con.execute(
            "insert into arrived_sessions select hash(session_id) from arrived_events where session_id is not null"
        )
    con.execute(_TOUCHED)
    _reach(con)


def _reach(con: duckdb.DuckDBPyConnection) -> None:
    for _ in range(_MOST_ROUNDS):
        if con.execute(_REACHED).fetchall() == [(0,)]:
            return
    con.execute("insert into affected select distinct trace from places where trace is not null")


def _derive_affected(con: duckdb.DuckDBPyConnection, day: date, landed: Landed) -> bool:
    """OF_TRACES of the affected traces; False where that is no less work than the whole day."""
    for _ in range(_MOST_TRIES):
        if _is_true(con, f"(select count(*) from touched) > {MOST_SHARE} * (select count(*) from places)"):
            return False
        _open_affected(con, landed)
        derive_traces(con, day, landed.rules)
        if con.execute(_LEFT_OUT).fetchall() == [(0,)]:
            return True
        _reach(con)
    return False


def _open_affected(con: duckdb.DuckDBPyConnection, landed: Landed) -> None:
    """`source_spans` of the affected traces, read from the files and the rows among which they are."""
    least, greatest, files = con.execute(f"""
        select min(sid % {ROWS_OF_A_FILE}), max(sid % {ROWS_OF_A_FILE}), list(distinct sid // {ROWS_OF_A_FILE})
        from touched
        where not is_log and sid is not null
    """).fetchall()[0]
    landed.open_part(con, "told_there", set(files or ()), f"file_row_number between {least or 0} and {greatest or 0}")
    con.execute("drop table if exists source_spans")
    con.execute(f"create table source_spans as from told_there where not ({_KEPT})")


def _put_together(con: duckdb.DuckDBPyConnection, day: date) -> None:
    """The marts of calls: rows of affected traces as derived, all others as they stood."""
    for name in ("calls", "traces", "unbilled_spans"):
        con.execute(f"alter table {name} rename to derived_{name}")
        con.execute(f"""
            create view {name} as
            select * from stood_{name} where {_KEPT}
            union all by name
            select * from derived_{name} where day = date '{day}' and not ({_KEPT})
        """)
    # Of a run that claims something all traces are derived again, or none.
    con.execute(f"""
        insert into run_claims by name
        select agent_run_id, day, unexplained_usd
        from stood_agent_runs
        where unexplained_usd is not null and agent_run_id in (select agent_run_id from stood_calls where {_KEPT})
    """)
    con.execute(f"""
        create table affected_runs as
        select agent_run_id from stood_calls where agent_run_id is not null and not ({_KEPT})
        union
        select agent_run_id from derived_calls where agent_run_id is not null
    """)
    con.execute("alter view calls rename to all_calls")
    con.execute("create view calls as from all_calls where agent_run_id in (from affected_runs)")
    make_table(con, "agent_runs", day)
    con.execute("create or replace view calls as from all_calls")
    _add(con, "agent_runs", "from stood_agent_runs where agent_run_id not in (from affected_runs)")


def _add(con: duckdb.DuckDBPyConnection, name: str, stood: str) -> None:
    """Let `name` be what was derived of it, and what `stood`."""
    con.execute(f"alter table {name} rename to derived_{name}")
    con.execute(f"create view {name} as {stood} union by name from derived_{name}")


def _tell_again(con: duckdb.DuckDBPyConnection, day: date) -> Sequence[str]:
    """Make outcomes and evals of what was told, where what arrived tells some; those that are others now."""
    con.execute("drop table if exists source_spans")
    on_the_day = f"day = date '{day}'"
    scores = "coalesce(evaluation_name, evaluation_label, evaluation_scores) is not null"
    changed: list[str] = []
    # A score that is told on two days stands on the first.
    if _tells(con, ("arrived_spans", scores), ("arrived_events", f"{on_the_day} and {scores}")):
        con.execute("create view source_spans as from told_anywhere")
        make_table(con, "evals", day)
        now = f"(select * from evals where {on_the_day})"
        lost, new = f"from stood_evals except all from {now}", f"from {now} except all from stood_evals"
        changed += ["evals"] if _is_true(con, f"exists ({lost}) or exists ({new})") else []
    # Each telling of an outcome is a row by itself: those that arrived are added.
    told = f"{on_the_day} and cardinality(outcome_attributes) > 0"
    if _tells(con, ("arrived_spans", told), ("arrived_events", told)):
        for name in ("spans", "events"):
            con.execute(f"create or replace view source_{name} as from arrived_{name} where {on_the_day}")
        make_table(con, "outcomes", day)
        _add(con, "outcomes", "from stood_outcomes")
        changed.append("outcomes")
    return changed


def _tells(con: duckdb.DuckDBPyConnection, *told: tuple[str, str]) -> bool:
    return _is_true(con, " or ".join(f"exists (from {relation} where {condition})" for relation, condition in told))


def _around(day: date) -> list[date]:
    return [day + timedelta(days=offset) for offset in (-1, 0, 1)]


def _is_true(con: duckdb.DuckDBPyConnection, condition: str) -> bool:
    return con.execute(f"select {condition}").fetchall() == [(True,)]
