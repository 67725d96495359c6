"""Sheets as terminal tables, CSV, JSON, Parquet and Markdown, to stdout or to a file that appears whole.

Rows go to stdout and everything else to stderr, so that a pipe carries rows only.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.errors import UsageError
from .figures import one_line
from .options import Format
from .sheet import Sheet
from .tables import print_table, text_columns

if TYPE_CHECKING:
    import pyarrow as pa

_EXTENSIONS = {
    ".csv": Format.CSV,
    ".json": Format.JSON,
    ".parquet": Format.PARQUET,
    ".md": Format.MD,
    ".txt": Format.TABLE,
}
_FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What makes a spreadsheet run a cell (OWASP, "CSV injection"); the last four are the full-width signs."""

_UNSEEN = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Characters that JSON allows and that steer a terminal or turn text around."""


def deliver(sheet: Sheet, format_: Format | None, output: Path | None) -> None:
    """Write `sheet` where and how the options say.

    Raises UsageError for an extension that names no format, and for Parquet on a terminal.
    """
    chosen = choose_format(format_, output)
    if output is None and chosen is Format.TABLE:
        print_table(sheet, sys.stdout)
        return
    content = render(sheet, chosen)
    if output is not None:
        write_whole(output, content)
        print(f"wrote {sheet.table.num_rows:,} rows to {output}", file=sys.stderr)  # noqa: T201
    elif chosen is Format.PARQUET and sys.stdout.isatty():
        raise UsageError("Parquet is not for a terminal: add --output FILE.parquet, or pipe it")
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    if chosen in (Format.CSV, Format.PARQUET):
        for note in sheet.notes:
            print(one_line(note), file=sys.stderr)  # noqa: T201


def choose_format(format_: Format | None, output: Path | None) -> Format:
    """The format asked for, else the one the file's extension names, else a table.

    >>> choose_format(None, Path("week.csv")).value, choose_format(Format.JSON, Path("week.csv")).value
    ('csv', 'json')
    """
    if format_ is not None or output is None:
        return format_ or Format.TABLE
    try:
        return _EXTENSIONS[output.suffix.lower()]
    except KeyError:
        raise UsageError(
            f'cannot tell the format of "{output}": end it in {", ".join(_EXTENSIONS)}, or add --format'
        ) from None


def render(sheet: Sheet, format_: Format) -> bytes:
    """The bytes of `sheet` in this format; text is UTF-8."""
    match format_:
        case Format.CSV:
            return _csv(sheet.table).encode()
        case Format.JSON:
            return _json(sheet).encode()
        case Format.PARQUET:
            return _parquet(sheet.table)
        case Format.MD:
            return _markdown(sheet).encode()
        case Format.TABLE:
            text = io.StringIO()
            print_table(sheet, text)
            return text.getvalue().encode()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that no reader, and no crash, ever sees half of it.

    Raises UsageError where the folder does not take it.
    """
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise UsageError(f'cannot write "{path}": {error.strerror}') from error


def _csv(table: pa.Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(csv_cell, table.column_names))
    for row in _rows(table):
        writer.writerow([csv_cell(value) for value in row.values()])
    return text.getvalue()


def csv_cell(value: object) -> object:
    """One cell; text that a spreadsheet would run as a formula gets a leading apostrophe.

    >>> csv_cell("=1+1"), csv_cell("refund-bot"), csv_cell(Decimal("-0.5")), csv_cell(None)
    ("'=1+1", 'refund-bot', '-0.5', '')
    """
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    plain = _plain(value)
    if isinstance(plain, dict | list):
        return json.dumps(plain, ensure_ascii=False)
    return "" if plain is None else plain


def _json(sheet: Sheet) -> str:
    facts = dict(sheet.facts)
    coverage = facts.pop("coverage", None)
    whole = facts | {"rows": _rows(sheet.table)} | ({} if coverage is None else {"coverage": coverage})
    text = json.dumps(_plain(whole), ensure_ascii=False, indent=2) + "\n"
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)  # they stand in strings only: the same JSON


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="lossy")
    return rows


def _plain(value: Any) -> Any:
    """A value as JSON can say it: every digit of a Decimal as text, and neither NaN nor infinity.

    >>> _plain({"cost": Decimal("0.000000001"), "p95": float("nan"), "day": date(2026, 11, 22)})
    {'cost': '0.000000001', 'p95': None, 'day': '2026-11-22'}
    """
    match value:
        case dict():
            plain: Any = {str(key): _plain(item) for key, item in value.items()}
        case list():
            plain = [_plain(item) for item in value]
        case Decimal():
            plain = f"{value:f}"
        case datetime() | date():
            plain = value.isoformat()
        case bytes():
            plain = value.hex()
        case float():
            plain = value if math.isfinite(value) else None
        case None | bool() | int() | str():
            plain = value
        case _:
            plain = str(value)
    return plain


def _parquet(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq  # noqa: PLC0415  start-up time

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _markdown(sheet: Sheet) -> str:
    columns = text_columns(sheet)
    lines = [f"**{_escaped(sheet.title)}**", ""] if sheet.title else []
    lines.append(_markdown_row([_escaped(column.name) for column in columns]))
    lines.append(_markdown_row(["---:" if column.is_number else "---" for column in columns]))
    lines += [
        _markdown_row([_escaped(cell) for cell in row])
        for row in zip(*(column.cells for column in columns), strict=True)
    ]
    if sheet.notes:
        lines += ["", *(f"{_escaped(note)}  " for note in sheet.notes)]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    """Text that stays text in a Markdown table.

    >>> _escaped("a|b <c>")
    'a\\\\|b &lt;c>'
    """
    flat = one_line(" ".join(text.split()))
    for mark, safe in (
        ("&", "&amp;"),
        ("\\", "\\\\"),
        ("|", "\\|"),
        ("<", "&lt;"),
        ("*", "\\*"),
        ("`", "\\`"),
        ("[", "\\["),
    ):
        flat = flat.replace(mark, safe)
    return flat
