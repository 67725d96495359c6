"""Why a cost changed: planted causes are named first, parts sum exactly, and what is not known is said."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from support.histories import AFTER, BEFORE, PLANTED, history, ordinary, with_cause
from support.lakes import NOW, SmallLake
from support.spans import SpanOf, call, trace_id

from llmcost.cli.options import Format
from llmcost.cli.why_report import of_change, sentence
from llmcost.cli.writers import render
from llmcost.models.errors import UsageError
from llmcost.models.windows import zone
from llmcost.sql.compare import earlier_window
from llmcost.sql.cost_change import CostChange, DriverChange
from llmcost.sql.database import connect
from llmcost.sql.decomposition import Driver
from llmcost.sql.why import Asked, asked, explain

HISTORIES = 30
"""Of each planted cause: with seven causes 210 in all."""

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """One connection for all histories; with tables this small, planning would be most of the work."""
    with connect() as con:
        con.execute("set threads = 1")
        con.execute("pragma disable_optimizer")
        yield con


def sums_exactly(change: CostChange) -> bool:
    """Whether the parts sum to the difference of both figures, and the segments to the parts."""
    total = sum(each.part_total_usd for each in change.drivers)
    by_success = [each.part_per_success_usd for each in change.drivers]
    before, after = change.before.cost_per_success_usd, change.after.cost_per_success_usd
    in_segments = all(
        sum(part.part_total_usd for part in each.segments if part.dimension == dimension) == each.part_total_usd
        for each in change.drivers
        for dimension in change.dimensions
    )
    success = None not in (before, after) and sum(by_success) == after - before  # type: ignore[arg-type, operator]
    return total == change.after.cost_usd - change.before.cost_usd and success and in_segments


@pytest.mark.parametrize("cause", PLANTED)
def test_a_planted_cause_is_named_first(con: duckdb.DuckDBPyConnection, cause: str) -> None:
    """Beside ordinary noise in everything else; where two drivers move, they are the first two."""
    wanted = PLANTED[cause]
    for seed in range(HISTORIES):
        chance = random.Random(f"{cause} {seed}")  # noqa: S311  a history, no secret
        question = history(con, ordinary(chance), with_cause(cause, ordinary(chance), chance), chance)
        change = explain(con, question)
        first = [each.driver for each in change.drivers[: len(wanted)]]
        assert set(wanted) == set(first), f"{cause} {seed}: {sentence(change)}"
        named = sentence(change).split(": ", 1)[1]
        assert named.startswith(first[0].value), named
        assert all(driver.value in named for driver in wanted)
        assert sums_exactly(change)
        if cause == "a longer prompt":
            assert "most of it prompt_version v7" in named.split("%)")[0]


def test_several_causes_at_once_sum_exactly(con: duckdb.DuckDBPyConnection) -> None:
    """Up to four planted in one history: the parts are the change, whatever is first."""
    for seed in range(12):
        chance = random.Random(f"several {seed}")  # noqa: S311
        after = ordinary(chance)
        causes = chance.sample(sorted(PLANTED), chance.randint(2, 4))
        for cause in causes:
            after = with_cause(cause, after, chance)
        change = explain(con, history(con, ordinary(chance), after, chance))
        assert sums_exactly(change), causes


def calls_table(*told: dict[str, Any]) -> pa.Table:
    """Calls by what differs from one of 1,000 and 100 tokens that costs $0.003, half of its input from a cache."""
    usual: dict[str, Any] = {
        "trace_id": None, "started_at": NOW - DAY, "traffic_type": "inference", "cost_basis": "list", "model": "a",
        "input_tokens": 1000, "output_tokens": 100, "cost_usd": Decimal("0.003"), "output_cost_usd": Decimal("0.001"),
        "cache_savings_usd": Decimal("0.002"), "feature": None, "prompt_version": None, "agent_name": None,
    }  # fmt: skip
    rows = [{**usual, **each} for each in told]
    kinds = {name: pa.decimal128(18, 9) if name.endswith("_usd") else None for name in rows[0]}
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()})


def test_what_no_price_splits_and_what_a_gateway_answers(con: duckdb.DuckDBPyConnection) -> None:
    """One price for a cost nobody splits; a call without tokens has a price of its own; a gateway's hit is cache."""
    unknown = {"output_cost_usd": None, "cache_savings_usd": None}
    free = {"cost_usd": Decimal(0), "output_cost_usd": Decimal(0), "cache_savings_usd": Decimal(0)}
    before = {"started_at": NOW - 8 * DAY}
    table = calls_table(
        {"work_id": "b1", **before, **unknown},
        {"work_id": "b2", **before},
        {"work_id": "b3", **before, **unknown, "cost_usd": None, "cost_basis": None},
        {"work_id": "a1"},
        {"work_id": "a1", **free, "cost_basis": "cache_hit"},
        {"work_id": "a2", **unknown, "model": "b", "input_tokens": None, "output_tokens": None},
        {"work_id": "a2", **free, "model": "b", "input_tokens": None, "output_tokens": None, "cost_basis": "failed"},
        {"work_id": "a3", "traffic_type": "eval"},
    )
    told = [("b1", "session s", True), ("b2", "session s", True), ("b3", "b3", True), ("a1", "a1", True)]
    names = ("work_id", "case_id", "succeeded")
    con.register("rows", table)
    con.register("told", pa.table(dict(zip(names, map(list, zip(*told, strict=True)), strict=True))))
    con.execute("create or replace temp table calls as from rows")
    con.execute("create or replace temp table trace_outcomes as select *, 'resolved' as outcome from told")
    change = explain(con, Asked("cost-per-outcome", BEFORE, AFTER, "resolved", ("feature", "model")))

    before_it, after_it = change.before, change.after
    assert (before_it.requests, before_it.successes, before_it.unpriced_calls, before_it.unsplit_calls) == (
        2,
        1,
        1,
        1,
    )
    assert (after_it.requests, after_it.successes, after_it.undecided) == (2, 1, 1)
    factors = {each.model: each for each in change.models}
    in_one_price = Decimal("0.003") * 1000 / 1100
    full_price = (in_one_price + Decimal("0.002") + Decimal("0.002")) / 2000 * 1_000_000
    assert factors["a"].input_price == pytest.approx((float(full_price), 4.0))
    assert factors["a"].output_cache == (1.0, 0.5)
    assert factors["b"].call_price == (0.0015, 0.0015)
    assert part(change, Driver.EVALS).part_total_usd == Decimal("0.003")
    assert sums_exactly(change)


# Through landing, end to end


def mini(input_tokens: int, output_tokens: int) -> Decimal:
    """gpt-4o-mini: $0.15 in, $0.60 out per million tokens."""
    return (Decimal("0.15") * input_tokens + Decimal("0.60") * output_tokens) / 1_000_000


def week(name: str, days_ago: int, prompt: str, input_tokens: int, resolved: int) -> list[SpanOf]:
    """Ten requests of one call each; the first are resolved."""
    spans: list[SpanOf] = []
    for number in range(10):
        trace, at = f"{name}{number}", NOW - days_ago * DAY
        spans += [
            SpanOf(trace, "root", at=at, attributes={"app.feature": "refund", "prompt_version": prompt}, seconds=5),
            call(trace, "call", parent="root", at=at, input=input_tokens, output=100),
            SpanOf(trace, "verdict", "outcome", "root", at=at, attributes={"outcome.resolved": number < resolved}),
        ]
    return spans


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """The example of docs/why.md: a longer prompt, and fewer resolved; a call without a price in each week."""
    return SmallLake(tmp_path_factory.mktemp("why") / "lake").land(
        *week("before", 10, "v6", 4000, 8),
        *week("after", 3, "v7", 6000, 5),
        call("unknown", "a", "acme-7b", provider="acme", at=NOW - 10 * DAY, input=100, output=10),
        call("unknown", "b", "acme-7b", provider="acme", at=NOW - 3 * DAY, input=100, output=10),
        call("unknown", "c", "acme-7b", provider="acme", at=NOW - 3 * DAY, input=100, output=10),
    )


def part(change: CostChange, driver: Driver) -> DriverChange:
    """One driver of an answer."""
    return next(each for each in change.drivers if each.driver is driver)


def test_the_example_of_the_docs_by_hand(lake: SmallLake) -> None:
    """Two drivers moved, so each part is its change times the mean of the other before and after."""
    change = lake.warehouse.why("cost-per-outcome", since="7d")
    request = mini(4000, 100), mini(6000, 100)
    requests_per_success = Decimal(10) / 8, Decimal(10) / 5

    tokens, success = part(change, Driver.INPUT_TOKENS), part(change, Driver.SUCCESS_RATE)
    assert change.before.cost_per_success_usd == request[0] * requests_per_success[0]
    assert change.after.cost_per_success_usd == request[1] * requests_per_success[1]
    rollup = lake.warehouse.ask("cost-per-outcome", since="7d").table.to_pylist()
    assert change.after.cost_per_success_usd == rollup[0]["cost_per_success_usd"]
    assert success.part_per_success_usd == (requests_per_success[1] - requests_per_success[0]) * sum(request) / 2
    assert tokens.part_per_success_usd == (request[1] - request[0]) * sum(requests_per_success) / 2
    assert tokens.part_total_usd == 10 * (request[1] - request[0])
    assert success.part_total_usd == 0
    assert [each.driver for each in change.drivers[:2]] == [Driver.SUCCESS_RATE, Driver.INPUT_TOKENS]
    assert sums_exactly(change)


def test_the_docs_show_the_sentence_of_their_example(lake: SmallLake) -> None:
    page = (Path(__file__).parent.parent / "docs" / "why.md").read_text(encoding="utf-8")
    assert sentence(lake.warehouse.why("cost-per-outcome", since="7d")) in " ".join(page.replace("\n> ", " ").split())


def test_a_driver_names_its_segment_and_traces_that_show_it(lake: SmallLake) -> None:
    change = lake.warehouse.why("cost-per-outcome", since="7d")
    tokens, success = part(change, Driver.INPUT_TOKENS), part(change, Driver.SUCCESS_RATE)
    assert tokens.leading is not None
    assert (tokens.leading.dimension, tokens.leading.value) == ("prompt_version", "v7")
    assert set(success.examples) <= {trace_id(f"after{number}") for number in range(5, 10)}
    assert len(success.examples) == 3


def test_calls_without_a_price_are_said_of_both_windows(lake: SmallLake) -> None:
    change = lake.warehouse.why("cost-per-outcome", since="7d")
    assert (change.before.unpriced_calls, change.after.unpriced_calls) == (1, 2)
    assert "no price known for 1 calls before and 2 after" in " ".join(of_change(change).notes)


def test_json_holds_windows_drivers_segments_factors_and_examples(lake: SmallLake) -> None:
    told = json.loads(render(of_change(lake.warehouse.why("cost-per-outcome", since="7d")), Format.JSON))
    assert {"sentence", "before", "after", "drivers", "models", "change_per_success_usd", "rows"} <= set(told)
    assert told["before"]["window"]["until"] == told["after"]["window"]["since"]
    assert told["drivers"][1]["segments"]
    assert told["models"][0]["input_tokens"] == {"before": 4000.0, "after": 6000.0}


def test_without_a_success_only_the_total_is_taken_apart(lake: SmallLake) -> None:
    change = lake.warehouse.why("cost-per-outcome", since="7d", where={"prompt_version": "v7"})
    assert change.before.requests == 0
    assert part(change, Driver.VOLUME).part_total_usd == 10 * mini(6000, 100)
    assert all(each.part_per_success_usd is None for each in change.drivers)
    assert "cost per resolved is unknown: no request was resolved before" in sentence(change)


def test_compare_names_the_start_of_a_window_of_the_same_length(lake: SmallLake) -> None:
    change = lake.warehouse.why("cost-per-outcome", since="4d", until="2d", compare="11d")
    assert (change.before.window.since, change.before.window.until) == (NOW - 11 * DAY, NOW - 9 * DAY)
    assert (change.before.requests, change.after.requests) == (10, 10)


def test_an_empty_lake_has_nothing_to_explain(tmp_path: Path) -> None:
    change = SmallLake(tmp_path / "lake").warehouse.why("cost-per-outcome")
    assert "total cost did not change: $0.00" in sentence(change)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "cost-per-feature"}, "what can be explained is cost-per-outcome"),
        ({"group_by": ["colour"]}, 'cannot be explained by "colour": it can by feature'),
        ({"compare": "5d"}, "which overlaps the one from"),
        ({"outcome": "accepted"}, 'no outcome "accepted" of a request in these windows: told are resolved'),
        ({"where": {"colour": "red"}}, '--where "colour": accepted are'),
    ],
)
def test_what_cannot_be_explained_is_said(lake: SmallLake, options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        lake.warehouse.why(**{"name": "cost-per-outcome", **options})  # type: ignore[arg-type]


def test_the_window_before_is_the_one_that_rollups_compare_with() -> None:
    """In Berlin the week after the clocks went back has an hour less than the one before, and both are seven days."""
    tz, now = "Europe/Berlin", datetime(2026, 11, 20, tzinfo=UTC)
    question = asked(
        "cost-per-outcome", since="2026-10-26", until="2026-11-02", compare="previous", outcome=None, group_by=(),
        now=now, tz=tz,
    )  # fmt: skip
    assert earlier_window("previous", question.after, now=now, tz=zone(tz)) == question.before
    assert timedelta(days=7, hours=1) == question.before.until - question.before.since
