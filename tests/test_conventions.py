"""The conventions table as users extend it: without code, and for spans that landed before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.lakes import NOW, SmallLake
from support.spans import SpanOf, call

from llmcost.models.settings import Settings
from llmcost.sql import Warehouse


def calls(lake: SmallLake, **conventions: Any) -> list[dict[str, Any]]:
    """The lake's calls as read with a user's conventions."""
    warehouse = Warehouse(lake.lake.root, Settings(conventions=conventions), now=lambda: NOW)
    return warehouse.sql("from calls order by started_at").to_pylist()


def test_a_users_spelling_is_read_from_spans_that_landed_before(tmp_path: Path) -> None:
    """What no spelling read stays in attributes, so a later spelling finds it."""
    account = {"account.name": "acme", "my.tokens.in": "700"}
    lake = SmallLake(tmp_path / "lake").land(call("t", "llm", output=10, attributes=account))
    fields = {"customer_id": ["account.name"], "input_tokens": ["my.tokens.in"]}

    assert [(row["customer_id"], row["input_tokens"]) for row in calls(lake)] == [(None, None)]
    assert [(row["customer_id"], row["input_tokens"]) for row in calls(lake, fields=fields)] == [("acme", 700)]


def test_a_users_spelling_lands(tmp_path: Path) -> None:
    """With the setting in place before, the value goes into its column at landing."""
    settings = Settings(conventions={"dimensions": {"team": {"plain": ["squad"], "names": []}}})
    lake = SmallLake(tmp_path / "lake", settings).land(
        call("t", "llm", input=1, output=1, attributes={"squad": "blue"})
    )

    assert [row["team"] for row in lake.warehouse.sql("from calls").to_pylist()] == ["blue"]


def test_a_users_operation_and_accounting_rules_go_first(tmp_path: Path) -> None:
    """A private library's spans become calls, counted as it counts."""
    attributes = {
        "gen_ai.operation.name": "span",
        "gen_ai.response.model": "claude-sonnet-4-5",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.usage.input_tokens": 600,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 400,
    }
    lake = SmallLake(tmp_path / "lake").land(SpanOf("t", "llm", scope="acme.llm", attributes=attributes))
    accounting = [{"scope": "acme.*", "input": "excludes_cache"}]

    assert calls(lake) == []
    (only,) = calls(lake, operations={"model_call": ["span"]}, accounting=accounting)
    assert only["input_tokens"] == 1000
