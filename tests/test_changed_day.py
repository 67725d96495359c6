"""A day that was made is made anew only where something landed; that gives what deriving the whole day gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from support.lake_histories import Killed
from support.lakes import NOW, SmallLake
from support.logs import api_request
from support.spans import NOON, SpanOf, call

from llmcost.ingest import tiers
from llmcost.ingest.compact import compact
from llmcost.ingest.exchange import take_out
from llmcost.ingest.vacuum import vacuum
from llmcost.models.lake import MARTS
from llmcost.models.settings import Settings, Upkeep
from llmcost.sql import changed_day, materialise
from llmcost.sql.arrivals import between
from llmcost.sql.database import connect, rows
from llmcost.sql.derive import Rules, derived_day
from llmcost.sql.inventory import Inventory
from llmcost.sql.materialise import dirty_days
from llmcost.sql.turns import Word

DAY = NOON.date()
TOMORROW = NOON + timedelta(days=1)
OVERRIDE = '[[override]]\nmodel = "gpt-4o-mini*"\ninput = 1\noutput = 2\n'


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    """A lake with two traces, derived."""
    small = SmallLake(tmp_path / "lake")
    small.land(call("a", "llm", input=1000, output=0, response_id="r1"))
    small.land(call("b", "llm", input=2000, output=0, response_id="r2"))
    small.warehouse.refresh()
    return small


@contextmanager
def in_part() -> Iterator[None]:
    """Whoever derives a whole day fails; a small day's part may be most of it."""
    with (
        mock.patch.object(changed_day, "MOST_SHARE", 1.0),
        mock.patch.object(materialise, "derived_day", side_effect=AssertionError("the whole day was derived")),
    ):
        yield


def stored(small: SmallLake, name: str) -> list[dict[str, Any]]:
    """The rows of the day's mart, in an order of their own."""
    with connect() as con:
        query = f"from read_parquet('{small.lake.mart_file(name, DAY)}', hive_partitioning = false) order by all"
        return rows(con, query)


def whole(small: SmallLake, name: str) -> list[dict[str, Any]]:
    """The same from all of the day."""
    with derived_day(DAY, Inventory.take(small.lake), Rules.load(small.lake, small.settings)) as con:
        return rows(con, f"from {name} where day = '{DAY}' order by all")


def inputs(small: SmallLake) -> list[tuple[str | None, int]]:
    """Who has how many input tokens."""
    query = "select response_id, input_tokens from calls order by input_tokens"
    return [(row["response_id"], row["input_tokens"]) for row in small.warehouse.sql(query).to_pylist()]


def test_what_arrived_is_added_and_the_rest_stands(lake: SmallLake) -> None:
    """A new trace; then a span of an old one, and an outcome for it."""
    lake.land(call("c", "llm", input=3000, output=0, response_id="r3"))
    with in_part():
        assert (DAY,) == lake.warehouse.refresh().refreshed
        assert [("r1", 1000), ("r2", 2000), ("r3", 3000)] == inputs(lake)

        root = SpanOf("a", "root", "POST /chat", attributes={"customer.id": "acme"})
        done = SpanOf("a", "outcome", "outcome", attributes={"outcome.resolved": True})
        lake.land(root, done)
        lake.warehouse.refresh()
    for name in MARTS:
        assert whole(lake, name) == stored(lake, name), name


def test_traces_that_share_a_response_are_derived_together(lake: SmallLake) -> None:
    """The gateway's span of a request, in a trace of its own: still one call."""
    lake.land(call("gateway", "proxy", input=1000, output=0, response_id="r1", scope="litellm"))
    with in_part():
        lake.warehouse.refresh()
    assert [("r1", 1000), ("r2", 2000)] == inputs(lake)
    assert whole(lake, "unbilled_spans") == stored(lake, "unbilled_spans") != []


def test_log_records_without_a_trace_are_always_among_it(lake: SmallLake) -> None:
    """They have no trace by which their rows could be found again."""
    usage = {"input_tokens": 7, "output_tokens": 1}
    lake.land_logs(api_request("req_0", attributes=usage))
    lake.warehouse.refresh()  # the eve of the day too, on which the request might have begun
    for number in (1, 2):
        lake.land_logs(api_request(f"req_{number}", attributes=usage))
        with in_part():
            lake.warehouse.refresh()
        assert number + 3 == len(inputs(lake))
    for name in MARTS:
        assert whole(lake, name) == stored(lake, name), name


def test_what_a_run_claims_is_summed_over_all_its_traces(lake: SmallLake) -> None:
    """One run in two traces, each with an agent that reports more than its calls: the second arrives later."""
    for trace in ("x", "y"):
        agent = {
            "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "solver", "agent_run_id": "run-1",
            "gen_ai.usage.input_tokens": 5000, "gen_ai.usage.output_tokens": 1,
        }  # fmt: skip
        lake.land(
            SpanOf(trace, "agent", "invoke_agent", attributes=agent),
            call(trace, "llm", parent="agent", input=1000, output=1),
        )
        with in_part():
            lake.warehouse.refresh()
    (run,) = stored(lake, "agent_runs")
    assert [run] == whole(lake, "agent_runs")
    assert 2 == run["calls"] and run["unexplained_usd"] > 0


def test_a_file_that_was_merged_since_is_known_by_the_log(lake: SmallLake) -> None:
    """Compaction puts new rows and old ones into one file; the new ones are found, until they are vacuumed."""
    lake.land(call("c", "llm", input=3000, output=0, response_id="r3"))
    with mock.patch.object(tiers, "FAN", 2):
        assert list(compact(lake.lake, Upkeep(), now=datetime.now(UTC)))
    with in_part():
        lake.warehouse.refresh()
    assert [("r1", 1000), ("r2", 2000), ("r3", 3000)] == inputs(lake)

    lake.land(call("d", "llm", input=4000, output=0, response_id="r4"))
    with mock.patch.object(tiers, "FAN", 2):
        list(compact(lake.lake, Upkeep(), now=datetime.now(UTC)))
    list(vacuum(lake.lake, grace=timedelta(hours=-1), now=datetime.now(UTC) + timedelta(days=1)))
    with pytest.raises(AssertionError, match="whole day"), in_part():
        lake.warehouse.refresh()
    lake.warehouse.refresh()
    assert ("r4", 4000) == inputs(lake)[-1]


def test_without_the_log_the_day_is_derived_whole(lake: SmallLake) -> None:
    """A commit that was cleaned away, rows that were taken out: nobody can tell what is new or lacks."""
    of_before = Inventory.take(lake.lake).on("spans", DAY)[0]
    lake.land(call("c", "llm", input=3000, output=0, response_id="r3"))
    first, then, now = (-1, -1), Word.of(lake.lake, DAY).versions, Inventory.take(lake.lake).versions
    assert between(lake.lake, first, now) is not None
    log = lake.lake.table("spans") / "_delta_log" / f"{0:020d}.json"
    log.rename(log.with_suffix(".cleaned"))
    assert between(lake.lake, first, now) is None, "what landed at first"
    assert between(lake.lake, then, now) is not None, "what landed since"
    log.with_suffix(".cleaned").rename(log)

    take_out(lake.lake.table("spans"), [of_before])
    with pytest.raises(AssertionError, match="whole day"), in_part():
        lake.warehouse.refresh()
    lake.warehouse.refresh()
    assert 2 == len(inputs(lake))


def test_the_next_day_does_not_write_this_one_again(lake: SmallLake) -> None:
    """Its spans might share something with this day's; they do not, and the marts stand, known to be clean."""
    before = {name: lake.lake.mart_file(name, DAY).stat().st_ino for name in MARTS}
    lake.land(call("e", "llm", input=5000, output=0, at=TOMORROW))
    with in_part():
        rules = Rules.load(lake.lake, Settings())
        assert [DAY] == dirty_days(lake.lake, Inventory.take(lake.lake), rules, [DAY]), "until it was looked at"
        materialise.refresh_days(lake.lake, Inventory.take(lake.lake), rules, [DAY], now=NOW)
    assert before == {name: lake.lake.mart_file(name, DAY).stat().st_ino for name in MARTS}
    assert [] == dirty_days(lake.lake, Inventory.take(lake.lake), rules, [DAY])

    lake.lake.turn(DAY).unlink()
    assert [DAY] == dirty_days(lake.lake, Inventory.take(lake.lake), rules, [DAY]), "the word is lost"


@pytest.mark.parametrize("written", range(6))
def test_who_dies_while_writing_leaves_a_day_that_is_derived_whole(lake: SmallLake, written: int) -> None:
    """Some of the marts are new by then, under other prices perhaps, which somebody takes back."""
    left, write = written, materialise.write_mart

    def dying(*arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        write(*arguments)

    lake.land(call("c", "llm", input=3000, output=0, response_id="r3"))
    prices = lake.lake.prices / "own.toml"
    prices.write_text(OVERRIDE)
    with mock.patch.object(materialise, "write_mart", dying), pytest.raises(Killed):
        lake.warehouse.refresh()
    prices.unlink()
    assert Word(is_writing=True) == Word.of(lake.lake, DAY)
    with pytest.raises(AssertionError, match="whole day"), in_part():
        lake.warehouse.refresh()
    lake.warehouse.refresh()
    for name in MARTS:
        assert whole(lake, name) == stored(lake, name), name


def test_a_mart_that_somebody_removed_is_made_again(lake: SmallLake) -> None:
    """The others cannot stand for it."""
    lake.land(call("c", "llm", input=3000, output=0))
    lake.lake.mart_file("traces", DAY).unlink()
    lake.warehouse.refresh()
    assert 3 == len(stored(lake, "traces"))


def test_other_prices_derive_the_day_whole(lake: SmallLake) -> None:
    """They are about all of its calls."""
    lake.land(call("c", "llm", input=3000, output=0))
    (lake.lake.prices / "own.toml").write_text(OVERRIDE)
    with pytest.raises(AssertionError, match="whole day"), in_part():
        lake.warehouse.refresh()


def test_a_part_that_is_most_of_the_day_is_no_part(lake: SmallLake) -> None:
    """Then the whole is less work."""
    lake.land(*(call(f"new {number}", "llm", input=1000, output=0) for number in range(3)))
    with (
        mock.patch.object(materialise, "derived_day", side_effect=AssertionError("the whole day was derived")),
        pytest.raises(AssertionError, match="whole day"),
    ):
        lake.warehouse.refresh()
