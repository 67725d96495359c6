"""A warehouse of canned answers, for tests of what the shell shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from llmcost.models.errors import LakeMissing, UsageError
from llmcost.models.windows import Window
from llmcost.sql.answers import (
    Answer,
    Column,
    Coverage,
    Finding,
    PriceCheck,
    PriceView,
    RefreshReport,
    Repricing,
    Restatement,
    RollupInfo,
    TraceSpan,
    TraceView,
)
from llmcost.sql.cost_change import CostChange, DriverChange, SegmentPart, WindowFigures
from llmcost.sql.decomposition import Driver
from llmcost.sql.driver_figures import Figure

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MONEY = pa.decimal128(18, 9)
INFO = RollupInfo(
    name="cost-per-outcome",
    sentence="What one success really costs.",
    grain="one row per outcome",
    reads=("calls", "outcomes"),
    columns=(
        Column("feature", "Product feature"),
        Column("successes", "Cases that reached it"),
        Column("total_cost_usd", "Spent on all of them"),
        Column("cost_per_success_usd", "Total over successes"),
    ),
    group_by=("feature", "team"),
    path=Path("sql/rollups/cost_per_outcome.sql"),
)
TABLE = pa.table(
    {
        "feature": ["refund-bot", "=1+1", None],
        "successes": pa.array([12345, 1, 0], pa.int64()),
        "total_cost_usd": pa.array([Decimal("1234.5"), Decimal("0.0042"), None], MONEY),
        "cost_per_success_usd": pa.array([Decimal("0.100000001"), Decimal("0.0042"), None], MONEY),
    }
)
COVERAGE = Coverage(
    calls=12_400,
    cost_usd=Decimal("1234.504200000"),
    unpriced_calls=3,
    unpriced_tokens=4_321,
    unattributed={"feature": 0.0421},
    newest_span_at=NOW - timedelta(seconds=3),
)
SPAN = TraceSpan(
    span_id="a" * 16,
    parent_span_id=None,
    depth=0,
    name="POST /refunds",
    kind_class="other",
    scope_name="support.app",
    started_at=NOW,
    duration_ms=1234.0,
    status="UNSET",
    model=None,
    input_tokens=None,
    output_tokens=None,
    cost_usd=None,
    cost_basis=None,
    billed=False,
    reason=None,
    represented_by=None,
)
CALL = TraceSpan(
    span_id="b" * 16,
    parent_span_id="a" * 16,
    depth=1,
    name="chat claude-haiku-4-5",
    kind_class="model_call",
    scope_name="anthropic",
    started_at=NOW,
    duration_ms=800.0,
    status="UNSET",
    model="claude-haiku-4-5",
    input_tokens=3210,
    output_tokens=210,
    cost_usd=Decimal("0.004260000"),
    cost_basis="list",
    billed=True,
    reason=None,
    represented_by=None,
)
TWIN = TraceSpan(
    span_id="c" * 16,
    parent_span_id="a" * 16,
    depth=1,
    name="ChatAnthropic",
    kind_class="model_call",
    scope_name="anthropic",
    started_at=NOW,
    duration_ms=801.0,
    status="UNSET",
    model="claude-haiku-4-5",
    input_tokens=3210,
    output_tokens=210,
    cost_usd=None,
    cost_basis=None,
    billed=False,
    reason="same response id",
    represented_by="b" * 16,
)


RESTATED = Restatement(
    day=date(2026, 11, 21),
    restated_at=NOW,
    book_before="genai-prices 0.2.3",
    book_after="genai-prices 0.2.4",
    calls=7,
    cost_before=Decimal("10"),
    cost_after=Decimal("9.5"),
    unpriced_before=2,
    unpriced_after=0,
)
DIFFERENCE = pa.table(
    {
        "day": [date(2026, 11, 21)],
        "provider": ["openai"],
        "model": ["gpt-4o-mini"],
        "calls": [7],
        "cost_before_usd": pa.array([Decimal(10)], MONEY),
        "cost_after_usd": pa.array([Decimal("9.5")], MONEY),
    }
)


BEFORE, AFTER = (
    WindowFigures(
        Window(NOW - timedelta(days=since), NOW - timedelta(days=since - 7)),
        requests=10,
        successes=successes,
        undecided=0,
        calls=10,
        unpriced_calls=0,
        unpriced_tokens=0,
        unsplit_calls=0,
        cost_usd=Decimal("0.8"),
        cost_per_success_usd=Decimal("0.8") / successes,
    )
    for since, successes in ((14, 8), (7, 5))
)
CHANGE = CostChange(
    "cost-per-outcome",
    "resolved",
    BEFORE,
    AFTER,
    drivers=(
        DriverChange(
            Driver.SUCCESS_RATE,
            Figure("percent of requests", 80.0, 50.0),
            part_per_success_usd=Decimal("0.06"),
            per_success_percent=60.0,
            part_total_usd=Decimal(0),
            total_percent=0.0,
            leading=SegmentPart("feature", "refund-bot", 1, 0.5, Decimal("0.06"), Decimal(0)),
            segments=(SegmentPart("feature", "refund-bot", 1, 0.5, Decimal("0.06"), Decimal(0)),),
            examples=("4bf92f3577b34da6a3ce929d0e0e4736",),
        ),
    ),
    models=(),
    dimensions=("feature",),
)


@dataclass
class FakeWarehouse:
    """Answers like the real one, and remembers what it was asked."""

    lake: Path
    settings: object = None
    now: Callable[[], datetime] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    restated: ClassVar[tuple[Restatement, ...]] = ()
    findings: tuple[Finding, ...] = (Finding("lake", "ok", "readable, format 1", None),)
    last: Any = None

    def __post_init__(self) -> None:
        FakeWarehouse.last = self
        if self.lake.name == "nowhere":
            raise LakeMissing(f'no lake at "{self.lake}": start one with: llmcost serve --lake {self.lake}')

    def rollups(self) -> list[RollupInfo]:
        return [INFO]

    def ask(self, name: str, **question: Any) -> Answer:
        if name != INFO.name:
            raise UsageError(f'no rollup is called "{name}"')
        del question["progress"]
        self.asked.append({"name": name, **question})
        return Answer(INFO, Window(NOW - timedelta(days=7), NOW), TABLE, COVERAGE, restated=self.restated)

    def why(self, name: str, **question: Any) -> CostChange:
        if name != CHANGE.name:
            raise UsageError(f'why "{name}": what can be explained is {CHANGE.name}')
        del question["progress"]
        self.asked.append({"name": name, **question})
        return CHANGE

    def refresh(self, *, since: str | None = "7d", until: str | None = None, progress: Any = None) -> RefreshReport:
        del progress
        self.asked.append({"since": since, "until": until})
        return RefreshReport(7, (date(2026, 11, 22),), 12_400, Decimal("1234.5042"), 0.31, self.restated)

    def trace(self, trace_id: str) -> TraceView:
        self.asked.append({"trace_id": trace_id})
        outcomes = (("resolved", False, None),)
        return TraceView("4bf92f3577b34da6a3ce929d0e0e4736", (SPAN, CALL, TWIN), CALL.cost_usd, 1, 0, outcomes)

    def prices(self, model: str, provider: str | None = None) -> PriceView:
        rows = pa.table({"holds": ["now"], "input": pa.array([Decimal("0.25")], MONEY)})
        return PriceView(provider or "openai", model, "genai-prices", "genai-prices 0.2.3", rows)

    def reprice(self, *, apply: bool, progress: Any, **question: Any) -> Repricing:
        del progress
        self.asked.append({"apply": apply, **question})
        totals = {"cost_before_usd": Decimal(10), "cost_after_usd": Decimal("9.5")}
        counts = {"days": 2, "calls": 9, "changed_calls": 7, "unpriced_before": 2, "unpriced_after": 0}
        return Repricing(
            Window(NOW - timedelta(days=7), NOW),
            ("genai-prices 0.2.3",),
            "genai-prices 0.2.4",
            DIFFERENCE,
            DIFFERENCE.drop_columns(["day"]),
            {**counts, **totals},
            self.restated if apply else None,
        )

    def unpriced_models(self) -> pa.Table:
        return pa.table({"model": ["acme-7b"], "calls": [3], "input_tokens": [4321], "output_tokens": [None]})

    def check_prices(self, path: Path) -> PriceCheck:
        problems = 1 if path.name == "wrong.toml" else 0
        entry = {
            "entry": "[[list]] entry 1 (a)",
            "models": ["a"],
            "calls": 3,
            "problem": "needs" if problems else None,
        }
        return PriceCheck(path, pa.Table.from_pylist([entry]), problems)

    def diff_prices(self, old: Path | None, new: Path, models: tuple[str, ...]) -> pa.Table:
        self.asked.append({"old": old, "new": new, "models": models})
        return pa.table({"model": ["a"], "price": ["input"], "old_usd": pa.array([None], MONEY)})

    def sql(self, query: str) -> pa.Table:
        if "boom" in query:
            raise UsageError("Parser Error: syntax error\nLINE 1: boom")
        return TABLE

    def doctor(self) -> list[Finding]:
        return list(self.findings)
