"""What the mock provider of the captures really answered, as the reports that each provider would make of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from genai_prices import Usage, calc_price

Truth = Mapping[str, Any]
_MIDNIGHT = time(0, 0, tzinfo=UTC)


def billed(rows: Iterable[Truth], provider: str) -> list[Truth]:
    """The calls that a provider bills: those with usage, whether or not the client was told of it."""
    return [
        row for row in rows if row["provider"] == provider and row.get("usage") and row["api"] != "responses.retrieve"
    ]


def day_of(row: Truth, offset: timedelta = timedelta(0)) -> date:
    """The UTC day on which a call began, or the day of a report whose days begin `offset` later."""
    return (datetime.fromtimestamp(row["time"], UTC) - offset).date()


def cost(row: Truth, tier: str | None = None) -> Decimal:
    """What a call costs by the library's own price; at `tier`, such as batch, else at the tier that served it."""
    usage = row["usage"]
    counts = {
        "input_tokens": usage["input_total"],
        "output_tokens": usage["output_total"],
        "cache_read_tokens": usage.get("cache_read"),
        "cache_write_tokens": usage.get("cache_write"),
        "cache_write_1h_tokens": usage.get("cache_write_1h"),
        "input_audio_tokens": usage.get("audio_in"),
        "output_audio_tokens": usage.get("audio_out"),
    }
    context = {"service_tier": row["service_tier"].lower()} if row.get("service_tier") else {}
    context = {"processing": "batch", "service_tier": "batch"} if tier == "batch" else context
    price = calc_price(
        Usage(**{name: count for name, count in counts.items() if count}),
        model_ref=row["model_response"],
        provider_id=row["provider"],
        genai_request_timestamp=datetime.fromtimestamp(row["time"], UTC),
        price_context=context or None,
    )
    return price.total_price.quantize(Decimal("1e-9"), ROUND_HALF_UP)


def _by(rows: Iterable[Truth], *names: Callable[[Truth], Any]) -> dict[tuple[Any, ...], list[Truth]]:
    found: dict[tuple[Any, ...], list[Truth]] = defaultdict(list)
    for row in rows:
        found[tuple(name(row) for name in names)].append(row)
    return found


def _sum(rows: Iterable[Truth], name: str) -> int:
    return sum(row["usage"].get(name) or 0 for row in rows)


def _days(rows: Sequence[Truth], offset: timedelta) -> list[date]:
    days = [day_of(row, offset) for row in rows]
    first, last = min(days), max(days)
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def openai_usage(
    rows: Sequence[Truth], *, api: str = "completions", offset: timedelta = timedelta(0), tiers: bool = True
) -> dict[str, Any]:
    """Pages of GET /v1/organization/usage/completions or /embeddings, grouped by model, batch and tier."""
    mine = [row for row in rows if (row["api"] == "embeddings") == (api == "embeddings")]
    groups = _by(
        mine, lambda row: day_of(row, offset), lambda row: row["model_response"], lambda row: row.get("service_tier")
    )
    buckets = []
    for day in _days(rows, offset):
        start = int((datetime.combine(day, _MIDNIGHT) + offset).timestamp())
        results = []
        for (_, model, tier), each in ((key, group) for key, group in groups.items() if key[0] == day):
            result: dict[str, Any] = {
                "object": f"organization.usage.{api}.result",
                "input_tokens": _sum(each, "input_total"),
                "num_model_requests": len(each),
                "project_id": None,
                "model": model,
            }
            if api == "completions":
                result |= {
                    "output_tokens": _sum(each, "output_total"),
                    "input_cached_tokens": _sum(each, "cache_read"),
                    "input_audio_tokens": _sum(each, "audio_in"),
                    "output_audio_tokens": _sum(each, "audio_out"),
                    "batch": False if tiers else None,
                    "service_tier": tier if tiers else None,
                }
            results.append(result)
        buckets.append({"object": "bucket", "start_time": start, "end_time": start + 86400, "results": results})
    return {"object": "page", "data": buckets, "has_more": False, "next_page": None}


def openai_costs(
    rows: Sequence[Truth], *, offset: timedelta = timedelta(0), of: Callable[[Truth], Decimal] = cost
) -> dict[str, Any]:
    """Pages of GET /v1/organization/costs, grouped by line item."""
    groups = _by(rows, lambda row: day_of(row, offset), lambda row: row["model_response"])
    buckets = []
    for day in _days(rows, offset):
        start = int((datetime.combine(day, _MIDNIGHT) + offset).timestamp())
        results = [
            {
                "object": "organization.costs.result",
                "amount": {"value": sum(map(of, each), Decimal(0)), "currency": "usd"},
                "line_item": f"{model}, input",
                "project_id": None,
            }
            for (of_day, model), each in groups.items()
            if of_day == day
        ]
        buckets.append({"object": "bucket", "start_time": start, "end_time": start + 86400, "results": results})
    return {"object": "page", "data": buckets, "has_more": False, "next_page": None}


def _anthropic_buckets(rows: Sequence[Truth], results: Callable[[Sequence[Truth]], list[dict[str, Any]]]) -> Any:
    groups = _by(rows, day_of)
    buckets = [
        {
            "starting_at": f"{day}T00:00:00Z",
            "ending_at": f"{day + timedelta(days=1)}T00:00:00Z",
            "results": results(groups.get((day,), [])),
        }
        for day in _days(rows, timedelta(0))
    ]
    return {"data": buckets, "has_more": False, "next_page": None}


def anthropic_usage(rows: Sequence[Truth]) -> dict[str, Any]:
    """Pages of GET /v1/organizations/usage_report/messages, grouped by model and tier."""

    def results(rows: Sequence[Truth]) -> list[dict[str, Any]]:
        return [
            {
                "uncached_input_tokens": _sum(each, "input_total")
                - _sum(each, "cache_read")
                - _sum(each, "cache_write"),
                "cache_read_input_tokens": _sum(each, "cache_read"),
                "cache_creation": {
                    "ephemeral_5m_input_tokens": _sum(each, "cache_write") - _sum(each, "cache_write_1h"),
                    "ephemeral_1h_input_tokens": _sum(each, "cache_write_1h"),
                },
                "output_tokens": _sum(each, "output_total"),
                "server_tool_use": {"web_search_requests": 0},
                "model": model,
                "service_tier": tier,
                "workspace_id": None,
                "api_key_id": None,
                "context_window": None,
            }
            for (model, tier), each in _by(
                rows, lambda row: row["model_response"], lambda row: row.get("service_tier")
            ).items()
        ]

    return _anthropic_buckets(rows, results)


def anthropic_costs(rows: Sequence[Truth], of: Callable[[Truth], Decimal] = cost) -> dict[str, Any]:
    """Pages of GET /v1/organizations/cost_report, grouped by description: decimal strings of cents."""

    def results(rows: Sequence[Truth]) -> list[dict[str, Any]]:
        return [
            {
                "amount": f"{sum(map(of, each), Decimal(0)) * 100:f}",
                "currency": "USD",
                "cost_type": "tokens",
                "description": f"{model} Usage",
                "model": model,
                "service_tier": tier,
                "token_type": None,
                "context_window": None,
                "workspace_id": None,
            }
            for (model, tier), each in _by(
                rows, lambda row: row["model_response"], lambda row: row.get("service_tier")
            ).items()
        ]

    return _anthropic_buckets(rows, results)


def litellm_logs(rows: Sequence[Truth]) -> list[dict[str, Any]]:
    """Rows of LiteLLM_SpendLogs, one a request."""
    return [
        {
            "request_id": f"{number}-{row.get('response_id')}",
            "call_type": "acompletion",
            "api_key": "hashed",
            "spend": cost(row),
            "prompt_tokens": row["usage"]["input_total"],
            "completion_tokens": row["usage"]["output_total"],
            "total_tokens": row["usage"]["input_total"] + row["usage"]["output_total"],
            "startTime": datetime.fromtimestamp(row["time"], UTC).isoformat(),
            "endTime": datetime.fromtimestamp(row["time_end"], UTC).isoformat(),
            "model": row["model_response"],
            "custom_llm_provider": row["provider"],
            "cache_hit": "False",
            "status": "success",
            "metadata": {
                "usage_object": {
                    "prompt_tokens_details": {
                        "cached_tokens": row["usage"].get("cache_read") or 0,
                        "audio_tokens": row["usage"].get("audio_in") or 0,
                        "cache_creation_token_details": {
                            "ephemeral_1h_input_tokens": row["usage"].get("cache_write_1h") or 0
                        },
                    },
                    "cache_creation_input_tokens": row["usage"].get("cache_write") or 0,
                    "completion_tokens_details": {
                        "reasoning_tokens": row["usage"].get("reasoning") or 0,
                        "audio_tokens": row["usage"].get("audio_out") or 0,
                    },
                }
            },
        }
        for number, row in enumerate(rows)
    ]


def langfuse_observations(rows: Sequence[Truth]) -> list[dict[str, Any]]:
    """Observations as the public API exports them: usage types apart from each other."""
    found = []
    for number, row in enumerate(rows):
        usage = row["usage"]
        read, written, audio = (usage.get(name) or 0 for name in ("cache_read", "cache_write", "audio_in"))
        reasoning, spoken = (usage.get(name) or 0 for name in ("reasoning", "audio_out"))
        found.append(
            {
                "id": f"{number}-{row.get('response_id')}",
                "type": "EMBEDDING" if row["api"] == "embeddings" else "GENERATION",
                "startTime": datetime.fromtimestamp(row["time"], UTC).isoformat(),
                "model": row["model_response"],
                "usageDetails": {
                    "input": usage["input_total"] - read - written - audio,
                    "input_cached_tokens": read,
                    "input_cache_creation_5m": written - (usage.get("cache_write_1h") or 0),
                    "input_cache_creation_1h": usage.get("cache_write_1h") or 0,
                    "input_audio_tokens": audio,
                    "output": usage["output_total"] - reasoning - spoken,
                    "output_reasoning_tokens": reasoning,
                    "output_audio_tokens": spoken,
                    "total": usage["input_total"] + usage["output_total"],
                },
                "costDetails": {"total": cost(row)},
            }
        )
    return found


def as_csv(rows: Sequence[Truth]) -> str:
    """A plain CSV in our own column names, by day and model."""
    lines = ["day,provider,model,requests,input_tokens,output_tokens,cache_read_tokens,billed_cost_usd"]
    for (day, provider, model), each in _by(
        rows, day_of, lambda row: row["provider"], lambda row: row["model_response"]
    ).items():
        counts = [_sum(each, name) for name in ("input_total", "output_total", "cache_read")]
        amount = sum(map(cost, each), Decimal(0))
        lines.append(",".join(map(str, [day, provider, model, len(each), *counts, amount])))
    return "\n".join(lines) + "\n"


def write(path: Path, report: Any) -> Path:
    """Write a report as a user would export it; every digit of its money."""
    if isinstance(report, str):
        path.write_text(report)
    else:
        path.write_text(_json(report))
    return path


def _json(report: Any) -> str:
    """JSON with Decimals as plain numbers."""
    marked = json.dumps(report, default=lambda value: f"\0{value:f}\0")
    return marked.replace('"\\u0000', "").replace('\\u0000"', "")
