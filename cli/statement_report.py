"""Statements as sheets, and as a folder of files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.errors import UsageError
from . import figures
from .options import Format
from .sheet import Sheet
from .statement import StatementFormat
from .writers import render, write_whole

if TYPE_CHECKING:
    from ..sql.statements import Statement, Statements, Usage

UNATTRIBUTED = "(unattributed)"


def of_statements(statements: Statements) -> Sheet:
    """One row a statement."""
    import pyarrow as pa  # noqa: PLC0415  start-up time

    whole = statements.total_usd
    rows = [
        {
            "owner": named(each),
            "statement": each.kind,
            "total_cost_usd": each.total_usd,
            "share_percent": float(100 * (each.total_usd or 0) / whole) if whole else None,
            "direct_cost_usd": each.usage.cost_usd,
            "shared_cost_usd": each.shared_usd,
            **_figures(each.usage),
        }
        for each in statements.statements
    ]
    money = pa.decimal128(18, 9)
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("owner", "statement")),
            ("total_cost_usd", money),
            ("share_percent", pa.float64()),
            *((name, money) for name in ("direct_cost_usd", "shared_cost_usd")),
            *_FIGURES,
        ]
    )
    return Sheet(
        pa.Table.from_pylist(rows, schema),
        facts=facts(statements),
        notes=lines_of(statements),
        title=f"Statements of {statements.month} by {statements.by}",
    )


def of_lines(statements: Statements) -> Sheet:
    """One row for each line of each statement; those of one kind and the shared ones sum to the statement."""
    import pyarrow as pa  # noqa: PLC0415  start-up time

    rows = []
    for each in statements.statements:
        told = {"owner": named(each), "statement": each.kind}
        rows += [
            {**told, "line": line.kind, "item": line.item, "cost_usd": line.usage.cost_usd, **_figures(line.usage)}
            for line in each.lines
        ]
        rows += [
            {**told, "line": "shared", "item": share.feature or UNATTRIBUTED, "cost_usd": share.cost_usd}
            for share in each.shares
        ]
    texts = [(name, pa.string()) for name in ("owner", "statement", "line", "item")]
    schema = pa.schema([*texts, ("cost_usd", pa.decimal128(18, 9)), *_FIGURES])
    return Sheet(pa.Table.from_pylist(rows, schema))


def facts(statements: Statements) -> dict[str, object]:
    """What JSON says beside the rows."""
    coverage = statements.coverage
    return {
        "month": statements.month,
        "window": {"since": statements.window.since, "until": statements.window.until},
        "tz": statements.tz,
        "by": statements.by,
        "split_shared": statements.key,
        "total_usd": statements.total_usd,
        "ledger_usd": coverage.cost_usd,
        "difference_usd": statements.difference_usd,
        "pools": [
            {
                "feature": pool.feature,
                "is_split": pool.is_split,
                "cost_usd": pool.usage.cost_usd,
                **_figures(pool.usage),
            }
            for pool in statements.pools
        ],
        "notes": list(statements.notes),
        "lines": of_lines(statements).table.to_pylist(),
        "coverage": {
            "calls": coverage.calls,
            "cost_usd": coverage.cost_usd,
            "unpriced_calls": coverage.unpriced_calls,
            "unpriced_tokens": coverage.unpriced_tokens,
        },
    }


def lines_of(statements: Statements) -> tuple[str, ...]:
    """What stands under the statements: the month, the check against the ledger, what is shared and not known."""
    window, coverage = statements.window, statements.coverage
    lines = [
        f"{figures.moment(window.since)} to {figures.moment(window.until)}, days of {statements.tz}: "
        f"{coverage.calls:,} calls",
        check_line(statements),
    ]
    for pool in statements.pools:
        name = f'shared feature "{pool.feature}"' if pool.feature else "work without an owner"
        cost = figures.UNKNOWN if pool.usage.cost_usd is None else f"${pool.usage.cost_usd:f}"
        how = f"split by {statements.key}" if pool.is_split else "not split"
        lines.append(f"{name}: {cost}, {how}")
    if coverage.unpriced_calls:
        lines.append(
            f"no price known for {coverage.unpriced_calls:,} calls with {coverage.unpriced_tokens:,} tokens: "
            "they are in no cost above"
        )
    if coverage.newest_span_at:
        lines.append(f"newest call {figures.moment(coverage.newest_span_at)}")
    return (*lines, *statements.notes)


def check_line(statements: Statements) -> str:
    """That the statements sum to the ledger, in full digits."""
    total, ledger = statements.total_usd, statements.coverage.cost_usd
    if difference := statements.difference_usd:
        return f"the statements sum to ${total:.9f}, the ledger to ${ledger:.9f}: {difference:+.9f} too much"
    return f"the statements sum to ${total:.9f}, and so does the ledger of the month"


def named(statement: Statement) -> str:
    """Whose statement it is, in words; `kind` tells an owner of that name from it."""
    return statement.owner if statement.owner is not None else UNATTRIBUTED


def write(statements: Statements, folder: Path, format_: StatementFormat) -> None:
    """Write the folder: pages, or the statements and their lines as files. Raises UsageError where it cannot."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f'cannot make the folder "{folder}": {error.strerror}') from error
    for name, content in _files(statements, format_).items():
        write_whole(folder / name, content)
    print(f"wrote {len(statements.statements):,} statements to {folder}", file=sys.stderr)  # noqa: T201
    for line in lines_of(statements):
        print(figures.one_line(line), file=sys.stderr)  # noqa: T201


def _files(statements: Statements, format_: StatementFormat) -> Mapping[str, bytes]:
    if format_ is StatementFormat.HTML:
        from .statement_pages import pages  # noqa: PLC0415  start-up time

        return pages(statements)
    plain = Format(format_.value)
    suffix = "txt" if plain is Format.TABLE else plain.value
    whole = {f"statements.{suffix}": render(of_statements(statements), plain)}
    if plain is Format.JSON:  # it holds the lines
        return whole
    return whole | {f"lines.{suffix}": render(of_lines(statements), plain)}


_FIGURES = [
    (name, "int64") for name in ("calls", "input_tokens", "output_tokens", "unpriced_calls", "unpriced_tokens")
]


def _figures(usage: Usage) -> dict[str, int]:
    return {name: getattr(usage, name) for name, _ in _FIGURES}
