"""The demo from an empty folder to its last screen. Orchestrates only: story, senders and check are elsewhere."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import typer
from deltalake import DeltaTable

from ..models.errors import LandingError, UsageError
from ..models.lake import Lake
from ..sql.warehouse import Warehouse
from . import figures
from .demo_governance import print_governance, write_files
from .demo_truth import Accuracy, CountedCall, compare, of_ledger, outcomes_as_told, read_recorded_truth
from .demo_week import Week, tell
from .receiver_process import receiver
from .sheet import of_answer
from .tables import print_table
from .waiting import progress_bar

try:
    from .demo_send import Recording, read_recordings, send_recordings, send_week
except ImportError as error:
    raise UsageError(
        f"the demo sends through the OpenTelemetry SDK, which is not installed ({error.name}): "
        "pip install 'llmcost[demo]'"
    ) from error

RECORDINGS = Path(__file__).parent.parent / "data" / "fixtures" / "captures"
_MARKER = "demo.json"
_LANDING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Question:
    """A rollup the demo asks, in the words of the shell and of the library."""

    rollup: str
    group_by: tuple[str, ...] = ()
    where: Mapping[str, str] | None = None
    top: int | None = None

    def command(self, since: str, lake: Path) -> str:
        parts = ["llmcost rollup", self.rollup, f"--since {since}"]
        parts += [f"--group-by {dimension}" for dimension in self.group_by]
        parts += [f"--where {name}={value}" for name, value in (self.where or {}).items()]
        parts += [f"--top {self.top}"] if self.top else []
        return " ".join([*parts, f"--lake {lake}"])


_QUESTIONS = (
    _Question("cost-per-outcome", group_by=("agent_name",), where={"feature": "refund-bot"}),
    _Question("cost-per-agent-run", where={"feature": "refund-bot"}),
    _Question("eval-vs-inference"),
)


def run(lake: Path) -> bool:
    """Make the demo's lake at `lake` and print what it shows; whether every known dollar was counted once.

    Raises UsageError for a folder that is not a demo's, LandingError if the receiver fails.
    """
    now = datetime.now(UTC)
    _make_room(lake, now)
    week, recordings = tell(now), read_recordings(RECORDINGS)
    typer.echo("A made-up week of a support product, sent as OTLP to a receiver of its own.", err=True)
    _send(week, recordings, lake)
    warehouse = Warehouse(lake)
    with progress_bar("deriving days") as progress:
        warehouse.refresh(since=None, progress=progress)
    since = _since(now, recordings)
    for question in _QUESTIONS:
        typer.echo(f"\n$ {question.command(since, lake)}\n")
        answer = warehouse.ask(
            question.rollup, since=since, group_by=question.group_by, where=question.where or {}, top=question.top
        )
        print_table(of_answer(answer, datetime.now(UTC)), sys.stdout)
    write_files(warehouse)
    print_governance(warehouse, since)
    typer.echo("")
    is_exact = _print_accuracy(week, recordings, warehouse, since)
    _print_next_steps(week, lake, since)
    return is_exact


def _make_room(lake: Path, now: datetime) -> None:
    """An empty folder: a demo's lake is replaced, anybody else's is left alone."""
    if (lake / _MARKER).is_file():
        shutil.rmtree(lake)
    elif lake.exists() and (not lake.is_dir() or any(lake.iterdir())):
        raise UsageError(
            f'"{lake}" is not an earlier demo\'s lake, and is not empty: choose another folder with --lake'
        )
    try:
        lake.mkdir(parents=True, exist_ok=True)
        (lake / _MARKER).write_text(json.dumps({"made_at": now.isoformat()}) + "\n")
    except OSError as error:
        raise UsageError(f'cannot make the folder "{lake}": {error.strerror}') from error


def _send(week: Week, recordings: Sequence[Recording], lake: Path) -> None:
    with receiver(lake) as running:
        begun = time.monotonic()
        with progress_bar("sending spans") as progress:
            sent = send_week(week.spans, running.endpoint, progress)
        replayed = send_recordings(recordings, running.endpoint)
        acknowledged = time.monotonic()
        with progress_bar("landing spans") as progress:
            _wait_until_landed(lake, sent + replayed, progress)
        landed = time.monotonic()
    recorded = f"{len(recordings)} recorded exports of real libraries ({replayed:,} spans)"
    if not recordings:
        recorded = "no recorded exports (they are in the source checkout only)"
    typer.echo(
        f"{sent:,} spans and {recorded}: acknowledged in {acknowledged - begun:.1f} s, "
        f"all of them in Parquet {landed - acknowledged:.1f} s later."
    )


def _wait_until_landed(lake: Path, expected: int, progress: Callable[[int, int], None] | None) -> None:
    """Look into the table until every acknowledged span is there. Raises LandingError after a minute."""
    deadline = time.monotonic() + _LANDING_SECONDS
    found = 0
    while time.monotonic() < deadline:
        found = _landed_spans(lake)
        if progress:
            progress(found, expected)
        if found >= expected:
            return
        time.sleep(0.1)
    raise LandingError(
        f"only {found:,} of {expected:,} acknowledged spans were landed after {_LANDING_SECONDS:.0f} s"
    )


def _landed_spans(lake: Path) -> int:
    root = Lake(lake).table("spans")
    if not (root / "_delta_log").is_dir():
        return 0
    files = pa.table(DeltaTable(str(root)).get_add_actions(flatten=True))
    return int(pc.sum(files.column("num_records")).as_py() or 0)


def _since(now: datetime, recordings: Sequence[Recording]) -> str:
    """A --since that holds the week and the recordings, whenever the demo is run."""
    oldest = min([now - timedelta(days=7), *(recording.oldest for recording in recordings)])
    return f"{math.ceil((now - oldest) / timedelta(days=1)) + 1}d"


def _print_accuracy(week: Week, recordings: Sequence[Recording], warehouse: Warehouse, since: str) -> bool:
    table = warehouse.sql("select trace_id, span_ids, cost_usd from calls")
    own_traces = {f"{span.trace_id:032x}" for span in week.spans}
    own: list[CountedCall] = []
    recorded: list[CountedCall] = []
    for row in table.to_pylist():
        call = CountedCall(frozenset(row["span_ids"]), row["cost_usd"])
        (own if row["trace_id"] in own_traces else recorded).append(call)
    accuracy = compare(of_ledger(week.calls), own)
    for line in _accuracy_lines(accuracy):
        typer.echo(line)
    by_feature = warehouse.ask("cost-per-outcome", since=since, group_by=("feature",)).table.to_pylist()
    right, told = outcomes_as_told(week.outcomes, by_feature)
    typer.echo(f"  {right:,} of {len(week.outcomes):,} outcomes by their latest word, {told - right:,} others.")
    if recordings:
        typer.echo(_recorded_line(recordings, recorded))
    return accuracy.is_exact and right == told == len(week.outcomes)


def _accuracy_lines(accuracy: Accuracy) -> list[str]:
    difference = accuracy.counted_usd - accuracy.known_usd
    return [
        f"Against the ledger of what happened: {accuracy.once:,} of {accuracy.known:,} calls counted once, "
        f"{accuracy.twice:,} twice, {accuracy.missing:,} missing, {accuracy.invented:,} invented;",
        f"  ${accuracy.counted_usd:,f} of ${accuracy.known_usd:,f}, difference ${difference:,f}; "
        f"{accuracy.counted_unpriced:,} of {accuracy.known_unpriced:,} calls without a known price said so.",
    ]


def _recorded_line(recordings: Sequence[Recording], recorded: Sequence[CountedCall]) -> str:
    truths = [read_recorded_truth(RECORDINGS, recording.name) for recording in recordings]
    known: list[tuple[frozenset[str], Decimal | None]] = [(call, None) for truth in truths for call in truth.calls]
    accuracy = compare(known, recorded)
    silent = sum(truth.never_reported for truth in truths)
    return (
        f"The recorded exports: {accuracy.once:,} of {accuracy.known:,} calls once, {accuracy.twice:,} twice, "
        f"{accuracy.missing:,} missing ({silent:,} more never had their usage reported by the library)."
    )


def _print_next_steps(week: Week, lake: Path, since: str) -> None:
    runs = [call for call in week.calls if call.owner.agent == "refund-haiku"]
    longest = max(
        {call.trace_id for call in runs}, key=lambda trace_id: sum(call.trace_id == trace_id for call in runs)
    )
    per_call, per_success = _lesson(week)
    typer.echo(
        f"\nThe lesson of this week: a call of refund-haiku costs {figures.number(per_call)} times one of "
        f"refund-sonnet, a resolved refund {figures.number(per_success)} times.\n\nNext, on the same lake:"
    )
    steps = (
        (f"llmcost trace {longest[:12]} --lake {lake}", "the longest agent run as a tree"),
        (f"llmcost rollup cost-per-customer --since {since} --lake {lake}", "for whom the money was spent"),
        (f'llmcost sql "from unbilled_spans limit 20" --lake {lake}', "what was not billed, and why"),
        (f"llmcost doctor --lake {lake}", "whether the lake is well"),
    )
    width = max(len(command) for command, _ in steps)
    for command, meaning in steps:
        typer.echo(f"  {command:<{width}}   {meaning}")


def _lesson(week: Week) -> tuple[float, float]:
    """How dear the cheap model is beside the dear one: per call, and per resolved refund. From the ledger."""

    def costs(agent: str) -> tuple[Decimal, Decimal]:
        answered = [call for call in week.calls if call.owner.agent == agent and not call.is_refused]
        spent = [call.cost_usd or Decimal(0) for call in answered]
        resolved = sum(outcome.succeeded for outcome in week.outcomes if outcome.owner.agent == agent)
        return sum(spent, Decimal(0)) / len(spent), sum(spent, Decimal(0)) / resolved

    cheap, dear = costs("refund-haiku"), costs("refund-sonnet")
    return round(float(cheap[0] / dear[0]), 2), round(float(cheap[1] / dear[1]), 1)
