"""Anthropic's usage and cost reports, from the Admin API's pages.

Shapes: Claude Admin API reference, "Get Messages Usage Report" (GET /v1/organizations/usage_report/messages) and "Get
Cost Report" (GET /v1/organizations/cost_report): pages of buckets with starting_at and ending_at in RFC 3339, each
with results. `uncached_input_tokens` has neither cache reads nor writes in it. `amount` is a decimal string in the
lowest unit of the currency: "123.45" in USD is $1.2345. A workspace_id of null is the default workspace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from ..models.errors import ReportError
from .reports import Row, Usage, count, decimal, instant, text, tier

_HUNDREDTH = Decimal("0.01")


def is_page(row: Row) -> bool:
    """Whether it is a page of buckets as the API answers."""
    buckets = row.get("data")
    first = buckets[0] if isinstance(buckets, list) and buckets else None
    return isinstance(first, Mapping) and "starting_at" in first


def usage(rows: Sequence[Row]) -> Iterator[Usage]:
    """The rows of usage pages. Raises ReportError where a field is not what it is."""
    for start, end, result in _results(rows):
        if result is None:
            yield Usage("messages", start, end, "anthropic", input_tokens=0, output_tokens=0)
            continue
        written = result.get("cache_creation") or {}
        fresh = count(result.get("uncached_input_tokens"), "uncached_input_tokens")
        if fresh is None:
            raise ReportError('a result has no "uncached_input_tokens": is it an answer of usage_report/messages?')
        read = count(result.get("cache_read_input_tokens"), "cache_read_input_tokens") or 0
        short = count(written.get("ephemeral_5m_input_tokens"), "ephemeral_5m_input_tokens") or 0
        long = count(written.get("ephemeral_1h_input_tokens"), "ephemeral_1h_input_tokens") or 0
        yield Usage(
            "messages",
            start,
            end,
            "anthropic",
            model=text(result.get("model")),
            project_id=text(result.get("workspace_id")),
            key_id=text(result.get("api_key_id")),
            service_tier=tier(result.get("service_tier")),
            input_tokens=fresh + read + short + long,
            output_tokens=count(result.get("output_tokens"), "output_tokens"),
            cache_read_tokens=read,
            cache_write_5m_tokens=short,
            cache_write_1h_tokens=long,
        )


def costs(rows: Sequence[Row]) -> Iterator[Usage]:
    """The rows of cost pages. Raises ReportError as `usage` does."""
    for start, end, result in _results(rows):
        found = result or {"amount": "0", "currency": "USD"}
        amount = decimal(found.get("amount"), "amount")
        if amount is None:
            raise ReportError('a result has no "amount": is it an answer of cost_report?')
        yield Usage(
            "costs",
            start,
            end,
            "anthropic",
            model=text(found.get("model")),
            project_id=text(found.get("workspace_id")),
            service_tier=tier(found.get("service_tier")),
            line_item=text(found.get("description")),
            cost=amount * _HUNDREDTH,
            currency=text(found.get("currency")),
        )


def _results(rows: Sequence[Row]) -> Iterator[tuple[datetime, datetime, Row | None]]:
    for page in rows:
        for bucket in page.get("data") or ():
            start, end = (instant(bucket.get(name), name) for name in ("starting_at", "ending_at"))
            found = bucket.get("results")
            if not isinstance(found, list):
                raise ReportError('a bucket has no list of "results": is it an answer of the Admin API?')
            for result in found:
                yield start, end, result
            if not found:
                yield start, end, None
