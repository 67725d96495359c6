"""One call per model request, on synthetic traces whose truth is known by construction.

tests/union_run.py does this with any number of traces and seeds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from support import captures
from support.traces import Forest, Request

TRACES = 4_000
SEED = 20261120
PRICES = {"gpt-4o-mini": ("0.15", "0.075", "0", "0.60"), "claude-haiku-4-5": ("1", "0.10", "1.25", "5")}
"""Input, cache read, cache write and output, USD per million tokens."""


@dataclass
class Derived:
    """The forest and what was made of it."""

    forest: Forest
    calls: list[dict[str, Any]]
    unbilled: list[dict[str, Any]]


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> Derived:
    """All traces, derived at once."""
    found = grown(tmp_path_factory.mktemp("forest"), TRACES, SEED)
    assert len(found.forest.ledger) >= 13_000
    return found


def grown(folder: Path, traces: int, seed: int) -> Derived:
    """So many traces of a seed, landed in a folder and derived."""
    forest = Forest(seed).grow(traces)
    marts = captures.derive(folder, forest.land(folder))
    return Derived(forest, marts["calls"].to_pylist(), marts["unbilled_spans"].to_pylist())


def test_every_request_is_exactly_one_call(derived: Derived) -> None:
    """No row tells two requests, no request has two rows, none is missing: whatever libraries told it.

    Which of several identical requests at the same time a span is about, nobody can tell, and it changes
    nothing: those stand for one another.
    """
    owners = {span_id: request for request in derived.forest.ledger for span_id in request.span_ids}
    rows: Counter[Request] = Counter()
    wrong: Counter[str] = Counter()
    for call in derived.calls:
        told = {owners[span_id].alike for span_id in call["span_ids"] if span_id in owners}
        if len(told) == 1:
            rows[told.pop()] += 1
        else:
            wrong[f"{len(told)} requests in a row: {sorted(request.shape for request in told)}"] += 1
    for request, count in Counter(request.alike for request in derived.forest.ledger).items():
        if rows[request] != count:
            wrong[f"{rows[request]} rows for {count}: {request.shape}"] += 1

    assert wrong == {}
    assert len(derived.calls) == len(derived.forest.ledger)


def test_every_call_has_its_requests_tokens_and_cost(derived: Derived) -> None:
    """The most detailed span of a request gives its counts; money is the truth's, to the nano-dollar."""
    by_span = {span_id: call for call in derived.calls for span_id in call["span_ids"]}
    for request in derived.forest.ledger:
        call = next(by_span[span_id] for span_id in request.span_ids if span_id in by_span)
        counted = tuple(
            call[column] or 0
            for column in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens")
        )
        assert counts(request) == counted, request
        assert call["cost_usd"] == (cost(request) if request.is_told else None), request
    assert sum(cost(request) for request in derived.forest.ledger) == sum(
        call["cost_usd"] for call in derived.calls if call["cost_usd"] is not None
    )


def test_the_wrong_rules_are_wrong_here(derived: Derived, capsys: pytest.CaptureFixture[str]) -> None:
    """The traces are hard enough: each simpler rule counts dollars twice or loses them."""
    spans = [row for row in derived.forest.rows if row.get("input_tokens") or row.get("output_tokens")]
    parents = {row["span_id"]: row["parent_span_id"] for row in derived.forest.rows}
    above: set[str | None] = set()
    for row in spans:
        span_id = parents[row["span_id"]]
        while span_id and span_id not in above:
            above.add(span_id)
            span_id = parents[span_id]
    true = [request for request in derived.forest.ledger if request.is_told and not request.failed]
    rules = {
        "all spans": spans,
        "operation filter": [row for row in spans if row["operation"] in ("chat", "generation", "LLM")],
        "leaf-most": [row for row in spans if row["span_id"] not in above],
        "one call per request": derived.calls,
    }
    factors = {
        name: (
            sum(row["input_tokens"] or 0 for row in rows) / sum(request.input_tokens for request in true),
            sum(row["output_tokens"] or 0 for row in rows) / sum(request.output_tokens for request in true),
        )
        for name, rows in rules.items()
    }

    with capsys.disabled():
        print(f"\n{TRACES:,} traces, {len(derived.forest.rows):,} spans, {len(derived.forest.ledger):,} requests")  # noqa: T201
        for name, (of_input, of_output) in factors.items():
            print(f"{name:22} {of_input:.3f} of the input, {of_output:.3f} of the output")  # noqa: T201
    assert factors.pop("one call per request") == (1, 1)
    assert all(abs(of_input - 1) > 0.05 for of_input, _ in factors.values())


def test_what_is_not_billed_is_listed_with_what_stands_for_it(derived: Derived) -> None:
    """Every span with usage is a call's first span or has a reason; a twin's points to the call it is part of."""
    first = {call["span_id"] for call in derived.calls}
    listed = {row["span_id"]: row for row in derived.unbilled}
    with_usage = {row["span_id"] for row in derived.forest.rows if row.get("input_tokens")}

    assert with_usage <= first | listed.keys()
    assert first.isdisjoint(listed)
    for call in derived.calls:
        for span_id in call["span_ids"][1:]:
            assert listed[span_id]["call_span_id"] == call["span_id"]


def counts(request: Request) -> tuple[int, int, int, int]:
    """What of a request its spans tell."""
    if request.failed or not request.is_told:
        return (0, 0, 0, 0)
    return (request.input_tokens, request.output_tokens, request.cache_read_tokens, request.cache_write_tokens)


def cost(request: Request) -> Decimal:
    """The price of a request; a failed one and one that is not told book nothing."""
    size, generated, read, written = counts(request)
    plain, cached, write, output = map(Decimal, PRICES[request.model])
    exact = plain * (size - read - written) + cached * read + write * written + output * generated
    return (exact / 1_000_000).quantize(Decimal("1e-9"), ROUND_HALF_UP)
