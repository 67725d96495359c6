"""Request logs of other tools: LiteLLM's spend logs and Langfuse's observations, a row a request.

Shapes: LiteLLM's `LiteLLM_SpendLogs` table (docs.litellm.ai, "Spend Tracking") as rows of JSON or CSV, as GET
/spend/logs gives them: prompt_tokens has cache tokens in it, `spend` is LiteLLM's own estimate. Langfuse's
observations (langfuse.com/docs, "Token & Cost Tracking" and the Public API's ObservationsView) as JSON, JSON lines or
CSV: usageDetails holds counts by usage type, which Langfuse sums by whether a type's name has "input" or "output" in
it; costDetails its own estimate. Neither is a bill: their money is `estimated_cost_usd`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from ..models.errors import ReportError
from .reports import Row, Usage, count, decimal, instant, text, tier

_MODEL_WORK = ("GENERATION", "EMBEDDING")
_LANGFUSE_PARTS = {
    "cache_read_tokens": ("input_cached_tokens", "input_cache_read", "cache_read_input_tokens", "input_cached"),
    "cache_write_5m_tokens": (
        "cache_creation_input_tokens", "input_cache_creation", "input_cache_creation_5m", "input_cache_write",
    ),
    "cache_write_1h_tokens": ("input_cache_creation_1h",),
    "audio_input_tokens": ("input_audio_tokens", "input_audio"),
    "reasoning_tokens": ("output_reasoning_tokens", "output_reasoning"),
    "audio_output_tokens": ("output_audio_tokens", "output_audio"),
}  # fmt: skip


def litellm(rows: Sequence[Row]) -> Iterator[Usage]:
    """Each request that LiteLLM sent to a provider; its own cache's answers cost nothing and are left out."""
    for row in rows:
        if str(row.get("cache_hit") or "").lower() == "true":
            continue
        start = instant(row.get("startTime"), "startTime")
        told = _mapping(row.get("metadata"))
        used = _mapping(told.get("usage_object"))
        more = {**used, **_mapping(told.get("additional_usage_values"))}
        input_details = _mapping(used.get("prompt_tokens_details"))
        output_details = _mapping(used.get("completion_tokens_details"))
        written = _mapping(input_details.get("cache_creation_token_details"))
        long = count(written.get("ephemeral_1h_input_tokens"), "ephemeral_1h_input_tokens")
        all_written = count(more.get("cache_creation_input_tokens"), "cache_creation_input_tokens")
        request = text(row.get("request_id"))
        if request is None:
            raise ReportError('a row has no "request_id": are these LiteLLM_SpendLogs?')
        yield Usage(
            "spend_logs",
            start,
            start + timedelta(microseconds=1),
            text(row.get("custom_llm_provider")),
            model=text(row.get("model")),
            project_id=text(row.get("team_id")) or text(told.get("user_api_key_team_id")),
            key_id=text(told.get("user_api_key_alias")) or text(row.get("api_key")),
            service_tier=tier(used.get("service_tier")),
            record_id=request,
            requests=0 if str(row.get("status") or "").lower() == "failure" else 1,
            input_tokens=count(row.get("prompt_tokens"), "prompt_tokens"),
            output_tokens=count(row.get("completion_tokens"), "completion_tokens"),
            cache_read_tokens=count(
                more.get("cache_read_input_tokens", input_details.get("cached_tokens")), "cached tokens"
            ),
            cache_write_5m_tokens=None if all_written is None else max(0, all_written - (long or 0)),
            cache_write_1h_tokens=long,
            audio_input_tokens=count(input_details.get("audio_tokens"), "audio_tokens"),
            reasoning_tokens=count(output_details.get("reasoning_tokens"), "reasoning_tokens"),
            audio_output_tokens=count(output_details.get("audio_tokens"), "audio_tokens"),
            cost=decimal(row.get("spend"), "spend"),
            currency="USD",
            is_billed=False,
        )


def langfuse(rows: Sequence[Row]) -> Iterator[Usage]:
    """Each generation and embedding of an export; other observations call no model."""
    for sent in rows:
        row = {_camel(name): value for name, value in sent.items()}
        if str(row.get("type") or "GENERATION").upper() not in _MODEL_WORK:
            continue
        start = instant(row.get("startTime"), "startTime")
        record = text(row.get("id"))
        if record is None:
            raise ReportError('a row has no "id": are these Langfuse observations?')
        used = {name: count(value, name) or 0 for name, value in _mapping(row.get("usageDetails")).items()}
        spent = _mapping(row.get("costDetails"))
        whole = spent.get("total", row.get("totalCost", row.get("calculatedTotalCost")))
        cost = decimal(whole, "costDetails.total")
        if cost is None and spent:
            cost = sum((decimal(value, name) or Decimal(0) for name, value in spent.items()), Decimal(0))
        tokens: dict[str, Any] = _langfuse_tokens(used) if used else {}
        yield Usage(
            "observations",
            start,
            start + timedelta(microseconds=1),
            model=text(row.get("providedModelName")) or text(row.get("model")),
            project_id=text(row.get("projectId")),
            record_id=record,
            requests=1,
            **tokens,
            cost=cost,
            currency="USD",
            is_billed=False,
        )


def _langfuse_tokens(used: Mapping[str, int]) -> dict[str, int | None]:
    """Usage types as totals and their parts. Types are apart from each other, unless input and output are the total.

    >>> told = _langfuse_tokens({"input": 20, "input_cached_tokens": 80, "output": 7, "total": 107})
    >>> told["input_tokens"], told["cache_read_tokens"], told["output_tokens"]
    (100, 80, 7)
    """
    is_whole = used.get("total") == used.get("input", 0) + used.get("output", 0)
    totals = {
        side: used.get(side, 0) if is_whole else sum(number for name, number in used.items() if side in name)
        for side in ("input", "output")
    }
    parts: dict[str, int | None] = {
        column: sum(used[name] for name in names if name in used) if any(name in used for name in names) else None
        for column, names in _LANGFUSE_PARTS.items()
    }
    return {"input_tokens": totals["input"], "output_tokens": totals["output"], **parts}


def _camel(name: str) -> str:
    """A column as the API spells it, whatever the export does.

    >>> _camel("usage_details"), _camel("usageDetails"), _camel("Start Time")
    ('usageDetails', 'usageDetails', 'startTime')
    """
    first, *rest = name.replace(" ", "_").split("_")
    return (first[:1].lower() + first[1:]) + "".join(word[:1].upper() + word[1:] for word in rest)


def _mapping(value: object) -> dict[str, Any]:
    """A nested value: an object, or JSON in a CSV; empty where it is neither."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value, parse_float=Decimal)
        except ValueError:
            return {}
    if isinstance(value, list):  # a map of Parquet
        value = dict(pair for pair in value if isinstance(pair, tuple))
    return {str(name): each for name, each in value.items() if each is not None} if isinstance(value, Mapping) else {}
