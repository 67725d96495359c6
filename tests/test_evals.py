"""Evaluation results in every carrier that libraries use, each score counted once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from support import captures
from support.lakes import SmallLake
from support.spans import NOON, SpanOf, call, span_id, trace_id

from llmcost.ingest.wire import Signal

DAY = timedelta(days=1)
RESULT = "gen_ai.evaluation.result"


def score(name: str, value: object = None, label: str | None = None, **more: Any) -> dict[str, Any]:
    """A score as the conventions spell it."""
    said = {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": value}
    said |= {"gen_ai.evaluation.score.label": label, **more}
    return {key: told for key, told in said.items() if told is not None}


def log(attributes: Mapping[str, Any], at: datetime, trace: str | None = None, span: str | None = None) -> bytes:
    """One log record of an evaluation result as an export request."""
    message = ExportLogsServiceRequest()
    record = (
        message.resource_logs.add()
        .scope_logs.add()
        .log_records.add(time_unix_nano=int(at.timestamp()) * 1_000_000_000, event_name=RESULT)
    )
    if trace is not None and span is not None:
        record.trace_id = bytes.fromhex(trace_id(trace))
        record.span_id = bytes.fromhex(span_id(trace, span))
    for key, value in attributes.items():
        kind = "double_value" if isinstance(value, float) else "string_value"
        setattr(record.attributes.add(key=key).value, kind, value)
    return bytes(message.SerializeToString())


def told(lake: SmallLake) -> list[tuple[Any, ...]]:
    """(name, score, label, passed) of each result."""
    rows = lake.warehouse.sql("from evals order by evaluation_name, score").to_pylist()
    return [(row["evaluation_name"], row["score"], row["evaluation_label"], row["passed"]) for row in rows]


def counted(lake: SmallLake) -> dict[str, int]:
    """Evaluation -> results in the rollup."""
    rows = lake.warehouse.ask("cost-per-successful-eval", since="30d").table.to_pylist()
    return {row["evaluation_name"]: row["evals"] for row in rows}


def test_pydantic_evals_tell_scores_labels_and_assertions(tmp_path: Path) -> None:
    """One row a name; an assertion is true or false; the reasons are no columns."""
    values = {"value": 0.8, "reason": "mostly", "source": {"name": "Judge"}}
    case = {
        "scores": json.dumps({"accuracy": values, "speed": {"value": 3}}),
        "labels": json.dumps({"tone": {"value": "friendly", "reason": None}}),
        "assertions": json.dumps({"short": {"value": True}, "cites": {"value": False}}),
    }
    lake = SmallLake(tmp_path / "lake").land(
        SpanOf("t", "case", "case: refund", attributes=case), call("t", "c", input=9)
    )

    assert told(lake) == [
        ("accuracy", 0.8, None, True),
        ("cites", 0.0, None, False),
        ("short", 1.0, None, True),
        ("speed", 3.0, None, None),
        ("tone", None, "friendly", None),
    ]
    assert counted(lake) == {"accuracy": 1, "cites": 1, "short": 1, "speed": 1, "tone": 1}


def test_phoenix_evaluators_tell_theirs_in_content_that_is_dropped(tmp_path: Path) -> None:
    """Name, score and label are read out of it at landing; the explanation is not kept."""
    scores = [
        {"name": "hallucination", "score": 0.0, "label": "factual", "explanation": "SECRET", "source": "llm"},
        {"name": "toxic", "score": None, "label": "no"},
    ]
    evaluate = {"openinference.span.kind": "EVALUATOR", "output.value": json.dumps(scores)}
    lake = SmallLake(tmp_path / "lake").land(
        SpanOf("t", "e", "hallucination.evaluate", scope="phoenix.evals.tracing", attributes=evaluate),
        call("t", "judge", parent="e", input=9),
    )

    assert told(lake) == [("hallucination", 0.0, "factual", False), ("toxic", None, "no", False)]
    assert "SECRET" not in str(lake.warehouse.sql("from spans").to_pylist())


def test_an_answer_that_looks_like_scores_is_none(tmp_path: Path) -> None:
    """A retriever's output, labels of a cluster and scores of a match are the application's own."""
    lake = SmallLake(tmp_path / "lake").land(
        SpanOf(
            "t", "r", attributes={"openinference.span.kind": "RETRIEVER", "output.value": '[{"name":"a","score":1}]'}
        ),
        SpanOf("t", "k", attributes={"labels": '{"app": "shop"}', "scores": '{"home": 2, "away": 1}'}),
        SpanOf("t", "x", attributes={"scores": "[1, 2]", "assertions": "none", "braintrust.scores": "[0.5]"}),
        call("t", "c", input=9),
    )

    assert told(lake) == []


def test_braintrust_scores_are_numbers_by_name(tmp_path: Path) -> None:
    """A null is a score that was not given."""
    scores = {"braintrust.scores": '{"helpful": 0.8, "it\'s \\"ok\\"": 1, "later": null}'}
    lake = SmallLake(tmp_path / "lake").land(SpanOf("t", "root", attributes=scores), call("t", "c", input=9))

    assert told(lake) == [("helpful", 0.8, None, True), ('it\'s "ok"', 1.0, None, True)]


def test_a_score_as_event_and_as_log_is_one(tmp_path: Path) -> None:
    """On the same day or the next; and an id on one of them does not make it two."""
    once, keyed = score("relevant", 0.9), score("csat", 4.0, **{"openlit.score.idempotency_key": "k1"})
    lake = SmallLake(tmp_path / "lake").land(
        call("t", "c", input=9, events={RESULT: once}), SpanOf("t", "x", events={RESULT: score("csat", 4.0)})
    )
    lake.land_requests([log(once, NOON, "t", "c"), log(keyed, NOON, "t", "x")], Signal.LOGS)
    lake.land_requests([log(once, NOON + DAY, "t", "c"), log(keyed, NOON + DAY, "t", "x")], Signal.LOGS)

    assert counted(lake) == {"csat": 1, "relevant": 1}


def test_two_ids_are_two_scores_and_one_id_is_the_latest(tmp_path: Path) -> None:
    """Two people may give the same mark; one may change theirs."""
    marks = [("ann", 4.0, NOON), ("bob", 4.0, NOON), ("ann", 5.0, NOON + DAY)]
    lake = SmallLake(tmp_path / "lake").land(call("t", "c", input=9))
    for who, value, at in marks:
        told_by = score("csat", value, **{"openlit.score.idempotency_key": who})
        lake.land_requests([log(told_by, at, "t", "c")], Signal.LOGS)
    (row,) = lake.warehouse.ask("cost-per-successful-eval").table.to_pylist()

    assert (row["evals"], row["mean_score"]) == (2, 4.5)


def test_a_late_log_finds_its_call_by_the_response(tmp_path: Path) -> None:
    """It is the score that an event on any span already told of that response; of another call it is another."""
    told_of = {name: {"gen_ai.response.id": f"resp-{name}"} for name in ("1", "2")}
    lake = SmallLake(tmp_path / "lake").land(
        SpanOf("t", "root", seconds=9, events={RESULT: score("kind", 1.0, **told_of["1"])}),
        call("t", "1", parent="root", input=9, response_id="resp-1"),
        call("t", "2", parent="root", input=7, response_id="resp-2", at=NOON + timedelta(seconds=3)),
    )
    lake.land_requests([log(score("kind", 1.0, **told_of["1"]), NOON + 2 * DAY)], Signal.LOGS)
    assert counted(lake) == {"kind": 1}

    lake.land_requests([log(score("kind", 1.0, **told_of["2"]), NOON + DAY)], Signal.LOGS)
    assert counted(lake) == {"kind": 2}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("evals-openlit", {"answer_relevancy": 3, "csat_late": 3, "thumbs_up": 3, "verdict": 3}),
        ("evals-semconv", {"Groundedness": 4, "Relevance": 2, "Toxicity": 2}),
        ("evals-strands", {"OutputEvaluator": 2}),
        ("braintrust-otel", {"correct": 12, "helpfulness": 12}),
    ],
)
def test_the_recordings_hold_each_score_once(tmp_path: Path, name: str, expected: dict[str, int]) -> None:
    """As many as the recorded program gave, with its events and logs landed twice."""
    lake = SmallLake(tmp_path / "lake")
    for _ in range(2):
        for sent in captures.requests(name, logs=True):
            lake.land_requests([sent.body], Signal(sent.signal))

    assert {key: count for key, count in counted(lake).items() if key != "(not evaluated)"} == expected
