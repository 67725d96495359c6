"""Alerts: what rules find, when it fires, stays open and is resolved, and what the settings change."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.lakes import NOW
from support.marts import Row, booked, write_marts
from typer.testing import CliRunner

from llmcost.cli.main import app
from llmcost.models.alert_settings import Alerts
from llmcost.models.alerts import Alert, Figure, Looked, Policy, State, Violation, advance, owner_of
from llmcost.models.errors import SettingsError, UsageError
from llmcost.models.lake import Lake
from llmcost.models.settings import Settings
from llmcost.sql import Warehouse
from llmcost.sql.alert_rules import rules

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
POLICY = Policy(settle=HOUR, most_at_once=3)
BUILT_IN = {
    "agent-spend-anomaly", "budget-fast-start", "budget-notice", "cache-misses", "context-bloat",
    "developer-spend-delta", "eval-over-inference", "feature-request-cost", "free-tier-abusers", "hourly-budget-pace",
    "retry-storms", "runaway-agents", "stale-prompt-versions", "tenant-spend-delta", "unpriced-spend",
}  # fmt: skip


def over(entity: str, period: str = "p", value: str = "5") -> Violation:
    figure = Figure(meaning="spent", value=Decimal(value), unit="USD")
    return Violation(entity=entity, period=period, observed=figure, baseline=figure, threshold=figure)


def looked(*violations: Violation, rule: str = "rule", cool_down: timedelta = timedelta(0)) -> Looked:
    return Looked(rule, "It is so.", "warning", cool_down, violations)


def told(state: State, at: datetime, *looks: Looked) -> tuple[State, list[str]]:
    """The state after a look, and what is told in short."""
    after, notices = advance(state, looks, {"rule", "other"}, POLICY, at)
    return after, [f"{notice.state} {notice.alert.entity} {notice.alert.period}" for notice in notices]


def test_an_alert_fires_once_and_is_resolved_when_it_has_been_quiet() -> None:
    """Also over the end of its period; a moment's quiet is no end."""
    state, first = told(State(), NOW, looked(over("a", "monday")))
    state, second = told(state, NOW + HOUR, looked(over("a", "tuesday")))
    state, third = told(state, NOW + HOUR + timedelta(minutes=30), looked())
    state, fourth = told(state, NOW + 2 * HOUR, looked())
    assert ["firing a monday"] == first
    assert [] == second == third
    assert ["resolved a monday"] == fourth
    assert () == state.open


def test_a_period_that_fired_does_not_fire_again() -> None:
    """The next one does, once the cool-down after the resolve is over."""
    state, _ = told(State(), NOW, looked(over("a", "monday")))
    state, _ = told(state, NOW + HOUR, looked())
    for at, period, expected in (
        (2 * HOUR, "monday", []),
        (3 * HOUR, "tuesday", []),
        (6 * HOUR, "monday", []),
        (6 * HOUR, "tuesday", ["firing a tuesday"]),
    ):
        state, said = told(state, NOW + at, looked(over("a", period), cool_down=4 * HOUR))
        assert expected == said


def test_a_rule_that_cannot_look_resolves_nothing() -> None:
    """Nor one that was not asked; the alerts of a rule that is off or gone are resolved."""
    state, _ = told(State(), NOW, looked(over("a")))
    broken = Looked("rule", "It is so.", "warning", timedelta(0), problem="no such column")
    state, said = told(state, NOW + DAY, broken)
    assert [] == said
    state, said = told(state, NOW + DAY, looked(rule="other"))
    assert [] == said
    state, notices = advance(state, [], {"other"}, POLICY, NOW + DAY)
    assert ["resolved"] == [notice.state for notice in notices]
    assert () == state.open


def test_of_many_at_once_some_are_told_and_the_last_counts_the_rest() -> None:
    """What was not told is not resolved aloud either."""
    state, notices = advance(State(), [looked(*(over(str(n)) for n in range(10)))], {"rule"}, POLICY, NOW)
    assert [("0", 0), ("1", 0), ("2", 7)] == [(notice.alert.entity, notice.others) for notice in notices]
    assert 10 == len(state.open)
    state, notices = advance(state, [looked()], {"rule"}, POLICY, NOW + DAY)
    assert ["0", "1", "2"] == [notice.alert.entity for notice in notices]
    assert 10 == len(state.closed)


@given(st.lists(st.sets(st.sampled_from("abc")), max_size=40), st.integers(0, 12), st.integers(0, 5))
def test_however_it_comes_and_goes_each_key_fires_once_and_each_resolve_has_its_firing(
    looks: list[set[str]], cool_down: int, settle: int
) -> None:
    """And what is remembered survives being written and read between any two looks."""
    policy = Policy(settle=settle * HOUR, most_at_once=2)
    state, open_keys, fired = State(), set[str](), set[str]()
    for hour, entities in enumerate(looks):
        at = NOW + hour * HOUR
        found = looked(*(over(e, str(at.date())) for e in sorted(entities)), cool_down=cool_down * HOUR)
        state, notices = advance(State.model_validate_json(state.model_dump_json()), [found], {"rule"}, policy, at)
        for notice in notices:
            key = notice.alert.key("here")
            if notice.state == "firing":
                assert key not in fired
                fired.add(key)
                open_keys.add(key)
            else:
                open_keys.remove(key)
    assert open_keys == {alert.key("here") for alert in state.open if alert.is_told}


def test_the_key_of_an_alert_fits_where_keys_go() -> None:
    """255 characters at most, and two long entities have two keys."""
    keys = {alert_of(over("x" * 300 + end)).key("llmcost") for end in "ab"}
    assert 2 == len(keys)
    assert all(len(key) <= 255 for key in keys)
    assert "llmcost/rule/acme/p" == alert_of(over("acme")).key("llmcost")


def alert_of(violation: Violation) -> Alert:
    return Alert(
        rule="rule", sentence="It is so.", severity="warning", violation=violation, period=violation.period,
        fired_at=NOW, seen_at=NOW,
    )  # fmt: skip


def test_the_owner_is_the_first_dimension_of_the_settings_that_names_somebody() -> None:
    owners = {"feature": {"search": "Ada"}, "team": {"web": "Bo"}}
    assert "Ada" == owner_of(owners, {"team": "web", "feature": "search"})
    assert "Bo" == owner_of(owners, {"team": "web", "feature": "chat"})
    assert owner_of(owners, {"team": "data"}) is None


def test_the_built_in_rules_are_sound() -> None:
    """Each says what it needs, and names its figures."""
    found = rules(None, Alerts())
    assert BUILT_IN == {rule.name for rule in found}
    assert [] == [rule.problem for rule in found if rule.problem]
    assert all(rule.is_enabled and rule.reads and all(each.meaning for each in rule.parameters) for rule in found)


def test_every_built_in_rule_is_documented() -> None:
    page = (Path(__file__).parent.parent / "docs" / "alerts.md").read_text()
    assert [] == [rule.name for rule in rules(None, Alerts()) if f"`{rule.name}`" not in page]


def test_the_settings_change_a_rule() -> None:
    settings = Alerts.model_validate(
        {
            "rules": {
                "tenant-spend-delta": {"factor": 3.5, "severity": "critical", "cool_down": "2h", "enabled": False}
            }
        }
    )
    (rule,) = rules(None, settings, "tenant_spend_delta")
    assert (False, "critical", 2 * HOUR) == (rule.is_enabled, rule.severity, rule.cool_down)
    assert Decimal("3.5") == {each.name: each.value for each in rule.parameters}["factor"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"tenant-spend-delt": {}}, "no such rule: did you mean tenant-spend-delta"),
        (
            {"tenant-spend-delta": {"facto": 3}},
            "no such parameter: accepted are enabled, severity, cool_down, factor",
        ),
        ({"tenant-spend-delta": {"factor": "three"}}, "it is a number"),
    ],
)
def test_settings_of_nothing_are_an_error_that_says_what_there_is(changed: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        rules(None, Alerts.model_validate({"rules": changed}))


def test_an_unknown_rule_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match='unknown rule "tenant": did you mean tenant-spend-delta'):
        rules(None, Alerts(), "tenant")


def week_of(spend: dict[str, str], *, days: int = 29, until: datetime = NOW) -> list[Row]:
    """Calls of each customer at noon, a third as dear on Saturdays and Sundays."""
    rows = []
    for back in range(days, 0, -1):
        at = until - back * DAY + HOUR
        for customer, cost in spend.items():
            share = Decimal(cost) / 3 if at.weekday() > 4 else Decimal(cost)
            rows.append(booked(f"{customer} {back}", str(share), at, customer_id=customer, feature="search"))
    return rows


def test_a_customer_that_spends_more_than_twice_the_usual_is_found(tmp_path: Path) -> None:
    """With its numbers, who it is for, and traces; a Monday after a weekend is usual, and so is the other."""
    monday = datetime(2026, 11, 23, 12, tzinfo=UTC)
    rows = week_of({"acme": "9", "beta": "9"}, until=monday)
    rows.append(booked("more", "10", monday - HOUR, customer_id="acme", feature="chat", deployment="prod"))
    warehouse = Warehouse(write_marts(tmp_path / "lake", calls=rows).root, now=lambda: monday)
    (found,) = warehouse.alerts("tenant-spend-delta")

    assert found.problem is None
    (violation,) = found.violations
    assert ("acme", "2026-11-23") == (violation.entity, violation.period)
    assert violation.observed == Figure(meaning="spent in the last 24 hours", value=Decimal("9") / 3 + 10, unit="USD")
    assert Decimal("9") / 3 == violation.baseline.value
    assert 2 * Decimal("9") / 3 == violation.threshold.value
    assert {"customer_id": "acme", "feature": "chat", "deployment": "prod"}.items() <= violation.shown.items()
    assert "more" == violation.trace_ids[0]


def test_cents_are_nobodys_alarm(tmp_path: Path) -> None:
    """A tenfold spend that is less than a dollar above the usual; the settings may say otherwise."""
    rows = [*week_of({"acme": "0.03"}), booked("more", "0.5", NOW - HOUR, customer_id="acme")]
    lake = write_marts(tmp_path / "lake", calls=rows)
    changed = Settings(alerts=Alerts.model_validate({"rules": {"tenant-spend-delta": {"at_least_usd": 0.25}}}))
    (quiet,) = Warehouse(lake.root, now=lambda: NOW).alerts("tenant-spend-delta")
    (loud,) = Warehouse(lake.root, changed, now=lambda: NOW).alerts("tenant-spend-delta")
    assert (0, 1) == (len(quiet.violations), len(loud.violations))


def test_all_rules_look_at_a_small_and_at_an_empty_lake(tmp_path: Path) -> None:
    """And none is broken."""
    small = write_marts(tmp_path / "small", calls=week_of({"acme": "0.9"}, days=3))
    for root in (small.root, Lake.create(tmp_path / "empty").root):
        found = Warehouse(root, now=lambda: NOW).alerts()
        assert BUILT_IN == {look.rule for look in found}
        assert [] == [look.problem for look in found if look.problem]
        assert [] == [look.rule for look in found if look.violations]


OWN = """-- A model that we do not allow is used.
-- reads: calls, allowed
-- severity: error
-- window: 12h
-- param: most = 1 -- calls that are let pass
-- param: except_for = 'lab' -- deployment that may
select
    model as entity, -- model
    '-' as period, -- for good
    count(*) as observed, -- calls in the last 12 hours
    null as baseline, -- none
    $most as threshold, -- calls let pass
    model,
from calls
anti join allowed
    on calls.model = allowed.model
where deployment is distinct from $except_for
group by model
having count(*) > $most
"""


def test_a_rule_of_the_users_is_one_file(tmp_path: Path) -> None:
    """With a file of the user's, its own window and bound parameters; a broken one stops no other."""
    rows = [booked(f"t{n}", "1", NOW - n * HOUR, model="gpt-4o", deployment=d) for n, d in enumerate("ppl")]
    rows += [booked("old", "1", NOW - 13 * HOUR, model="gpt-4o", deployment="p")]
    rows[2] |= {"deployment": "lab"}
    lake = write_marts(tmp_path / "lake", calls=rows)
    lake.alerts.mkdir()
    (lake.user_rollups / "allowed.csv").write_text("model\nclaude\n")
    (lake.alerts / "models_allowed.sql").write_text(OWN)
    (lake.alerts / "half.sql").write_text("-- Half a rule.\nselect from where\n")
    (lake.alerts / "bare.sql").write_text("-- Columns are missing.\n-- reads: calls\nselect 1 as entity\n")
    hurtful = Alerts.model_validate({"rules": {"models-allowed": {"except_for": "x'; drop table calls; --"}}})

    found = {look.rule: look for look in Warehouse(lake.root, now=lambda: NOW + HOUR / 2).alerts()}
    (own,) = Warehouse(lake.root, Settings(alerts=hurtful), now=lambda: NOW + HOUR / 2).alerts("models-allowed")

    assert BUILT_IN | {"models-allowed", "half", "bare"} == set(found)
    assert ("gpt-4o", Decimal(2), "error") == (
        found["models-allowed"].violations[0].entity,
        found["models-allowed"].violations[0].observed.value,
        found["models-allowed"].severity,
    )
    assert Decimal(3) == own.violations[0].observed.value
    assert "half.sql" in str(found["half"].problem)
    assert 'no column "period"' in str(found["bare"].problem)


def run(lake: Lake, *command: str) -> tuple[int, dict[str, object]]:
    ran = CliRunner().invoke(app, ["alerts", *command, "--lake", str(lake.root), "--format", "json"])
    return ran.exit_code, json.loads(ran.stdout)


def test_check_exits_with_1_while_an_alert_is_open(tmp_path: Path) -> None:
    """A dry run remembers nothing; --exit-zero is for timers; status shows what the last look left."""
    now = datetime.now(UTC)
    rows = [booked(f"t{n}", None, now - HOUR, model="acme-7b", provider="acme") for n in range(12)]
    lake = write_marts(tmp_path / "lake", calls=rows)

    code, said = run(lake, "check", "--dry-run", "--rule", "unpriced-spend")
    assert (1, 1) == (code, said["new"])
    code, said = run(lake, "check", "--exit-zero")
    assert (0, 1) == (code, said["new"])
    code, said = run(lake, "check")
    assert (1, 0) == (code, said["new"])
    code, said = run(lake, "status")
    assert 0 == code
    assert ["acme / acme-7b / model_not_in_price_book"] == [row["entity"] for row in said["rows"]]  # type: ignore[attr-defined]
    assert (0, BUILT_IN) == (run(lake, "list")[0], {row["rule"] for row in run(lake, "list")[1]["rows"]})  # type: ignore[attr-defined]


def test_budgets_are_told_mark_by_mark(tmp_path: Path) -> None:
    """Of what `budget status` says; a file that is broken breaks the rules that read it and no other."""
    now = datetime.now(UTC)
    calls = [booked("t", "85", now - timedelta(seconds=1), team="search", feature="chat")]
    lake = write_marts(tmp_path / "lake", calls=calls)
    lake.budgets.write_text("budgets: {teams: {search: {limit: 100, hard: true}, web: {limit: 1}}}")
    _, said = run(lake, "check", "--rule", "budget-notice")
    assert [("50%", "info"), ("80%", "warning")] == sorted(
        (row["entity"].rpartition(" ")[2], row["severity"])
        for row in said["rows"]  # type: ignore[attr-defined]
    )
    lake.budgets.write_text("budgets: {teams: 3}")
    code, said = run(lake, "check")
    assert 1 == code
    assert {"budget-notice", "budget-fast-start", "hourly-budget-pace"} == set(said["broken"])  # type: ignore[call-overload]
