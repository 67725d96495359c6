"""Budgets: what the file says, which ceilings a request is under, and that what counts is what the lake holds."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from support.lakes import NOW, SmallLake
from support.marts import booked, write_marts
from support.spans import NOON, SpanOf, call
from typer.testing import CliRunner

from llmcost.cli.budget_sources import hidden
from llmcost.cli.main import app
from llmcost.models.budget_file import BudgetFile, parse
from llmcost.models.budgets import Budgets
from llmcost.models.errors import BudgetFileError, UsageError
from llmcost.models.lake import Lake
from llmcost.models.money import NANOS, nanos, usd
from llmcost.models.periods import Period
from llmcost.models.settings import Content, Settings
from llmcost.models.verdicts import Asked, Ceilings, RunFigures, Verdict
from llmcost.models.windows import zone
from llmcost.sql import Warehouse
from llmcost.sql.budgets import decide, pace, standings
from llmcost.sql.spending import Spending, Spent


def budgets(**said: object) -> Budgets:
    """Budgets as their YAML says them: JSON is YAML."""
    return parse(json.dumps({"budgets": said}))


def spent_in(lake: Lake, told: Budgets, now: datetime = NOW) -> Spent:
    return Spending(lake, Settings(), lambda: now).look(told)


def asked(spent: Spent, now: datetime = NOW, **options: object) -> Verdict:
    """The verdict on a request of these entities."""
    own = {name: options.pop(name) for name in ("estimate", "agent_run_id", "run") if name in options}
    entities = {level: [value] if isinstance(value, str) else value for level, value in options.items()}
    return decide(Ceilings(spent.budgets), spent, Asked(entities, **own), now)[0]  # type: ignore[arg-type]


def test_the_file_says_five_levels_and_more_in_one_shape() -> None:
    told = parse(
        """
        budgets:
          enabled: true
          default_period: weekly
          warn_threshold: 0.7
          time_zone: Europe/Berlin
          org: {limit: 1000, hard: true}
          teams: {support: {limit: 0.1, period: daily}}
          users: {"*": {limit: 5}}
          keys: {sk-1: [{limit: 1, period: daily}, {limit: "20.5", period: monthly, hard: true}]}
          tags: {batch: {limit: 3, warn_threshold: 0.5}}
          agents: {bot: {limit: 2}}
          models: {claude-*: {limit: 4}}
          providers: {openai: {limit: 6}}
          runs: {bot: {tokens: 10, cost_usd: 0.5, tool_calls: 3, retries: 2, depth: 4}}
        """
    )
    by_name = {(each.level, each.name, each.period): each for each in told.ceilings}
    assert nanos(Decimal("0.1")) == by_name["team", "support", Period.DAILY].limit
    assert nanos(Decimal("20.5")) == by_name["key", "sk-1", Period.MONTHLY].limit
    assert by_name["org", "", Period.WEEKLY].hard
    assert (Decimal("0.7"), Decimal("0.5")) == (
        by_name["user", "*", Period.WEEKLY].warn_threshold,
        by_name["tag", "batch", Period.WEEKLY].warn_threshold,
    )
    assert "Europe/Berlin" == told.tz.key
    assert nanos(Decimal("0.5")) == told.runs[0].cost


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budgets: {teams: {support: {limt: 3}}}", 'teams.support has an unknown entry "limt": did you mean limit?'),
        ("budgets: {teams: {support: {hard: true}}}", "teams.support needs a limit"),
        ("budgets: {teams: {support: {limit: -3}}}", "teams.support.limit = -3 is not between 0"),
        ("budgets: {teams: {support: {limit: .nan}}}", "teams.support.limit = nan is not between"),
        ("budgets: {teams: {support: {limit: ten}}}", "teams.support.limit = 'ten' is not a number of US dollars"),
        ("budgets: {team: {support: {limit: 3}}}", 'unknown entry "team": did you mean teams?'),
        ("budgets: {org: {limit: 3, hard: maybe}}", "org.hard = 'maybe' is neither true nor false"),
        ("budgets: {org: {limit: 3, period: yearly}}", "org.period = 'yearly' is none of daily, weekly, monthly"),
        ("budgets: {warn_threshold: 80}", "warn_threshold = 80 is not a share between 0 and 1"),
        ("budgets: {time_zone: Mars/Base}", "time_zone: unknown time zone"),
        ("budgets: {runs: {bot: {}}}", "runs.bot limits nothing"),
        ("budgets: {runs: {bot: {depth: 1.5}}}", "runs.bot.depth = 1.5 is not a whole number"),
        ("budgets: {keys: {k: [{limit: 1}, {limit: 2}]}}", "keys.k has two monthly limits"),
        ("budgets: {teams: {a: {limit: 1}, a: {limit: 2}}}", '"a" stands twice'),
        ("budgets: {teams: {yes: {limit: 1}}}", "teams: True is not a name: put it in quotes"),
        ("budgets: {unpriced: {input: 3}}", "unpriced needs input and output"),
        ("budgets:", "budgets = None must have entries"),
        ("nothing: 1", 'unknown entry "nothing"'),
        ("a: [", "is not YAML"),
    ],
)
def test_a_mistake_is_named_with_its_entry(text: str, said: str) -> None:
    with pytest.raises(BudgetFileError) as error:
        parse(text)
    assert said in str(error.value)


def test_the_file_is_read_again_when_it_changes_and_keeps_what_it_was_while_it_is_wrong(tmp_path: Path) -> None:
    file = BudgetFile(tmp_path / "budgets.yaml")
    assert not file.look()
    assert file.budgets.is_empty
    file.path.write_text("budgets: {org: {limit: 3}}")
    assert file.look()
    assert not file.look()
    assert 3 * NANOS == file.budgets.ceilings[0].limit
    file.path.write_text("budgets: {org: {limit: three}}")
    assert file.look()
    assert "org.limit" in str(file.problem)
    assert 3 * NANOS == file.budgets.ceilings[0].limit
    file.path.unlink()
    assert file.look()
    assert file.budgets.is_empty


def test_each_level_counts_its_own_calls(tmp_path: Path) -> None:
    lake = write_marts(
        tmp_path / "lake",
        calls=[
            booked("a", "1", team="x", user_id="u", key_id="k", agent_name="bot", tags=["t", "t"], org="o"),
            booked("b", "2", team="x", model="claude-9", provider="anthropic", tags=["t", "s"], customer_id="c"),
            booked("c", "4", team="y", model="claude-8", provider="anthropic"),
            booked("d", "8", NOW - timedelta(days=30), team="x"),
        ],
    )
    one = {"limit": 100}
    told = budgets(
        org=one,
        orgs={"o": one},
        teams={"x": one, "nobody": one},
        customers={"c": one},
        users={"u": one},
        keys={"k": one},
        tags={"t": one},
        agents={"bot": one},
        models={"claude-*": one, "claude-8": one},
        providers={"*": one},
    )
    found = {
        (each.counter.ceiling.level, each.counter.entity): usd(each.spend.total)
        for each in standings(spent_in(lake, told), NOW)
    }
    cost = {
        ("org", ""): 1 + 2 + 4,
        ("org", "o"): 1,
        ("team", "x"): 1 + 2,
        ("team", "nobody"): 0,
        ("customer", "c"): 2,
        ("user", "u"): 1,
        ("key", "k"): 1,
        ("tag", "t"): 1 + 2,
        ("agent", "bot"): 1,
        ("model", "claude-*"): 2 + 4,
        ("model", "claude-8"): 4,
        ("provider", "anthropic"): 2 + 4,
        ("provider", "openai"): 1,
    }
    assert {key: Decimal(value) for key, value in cost.items()} == found


def test_the_lowest_ceiling_decides_and_only_a_hard_one_blocks(tmp_path: Path) -> None:
    lake = write_marts(tmp_path / "lake", calls=[booked("a", "5", team="x", user_id="u"), booked("b", "1", team="y")])
    told = budgets(
        org={"limit": 100, "hard": True},
        teams={"x": {"limit": 5, "hard": True}},
        users={"u": {"limit": 2}},
        keys={"*": {"limit": 1, "hard": True}},
    )
    spent = spent_in(lake, told)
    blocked = asked(spent, team="x", user="u")
    assert (False, "team") == (blocked.is_allowed, blocked.by.counter.ceiling.level)  # type: ignore[union-attr]
    soft = asked(spent, user="u")
    assert (True, "user") == (soft.is_allowed, soft.by.counter.ceiling.level)  # type: ignore[union-attr]
    assert 1 == len(soft.over)
    free = asked(spent, team="y")
    assert (True, "org", ()) == (free.is_allowed, free.by.counter.ceiling.level, free.over)  # type: ignore[union-attr]
    assert asked(spent, key="new", estimate=nanos(Decimal(1))).is_allowed
    assert not asked(spent, key="new", estimate=nanos(Decimal("1.000000001"))).is_allowed
    assert asked(spent_in(lake, budgets(enabled=False, org={"limit": 0, "hard": True}))).is_allowed


@pytest.mark.parametrize(("period", "hours"), [("daily", 24), ("weekly", 7 * 24), ("monthly", 31 * 24)])
def test_a_period_starts_from_nothing(tmp_path: Path, period: str, hours: int) -> None:
    """In the budgets' time zone: the call of an hour before local midnight is no longer counted after it."""
    berlin = zone("Europe/Berlin")
    begins = datetime(2026, 6, 1, tzinfo=berlin)  # a Monday, and the first of a month
    lake = write_marts(tmp_path / "lake", calls=[booked("a", "5", begins - timedelta(hours=1))])
    told = budgets(time_zone="Europe/Berlin", org={"limit": 5, "hard": True, "period": period})
    before, after = begins - timedelta(minutes=30), begins + timedelta(minutes=30)
    spent = spent_in(lake, told, before)
    verdict = asked(spent, now=before)
    assert not verdict.is_allowed
    assert begins == verdict.by.window.until  # type: ignore[union-attr]
    assert asked(spent, now=after).is_allowed, "figures of before the turn are those of the period that ended"
    assert asked(spent_in(lake, told, after), now=after).is_allowed


def test_what_has_no_price_counts_by_the_stated_bound(tmp_path: Path) -> None:
    """The dearest fresh-token price of its provider that day, else of any, else what the file says."""
    tokens = {"input_tokens": 1_000_000, "output_tokens": 100_000}
    priced = {**tokens, "output_cost_usd": Decimal(2), "cache_savings_usd": Decimal(1)}
    rows = [
        booked("a", "5", model="big", **priced),
        booked("b", "1", model="small", **tokens),
        booked("c", None, model="own", **tokens),
        booked("d", None, model="own", provider="acme", **tokens),
        booked("e", None, model="own", unpriced_reason="usage_missing"),
        booked("f", None, NOON - timedelta(days=1), model="own", **tokens),
    ]
    lake = write_marts(tmp_path / "lake", calls=rows)
    (org,) = standings(spent_in(lake, budgets(org={"limit": 1000})), NOW)
    assert nanos(Decimal(5) + 1) == org.spend.priced
    fresh = Decimal(5) - 2 + 1  # what the input cost, and would have cost more without a cache
    that_day = 2 * (fresh + 2) + 5
    the_day_before = Decimal(30) + Decimal(150) / 10
    assert nanos(that_day + the_day_before) == org.spend.unpriced
    assert 4 == org.spend.unpriced_calls
    stated = budgets(org={"limit": 1000}, unpriced={"input": 1, "output": 10})
    (org,) = standings(spent_in(lake, stated), NOW)
    assert nanos(3 * (Decimal(1) + 1) + 5) == org.spend.unpriced


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.decimals(Decimal(0), Decimal(10), places=9),
            st.sampled_from(["x", "y", None]),
            st.sampled_from(["u", "v"]),
        ),
        max_size=12,
    ),
    st.decimals(Decimal(0), Decimal(60), places=9),
)
def test_a_ceiling_blocks_exactly_where_the_sum_passes_it(
    costs: list[tuple[Decimal, str | None, str]], limit: Decimal
) -> None:
    """To the nano-dollar, whatever the costs are."""
    with tempfile.TemporaryDirectory() as folder:
        calls = [booked(str(n), str(cost), team=team, user_id=user) for n, (cost, team, user) in enumerate(costs)]
        lake = write_marts(Path(folder) / "lake", calls=calls)
        told = budgets(teams={"x": {"limit": str(limit), "hard": True}}, users={"*": {"limit": str(limit)}})
        spent = spent_in(lake, told)
    of_x = sum((cost for cost, team, _ in costs if team == "x"), Decimal(0))
    assert (of_x < limit) == asked(spent, team="x").is_allowed
    assert (of_x + 1 <= limit) == asked(spent, team="x", estimate=nanos(Decimal(1))).is_allowed
    users = {
        each.counter.entity: usd(each.spend.total) for each in standings(spent, NOW) if each.counter.entity != "x"
    }
    assert {user: sum(c for c, _, of in costs if of == user) for user in {of for *_, of in costs}} == users


def test_what_lands_is_counted_as_starting_from_nothing_would(tmp_path: Path) -> None:
    small = SmallLake(tmp_path / "lake")
    told = budgets(org={"limit": 10}, models={"gpt-4o-mini": {"limit": "0.3", "hard": True}})
    spending = Spending(small.lake, Settings(), lambda: NOW)
    assert 0 == spending.look(told).standing(standings(spending.look(told), NOW)[0].counter, NOW).spend.total
    for number, day in enumerate((0, 1)):
        small.land(call(f"t{number}", "llm", input=1_000_000, output=0, at=NOON + timedelta(days=day)))
        kept, anew = spending.look(told), spent_in(small.lake, told)
        assert standings(anew, NOW) == standings(kept, NOW)
        assert nanos(Decimal("0.15")) * (number + 1) == standings(kept, NOW)[0].spend.total
    same = spending.look(told)
    assert same.sums is spending.look(told).sums, "nothing landed, so nothing is summed"


def test_a_model_is_known_by_the_name_it_was_asked_for_by(tmp_path: Path) -> None:
    lake = write_marts(tmp_path / "lake", calls=[booked("a", "5", request_model="smart", model="claude-9")])
    spent = spent_in(lake, budgets(models={"claude-9": {"limit": 1, "hard": True}}))
    assert not asked(spent, model="smart").is_allowed
    assert asked(spent, model="other").is_allowed


def test_the_pace_projects_the_period(tmp_path: Path) -> None:
    lake = write_marts(tmp_path / "lake", calls=[booked("a", "215", NOW - timedelta(days=1))])
    (org,) = standings(spent_in(lake, budgets(org={"limit": 250})), NOW)
    found = pace(org, NOW)
    passed = Decimal("21.5")  # days of November up to noon of the 22nd
    assert (Decimal(215) / passed, Decimal(215) / passed * 30) == (found.daily_burn_usd, found.projected_usd)
    assert datetime(2026, 11, 26, tzinfo=UTC) == found.runs_out_at  # 25 days at $10
    assert (80, True) == (org.notice, org.is_warning)


def test_a_run_that_did_too_much_is_stopped(tmp_path: Path) -> None:
    """By what landed of it, or by what its agent counted itself, whichever is more."""
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "bot", "agent_run_id": "run-1"}
    at = NOW - timedelta(hours=1)
    small = SmallLake(tmp_path / "lake").land(
        SpanOf("t", "agent", at=at, seconds=60, attributes=agent),
        call("t", "llm", input=900, output=100, parent="agent", at=at),
        SpanOf("t", "tool1", parent="agent", at=at, attributes={"gen_ai.operation.name": "execute_tool"}),
        SpanOf("t", "tool2", parent="tool1", at=at, attributes={"gen_ai.operation.name": "execute_tool"}),
        SpanOf("u", "tool3", at=at, attributes={"gen_ai.operation.name": "execute_tool"}),
    )
    told = {"tokens": 2000, "tool_calls": 3, "depth": 3, "retries": 2, "cost_usd": 1}
    spent = spent_in(small.lake, budgets(runs={"bot": told}))
    assert (
        RunFigures(
            tokens=1000,
            cost=nanos((900 * Decimal("0.15") + 100 * Decimal("0.60")) / 1_000_000),
            tool_calls=2,
            depth=3,
        )
        == spent.runs["run-1"]
    )
    assert asked(spent, agent="bot", agent_run_id="run-1").is_allowed
    verdict = asked(spent, agent="bot", agent_run_id="run-1", run=RunFigures(tool_calls=3))
    assert not verdict.is_allowed
    assert ("tool_calls", 3, 3) == (verdict.by.figure, verdict.by.limit, verdict.by.reached)  # type: ignore[union-attr]
    assert asked(spent, agent="other", agent_run_id="run-1", run=RunFigures(depth=9)).is_allowed
    assert not asked(spent, agent="bot", agent_run_id="new", run=RunFigures(depth=4)).is_allowed
    soft = spent_in(small.lake, budgets(runs={"*": {**told, "tokens": 1000, "hard": False}}))
    verdict = asked(soft, agent="bot", agent_run_id="run-1")
    assert (True, 1) == (verdict.is_allowed, len(verdict.over))


def test_retries_of_a_run_are_failed_calls_after_which_the_model_was_called_again(tmp_path: Path) -> None:
    at = NOW - timedelta(hours=1)
    run = {"agent_run_id": "r", "agent_name": "bot", "request_model": "m"}
    calls = [
        booked("a", "0", at, status="ERROR", **run),
        booked("a", "0", at + timedelta(seconds=2), status="ERROR", **run),
        booked("a", "1", at + timedelta(seconds=4), **run),
        booked("a", "0", at + timedelta(seconds=6), status="ERROR", **run),
    ]
    lake = write_marts(tmp_path / "lake", calls=calls)
    spent = spent_in(lake, budgets(runs={"bot": {"retries": 2}}))
    assert 2 == spent.runs["r"].retries
    assert not asked(spent, agent="bot", agent_run_id="r").is_allowed


def test_the_warehouse_says_what_was_spent(tmp_path: Path) -> None:
    small = SmallLake(tmp_path / "lake").land(call("t", "llm", input=1_000_000, output=0))
    warehouse: Warehouse = small.warehouse
    (org,) = standings(warehouse.spent(budgets(org={"limit": 1})), NOW)
    assert Decimal("0.15") == usd(org.spend.total)


def run(*command: str) -> Result:
    return CliRunner().invoke(app, ["budget", *command])


@pytest.fixture
def spending_lake(tmp_path: Path) -> Path:
    """A lake in which the team x has spent $5 an hour ago, and its user u with it."""
    lake = write_marts(
        tmp_path / "lake", calls=[booked("a", "5", datetime.now(UTC) - timedelta(seconds=1), team="x", user_id="u")]
    )
    lake.budgets.write_text('budgets: {teams: {x: {limit: 5, hard: true}}, users: {"*": {limit: 4}}}')
    return lake.root


def test_the_command_exits_with_1_where_a_hard_budget_blocks(spending_lake: Path) -> None:
    there = ("--lake", str(spending_lake))
    blocked = run("check", "--team", "x", "--format", "json", *there)
    said = json.loads(blocked.output)
    assert (1, "block", "budget_exceeded") == (blocked.exit_code, said["decision"], said["reason"])
    assert ("team", "x", "5.000000000") == tuple(said["budget"][name] for name in ("level", "entity", "spent_usd"))
    assert said["retry_at"] == said["budget"]["period_end"]
    allowed = run("check", "--user", "u", *there)
    assert 0 == allowed.exit_code
    assert "allow: the monthly soft budget of user u: $5.00 spent of $4.00" in allowed.output
    assert "allow: no budget applies" in run("check", "--team", "y", *there).output
    wrong = run("check", "--estimate", "much", *there)
    assert (1, UsageError) == (wrong.exit_code, type(wrong.exception))


def test_the_status_shows_every_budget(spending_lake: Path) -> None:
    rows = json.loads(run("status", "--format", "json", "--lake", str(spending_lake)).output)["rows"]
    assert [("team x", "blocked", 100), ("user u", "over", 100)] == [
        (row["budget"], row["state"], row["notice_percent"]) for row in rows
    ]
    assert "1 used up" not in run("status", "--lake", str(spending_lake)).output
    missing = run("status", "--budgets", "nowhere.yaml", "--lake", str(spending_lake))
    assert isinstance(missing.exception, BudgetFileError)


def test_hashed_users_are_budgeted_by_their_names(tmp_path: Path) -> None:
    """The lake holds hashes; the budgets, and who asks, say names."""
    content = Content(hash=("user_id",), hash_key=SecretStr("a key of sixteen bytes"))
    told = Settings(content=content)
    name_in_lake = hidden(told)("user_id", "ann")
    assert "ann" != name_in_lake
    lake = write_marts(tmp_path / "lake", calls=[booked("a", "5", user_id=name_in_lake)])
    spent = Spending(lake, told, lambda: NOW, hidden(told)).look(
        budgets(users={"ann": {"limit": 5, "hard": True}, "*": {"limit": 1}})
    )
    assert not asked(spent, user="ann").is_allowed
    assert asked(spent, user="bob").is_allowed
    assert ["ann"] == [each.counter.entity for each in standings(spent, NOW)]
