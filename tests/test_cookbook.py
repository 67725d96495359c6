"""Every question of docs/cookbook.md has the answer that the page shows.

After a question was added or changed: python tests/test_cookbook.py writes the answers anew. Read them then.
"""

from __future__ import annotations

import re
import sys
import tempfile
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

from support.lakes import SmallLake
from support.spans import NOON, SpanOf, call

from llmcost.cli.options import Format
from llmcost.cli.sheet import of_query
from llmcost.cli.writers import render
from llmcost.sql import Warehouse

PAGE = Path(__file__).parent.parent / "docs" / "cookbook.md"
_ENTRY = re.compile(
    r"^### (?P<title>[^\n]+)\n\n```sql\n(?P<query>.+?)\n```\n(?:\n```text\n(?P<shown>.*?)```\n)?", re.M | re.S
)
DAY = timedelta(days=1)


def product(folder: Path) -> Warehouse:
    """A resolved case, an agent that loops and fails, a cached call with a judge, and a model without a price."""
    ann = {"user.id": "ann", "customer.id": "acme", "app.feature": "support", "team": "care"}
    bob = {"user.id": "bob", "customer.id": "globex", "app.feature": "triage", "prompt_version": "v2"}
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "solver"}
    judge = {"traffic.type": "eval"}
    score = {"gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.value": 0.9}
    late = NOON + DAY
    small = SmallLake(folder).land(
        SpanOf("a", "root", attributes=ann, seconds=5),
        call("a", "call", parent="root", input=1000, output=100),
        SpanOf("a", "verdict", "outcome", "root", attributes={"outcome.resolved": True}),
        SpanOf("b", "root", attributes=ann, seconds=20),
        SpanOf("b", "agent", "invoke_agent solver", "root", attributes=agent, seconds=15),
        call("b", "1", parent="agent", input=2000, output=200),
        call("b", "2", parent="agent", at=NOON + timedelta(seconds=2), input=4000, output=200, failed=True),
        SpanOf("b", "verdict", "outcome", "root", attributes={"outcome.resolved": False}),
        SpanOf("c", "root", at=late, attributes=bob, events={"gen_ai.evaluation.result": score}),
        call("c", "call", parent="root", at=late, seconds=3.0, input=3000, output=500, cache_read=1000),
        call("d", "judge", at=late, input=500, output=10, attributes=judge),
        call("e", "odd", "acme-7b", at=late, input=10, output=10),
    )
    return small.warehouse


def answers(warehouse: Warehouse) -> dict[str, str]:
    """What each question of the page gives, as a terminal shows it."""
    return {
        found["title"]: "\n".join(
            line.rstrip()
            for line in render(of_query(warehouse.sql(found["query"])), Format.TABLE).decode().splitlines()
        )
        + "\n"
        for found in _ENTRY.finditer(PAGE.read_text(encoding="utf-8"))
    }


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    return product(tmp_path_factory.mktemp("cookbook") / "lake")


def test_each_question_has_the_answer_that_the_page_shows(warehouse: Warehouse) -> None:
    shown = {found["title"]: found["shown"] for found in _ENTRY.finditer(PAGE.read_text(encoding="utf-8"))}

    assert len(shown) >= 25
    assert len(shown) == PAGE.read_text(encoding="utf-8").count("```sql")
    assert answers(warehouse) == shown


def test_the_page_speaks_of_the_money_that_was_spent(warehouse: Warehouse) -> None:
    """$0.15 in and $0.60 out per million tokens; $0.075 for input from the cache."""
    tokens_in, tokens_out = 1000 + 2000 + 4000 + 2000 + 500, 100 + 200 + 200 + 500 + 10
    micro = Decimal("0.15") * tokens_in + Decimal("0.075") * 1000 + Decimal("0.60") * tokens_out

    assert micro / 1_000_000 == warehouse.query("select sum(cost_usd) as cost_usd from calls")["cost_usd"][0]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        given = answers(product(Path(folder) / "lake"))
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        _ENTRY.sub(
            lambda e: f"### {e['title']}\n\n```sql\n{e['query']}\n```\n\n```text\n{given[e['title']]}```\n", text
        ),
        encoding="utf-8",
    )
