"""What a warehouse answers to those who act on money: owners, gates in CI, budgets, alerts, the provider's bill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import duckdb

from ..models.lake import Lake
from ..models.settings import Settings
from ..models.windows import Window, window, zone
from ..models.windows import month as month_window
from . import coverage
from .asking import Asking, Seen
from .derive import Rules
from .gate_answer import DEFAULT_LIMITS, Limits
from .questions import Progress

if TYPE_CHECKING:
    from ..models.alerts import Looked
    from ..models.budgets import Budgets
    from .alert import Standings
    from .focus import BilledCost, FocusExport
    from .gate_answer import GateReport
    from .reconciliation import Reconciliation
    from .shared_cost import Key
    from .spending import Hidden, Spent
    from .statements import Statements


class Governing:
    """One lake, asked on behalf of budgets, owners and gates; part of Warehouse, which opens it."""

    lake: Lake
    settings: Settings
    _now: Callable[[], datetime]
    _asking: Asking

    def statements(
        self,
        month: str = "last",
        *,
        by: str = "team",
        split_shared: Key | None = None,
        shared_features: Sequence[str] = (),
        split_unattributed: bool = False,
        tz: str = "UTC",
        progress: Progress | None = None,
    ) -> Statements:
        """A statement for each owner of a calendar month of `tz`: what it used, and its part of shared cost.

        `by` is a dimension or cost_center, which the lake's rollups/cost_centers.csv maps work to. The cost of
        `shared_features`, and with `split_unattributed` of work without an owner, is split by `split_shared`: even,
        cost, calls, tokens or weights (the lake's rollups/shared_weights.csv). Without a key it stands apart. All
        statements sum to the ledger. Raises UsageError for what cannot be asked.
        """
        from .statements import Question, answer  # noqa: PLC0415  (imports what only this question needs)

        zoned = zone(tz)
        asked = month_window(month, now=self._now(), tz=zoned)
        named = asked.since.astimezone(zoned).strftime("%Y-%m")
        question = Question(named, asked, zoned, by, split_shared, tuple(shared_features), split_unattributed)

        def over(con: duckdb.DuckDBPyConnection, seen: Seen) -> Statements:
            covered = coverage.of_window(con, seen.lake, seen.days, asked, whole=True)
            return answer(con, self.lake, question, covered, seen.restated)

        return self._asking.window(over, asked, tz=tz, progress=progress, wanted=("calls",))

    def focus(
        self,
        *,
        since: str = "7d",
        until: str | None = None,
        by: Literal["day", "hour"] = "day",
        dimensions: Sequence[str] | None = None,
        sub_account: str = "team",
        billing_account: str | None = None,
        billed_cost: BilledCost = "zero",
        where: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> FocusExport:
        """The calls of [since, until) as charges in FOCUS 1.4, by owner, model and kind of token; days are UTC.

        `dimensions` are what rows are split by, each a custom column and a tag; `sub_account` is the dimension that
        FOCUS' sub account holds. EffectiveCost sums to the ledger; BilledCost is 0, or with `billed_cost` "booked"
        the same. Calls of unknown cost are counted apart. Raises UsageError for what cannot be asked.
        """
        from .focus import DEFAULT_DIMENSIONS, Question, answer  # noqa: PLC0415  (imports what only this needs)

        asked = window(since, until, now=self._now(), tz=zone("UTC"))
        split = tuple(dict.fromkeys(DEFAULT_DIMENSIONS if dimensions is None else dimensions))
        question = Question(asked, by, split, sub_account, billing_account, billed_cost)

        def over(con: duckdb.DuckDBPyConnection, seen: Seen) -> FocusExport:
            covered = coverage.of_window(con, seen.lake, seen.days, asked, whole=not where)
            return answer(con, question, covered, seen.restated)

        reads = ("calls", "model_rates")
        return self._asking.window(over, asked, where=where, progress=progress, reads=reads, wanted=("calls",))

    def gate(
        self,
        baseline: Mapping[str, str],
        candidate: Mapping[str, str],
        *,
        since: str = "7d",
        until: str | None = None,
        where: Mapping[str, str] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        confidence: float = 0.95,
        evaluator: str | None = None,
        outcome: str | None = None,
        tz: str = "UTC",
        progress: Progress | None = None,
    ) -> GateReport:
        """Whether the calls that have what `candidate` says may replace those that have what `baseline` says.

        Both are dimensions and the value of each; `limits` how much worse the candidate may be. The evaluator and
        the outcome are those told most unless named. Raises UsageError for what cannot be asked.
        """
        from .gate import asked, judge  # noqa: PLC0415

        question = asked(
            baseline,
            candidate,
            window(since, until, now=self._now(), tz=zone(tz)),
            limits=limits,
            confidence=confidence,
            evaluator=evaluator,
            outcome=outcome,
        )
        return self._asking.window(
            lambda con, seen: judge(con, question, seen.restated),
            question.window,
            tz=tz,
            where=where,
            progress=progress,
        )

    def reconcile(
        self,
        *,
        since: str = "30d",
        until: str | None = None,
        by: str | None = None,
        group_by: Sequence[str] = (),
        reports: Sequence[str] = (),
        provider: str | None = None,
        where: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> Reconciliation:
        """Telemetry beside the imported reports of the UTC days that [since, until) touches: variance and causes.

        `group_by` names provider, model, service_tier, project or key_id; `reports` and `provider` take only those.
        `where` filters telemetry, no report. Raises UsageError for what cannot be asked, and where no report is.
        """
        from .reconcile import needed, question, reconcile  # noqa: PLC0415

        settings = self.settings.reconcile
        asked = question(
            window(since, until, now=self._now(), tz=zone("UTC")),
            settings,
            by=by,
            group_by=group_by,
            reports=reports,
            provider=provider,
        )
        rules = Rules.load(self.lake, self.settings)
        return self._asking.window(
            lambda con, seen: reconcile(con, asked, rules.book, settings, seen.restated),
            needed(self.lake, asked),
            where=where,
            progress=progress,
            wanted=("calls", "provider_usage"),
        )

    def alerts(
        self, name: str | None = None, *, standings: Standings | None = None, progress: Progress | None = None
    ) -> list[Looked]:
        """What all enabled alert rules, or the one called `name`, find now; it remembers and tells nobody anything.

        `standings` says how budgets stand (sql/standing_rows.py); without it there are none.
        Raises UsageError for an unknown rule, SettingsError for settings of none; one that is broken says so in its
        result.
        """
        from .alert import Looker, relations  # noqa: PLC0415
        from .alert_rules import longest, rules  # noqa: PLC0415

        chosen = [rule for rule in rules(self.lake, self.settings.alerts, name) if rule.is_enabled or name]
        now, tz = self._now(), self.settings.alerts.tz
        wanted = relations(self.lake, chosen)
        return self._asking.window(
            lambda con, seen: Looker(con, seen.lake, *([standings] if standings else [])).look(chosen, now, tz),
            Window(now - longest(chosen), now),
            tz=tz,
            progress=progress,
            reads=("model_rates",) if wanted is None or "model_rates" in wanted else (),
            wanted=wanted,
        )

    def spent(self, budgets: Budgets, hidden: Hidden | None = None, progress: Progress | None = None) -> Spent:
        """What was spent by now in the periods of `budgets`; `hidden` is how the lake's hashed values are made."""
        from .spending import Spending, as_said  # noqa: PLC0415

        return Spending(self.lake, self.settings, self._now, hidden or as_said).look(budgets, progress)
