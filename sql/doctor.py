"""Checks a lake's health: can it be read, is it fresh, is every dollar priced and owned."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from ..models.lake import Lake
from ..models.settings import Settings
from . import bi
from .answers import Coverage, Finding
from .coverage import of_window
from .database import connect, rows, text_list
from .derive import Rules
from .inventory import Inventory, mart_days
from .materialise import dirty_days, fresh
from .sealed import late_rows
from .session import lake_session
from .steady import ask_steady

_QUIET = timedelta(minutes=15)
_OWNERS = ("user_id", "customer_id", "feature")


def findings(lake: Lake, inventory: Inventory, settings: Settings, now: datetime) -> list[Finding]:
    """Every check in a fixed order. Writes nothing but clean marts."""
    rules = Rules.load(lake, settings)
    return [
        *_lake(lake),
        *_journal(lake, now),
        *_landed(inventory, now),
        *_marts(lake, inventory, rules),
        *_retention(lake, inventory),
        *_bi(lake),
        *_money(lake, inventory, rules, now),
    ]


def _lake(lake: Lake) -> Iterator[Finding]:
    if os.access(lake.root, os.W_OK):
        yield Finding("lake", "ok", f"{lake.root} can be read and written")
    else:
        yield Finding(
            "lake", "warn", f"{lake.root} is read-only for this user", "dirty days are computed on each query"
        )


def _journal(lake: Lake, now: datetime) -> Iterator[Finding]:
    waiting = list(lake.journal.glob("*/*.seg"))
    size = sum(path.stat().st_size for path in waiting)
    oldest = min((path.stat().st_mtime for path in waiting), default=now.timestamp())
    age = now.timestamp() - oldest
    if age > 60:
        yield Finding(
            "journal",
            "warn",
            f"{len(waiting)} segments ({size:,} bytes) wait to be landed, the oldest for {age:,.0f} s",
            "is llmcost serve running on this lake? It lands them on start",
        )
    else:
        yield Finding("journal", "ok", f"{len(waiting)} segments wait to be landed")
    if set_aside := [path for path in lake.journal.glob("*/quarantine/*") if path.is_file()]:
        yield Finding(
            "quarantine",
            "fail",
            f"{len(set_aside)} segments could not be landed: {set_aside[0]}",
            "keep the files and report them: their requests were acknowledged",
        )


def _landed(inventory: Inventory, now: datetime) -> Iterator[Finding]:
    files = [path for day in inventory.days() for path in inventory.on("spans", day)]
    if not files:
        yield Finding("freshness", "warn", "nothing has landed yet", "point an exporter here: llmcost serve --help")
        return
    query = f"""
        select
            count(*) as spans,
            max(received_at) as received_at,
            max(started_at) as newest_at,
            count(landing_notes) as noted
        from read_parquet({text_list(files)})
    """
    with connect() as con:
        landed = rows(con, query)[0]
        unknown = _unknown_usage_keys(con, files)
    quiet = now - landed["received_at"]
    yield Finding(
        "freshness",
        "warn" if quiet > _QUIET else "ok",
        f"{landed['spans']:,} spans in {len(files)} files; last arrival {_ago(quiet)}, "
        f"newest start {_ago(now - landed['newest_at'])}",
        "is the exporter running?" if quiet > _QUIET else None,
    )
    if landed["noted"]:
        yield Finding(
            "landing",
            "warn",
            f"{landed['noted']:,} spans landed with a note",
            'see: llmcost sql "select landing_notes, count(*) from spans group by all"',
        )
    for row in unknown:
        yield Finding(
            "usage keys",
            "warn",
            f'attribute "{row["key"]}" on {row["spans"]:,} spans looks like usage and is not understood',
            "add it to [conventions.fields] in llmcost.toml, or report it",
        )


def _unknown_usage_keys(con: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> list[dict[str, Any]]:
    """Keys left in attributes that look like usage and hold a positive number, on spans without usage."""
    query = f"""
        with entries as (
            select unnest(map_entries(attributes)) as entry
            from read_parquet({text_list(files)})
            where input_tokens is null and output_tokens is null
        )
        select entry.key as key, count(*) as spans
        from entries
        where entry.key like '%usage.%' and entry.key not like '%aggregated%' and try_cast(entry.value as double) > 0
        group by entry.key
        order by spans desc, key
        limit 5
    """
    return rows(con, query)


def _marts(lake: Lake, inventory: Inventory, rules: Rules) -> Iterator[Finding]:
    days = _days(lake, inventory)
    dirty = dirty_days(lake, inventory, rules, days)
    known = len(days)
    yield Finding(
        "marts",
        "ok",
        f"{known - len(dirty)} of {known} days are materialised; the others are computed when asked for",
        "make them now: llmcost refresh" if dirty else None,
    )


def _days(lake: Lake, inventory: Inventory) -> list[date]:
    """Days that can be asked about: those with spans or events, and those that live on in their marts."""
    return sorted({*inventory.days(), *mart_days(lake, "calls")})


def _retention(lake: Lake, inventory: Inventory) -> Iterator[Finding]:
    sealed = inventory.sealed
    for table, before in (("spans", sealed.spans_before), ("events", sealed.events_before)):
        if before is None:
            continue
        late = late_rows(lake, sealed)[table]
        yield Finding(
            "retention",
            "warn" if late else "ok",
            f"{table} before {before} are removed; what was derived from them stands"
            + (f", but {late:,} {table} came after their day was sealed, and are in no answer" if late else ""),
            f"set retention.{table}_days higher than the days that exporters are late" if late else None,
        )


def _bi(lake: Lake) -> Iterator[Finding]:
    """Nothing where no database for BI tools was asked for."""
    if not lake.database.is_file():
        return
    said = bi.about(lake.database)
    if said is None:
        yield Finding("bi", "warn", f"{lake.database} cannot be read", "remove it, then write it again: llmcost bi")
    elif said.definition != bi.definition(lake):
        yield Finding(
            "bi",
            "warn",
            f"{lake.database}, written by llmcost {said.program}, has other views than this llmcost writes now",
            "write it again: llmcost bi",
        )
    else:
        yield Finding("bi", "ok", f"{lake.database} has the views that this llmcost writes")


def _money(lake: Lake, inventory: Inventory, rules: Rules, now: datetime) -> Iterator[Finding]:
    days = _days(lake, inventory)
    if not days:
        return
    query = """
        select
            list(distinct model) filter (unpriced_reason = 'model_not_in_price_book') as models,
            list(distinct price_book order by price_book) as books
        from calls
    """

    def ask(source: Lake) -> tuple[Coverage, dict[str, Any]]:
        with lake_session(source, inventory, days) as con:
            return of_window(con, source, days, None, whole=True), rows(con, query)[0]

    with fresh(lake, inventory, rules, days, now=now) as marts:
        spend, found = ask_steady(marts.lake, days, ask)
    yield Finding("calls", "ok", f"{spend.calls:,} calls, ${spend.cost_usd:,.2f}, each request counted once")
    if older := [book for book in found["books"] or () if book != rules.book.name]:
        yield Finding(
            "price book",
            "ok",
            f"days are booked under {', '.join(older)}; the current book is {rules.book.name}",
            "see what the current one would change: llmcost reprice --since 30d",
        )
    if spend.unpriced_calls:
        named = f": {', '.join(sorted(found['models'])[:5])}" if found["models"] else ""
        yield Finding(
            "unpriced",
            "warn",
            f"{spend.unpriced_calls:,} calls with {spend.unpriced_tokens:,} tokens have no price or no usage{named}",
            "see: llmcost prices unmatched" if found["models"] else None,
        )
    else:
        yield Finding("unpriced", "ok", "every call has a cost")
    for name in _OWNERS:
        share = spend.unattributed[name]
        yield Finding(
            "unattributed",
            "warn" if share > 0.05 else "ok",
            f"{share:.1%} of cost has no {name}",
            f"set {name} on any span of the trace, or on the resource" if share > 0.05 else None,
        )


def _ago(age: timedelta) -> str:
    seconds = age.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
