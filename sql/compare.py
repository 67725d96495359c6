"""One question over two windows: the rows of the earlier beside those of the later, matched by what names a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from ..models.errors import UsageError
from ..models.windows import Window, instant, same_length
from .answers import Answer, Compared, RollupInfo
from .database import quoted

_HOUR = "%Y-%m-%dT%H"
_BUCKETS = ("day", "hour", "week")
"""Columns that are compared by their place in the window, and not by what they say."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How far a time bucket of the earlier window is from its place in the later one."""

    days: int
    hours: int

    @classmethod
    def between(cls, later: Window, earlier: Window, tz: ZoneInfo) -> Shift:
        """From one window's first day and hour to the other's, on the clock of `tz`: it is what rollups name."""
        to, start = (
            each.since.astimezone(tz).replace(tzinfo=None, minute=0, second=0, microsecond=0)
            for each in (later, earlier)
        )
        return cls((to.date() - start.date()).days, (to - start) // timedelta(hours=1))


def earlier_window(word: str, asked: Window, *, now: datetime, tz: ZoneInfo) -> Window:
    """The window that --compare names: `previous`, or the start of one as long as `asked`. Raises UsageError."""
    if word.strip().lower() == "previous":
        return same_length(asked, None, tz)
    try:
        start = instant(word, now=now, tz=tz)
    except UsageError as error:
        raise UsageError(f"--compare: {error}; or previous, the window just before") from None
    return same_length(asked, start, tz)


def compared(later: Answer, earlier: Answer, by: str | None, group_by: Sequence[str], tz: ZoneInfo) -> Answer:
    """The later answer with the earlier one's figures in its rows, and what that rests on."""
    key = key_of(later.info, later.table.schema, [*([by] if by else []), *group_by])
    table = side_by_side(
        later.table,
        earlier.table,
        key,
        headline_of(later.info, later.table.schema),
        Shift.between(later.window, earlier.window, tz),
        asker=f'rollup "{later.info.path}"',
    )
    restated = {each.day: each for each in (*earlier.restated, *later.restated)}
    return replace(
        later,
        table=table,
        restated=tuple(restated[day] for day in sorted(restated)),
        compared=Compared(earlier.window, earlier.coverage),
    )


def key_of(info: RollupInfo, schema: pa.Schema, asked: Sequence[str] = ()) -> list[str]:
    """The columns that name a row: those its header says, else those before the first number; and those asked for."""
    leading: list[str] = []
    for field in schema:
        if _is_number(field.type):
            break
        leading.append(field.name)
    wanted = {*(info.key or leading), *asked}
    return [name for name in schema.names if name in wanted]


def headline_of(info: RollupInfo, schema: pa.Schema) -> str | None:
    """The money a rollup is asked for: what its header says, else the cost, else its first amount."""
    usual = [name for name in (info.headline, "cost_usd", "total_cost_usd") if name in schema.names]
    return next(iter([*usual, *(field.name for field in schema if _is_money(field))]), None)


def side_by_side(
    later: pa.Table,
    earlier: pa.Table,
    key: Sequence[str],
    headline: str | None,
    shift: Shift,
    *,
    asker: str = "the rollup",
) -> pa.Table:
    """Two tables of the same columns as one: each amount and count with its `previous_…`, the headline first.

    What is a row of one table only is NULL on the other's side. Rows stand as in `later`; those of `earlier` alone
    come last, within their time bucket where rows are in order of one. Raises UsageError where `key` names no row.
    """
    names = later.column_names
    values = [name for name in names if name not in key]
    if headline in values:
        values = [headline, *(name for name in values if name != headline)]
    spelt = {name: quoted(name) for name in names}
    selected = [f"coalesce(later.{spelt[name]}, earlier.{spelt[name]}) as {spelt[name]}" for name in key]
    for name in values:
        selected.append(f"later.{spelt[name]}")
        if _is_compared(later.schema.field(name)):
            previous = f"previous_{name}" if f"previous_{name}" not in names else f"previous_window_{name}"
            selected.append(f"earlier.{spelt[name]} as {quoted(previous)}")
        if name == headline:
            there = f"earlier.{spelt[name]}"
            change = quoted(f"{name.removesuffix('_usd')}_change_percent")
            selected.append(f"round(100 * (later.{spelt[name]} - {there}) / nullif(abs({there}), 0), 2) as {change}")
    bucket = next((name for name in key if name in _BUCKETS and _is_sorted(later[name].to_pylist())), None)
    order = [f"coalesce(later.{spelt[bucket]}, earlier.{spelt[bucket]})"] if bucket else []
    moved = ", ".join(f"{_moved(later.schema.field(name), spelt[name], shift)} as {spelt[name]}" for name in key)
    same = " and ".join(["later.one = earlier.one", *(_same(spelt[name]) for name in key)])
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        for side, table in (("later_rows", later), ("earlier_rows", earlier)):
            con.register(side, _numbered(table))
            _check_key(con, side, [spelt[name] for name in key], asker)
        return con.sql(f"""
            with
            later as (select *, 1 as one from later_rows),
            earlier as (select * {f"replace ({moved})" if moved else ""}, 1 as one from earlier_rows)
            select {", ".join(selected)}
            from later
            full outer join earlier
                on {same}
            order by {", ".join([*order, "later._number nulls last", "earlier._number"])}
        """).to_arrow_table()


def _same(name: str) -> str:
    return f"later.{name} is not distinct from earlier.{name}"


def _numbered(table: pa.Table) -> pa.Table:
    return table.append_column("_number", pa.array(range(table.num_rows), pa.int64()))


def _check_key(con: duckdb.DuckDBPyConnection, side: str, key: Sequence[str], asker: str) -> None:
    grouped = f"group by {', '.join(key)}" if key else ""
    if con.execute(f"select count(*) as rows from {side} {grouped} having rows > 1 limit 1").fetchone():
        said = f"{', '.join(key)} name more than one row" if key else "no column names a row"
        raise UsageError(
            f"{asker}: --compare cannot match its rows: {said}: write the columns that do into its header, "
            "as in `-- key: customer_id, model`"
        )


def _moved(field: pa.Field, name: str, shift: Shift) -> str:
    """A column of the earlier window as it reads in the later one's place."""
    if field.name not in _BUCKETS:
        return name
    if pa.types.is_date(field.type):
        return f"{name} + {shift.days}"
    if pa.types.is_timestamp(field.type):
        return f"{name} + interval ({shift.hours}) hour"
    if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
        at = f"try_strptime({name}, '{_HOUR}')"
        return f"coalesce(strftime({at} + interval ({shift.hours}) hour, '{_HOUR}'), {name})"
    return name


def _is_sorted(values: Sequence[object]) -> bool:
    told = [value for value in values if value is not None]
    return told == sorted(told)  # type: ignore[type-var]


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_money(field: pa.Field) -> bool:
    return field.name.endswith("_usd") and _is_number(field.type)


def _is_compared(field: pa.Field) -> bool:
    """Amounts, and counts: whole numbers that are no tokens."""
    return _is_money(field) or (pa.types.is_integer(field.type) and not field.name.endswith("_tokens"))
