"""Outcomes in a file: how a ticket system's export says how work ended. Read and checked, not yet landed.

CSV with a header, JSON lines, or Parquet; a column for each of COLUMNS, in any order:

    outcome      which outcome: resolved, accepted, …
    succeeded    true, false or pending
    trace_id, session_id, response_id
                 what it is about; at least one of them
    value_usd    optional: what it is worth
    observed_at  optional: when it was known, ISO 8601, UTC unless it says otherwise
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ..models.errors import OutcomeFileError

COLUMNS = ("outcome", "succeeded", "trace_id", "session_id", "response_id", "value_usd", "observed_at")
Format = Literal["csv", "jsonl", "parquet"]
FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

_IDS = ("trace_id", "session_id", "response_id")
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_LARGEST_USD = Decimal(10) ** 9
_AHEAD = timedelta(days=1)
"""A verdict from the future would stay the latest for ever; a day allows for clocks and zones."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One verdict. `observed_at` is None where the file does not say when."""

    outcome: str
    succeeded: bool | None
    trace_id: str | None
    session_id: str | None
    response_id: str | None
    value_usd: Decimal | None
    observed_at: datetime | None


@dataclass(frozen=True)
class OutcomeFile:
    """What a file holds: its verdicts, what is wrong with the other rows, and columns nobody asked for."""

    outcomes: tuple[Outcome, ...]
    rows: int
    faults: tuple[str, ...] = ()
    unused_columns: tuple[str, ...] = field(default=())

    @property
    def digest(self) -> str:
        """What the file says, whatever its format, name and order: equal for a file given twice."""
        said = sorted(repr(outcome) for outcome in self.outcomes)
        return hashlib.sha256("\n".join(said).encode()).hexdigest()[:32]


def read(content: bytes, format_: Format, columns: Mapping[str, str], now: datetime) -> OutcomeFile:
    """Read and check `content`; `columns` says which column of the file stands for which of ours.

    Of two rows about the same outcome of the same work at the same time the later one holds.
    Raises OutcomeFileError where it cannot be read as `format_` or lacks a column; a row in doubt is in `faults`.
    """
    try:
        rows = list(_ROWS[format_](content))
    except (UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise OutcomeFileError(f"this is no {format_}: {error}") from error
    if not rows:
        return OutcomeFile((), 0)
    present = list(dict.fromkeys(name for _, row in rows if isinstance(row, dict) for name in row))
    names = _names(present, columns)
    found: dict[tuple[object, ...], Outcome] = {}
    faults = []
    for place, row in rows:
        try:
            if isinstance(row, str):
                raise ValueError(row)
            said = _outcome({ours: row.get(theirs) for ours, theirs in names.items()}, now)
        except ValueError as error:
            faults.append(f"{place}: {error}")
        else:
            key = (said.outcome, said.trace_id, said.session_id, said.response_id, said.observed_at)
            found.pop(key, None)
            found[key] = said
    unused = tuple(name for name in present if name not in names.values())
    return OutcomeFile(tuple(found.values()), len(rows), tuple(faults), unused)


_Row = tuple[str, dict[str, Any] | str]
"""Where a row stands, and its values by column; or what is wrong with it as a whole."""


def _csv_rows(content: bytes) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    header = [name.strip() for name in next(reader, [])]
    if repeated := {name for name in header if header.count(name) > 1}:
        raise OutcomeFileError(f'the header names "{min(repeated)}" twice')
    for cells in filter(None, reader):
        # A comma too many moves every cell after it, so such a row cannot be trusted anywhere.
        whole = dict(zip(header, cells, strict=True)) if len(cells) == len(header) else None
        fault = f"it has {len(cells)} cells, the header {len(header)}"
        yield f"line {reader.line_num}", fault if whole is None else whole


def _jsonl_rows(content: bytes) -> Iterator[_Row]:
    for number, line in enumerate(content.decode("utf-8-sig").split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line, parse_float=Decimal)
            except ValueError as error:
                row = f"it is no JSON: {error}"
            yield f"line {number}", row if isinstance(row, dict | str) else "it is no JSON object"


def _parquet_rows(content: bytes) -> Iterator[_Row]:
    for number, row in enumerate(pq.read_table(pa.BufferReader(content)).to_pylist(), 1):
        yield f"row {number}", row


_ROWS: dict[str, Callable[[bytes], Iterator[_Row]]] = {
    "csv": _csv_rows,
    "jsonl": _jsonl_rows,
    "parquet": _parquet_rows,
}


def _names(present: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Our column -> the file's, for those the file has."""
    listed = ", ".join(present) or "none"
    for theirs, ours in columns.items():
        if ours not in COLUMNS:
            raise OutcomeFileError(f'--map {theirs}={ours}: "{ours}" is none of {", ".join(COLUMNS)}')
        if theirs not in present:
            raise OutcomeFileError(f'--map {theirs}={ours}: the file has no column "{theirs}", only {listed}')
        if list(columns.values()).count(ours) > 1:
            raise OutcomeFileError(f'--map gives "{ours}" two columns: choose one')
    names = {name: name for name in COLUMNS if name in present and name not in columns}
    names |= {ours: theirs for theirs, ours in columns.items()}
    needed = [name for name in ("outcome", "succeeded") if name not in names]
    if not any(name in names for name in _IDS):
        needed.append("one of trace_id, session_id, response_id")
    if needed:
        raise OutcomeFileError(
            f"no column for {' and '.join(needed)}; the file has {listed}: say which it is with --map THEIRS=OURS"
        )
    return names


def _outcome(row: Mapping[str, Any], now: datetime) -> Outcome:
    """One row. Raises ValueError that says which value is wrong, and what to write."""
    outcome = _text(row.get("outcome"))
    if outcome is None:
        raise ValueError("outcome is empty: name it, such as resolved")
    trace_id, session_id, response_id = (_text(row.get(name)) for name in _IDS)
    if trace_id is not None:
        trace_id = trace_id.lower()
        if not _TRACE_ID.fullmatch(trace_id) or not int(trace_id, 16):
            raise ValueError(f'trace_id is "{_shown(trace_id)}": write 32 hex digits')
    if trace_id is session_id is response_id is None:
        raise ValueError("trace_id, session_id and response_id are all empty: fill in one of them")
    return Outcome(
        outcome=outcome,
        succeeded=_verdict(row.get("succeeded")),
        trace_id=trace_id,
        session_id=session_id,
        response_id=response_id,
        value_usd=_usd(row.get("value_usd")),
        observed_at=_instant(row.get("observed_at"), now),
    )


def _text(value: Any) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _verdict(value: Any) -> bool | None:
    word = (_text(value) or "").lower()
    if word not in ("true", "false", "pending"):
        raise ValueError(f'succeeded is "{_shown("" if value is None else value)}": write true, false or pending')
    return None if word == "pending" else word == "true"


def _usd(value: Any) -> Decimal | None:
    """Dollars to nine places.

    >>> _usd(" 12.50 "), _usd(None)
    (Decimal('12.50'), None)
    """
    text = _text(value)
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or abs(amount) >= _LARGEST_USD or isinstance(value, bool):
        raise ValueError(f'value_usd is "{_shown(value)}": write dollars as a plain number, such as 12.50')
    return amount


def _instant(value: Any, now: datetime) -> datetime | None:
    """An instant in UTC; a time without a zone is UTC, a date its midnight."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        moment = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
        if isinstance(moment, date) and not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
        if not isinstance(moment, datetime):
            raise ValueError
        instant = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f'observed_at is "{_shown(value)}": write it as 2026-11-22T14:03:00Z') from None
    if instant > now + _AHEAD:
        raise ValueError(f'observed_at is "{_shown(value)}", which is yet to come')
    return instant


def format_of(path: Path) -> Format | None:
    """The format that the name of a file says.

    >>> format_of(Path("tickets.CSV")), format_of(Path("tickets.xlsx"))
    ('csv', None)
    """
    return FORMATS.get(path.suffix.lower())
