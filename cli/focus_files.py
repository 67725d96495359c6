"""A FOCUS export as a file, and beside it what FOCUS wants to be told of it (its metadata)."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import figures
from .options import Format
from .sheet import Sheet
from .writers import csv_cell, render, write_whole

if TYPE_CHECKING:
    import pyarrow as pa

    from ..sql.focus import FocusExport

SUFFIXES = (".csv", ".parquet")
_SHOWN = 5


def write(export: FocusExport, path: Path) -> None:
    """Write the file and FILE.metadata.json, and say on stderr what is in them. Raises UsageError where it cannot."""
    is_csv = path.suffix.lower() == ".csv"
    write_whole(path, _csv(export.table).encode() if is_csv else render(Sheet(export.table), Format.PARQUET))
    beside = path.with_name(f"{path.name}.metadata.json")
    write_whole(beside, (json.dumps(metadata(export, path.name), indent=2, ensure_ascii=False) + "\n").encode())
    print(f"wrote {export.table.num_rows:,} charges to {path}, metadata to {beside}", file=sys.stderr)  # noqa: T201
    for line in lines_of(export):
        print(figures.one_line(line), file=sys.stderr)  # noqa: T201


def lines_of(export: FocusExport) -> list[str]:
    """The window, the sum against the ledger, what BilledCost is, and what is in no row."""
    window, ledger = export.window, export.coverage.cost_usd
    same = "and so does the ledger" if not export.difference_usd else f"the ledger to ${ledger:.9f}"
    lines = [
        f"{figures.moment(window.since)} to {figures.moment(window.until)}: "
        f"EffectiveCost sums to ${export.effective_usd:.9f}, {same}",
        "BilledCost is the booked cost: an estimate, to be counted beside no invoice"
        if export.account.is_billed
        else "BilledCost is 0: llmcost issues no invoice",
    ]
    left_out = export.uncharged.to_pylist()
    unpriced = [row for row in left_out if row["is_unpriced"]]
    if unpriced:
        lines.append(
            f"no price known for {_sum(unpriced, 'calls'):,} calls with {_sum(unpriced, 'tokens'):,} tokens: "
            "they are in no row"
        )
        lines += [
            f"  {_named(row)}: {row['calls']:,} calls, {row['tokens']:,} tokens, {row['reason']}"
            for row in unpriced[:_SHOWN]
        ]
        if len(unpriced) > _SHOWN:
            lines.append(f"  and {len(unpriced) - _SHOWN:,} more: all are in the metadata")
    if free := _sum([row for row in left_out if not row["is_unpriced"]], "calls"):
        lines.append(f"{free:,} calls made no request (cache hits, failures): they cost nothing and are in no row")
    return lines


def metadata(export: FocusExport, file: str) -> dict[str, Any]:
    """FOCUS' metadata of the file: who made it, and its schema; and what of the ledger it holds."""
    from ..sql.focus_columns import VERSION  # noqa: PLC0415  start-up time

    described = [_column(field) for field in export.table.schema]
    digest = hashlib.sha256(json.dumps([VERSION, described]).encode()).hexdigest()[:12]
    coverage = export.coverage
    return {
        "DataGenerator": {"DataGenerator": "llmcost"},
        "Schema": {
            "SchemaId": f"llmcost-cost-and-usage-{digest}",
            "FocusVersion": VERSION,
            "DatasetId": "CostAndUsage",
            "CreationDate": _instant(datetime.now(UTC).replace(microsecond=0)),
            "DataGeneratorVersion": version("llmcost"),
            "ColumnDefinition": described,
        },
        "x_Llmcost": {
            "File": file,
            "Since": _instant(export.window.since),
            "Until": _instant(export.window.until),
            "ChargePeriod": export.by,
            "SubAccount": export.account.sub_account,
            "BilledCost": "booked" if export.account.is_billed else "zero",
            "EffectiveCost": f"{export.effective_usd:.9f}",
            "LedgerCost": f"{coverage.cost_usd:.9f}",
            "Calls": coverage.calls,
            "UnpricedCalls": coverage.unpriced_calls,
            "UnpricedTokens": coverage.unpriced_tokens,
            "NotInTheFile": export.uncharged.to_pylist(),
        },
    }


def _column(field: pa.Field) -> dict[str, Any]:
    import pyarrow as pa  # noqa: PLC0415  start-up time

    told: dict[str, Any] = {"ColumnName": field.name}
    if pa.types.is_decimal(field.type):
        told |= {"DataType": "DECIMAL", "NumericPrecision": field.type.precision, "NumberScale": field.type.scale}
    elif pa.types.is_timestamp(field.type):
        told["DataType"] = "DATETIME"
    elif pa.types.is_boolean(field.type):
        told["DataType"] = "BOOLEAN"
    elif pa.types.is_integer(field.type):
        told["DataType"] = "INTEGER"
    else:
        told |= {"DataType": "JSON" if field.name in _JSON else "STRING", "StringEncoding": "UTF-8"}
    if field.metadata:
        told["x_Meaning"] = field.metadata[b"comment"].decode()
    return told


_JSON = ("SkuPriceDetails", "Tags")


def _csv(table: pa.Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow([_cell(value) for value in row.values()])
    return text.getvalue()


def _cell(value: object) -> object:
    """A cell as FOCUS writes it: instants end in Z, null is empty; decimals have a point, for who guesses types.

    >>> _cell(Decimal("0.150000000")), _cell(Decimal("0E-9")), _cell(datetime(2026, 10, 1, tzinfo=UTC)), _cell(True)
    ('0.15', '0.0', '2026-10-01T00:00:00Z', 'true')
    """
    match value:
        case datetime():
            return _instant(value)
        case Decimal():
            whole, _, places = f"{value:f}".partition(".")
            return f"{whole}.{places.rstrip('0') or '0'}"
        case bool():
            return str(value).lower()
        case _:
            return csv_cell(value)


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _sum(rows: list[dict[str, Any]], name: str) -> int:
    return sum(row[name] for row in rows)


def _named(row: dict[str, Any]) -> str:
    return "/".join(word for word in (row["provider"], row["model"]) if word) or "without a model"
