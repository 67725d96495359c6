"""Pricing booked calls again: the difference another price book makes, and booking it where that is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from ..models.errors import UsageError
from ..models.lake import Lake
from ..models.prices import PriceBook
from ..models.windows import Window
from .answers import Repricing
from .database import connect, rows
from .derive import Rules, derived_day, price_again
from .inventory import Inventory, mart_days
from .materialise import refresh_days
from .pricefiles import layers_at
from .restatements import booked_calls, booked_under

_BY_DAY = """
    select
        calls.day,
        calls.provider,
        calls.model,
        count(*) as calls,
        count(*) filter (before.cost_usd is distinct from calls.cost_usd) as changed_calls,
        sum(before.cost_usd) as cost_before_usd,
        sum(calls.cost_usd) as cost_after_usd,
        count(*) filter (before.cost_usd is null) as unpriced_before,
        count(*) filter (calls.cost_usd is null) as unpriced_after,
    from calls
    inner join before
        on calls.trace_id is not distinct from before.trace_id
        and calls.span_id is not distinct from before.span_id
        and calls.log_id is not distinct from before.log_id
    where calls.day = $day
    group by calls.day, calls.provider, calls.model
"""
_SUMS = """
    sum(calls)::bigint as calls,
    coalesce(sum(changed_calls), 0)::bigint as changed_calls,
    sum(cost_before_usd)::decimal(18, 9) as cost_before_usd,
    sum(cost_after_usd)::decimal(18, 9) as cost_after_usd,
    (coalesce(sum(cost_after_usd), 0) - coalesce(sum(cost_before_usd), 0))::decimal(18, 9) as change_usd,
    coalesce(sum(unpriced_before), 0)::bigint as unpriced_before,
    coalesce(sum(unpriced_after), 0)::bigint as unpriced_after,
"""


def reprice(
    lake: Lake,
    inventory: Inventory,
    rules: Rules,
    window: Window,
    *,
    as_of: date | None,
    book: Path | None,
    apply: bool,
    now: datetime,
    progress: Callable[[int, int], None] | None = None,
) -> Repricing:
    """The difference over the window's days; see Warehouse.reprice."""
    if apply and (as_of or book):
        asked = "--as-of" if as_of else "--book"
        raise UsageError(
            f"--apply books the current prices only, not those of {asked}: "
            f"to book other prices, write them to {lake.prices}/*.toml"
        )
    other = replace(rules, book=PriceBook(layers_at(book) if book else rules.book.layers, as_of))
    known = sorted({*inventory.days(), *mart_days(lake, "calls")})
    days = [day for day in known if window.first_day <= day <= window.last_day]
    if shut := [day for day in days if inventory.sealed.holds(day)]:
        raise UsageError(
            f"the spans of {shut[-1]} and before are not kept any more, so those days cannot be priced again: "
            f"ask for --since {shut[-1] + timedelta(days=1)} or later"
        )
    found: list[pa.Table] = []
    for done, day in enumerate(days or [window.first_day]):
        if progress:
            progress(done, len(days))
        found.append(_difference(lake, inventory, rules, other, day))
    table, models, total = _summed(pa.concat_tables(found))
    booked = {day: booked_under(lake, day) for day in days}
    restated = None
    if apply:
        again = [day for day, name in booked.items() if name and name != rules.book.name]
        restated = refresh_days(lake, inventory, rules, again, progress, now=now, again=again).restated
    books = tuple(sorted({name for name in booked.values() if name}))
    return Repricing(window, books, other.book.name, table, models, total, restated)


def _difference(lake: Lake, inventory: Inventory, rules: Rules, other: Rules, day: date) -> pa.Table:
    """One day by model. A call that is not booked yet stands beside its price under the current book."""
    with derived_day(day, inventory, rules) as con:
        con.execute(
            "create table before as select trace_id, span_id, log_id, cost_usd from calls where day = $day",
            {"day": day},
        )
        booked = booked_calls(lake, day)
        if booked is not None:
            con.register("booked", booked)
            con.execute(
                """
                update before set cost_usd = booked.cost_usd
                from booked
                where
                    before.trace_id is not distinct from booked.trace_id
                    and before.span_id is not distinct from booked.span_id
                    and before.log_id is not distinct from booked.log_id
                """
            )
        if other.book != rules.book:
            price_again(con, day, other)
        return con.sql(_BY_DAY, params={"day": day}).to_arrow_table()


def _summed(found: pa.Table) -> tuple[pa.Table, pa.Table, dict[str, int | Decimal]]:
    with connect() as con:
        con.register("differences", found)
        con.execute("create view changed as from differences where changed_calls > 0")
        table = con.sql(
            f"select day, provider, model, {_SUMS} from changed group by day, provider, model "
            "order by day, abs(change_usd) desc, provider, model"
        ).to_arrow_table()
        models = con.sql(
            f"select provider, model, {_SUMS} from changed group by provider, model "
            "order by abs(change_usd) desc, provider, model"
        ).to_arrow_table()
        total = rows(con, f"select count(distinct day) as days, {_SUMS} from differences")[0]
    return table, models, {name: value or 0 for name, value in total.items()}
