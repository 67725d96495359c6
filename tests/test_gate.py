"""The gate: who is on which side, what is measured there, and what follows from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from gate_run import CANDIDATES, MEASURED, most_wrong, simulated
from support.lakes import NOW, SmallLake
from support.marts import Row, booked, evaluation, outcome, session, write_marts
from support.spans import NOON, SpanOf, call
from typer.testing import CliRunner

from llmcost.cli.gate_report import of_report, reason
from llmcost.cli.main import app
from llmcost.models.errors import UsageError
from llmcost.models.windows import Window
from llmcost.sql.gate import asked, judge
from llmcost.sql.gate_answer import Finding, GateReport, Limits, Measure, Measured, Verdict

ROOT = Path(__file__).parent.parent
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
WEEK = Window(NOW - 7 * DAY, NOW)
V3, V4 = {"prompt_version": "v3"}, {"prompt_version": "v4"}


def usd(text: str) -> Decimal:
    return Decimal(text)


def judged(
    folder: Path,
    calls: list[Row],
    *,
    baseline: Mapping[str, str] = V3,
    candidate: Mapping[str, str] = V4,
    limits: Limits = Limits(0.05, 0.1, None),  # noqa: B008  it does not change
    outcomes: list[Row] | None = None,
    evals: list[Row] | None = None,
    **options: Any,
) -> GateReport:
    question = asked(baseline, candidate, WEEK, limits=limits, **options)
    with session(write_marts(folder / "lake", calls=calls, outcomes=outcomes or [], evals=evals or [])) as con:
        return judge(con, question)


def measure(report: GateReport, measured: Measured) -> Measure:
    return next(each for each in report.measures if each.measured is measured)


def requests(version: str, cost: str, count: int, **columns: Any) -> list[Row]:
    """Requests of one call each, each a hundredth dearer and a hundredth of a second slower than the one before."""
    return [
        booked(
            f"{version} {n:04}", str(usd(cost) + usd("0.01") * n), NOON + n * SECOND,
            **({"prompt_version": version, "seconds": 1 + n / 100} | columns),
        )
        for n in range(count)
    ]  # fmt: skip


def test_a_request_is_whole_and_of_the_side_of_its_first_call(tmp_path: Path) -> None:
    """A fallback is a cost of whom it is a fallback from; a judge costs neither and chooses no side."""
    cheap, dear = {"model": "cheap"}, {"model": "dear"}
    calls = [
        booked("fell back", "1", NOON, **cheap),
        booked("fell back", "10", NOON + 5 * SECOND, **dear),
        booked("fell back", "3", NOON + 9 * SECOND, model="embedder", seconds=2),
        booked("judged", "1", NOON + SECOND, **cheap),
        booked("judged", "4", NOON, traffic_type="eval", **dear),
        booked("plain", "10", NOON, **dear),
        booked("neither", "100", NOON, model="other"),
        booked("no price", None, NOON, **dear),
    ]
    report = judged(tmp_path, calls, baseline=dear, candidate=cheap, evals=[evaluation("judged", "fit", True)])

    cost = measure(report, Measured.COST_PER_REQUEST)
    assert (cost.baseline, cost.candidate) == (usd("10"), (usd("1") + usd("10") + usd("3") + usd("1")) / 2)
    assert measure(report, Measured.COST_PER_EVAL).candidate == usd("1") + usd("4")
    assert (report.baseline.requests, report.candidate.requests) == (2, 2)
    assert (report.candidate.mixed_requests, report.baseline.mixed_requests) == (1, 0)
    assert (report.baseline.unpriced_requests, report.candidate.cost_usd) == (1, usd("15"))
    assert measure(report, Measured.LATENCY_P50).candidate == (11_000 + 1000) / 2


def test_verdicts_are_counted_once_for_a_request_and_outcomes_once_for_a_case(tmp_path: Path) -> None:
    """A request passes where all that one evaluator said of it passed; a session's outcome is one case."""
    calls = [
        booked("a", "1", **V3),
        booked("b", "2", **V3),
        booked("c", "4", session_id="s", **V4),
        booked("d", "8", session_id="s", **V4),
        booked("e", "16", **V4),
        booked("f", "32", **V4),
    ]
    scores = [
        evaluation("a", "fit", True) | {"span_id": "1"},
        evaluation("a", "fit", False) | {"span_id": "2"},
        evaluation("b", "fit", True),
        evaluation("c", "fit", True),
        evaluation("e", "fit", None),
        evaluation("e", "rare", True),
    ]
    told = [outcome("a", "resolved", True), outcome("b", "resolved", False), outcome("e", "resolved", False)]
    told += [{"session_id": "s", "outcome": "resolved", "succeeded": True, "observed_at": NOON, "received_at": NOON}]
    told += [outcome("f", "resolved", None)]
    report = judged(tmp_path, calls, outcomes=told, evals=scores)

    assert (report.evaluator, report.outcome) == ("fit", "resolved")
    rate = measure(report, Measured.EVAL_RATE)
    assert (rate.baseline, rate.baseline_size, rate.candidate, rate.candidate_size) == (1 / 2, 2, 1, 1)
    assert measure(report, Measured.COST_PER_EVAL).baseline == usd("1") + usd("2")
    success, cost = measure(report, Measured.OUTCOME_RATE), measure(report, Measured.COST_PER_OUTCOME)
    assert (success.candidate, success.candidate_size) == (1 / 2, 2)
    assert (cost.baseline, cost.candidate) == (usd("1") + usd("2"), usd("4") + usd("8") + usd("16"))


def passed(version: str, count: int, failed: int) -> list[Row]:
    return [evaluation(f"{version} {n:04}", "fit", n >= failed) for n in range(count)]


def test_an_equal_candidate_passes_where_there_is_enough_of_it(tmp_path: Path) -> None:
    calls = [*requests("v3", "5", 900), *requests("v4", "5", 900)]
    report = judged(tmp_path, calls, evals=[*passed("v3", 900, 45), *passed("v4", 900, 45)])

    assert report.verdict is Verdict.PASS
    assert [each.measured for each in report.measures if each.finding is Finding.WITHIN] == [
        Measured.EVAL_RATE, Measured.LATENCY_P50, Measured.LATENCY_P95,
    ]  # fmt: skip
    assert reason(report).startswith(
        "no measure is worse than its limit allows: pass rate (fit) +0.0 points (at worst -2."
    )


def test_a_candidate_that_passes_less_often_fails_and_the_reason_says_so(tmp_path: Path) -> None:
    """90% of it where 5 points less than 99% are allowed."""
    calls = [*requests("v3", "5", 500), *requests("v4", "5", 500)]
    report = judged(tmp_path, calls, evals=[*passed("v3", 500, 5), *passed("v4", 500, 60)])

    assert report.verdict is Verdict.FAIL
    assert reason(report).startswith("pass rate (fit) fell from 99% to 88% (-11.0 points, -14.")
    assert reason(report).endswith("where 5 points less are allowed")


def test_a_candidate_of_few_requests_gets_no_verdict_but_is_told_how_many_it_takes(tmp_path: Path) -> None:
    calls = [*requests("v3", "5", 200), *requests("v4", "5", 200)]
    report = judged(tmp_path, calls, evals=[*passed("v3", 200, 20), *passed("v4", 200, 20)])

    rate = measure(report, Measured.EVAL_RATE)
    assert (report.verdict, rate.finding) == (Verdict.NOT_ENOUGH_DATA, Finding.OPEN)
    assert rate.needed_requests is not None
    assert 200 < rate.needed_requests < 800
    assert f"about {rate.needed_requests} requests a side would settle it" in reason(report)


def test_the_cheap_model_that_costs_less_a_call_and_more_an_outcome_fails(tmp_path: Path) -> None:
    """A fifth of the price and a tenth of the successes."""
    calls = [*requests("v3", "5", 300), *requests("v4", "1", 300)]
    told = [outcome(f"v3 {n:04}", "resolved", n % 10 < 8) for n in range(300)]
    told += [outcome(f"v4 {n:04}", "resolved", n % 10 < 1) for n in range(300)]
    limits = Limits(None, None, 0.0)
    report = judged(tmp_path, calls, limits=limits, outcomes=told)

    each, success = measure(report, Measured.COST_PER_REQUEST), measure(report, Measured.COST_PER_OUTCOME)
    assert (report.verdict, each.finding, success.finding) == (Verdict.FAIL, None, Finding.BEYOND)
    assert each.change is not None
    assert each.change < 0
    before = sum((usd("5") + usd("0.01") * n for n in range(300)), usd("0"))
    assert success.baseline == round(before / 240, 9)
    assert reason(report).startswith("cost per outcome (resolved) rose from $8.12 to $24.95 (+207")


def test_a_cost_limit_below_zero_asks_for_an_improvement(tmp_path: Path) -> None:
    """Without any verdict it is held against the cost of a request."""
    calls = [*requests("v3", "5", 300), *requests("v4", "3", 300)]
    found = [
        judged(tmp_path / str(part), calls, limits=Limits(None, None, part)).verdict for part in (-0.2, -0.3, -0.5)
    ]
    assert found == [Verdict.PASS, Verdict.NOT_ENOUGH_DATA, Verdict.FAIL]


def test_without_verdicts_or_calls_the_gate_says_what_is_missing(tmp_path: Path) -> None:
    silent = judged(tmp_path / "silent", [*requests("v3", "5", 200), *requests("v4", "5", 200)])
    absent = judged(tmp_path / "absent", requests("v3", "5", 200))

    assert (silent.verdict, absent.verdict) == (Verdict.NOT_ENOUGH_DATA, Verdict.NOT_ENOUGH_DATA)
    assert reason(silent).startswith(
        "pass rate is not known: no evaluation and no outcome was told of these requests"
    )
    assert reason(absent) == "no call of the candidate (prompt_version=v4) in this window"


def test_any_dimension_can_be_a_side_tags_and_shadow_traffic_too(tmp_path: Path) -> None:
    """Several conditions of a side hold together; a call of both sides is the candidate's."""
    calls = [
        booked("a", "1", deployment="prod", tags=["canary", "x"]),
        booked("b", "2", deployment="prod", tags=["x"]),
        booked("c", "4", deployment="prod"),
        booked("d", "8", deployment="dev", tags=["canary"]),
        booked("e", "16", traffic_type="shadow"),
    ]
    canary = judged(
        tmp_path / "1",
        calls,
        baseline={"deployment": "prod"},
        candidate={"tags": "canary", "deployment": "prod"},
    )
    shadow = judged(tmp_path / "2", calls, baseline={"deployment": "prod"}, candidate={"traffic_type": "shadow"})

    assert (canary.baseline.cost_usd, canary.candidate.cost_usd) == (usd("2") + usd("4"), usd("1"))
    assert (shadow.baseline.cost_usd, shadow.candidate.cost_usd) == (usd("1") + usd("2") + usd("4"), usd("16"))


def test_an_offline_evaluation_run_is_no_judge(tmp_path: Path) -> None:
    """Where all of a request is eval traffic it is what is compared."""
    calls = [booked("a", "1", traffic_type="eval", **V3), booked("b", "2", traffic_type="eval", **V4)]
    report = judged(tmp_path, calls)

    cost = measure(report, Measured.COST_PER_REQUEST)
    assert (cost.baseline, cost.candidate) == (usd("1"), usd("2"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"baseline": {}}, "--baseline: say what its calls have"),
        ({"candidate": {"cost_usd": "1"}}, '--candidate "cost_usd": accepted are user_id'),
        ({"candidate": V3}, "--baseline and --candidate are the same"),
        ({"confidence": 95.0}, "--confidence 95.0: it must be"),
        ({"limits": Limits(-0.1, None, None)}, "--max-pass-rate-drop -0.1: it must be at least 0"),
        ({"limits": Limits(float("nan"), None, None)}, "--max-pass-rate-drop nan"),
        ({"limits": Limits(float("inf"), None, None)}, "no limit is left to judge by"),
        ({"evaluator": "fitt"}, 'no evaluator "fitt" of a request of these sides: told are fit'),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        judged(tmp_path, [booked("a", "1", **V3)], evals=[evaluation("a", "fit", True)], **change)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLake]:
    """Sixty requests of two prompt versions, half of them resolved, v4 with twice the input."""
    spans = []
    for version, tokens in (("v3", 1000), ("v4", 2000)):
        for n in range(60):
            trace = f"{version} {n}"
            attributes = {"prompt_version": version}
            spans += [
                call(trace, "call", at=NOON + n * SECOND, input=tokens + n, output=10, attributes=attributes),
                SpanOf(trace, "verdict", "outcome", "call", attributes={"outcome.resolved": n % 2 == 0}),
            ]
    yield SmallLake(tmp_path_factory.mktemp("gate") / "lake").land(*spans)


def gate(lake: SmallLake, *options: str) -> Any:
    window = ("--since", "2026-11-15", "--until", "2026-11-22", "--lake", str(lake.lake.root))
    sides = ("--baseline", "prompt_version=v3", "--candidate", "prompt_version=v4")
    return CliRunner().invoke(app, ["gate", *sides, *window, *options], standalone_mode=False)


def test_the_exit_code_is_the_verdict(lake: SmallLake) -> None:
    """0 pass, 1 fail, 3 too little data, 2 a question that cannot be answered."""
    generous = ("--max-pass-rate-drop", "0.5", "--max-latency-increase", "inf")
    assert gate(lake, *generous).return_value is None
    assert gate(lake, *generous, "--max-cost-increase", "0.1").return_value == 1
    assert gate(lake).return_value == 3
    assert isinstance(gate(lake, "--outcome", "accepted").exception, UsageError)


def test_json_holds_the_figures_and_markdown_reads_as_a_comment(lake: SmallLake) -> None:
    """Money as exact text; the verdict is the first line of a pull request's comment."""
    options = ("--max-pass-rate-drop", "0.5", "--max-latency-increase", "inf", "--max-cost-increase", "0.1")
    told = json.loads(gate(lake, *options, "--format", "json").output)
    text = gate(lake, *options, "--format", "md").output

    spent = sum(usd("0.15") * (2000 + n) + usd("0.60") * 10 for n in range(60)) / 1_000_000
    assert told["verdict"] == "fail"
    assert told["candidate"]["cost_usd"] == f"{spent:.9f}"
    cost = next(each for each in told["measures"] if each["measured"] == "cost per outcome")
    assert usd(cost["candidate"]) == round(spent / 30, 9)
    assert (cost["finding"], cost["limit"], cost["subject"]) == ("beyond", 0.1, "resolved")
    assert cost["interval"]["low"] < cost["change"] < cost["interval"]["high"]
    assert text.startswith("**FAIL: cost per outcome (resolved) rose from $0.000")
    assert "| cost per outcome (resolved) | $0.000" in text


def test_the_same_history_has_the_same_answer(lake: SmallLake) -> None:
    """The bootstrap is seeded."""
    options = {"since": "2026-11-15", "until": "2026-11-22", "limits": Limits(0.02, None, 0.0)}
    first, second = (lake.warehouse.gate(V3, V4, **options) for _ in range(2))

    assert of_report(first).facts == of_report(second).facts


@pytest.mark.parametrize("name", list(CANDIDATES))
def test_a_wrong_verdict_is_as_rare_as_the_confidence_says(name: str) -> None:
    """Of candidates on a limit, equal ones and a cheap one that is dear; tests/gate_run.py does it with thousands."""
    truth, limits, wrong = CANDIDATES[name]
    tally = simulated(truth, limits, pairs=20, size=150, resamples=300)

    allowed = most_wrong(tally.pairs) * tally.pairs
    assert tally.verdicts[wrong] <= allowed
    assert max(tally.too_high[each] + tally.too_low[each] for each in MEASURED) <= allowed


def test_the_workflow_in_the_docs_reports_and_hands_on_the_verdict(lake: SmallLake, tmp_path: Path) -> None:
    """Its gate step as the runner would run it; six hours hold no call of this lake, so there is too little data."""
    workflow = yaml.safe_load((ROOT / "docs" / "examples" / "gate.yml").read_text())
    (step,) = (step for step in workflow["jobs"]["gate"]["steps"] if step.get("id") == "gate")
    told = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "GITHUB_OUTPUT": str(tmp_path / "output")}
    sides = {"BASELINE": "v3", "CANDIDATE": "v4", "LLMCOST_LAKE": str(lake.lake.root)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        ["/bin/bash", "-e", "-c", step["run"]], cwd=tmp_path, env={**told, **sides, "PATH": path}, check=True
    )

    assert (tmp_path / "output").read_text() == "code=3\n"
    assert (tmp_path / "summary").read_text() == (tmp_path / "gate.md").read_text()
    assert "**NOT ENOUGH DATA: no call of the baseline" in (tmp_path / "summary").read_text()
