"""A report in files: read, recognised by its shape, and turned into rows.

JSON, JSON lines, CSV and Parquet, and gzip of these.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..models.errors import ReportError
from . import report_anthropic, report_aws, report_logs, report_mapping, report_openai
from .reports import Report, Row, Usage, summed, with_quiet_days

_Read = Callable[[Sequence[Row]], Iterator[Usage]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of report: how its rows are read, and by which columns of a table it is known.

    It `is_whole` where it lists what was billed of all its time: a day without a line is a day without use.
    """

    read: _Read
    known_by: tuple[str, ...] = ()
    is_whole: bool = False


KINDS: Mapping[str, Kind] = {
    "openai-usage": Kind(report_openai.usage, ("start_time", "num_model_requests")),
    "openai-costs": Kind(report_openai.costs, ("start_time", "amount_value")),
    "anthropic-usage": Kind(report_anthropic.usage),
    "anthropic-costs": Kind(report_anthropic.costs),
    "aws-cur": Kind(report_aws.cur, ("line_item_usage_type",), is_whole=True),
    "focus": Kind(report_aws.focus, ("ChargePeriodStart", "BilledCost"), is_whole=True),
    "litellm": Kind(report_logs.litellm, ("request_id", "spend")),
    "langfuse": Kind(report_logs.langfuse, ("usageDetails",)),
}
"""Every kind by the name of its source, but `csv`, which a mapping names."""

_ALSO_KNOWN = {"line_item_usage_type": "lineItem/UsageType", "usageDetails": "usage_details"}
_MAX_DEPTH_ERROR = (ValueError, RecursionError)


def read_report(paths: Iterable[Path], kind: str | None, mapping: Path | None) -> Report:
    """The report that files tell together; `kind` is one of KINDS, or csv, or None where their shape says it.

    Raises ReportError for a file that cannot be read, is not recognised, or is of another kind than the others.
    """
    files = [file for path in paths for file in _files(path)]
    if not files:
        raise ReportError("there is no file to import in that folder")
    rows: list[Row] = []
    found = "csv" if mapping is not None and kind is None else kind
    for file in files:
        here = list(_rows(file))
        rows += here
        if kind is None and mapping is None and here:
            recognised = recognise(here)
            if recognised is None:
                raise ReportError(
                    f'cannot tell what report "{file}" is: say it with --from, one of {", ".join((*KINDS, "csv"))}'
                )
            if found not in (None, recognised):
                raise ReportError(f'"{file}" is {recognised}, and the file before it {found}: import them one by one')
            found = recognised
    if found is None:
        raise ReportError(f'"{files[0]}" has no rows')
    try:
        return report_of(found, rows, mapping)
    except ReportError as error:
        raise ReportError(f'cannot import "{files[0]}" as {found}: {error}') from None


def report_of(kind: str, rows: Sequence[Row], mapping: Path | None = None, *, part: str | None = None) -> Report:
    """Rows or pages of a kind as a report, of the `part` of OpenAI's usage where that is known.

    Raises ReportError where a value is not what it must be.
    """
    if kind == "csv":
        mapped = report_mapping.load(mapping) if mapping else report_mapping.Mapped()
        source, told = mapped.source, list(report_mapping.usage(rows, mapped))
    elif part is not None and kind == "openai-usage":
        source, told = kind, list(report_openai.usage(rows, part))
    elif kind in KINDS:
        source, told = kind, list(KINDS[kind].read(rows))
    else:
        raise ReportError(f'unknown kind of report "{kind}": known are {", ".join((*KINDS, "csv"))}')
    together = summed(told)
    is_whole = kind in KINDS and KINDS[kind].is_whole
    if is_whole:
        together = tuple(with_quiet_days(together))
    left_out = len(rows) - len(told) if kind in ("aws-cur", "focus", "litellm", "langfuse") else 0
    notes = (f"left out {left_out:,} rows that call no model of a provider",) if left_out else ()
    if not together:
        raise ReportError("it has no row about a model's use")
    return Report(source, together, notes, is_whole)


def recognise(rows: Sequence[Row]) -> str | None:
    """The kind of report that has such rows, or such pages; None where their shape does not say."""
    row = rows[0]
    if report_openai.is_page(row) or report_anthropic.is_page(row):
        vendor = "openai" if report_openai.is_page(row) else "anthropic"
        buckets = [bucket for page in rows for bucket in page.get("data") or ()]
        results = [each for bucket in buckets for each in bucket.get("results", bucket.get("result")) or ()]
        return None if not results else f"{vendor}-costs" if "amount" in results[0] else f"{vendor}-usage"
    for name, kind in KINDS.items():
        if kind.known_by and all(word in row or _ALSO_KNOWN.get(word) in row for word in kind.known_by):
            return name
    return None


def _files(path: Path) -> list[Path]:
    """The files that a path names: itself, or those of the folder and the folders in it."""
    if not path.is_dir():
        return [path]
    endings = (".json", ".jsonl", ".ndjson", ".csv", ".parquet", ".gz")
    return sorted(file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in endings)


def _rows(path: Path) -> Iterator[Row]:
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content, path = gzip.decompress(content), path.with_suffix("")
        if content[:4] == b"PAR1":
            yield from pq.read_table(pa.BufferReader(content)).to_pylist()
        else:
            text = content.decode("utf-8-sig")
            is_json = text.lstrip()[:1] in ("{", "[") and path.suffix.lower() not in (".csv", ".tsv")
            yield from _json_rows(text) if is_json else _csv_rows(text)
    except OSError as error:
        raise ReportError(f'cannot read "{path}": {error.strerror or error}') from None
    except UnicodeDecodeError:
        raise ReportError(f'cannot read "{path}": it is neither Parquet nor UTF-8 text') from None
    except (csv.Error, pa.ArrowException, EOFError, *_MAX_DEPTH_ERROR) as error:
        raise ReportError(f'cannot read "{path}": {error}') from None


def _json_rows(text: str) -> Iterator[Row]:
    """Objects of one JSON document, or of JSON lines: a page, a list of pages or rows, or rows in `data`."""
    try:
        whole = [json.loads(text, parse_float=Decimal)]
    except ValueError:
        whole = [json.loads(line, parse_float=Decimal) for line in text.split("\n") if line.strip()]
    for each in whole:
        for row in each if isinstance(each, list) else [each]:
            if not isinstance(row, dict):
                raise ValueError("it holds something else than JSON objects")
            is_page = report_openai.is_page(row) or report_anthropic.is_page(row) or "next_page" in row
            listed = row.get("data")
            if isinstance(listed, list) and not is_page:
                yield from (item for item in listed if isinstance(item, dict))
            else:
                yield row


def _csv_rows(text: str) -> Iterator[Row]:
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t|", key=first.count), strict=True)
    header = [name.strip() for name in next(reader, [])]
    for cells in filter(None, reader):
        if len(cells) != len(header):
            raise ValueError(f"line {reader.line_num} has {len(cells)} cells, the header {len(header)}")
        yield dict(zip(header, cells, strict=True))
