"""A result on its way out: rows, what their columns mean, and the lines that say how far to trust them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.errors import UsageError
from . import figures

if TYPE_CHECKING:
    import pyarrow as pa

    from ..ingest.tokens import Token
    from ..models.windows import Window
    from ..sql.answers import (
        Answer,
        Audited,
        BiDatabase,
        Coverage,
        PriceCheck,
        PriceView,
        Repricing,
        Restatement,
        RollupInfo,
    )


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows to write in any format.

    `units` are those that a column's name does not say, `facts` the JSON object's keys beside `rows`, and
    `notes` the lines people read under the table.
    """

    table: pa.Table
    units: Mapping[str, str | None] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    title: str | None = None


def of_answer(answer: Answer, now: datetime) -> Sheet:
    """A rollup's answer with its coverage."""
    facts = {"rollup": answer.info.name, **_window_facts(answer.window, answer.coverage)}
    if compared := answer.compared:
        facts["compared"] = _window_facts(compared.window, compared.coverage)
    return Sheet(
        table=answer.table,
        facts=facts,
        notes=(*coverage_lines(answer, now), *answer.notes),
        title=f"{answer.info.name}: {_first_sentence(answer.info.sentence)}",
    )


def _window_facts(window: Window, coverage: Coverage) -> dict[str, object]:
    return {
        "window": {"since": window.since, "until": window.until},
        "coverage": {
            "calls": coverage.calls,
            "cost_usd": coverage.cost_usd,
            "unpriced_calls": coverage.unpriced_calls,
            "unpriced_tokens": coverage.unpriced_tokens,
            "unattributed": dict(coverage.unattributed),
            "newest_span_at": coverage.newest_span_at,
        },
    }


def coverage_lines(answer: Answer, now: datetime) -> tuple[str, ...]:
    """What stands under every rollup: the window, the total, what has no price, no owner, and how fresh it is."""
    coverage = answer.coverage
    lines = _window_lines(answer.window, coverage)
    if compared := answer.compared:
        first, *rest = _window_lines(compared.window, compared.coverage)
        lines += [f"compared with {first}", *(f"in that window {line}" for line in rest)]
    # a dimension that nobody sets is not worth a word, unless it was asked for
    shown = {name: part for name, part in coverage.unattributed.items() if name in answer.dimensions or 0 < part < 1}
    if shown:
        parts = (f"{name} {figures.share(part)}" for name, part in shown.items())
        lines.append(f"share of cost without an owner: {', '.join(parts)}")
    if coverage.newest_span_at:
        lines.append(f"newest span {figures.ago(coverage.newest_span_at, now)}")
    return tuple(lines)


def _window_lines(window: Window, coverage: Coverage) -> list[str]:
    lines = [
        f"{figures.moment(window.since)} to {figures.moment(window.until)}: "
        f"{coverage.calls:,} calls, {figures.money(coverage.cost_usd)} in all"
    ]
    if coverage.unpriced_calls:
        lines.append(
            f"no price known for {coverage.unpriced_calls:,} calls with {coverage.unpriced_tokens:,} tokens: "
            "they are in no cost above"
        )
    return lines


def of_tokens(tokens: Sequence[Token], now: datetime) -> Sheet:
    """Senders' tokens without their hashes."""
    import pyarrow as pa  # noqa: PLC0415  start-up time

    instants = ("created_at", "expires_at", "revoked_at")
    rows = [
        {
            "name": token.name,
            "state": token.state(now),
            "forced": ", ".join(f"{column}={value}" for column, value in token.forced.items()) or None,
            **{name: getattr(token, name) for name in instants},
        }
        for token in tokens
    ]
    texts = [(name, pa.string()) for name in ("name", "state", "forced")]
    schema = pa.schema([*texts, *((name, pa.timestamp("us", "UTC")) for name in instants)])
    return Sheet(pa.Table.from_pylist(rows, schema))


def restatement_line(restated: Sequence[Restatement]) -> str:
    """What a changed price book did to booked days, in one line."""
    before, after = sum(each.cost_before for each in restated), sum(each.cost_after for each in restated)
    places = figures.money_places([Decimal(before), Decimal(after)])
    line = (
        f"restated {len(restated):,} day{'s' if len(restated) > 1 else ''}: "
        f"{figures.money(Decimal(before), places)} -> {figures.money(Decimal(after), places)} "
        f"under {', '.join(sorted({each.book_after for each in restated}))}"
    )
    unpriced = [sum(each.unpriced_before for each in restated), sum(each.unpriced_after for each in restated)]
    return line if unpriced[0] == unpriced[1] else f"{line}; calls without a price {unpriced[0]:,} -> {unpriced[1]:,}"


def of_repricing(repricing: Repricing) -> Sheet:
    """The difference another price book makes, by day and model."""
    window, total = repricing.window, repricing.total
    before, after = Decimal(total["cost_before_usd"]), Decimal(total["cost_after_usd"])
    places = figures.money_places([before, after])
    change = f", {figures.share(float((after - before) / before))}" if before and after != before else ""
    notes = [
        f"{total['days']:,} days, {total['calls']:,} calls, {total['changed_calls']:,} of them at another price: "
        f"{figures.money(before, places)} -> {figures.money(after, places)}{change}"
    ]
    if total["unpriced_before"] or total["unpriced_after"]:
        notes.append(f"calls without a price: {total['unpriced_before']:,} -> {total['unpriced_after']:,}")
    notes.append(f"booked under {', '.join(repricing.books_before) or 'no book yet'}")
    if repricing.restated is None:
        notes.append("nothing was written")
    return Sheet(
        repricing.table,
        facts={
            "window": {"since": window.since, "until": window.until},
            "books_before": list(repricing.books_before),
            "book_after": repricing.book_after,
            "applied": repricing.restated is not None,
            "total": total,
            "models": repricing.models.to_pylist(),
        },
        notes=tuple(notes),
        title=f"Priced again under {repricing.book_after}",
    )


def of_unpriced(table: pa.Table) -> Sheet:
    """Models without a price."""
    tokens = sum((row["input_tokens"] or 0) + (row["output_tokens"] or 0) for row in table.to_pylist())
    notes = (
        f"{tokens:,} tokens without a price: write [[list]] or [[alias]] entries to prices/own.toml in the lake, "
        "and try them with: llmcost prices check FILE",
    )
    return Sheet(table, notes=notes if table.num_rows else ("every call with usage and a model has a price",))


def of_price_check(check: PriceCheck) -> Sheet:
    """The entries of price files: what is wrong with each, or what it is about."""
    unused = sum(not row["calls"] and not row["problem"] for row in check.entries.to_pylist())
    notes = [
        f"{check.entries.num_rows:,} entries, {check.problems:,} with a problem, {unused:,} about no call so far"
    ]
    if not check.problems:
        notes.append(f"what they would cost: llmcost reprice --book {check.path}")
    return Sheet(check.entries, facts={"path": str(check.path), "problems": check.problems}, notes=tuple(notes))


def of_price_diff(table: pa.Table, old: Path | None, new: Path) -> Sheet:
    """Prices that differ between two books, in USD per million tokens."""
    before = str(old) if old else "the pinned list"
    return Sheet(
        table,
        facts={"old": before, "new": str(new)},
        notes=() if table.num_rows else ("the same prices today for all of these models",),
        title=f"{before} -> {new}: US dollars per million tokens, per_request per request",
    )


def of_query(table: pa.Table) -> Sheet:
    """The rows of any query; a second column of one name gets a number, because every format wants one of each."""
    names: list[str] = []
    for name in table.column_names:
        number, unique = 1, name
        while unique in names:
            number += 1
            unique = f"{name}_{number}"
        names.append(unique)
    return Sheet(table.rename_columns(names))


def of_bi_database(database: BiDatabase) -> Sheet:
    """One row a view of the database for BI tools."""
    import pyarrow as pa  # noqa: PLC0415  start-up time

    table = pa.table(
        {
            "relation": pa.array([each.name for each in database.relations], pa.string()),
            "kind": pa.array([each.kind for each in database.relations], pa.string()),
            "columns": pa.array([each.columns for each in database.relations], pa.int64()),
            "holds": pa.array([each.sentence.partition(". ")[0] for each in database.relations], pa.string()),
        }
    )
    path = database.path.resolve()
    notes = [f"wrote {path}", f"SQLAlchemy, Superset: duckdb:///{path}"]
    if database.is_relative:
        notes.append("its files are named from the lake's folder on: start the tool there, or set file_search_path")
    if not database.is_fresh:
        notes.append("the lake cannot be written here: the views show what was last derived")
    notes += [f"left out {reason}" for reason in database.left_out]
    facts = {"path": str(path), "is_fresh": database.is_fresh, "left_out": list(database.left_out)}
    return Sheet(table, facts=facts, notes=tuple(notes))


def of_rollups(rollups: Sequence[RollupInfo], name: str | None) -> Sheet:
    """Every rollup in a sentence, or the columns of the one called `name`.

    Raises UsageError where there is none of that name.
    """
    import pyarrow as pa  # noqa: PLC0415  start-up time

    if name is None:
        listed = [
            {
                "rollup": info.name,
                "answers": f"broken: {info.problem}" if info.problem else _first_sentence(info.sentence),
            }
            for info in rollups
        ]
        return Sheet(pa.Table.from_pylist(listed))
    chosen = next((info for info in rollups if info.name == name), None)
    if chosen is None:
        near = difflib.get_close_matches(name, [info.name for info in rollups], n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else "llmcost rollup --list names them"
        raise UsageError(f'unknown rollup "{name}": {hint}')
    if chosen.problem:
        raise UsageError(chosen.problem)
    columns = [{"column": column.name, "meaning": column.meaning} for column in chosen.columns]
    notes = (
        f"grain: {chosen.grain}",
        f"reads: {', '.join(chosen.reads)}",
        f"--group-by takes: {', '.join(chosen.group_by) or 'nothing'}",
        f"defined in: {chosen.path}",
    )
    return Sheet(pa.Table.from_pylist(columns), notes=notes, title=f"{chosen.name}: {chosen.sentence}")


def of_audits(results: Sequence[Audited]) -> Sheet:
    """What each audit found; under the table the first offenders of each, and what to do."""
    import pyarrow as pa  # noqa: PLC0415  start-up time

    rows, notes = [], []
    for each in results:
        examples = each.examples.to_pylist(maps_as_pydicts="lossy") if each.examples else []
        rows.append({"audit": each.audit, "result": each.result, "offenders": each.offenders})
        if each.result != "ok":
            notes.append(f"{each.audit}: {each.problem or each.sentence}")
            notes += [f"  {', '.join(f'{name}={value}' for name, value in row.items())}" for row in examples]
            if each.offenders > len(examples):
                notes.append(f"  and {each.offenders - len(examples):,} more")
            notes.append(f"  next: {each.next_step}")
    failing = {
        each.audit: {
            "says": each.problem or each.sentence,
            "next": each.next_step,
            "examples": each.examples.to_pylist(maps_as_pydicts="lossy") if each.examples else [],
        }
        for each in results
        if each.result != "ok"
    }
    schema = pa.schema([("audit", pa.string()), ("result", pa.string()), ("offenders", pa.int64())])
    return Sheet(pa.Table.from_pylist(rows, schema), facts={"failing": failing}, notes=tuple(notes))


def _first_sentence(text: str) -> str:
    """The first sentence of a header; --list NAME shows all of it.

    >>> _first_sentence("What it costs. A trace counts once.")
    'What it costs'
    """
    return text.split(". ", maxsplit=1)[0].rstrip(".")


def of_prices(view: PriceView) -> Sheet:
    """What a model costs, and where that is written."""
    import pyarrow as pa  # noqa: PLC0415  start-up time

    named = f"{view.provider}/{view.model}" if view.provider else view.model
    rates = [field.name for field in view.rows.schema if pa.types.is_decimal(field.type)]
    return Sheet(
        view.rows,
        units=dict.fromkeys(rates, "USD"),
        facts={"provider": view.provider, "model": view.model, "source": view.source, "price_book": view.price_book},
        notes=(f"price book {view.price_book}, source: {view.source}",),
        title=f"{named}: US dollars per million tokens",
    )
