"""The captures' truth as each provider's report, against what their telemetry tells.

    python tests/reconcile_run.py [CAPTURE…]

Every capture on its own lake, beside every shape of report that its providers make: OpenAI's usage and costs,
Anthropic's usage and cost, LiteLLM's logs, Langfuse's export and a plain CSV. Where telemetry is complete the
variance is zero; where it is not, the cause is named and explains all of it. Exits with 1 where one does not.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from support import captures, provider_reports
from support.lakes import SmallLake

from llmcost.ingest.report_file import read_report
from llmcost.ingest.report_store import store
from llmcost.ingest.wire import Signal
from llmcost.sql import Warehouse
from llmcost.sql.reconciliation import Cause, Totals

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SHORT = ("openinference-sdk", "otel-openai-v2")
"""One whose telemetry is complete but for a stream, and one whose library leaves calls and counts out."""

_DETAILS = {
    Cause.MISSING_CACHE_FIELDS, Cause.CACHE_LIFETIME, Cause.MISSING_AUDIO_FIELDS, Cause.ROUNDING,
}  # fmt: skip


@dataclass
class Result:
    """One capture beside its reports."""

    name: str
    totals: Sequence[Totals]
    faults: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether no report differs."""
        return all(not each.gross_usd and not each.gross_tokens for each in self.totals)


def reports(truth: Sequence[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """(name of a file, content) of each shape of report that the truth makes."""
    openai, anthropic = (provider_reports.billed(truth, name) for name in ("openai", "anthropic"))
    if openai:
        yield "openai_usage.json", provider_reports.openai_usage(openai)
        yield "openai_costs.json", provider_reports.openai_costs(openai)
        if any(row["api"] == "embeddings" for row in openai):
            yield "openai_embeddings.json", provider_reports.openai_usage(openai, api="embeddings")
    if anthropic:
        yield "anthropic_usage.json", provider_reports.anthropic_usage(anthropic)
        yield "anthropic_costs.json", provider_reports.anthropic_costs(anthropic)
    billed = [*openai, *anthropic, *provider_reports.billed(truth, "google")]
    priced = [row for row in billed if row["usage"]["input_total"] is not None]
    if priced:
        yield "litellm.json", provider_reports.litellm_logs(priced)
        yield "langfuse.json", provider_reports.langfuse_observations(priced)
        yield "plain.csv", provider_reports.as_csv(priced)


def lake_of(name: str, folder: Path) -> SmallLake:
    """The capture landed, spans and logs."""
    small = SmallLake(folder / "lake")
    for signal in (Signal.TRACES, Signal.LOGS):
        bodies = [each.body for each in captures.requests(name) if each.signal == signal]
        if bodies:
            small.land_requests(bodies, signal)
    return small


def reconciled(name: str, folder: Path) -> Result:
    """One capture against every report of its truth, with what is wrong in the answers."""
    small, truth = lake_of(name, folder), captures.truth(name)
    for file, content in reports(truth):
        kind = "csv" if file.endswith(".csv") else None
        store(small.lake, read_report([provider_reports.write(folder / file, content)], kind, None), NOW)
    if not small.lake.report_days("provider_usage"):
        return Result(name, ())
    answer = Warehouse(small.lake.root, small.settings, now=lambda: NOW).reconcile(since="2026-11-20")
    result = Result(name, answer.totals)
    for totals in answer.totals:
        result.faults += _faults(totals, truth)
    return result


def _faults(totals: Totals, truth: Sequence[dict[str, Any]]) -> Iterator[str]:
    vendors = {"openai": ["openai"], "anthropic": ["anthropic"]}.get(totals.report, ["openai", "anthropic", "google"])
    billed = [row for vendor in vendors for row in provider_reports.billed(truth, vendor)]
    cost = sum(map(provider_reports.cost, billed), Decimal(0))
    tokens = sum(row["usage"]["input_total"] + row["usage"]["output_total"] for row in billed)
    if (cost, tokens) != (totals.report_cost_usd, totals.report_tokens):
        yield f"{totals.report}: told {totals.report_cost_usd} and {totals.report_tokens}, not {cost} and {tokens}"
    if totals.unexplained_usd:
        yield f"{totals.report}: {totals.unexplained_usd} unexplained"
    amount = sum((each.amount_usd for each in totals.causes), Decimal(0))
    if amount != totals.variance_usd:
        yield f"{totals.report}: causes sum to {amount}, the variance is {totals.variance_usd}"
    if totals.variance_tokens and not {each.cause for each in totals.causes} - _DETAILS:
        yield f"{totals.report}: {totals.variance_tokens} tokens differ and no cause says why"


def line(result: Result) -> str:
    """A capture in a row: how far each report is off, and the causes, the largest first."""
    causes: dict[str, Decimal] = {}
    for totals in result.totals:
        for each in totals.causes:
            causes[each.cause.value] = max(causes.get(each.cause.value, Decimal(0)), abs(each.amount_usd))
    ranked = sorted(causes, key=lambda cause: -causes[cause])
    worst = min((each.token_coverage for each in result.totals if each.token_coverage is not None), default=1.0)
    off = max((each.gross_usd or Decimal(0) for each in result.totals), default=Decimal(0))
    said = "zero" if result.is_complete else f"{', '.join(ranked)}"
    return f"{result.name:36} {len(result.totals):7} {worst * 100:7.1f}% {off:13.9f}  {said}"


def main(names: Iterable[str]) -> int:
    """Run captures; the number of faults."""
    print(f"{'capture':36} {'reports':>7} {'coverage':>8} {'variance USD':>13}  causes")  # noqa: T201
    faults, complete, count, compared = [], 0, 0, 0
    for name in names:
        with tempfile.TemporaryDirectory(prefix="llmcost-") as folder:
            result = reconciled(name, Path(folder))
        print(line(result), flush=True)  # noqa: T201
        faults += [f"{name}: {fault}" for fault in result.faults]
        count += bool(result.totals)
        compared += len(result.totals)
        complete += bool(result.totals) and result.is_complete
    agree = f"{complete} agree to the nano-dollar, {count - complete} have causes"
    print(f"{count} captures, {compared} reports: {agree}")  # noqa: T201
    print("\n".join(faults) or "every variance is explained to the nano-dollar")  # noqa: T201
    return len(faults)


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:] or captures.names())))
