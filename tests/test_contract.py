"""Names and types that queries and exports outside this repository build on.

A change here is a change for every user: say it in CHANGELOG.md under "Changed", raise
`models.lake.FORMAT_VERSION` if older programs can no longer read the lake, then change the expectation.
"""

from __future__ import annotations

import pytest

from llmcost.models.conventions import load
from llmcost.models.lake import MARTS
from llmcost.models.schema import PROMOTED
from llmcost.sql.derive import empty_relation
from llmcost.sql.relations import CHAIN, ROLLUPS, VIEWS, read

TEXT, COUNT, MONEY, FLAG, INSTANT = "string", "int64", "decimal128(18, 9)", "bool", "timestamp[us, tz=UTC]"
CALLS = {
    "day": "date32[day]", "trace_id": TEXT, "span_id": TEXT, "started_at": INSTANT, "ended_at": INSTANT,
    "duration_ms": "double", "operation": TEXT, "provider": TEXT, "model": TEXT, "request_model": TEXT,
    "response_id": TEXT, "status": TEXT, "service_tier": TEXT, "is_batch": FLAG, "is_streaming": FLAG,
    "input_tokens": COUNT, "output_tokens": COUNT, "cache_read_tokens": COUNT, "cache_write_5m_tokens": COUNT,
    "cache_write_1h_tokens": COUNT, "audio_input_tokens": COUNT, "reasoning_tokens": COUNT,
    "audio_output_tokens": COUNT, "reported_cost_usd": MONEY, "list_cost_usd": MONEY, "contract_cost_usd": MONEY,
    "cost_usd": MONEY, "avoided_cost_usd": MONEY, "output_cost_usd": MONEY, "cache_savings_usd": MONEY,
    "cost_basis": TEXT, "unpriced_reason": TEXT, "price_book": TEXT,
    "user_id": TEXT, "customer_id": TEXT, "team": TEXT, "org": TEXT, "key_id": TEXT, "feature": TEXT, "route": TEXT,
    "agent_name": TEXT, "agent_run_id": TEXT, "session_id": TEXT, "prompt_version": TEXT, "deployment": TEXT,
    "traffic_type": TEXT, "service_name": TEXT, "tags": "list<element: string>", "span_ids": "list<element: string>",
}  # fmt: skip


def test_calls_keeps_its_columns() -> None:
    """The fact table's pinned names are there, with their types; more may be added."""
    found = {field.name: str(field.type).replace("<l:", "<element:") for field in empty_relation("calls").schema}

    assert {name: found.get(name) for name in CALLS} == CALLS


@pytest.mark.parametrize("name", MARTS)
def test_every_column_of_a_mart_says_what_it_means(name: str) -> None:
    """BI tools and docs show the comments: none is missing, none speaks of a column that is gone."""
    assert [column.name for column in read(CHAIN / f"{name}.sql").columns] == empty_relation(name).column_names


@pytest.mark.parametrize(
    "path", [*CHAIN.glob("*.sql"), *ROLLUPS.glob("*.sql"), *VIEWS.glob("*.sql")], ids=lambda p: p.stem
)
def test_every_relation_has_a_header(path: object) -> None:
    """A sentence, a grain, and what it reads."""
    relation = read(path)  # type: ignore[arg-type]

    assert relation.sentence.endswith((".", ":"))
    assert relation.grain
    assert relation.reads


def test_every_promoted_column_has_a_spelling() -> None:
    """The landed columns and the conventions table speak of the same things."""
    filled_by_landing = {"usage_source", "cost_source", "evaluation_scores"}

    assert {column.name for column in PROMOTED} - filled_by_landing == set(load().spellings)
