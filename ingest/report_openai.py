"""OpenAI's organisation usage and costs, from the API's pages or the dashboard's CSV.

Shapes: OpenAI API reference, "Usage" and "Costs" (GET /v1/organization/usage/completions, /embeddings, …, and GET
/v1/organization/costs): pages of buckets with start_time and end_time in Unix seconds, each with results. The
dashboard exports the same fields as columns. `input_tokens` has cached and cache-write tokens in it; `batch` and
`service_tier` are null unless the request grouped by them; `line_item` of costs reads "MODEL, input".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from ..models.errors import ReportError
from .reports import Row, Usage, count, decimal, instant, text, tier

_USAGE, _COSTS = "organization.usage.", "organization.costs.result"
_TOOLS = ("web search", "file search", "code interpreter", "storage", "tool call", "session", "credit", "tax")


def is_page(row: Row) -> bool:
    """Whether it is a page of buckets as the API answers."""
    buckets = row.get("data")
    first = buckets[0] if isinstance(buckets, list) and buckets else None
    return isinstance(first, Mapping) and "start_time" in first


def usage(rows: Sequence[Row], of: str | None = None) -> Iterator[Usage]:
    """The rows of usage pages, `of` completions, embeddings, … where that is known, or of the dashboard's usage CSV.

    Raises ReportError where a field is not what it is, and where nothing says of what the usage is.
    """
    for report, start, end, result in _results(rows, of):
        if result is None:
            yield Usage(report, start, end, "openai", input_tokens=0, output_tokens=0, requests=0)
            continue
        batch = str(result.get("batch") or "").lower() == "true"
        is_tier_told = result.get("batch") not in (None, "") or result.get("service_tier") not in (None, "")
        has_output = report == "completions" or "output_tokens" in result
        yield Usage(
            report,
            start,
            end,
            "openai",
            model=text(result.get("model")),
            project_id=text(result.get("project_id")),
            key_id=text(result.get("api_key_id")),
            service_tier=tier(result.get("service_tier") or "default", is_batch=batch) if is_tier_told else None,
            requests=count(result.get("num_model_requests"), "num_model_requests"),
            input_tokens=count(result.get("input_tokens"), "input_tokens"),
            output_tokens=count(result.get("output_tokens"), "output_tokens") if has_output else 0,
            cache_read_tokens=count(result.get("input_cached_tokens"), "input_cached_tokens"),
            cache_write_5m_tokens=count(result.get("input_cache_write_tokens"), "input_cache_write_tokens"),
            audio_input_tokens=count(result.get("input_audio_tokens"), "input_audio_tokens"),
            audio_output_tokens=count(result.get("output_audio_tokens"), "output_audio_tokens"),
        )


def costs(rows: Sequence[Row]) -> Iterator[Usage]:
    """The rows of costs pages or of the dashboard's costs CSV. Raises ReportError as `usage` does."""
    for report, start, end, result in _results(rows, "costs"):
        amount = (result or {}).get("amount")
        value: Decimal | None
        currency: str | None
        if result is None:
            value, currency = Decimal(0), "usd"
        elif isinstance(amount, Mapping):
            value, currency = decimal(amount.get("value"), "amount.value"), text(amount.get("currency"))
        else:
            value = decimal(result.get("amount_value"), "amount_value")
            currency = text(result.get("amount_currency"))
        line = text((result or {}).get("line_item"))
        model, billed_tier = _billed_model(line)
        yield Usage(
            report,
            start,
            end,
            "openai",
            model=model,
            project_id=text((result or {}).get("project_id")),
            service_tier=billed_tier,
            line_item=line,
            cost=value or Decimal(0),
            currency=currency,
        )


def _billed_model(line_item: str | None) -> tuple[str | None, str | None]:
    """The model of a line of costs, and the tier where the line says one.

    >>> _billed_model("gpt-4o-mini-2024-07-18, cached input"), _billed_model("gpt-4o-2024-08-06 batch, input")
    (('gpt-4o-mini-2024-07-18', None), ('gpt-4o-2024-08-06', 'batch'))
    >>> _billed_model("ft:gpt-4o-mini-2024-07-18:acme, output"), _billed_model("web search tool calls")
    (('ft:gpt-4o-mini-2024-07-18:acme', None), (None, None))
    """
    name, comma, what = (line_item or "").partition(", ")
    if not comma or any(tool in name.lower() for tool in _TOOLS):
        return None, None
    model, _, word = name.partition(" ")
    words = f"{word} {what}".lower().split()
    return model, next((known for known in ("batch", "flex", "priority") if known in words), None)


def _results(rows: Sequence[Row], default: str | None) -> Iterator[tuple[str, datetime, datetime, Row | None]]:
    """(report, start, end, result) of each result of each bucket; None for a bucket without any."""
    if rows and not is_page(rows[0]) and "data" not in rows[0]:
        yield from _csv_results(rows, default or "completions")
        return
    buckets = [bucket for page in rows for bucket in page.get("data") or ()]
    named = [str(result.get("object", "")) for bucket in buckets for result in _listed(bucket)]
    report = default or next(filter(None, map(_report, named)), None)
    if report is None:
        raise ReportError("every bucket is empty, so nothing says of what the usage is: leave that file out")
    for bucket in buckets:
        start, end = (instant(bucket.get(name), name) for name in ("start_time", "end_time"))
        found = _listed(bucket)
        for result in found:
            yield _report(str(result.get("object", ""))) or report, start, end, result
        if not found:
            yield report, start, end, None


def _listed(bucket: Row) -> list[Row]:
    found = bucket.get("results", bucket.get("result"))  # older answers say "result"
    if not isinstance(found, list):
        raise ReportError('a bucket has no list of "results": is it an answer of /v1/organization/usage or /costs?')
    return found


def _report(name: str) -> str | None:
    if name == _COSTS:
        return "costs"
    return name.removeprefix(_USAGE).removesuffix(".result") if name.startswith(_USAGE) else None


def _csv_results(rows: Sequence[Row], default: str) -> Iterator[tuple[str, datetime, datetime, Row | None]]:
    told = ("amount_value", "num_model_requests", "input_tokens")
    for row in rows:
        start, end = (instant(row.get(name), name) for name in ("start_time", "end_time"))
        yield default, start, end, row if any(row.get(name) not in (None, "") for name in told) else None
