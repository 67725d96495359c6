"""The replay of tests/alerts_run.py in short: planted incidents, each told once and resolved, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from support import budget_replay
from support.incidents import DAY, HOUR, START, Past, replay, replaying, score

from llmcost.models.alert_settings import Alerts
from llmcost.models.lake import Lake
from llmcost.sql.alert_rules import rules

KINDS = ("tenant-spend-delta", "runaway-agents", "retry-storms", "unpriced-spend")


@pytest.fixture(scope="module")
def past() -> tuple[Past, pa.Table]:
    found = Past(seed=3, kinds=KINDS, each=1)
    return found, found.calls()


@pytest.mark.parametrize("kind", KINDS)
def test_an_incident_is_told_once_and_resolved(past: tuple[Past, pa.Table], kind: str) -> None:
    """From the day before it until its figures have left the windows."""
    history, calls = past
    (incident,) = (each for each in history.incidents if each.rule == kind)
    until = int((incident.end - incident.start) / HOUR)
    hours = range(-2, 5) if kind == "retry-storms" else range(-24, until + 48, 8)
    looks = [incident.start + hour * HOUR + HOUR / 2 for hour in hours]
    asked = [rule for rule in rules(None, Alerts()) if rule.name == kind]
    with replaying(calls) as con:
        fired, _, _ = replay(con, Lake(Path("/nonexistent")), looks, asked=asked)
    result = score([incident], fired, looks[-1])[kind]
    assert (1, 1, 0, []) == (result.planted, result.found, result.repeats, result.false)
    assert 1 == result.resolved


def test_budgets_are_told_of_mark_by_mark_and_of_bursts_and_of_nothing_else() -> None:
    """Two days: what the sums say, no more and no less, and it is over when the day is."""
    told = budget_replay.run(seed=1, days=2)
    assert told.expected == told.told
    assert 0 == told.unresolved


def test_a_growing_business_with_weekends_is_not_told_of() -> None:
    """Mondays, Saturdays, nights, rollouts; by every rule but that of three sigma, which has its share of noise."""
    monday = START + 40 * DAY + (7 - (START + 40 * DAY).weekday()) * DAY
    asked = [rule for rule in rules(None, Alerts()) if rule.name != "agent-spend-anomaly"]
    with replaying(Past(seed=5, kinds=("retry-storms",), each=0).calls()) as con:
        fired, _, _ = replay(con, Lake(Path("/nonexistent")), [monday + n * 21 * HOUR for n in range(9)], asked=asked)
    assert [] == fired
