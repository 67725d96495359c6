"""Telemetry and reports written out in a test, set beside each other without a lake that is derived."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from llmcost.ingest.report_store import store
from llmcost.ingest.reports import Report, Usage
from llmcost.models.lake import Lake
from llmcost.models.prices import PriceBook
from llmcost.models.schema import TOKEN_COLUMNS
from llmcost.models.settings import Reconciling
from llmcost.models.windows import window, zone
from llmcost.sql.database import connect, parquet_by_day, quoted
from llmcost.sql.derive import empty_relation
from llmcost.sql.reconcile import needed, question, reconcile
from llmcost.sql.reconciliation import Reconciliation
from llmcost.sql.usage_rates import UsageRates, worth

from .lakes import NOW

RATES = UsageRates(PriceBook())


def call(
    model: str,
    *,
    at: datetime,
    provider: str = "openai",
    cost: Decimal | None = None,
    tier: str | None = None,
    **told: Any,
) -> dict[str, Any]:
    """A row of `calls`: booked at `cost`, else at its list price; without usage where no token is told."""
    tokens = {f"{name}_tokens": told.pop(name) for name in list(told) if f"{name}_tokens" in TOKEN_COLUMNS}
    price = RATES.at([(provider, model)], tier, at)
    if cost is None and tokens and price is not None:
        counts = {name: tokens.get(name, 0) for name in TOKEN_COLUMNS}
        cost = worth(price, counts).quantize(Decimal("1e-9"), ROUND_HALF_UP)
    reason = None if cost is not None else "model_not_in_price_book" if tokens else "usage_missing"
    row = {"day": at.date(), "started_at": at, "ended_at": at + timedelta(seconds=1), "provider": provider}
    row |= {"model": model, "service_tier": tier, "is_batch": tier == "batch", "cost_usd": cost}
    return row | {"cost_basis": "list" if cost is not None else None, "unpriced_reason": reason} | tokens | told


class TwoSides:
    """Calls in memory, and reports in a lake that holds nothing else."""

    def __init__(self, folder: Path, settings: Reconciling | None = None) -> None:
        self.lake = Lake.create(folder)
        self.settings = settings or Reconciling()
        self.calls: list[dict[str, Any]] = []

    def land(self, *calls: dict[str, Any]) -> TwoSides:
        """Add calls."""
        self.calls += calls
        return self

    def told(self, *rows: Usage, source: str | None = None, now: datetime = NOW) -> TwoSides:
        """Import rows; without `source` those of costs as OpenAI's costs, the others as its usage."""
        of_costs = [row for row in rows if row.report == "costs"]
        others = [row for row in rows if row.report != "costs"]
        for name, part in ((source or "openai-costs", of_costs), (source or "openai-usage", others)):
            if part:
                store(self.lake, Report(name, tuple(part)), now)
        return self

    def ask(
        self,
        *,
        since: str = "2026-11-18",
        until: str = "2026-11-23",
        by: str | None = None,
        group_by: Sequence[str] = (),
        reports: Sequence[str] = (),
        provider: str | None = None,
    ) -> Reconciliation:
        """Both sides of the days around."""
        asked = question(
            window(since, until, now=datetime(2026, 11, 24, tzinfo=UTC), tz=zone("UTC")),
            self.settings,
            by=by,
            group_by=group_by,
            reports=reports,
            provider=provider,
        )
        needed(self.lake, asked)
        empty = empty_relation("calls")
        columns = [name for name in empty.schema.names if any(name in row for row in self.calls)]
        with connect() as con:
            con.register("no_calls", empty)
            fields = pa.schema([empty.schema.field(name) for name in columns])
            con.register("these_calls", pa.Table.from_pylist(self.calls, fields))
            named = ", ".join(map(quoted, columns))
            these = f"union all by name select {named} from these_calls" if self.calls else ""
            con.execute(f"create temp view calls as from no_calls {these}")
            files = [self.lake.mart_file("provider_usage", day) for day in self.lake.report_days("provider_usage")]
            con.execute(f"create temp view provider_usage as from {parquet_by_day(files)}")
            return reconcile(con, asked, PriceBook(), self.settings, ())
