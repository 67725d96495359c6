"""What `reconcile` answers with: telemetry beside reports, the variance, and what explains it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import pyarrow as pa

from ..models.windows import Window
from .answers import Restatement


class Cause(StrEnum):
    """Why telemetry and a report differ; each is found by arithmetic on what both say."""

    MISSING_CALLS = "missing_calls"
    USAGE_MISSING = "usage_missing"
    MISSING_CACHE_FIELDS = "missing_cache_fields"
    CACHE_LIFETIME = "cache_lifetime"
    MISSING_AUDIO_FIELDS = "missing_audio_fields"
    UNPRICED_MODEL = "unpriced_model"
    FINE_TUNED_MODEL = "fine_tuned_model"
    STALE_PRICES = "stale_prices"
    BATCH_DISCOUNT = "batch_discount"
    SERVICE_TIER = "service_tier"
    PRICES_DIFFER = "prices_differ"
    DAY_BOUNDARY = "day_boundary"
    PARTIAL_REPORT = "partial_report"
    DUPLICATES = "duplicates"
    NOT_IN_REPORT = "not_in_report"
    NOT_TOKENS = "not_tokens"
    ROUNDING = "rounding"

    @property
    def meaning(self) -> str:
        """What it says, and where to look."""
        return _MEANINGS[self]


_MEANINGS = {
    Cause.MISSING_CALLS: "the report has tokens that no call tells: work that is not instrumented",
    Cause.USAGE_MISSING: "calls were seen, their usage was not told: streams without usage",
    Cause.MISSING_CACHE_FIELDS: "cached input is told as plain input: the library leaves cache counts out",
    Cause.CACHE_LIFETIME: "cache writes for an hour are told without their lifetime, and valued at five minutes",
    Cause.MISSING_AUDIO_FIELDS: "audio is told as text: the library leaves audio counts out",
    Cause.UNPRICED_MODEL: "calls are told, and no price is known for their model: llmcost prices unmatched",
    Cause.FINE_TUNED_MODEL: "a fine-tuned model is billed at another price than it is booked at",
    Cause.STALE_PRICES: "billed at a list price that is not what was booked: an older list, or a gateway's own price",
    Cause.BATCH_DISCOUNT: "billed at the batch price; telemetry does not say that it was a batch, or the reverse",
    Cause.SERVICE_TIER: "billed in another service tier than telemetry tells",
    Cause.PRICES_DIFFER: "the tokens agree and the price does not: a contract, a discount, or another price list",
    Cause.DAY_BOUNDARY: "the report's days begin at another hour than UTC days",
    Cause.PARTIAL_REPORT: "the report was taken before its period had ended: fetch it again",
    Cause.DUPLICATES: "telemetry tells one response id more than once",
    Cause.NOT_IN_REPORT: "calls that the report does not have: another account, a test double, or not billed yet",
    Cause.NOT_TOKENS: "billed for what is no token: tools, storage, fees, tax",
    Cause.ROUNDING: "rounding of amounts",
}


@dataclass(frozen=True, slots=True)
class CauseAmount:
    """One cause in one row or in all of a report: its part of the variance, and how many tokens it is about.

    `amount_usd` is what telemetry has too much (above 0) or too little; where the report tells no money it is the
    tokens' worth at our prices, and no part of a variance. `factor` is what is billed over what is booked, where the
    cause is a price.
    """

    cause: Cause
    amount_usd: Decimal
    tokens: int
    factor: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """A report and the telemetry of its days and vendors, in all.

    Variances are telemetry less report, over what the report tells: None where it tells none. `gross_` is the sum of
    the rows' variances without their signs. Coverage is the share of the report, 0 to 1, that telemetry saw, row by
    row. `outside_` are calls of the window on days that the report does not speak of.
    """

    report: str
    is_billed: bool
    calls: int
    tokens: int
    cost_usd: Decimal
    unpriced_calls: int
    report_tokens: int | None
    report_cost_usd: Decimal | None
    variance_tokens: int | None
    variance_usd: Decimal | None
    gross_tokens: int | None
    gross_usd: Decimal | None
    token_coverage: float | None
    cost_coverage: float | None
    unexplained_usd: Decimal | None
    outside_calls: int
    outside_cost_usd: Decimal
    causes: tuple[CauseAmount, ...]


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Telemetry beside every report of a window: a row for each set of names that either side tells.

    `causes` has a row for each cause in each row of `table`. `notes` say what was not compared, and why.
    """

    window: Window
    by: str | None
    group_by: tuple[str, ...]
    table: pa.Table
    causes: pa.Table
    totals: tuple[Totals, ...]
    notes: tuple[str, ...]
    restated: tuple[Restatement, ...]

    def worst_percent(self) -> Decimal | None:
        """The largest share, in percent, by which a report's rows differ: of its money, else of its tokens.

        Without signs, so that one row's excess hides no other's lack. None where nothing was compared.
        """
        shares = []
        for each in self.totals:
            gross, whole = (
                (each.gross_tokens, each.report_tokens)
                if each.gross_usd is None
                else (each.gross_usd, each.report_cost_usd)
            )
            if gross is not None and whole is not None:
                shares.append(Decimal(gross) * 100 / Decimal(whole) if whole else Decimal(100 if gross else 0))
        return max(shares, default=None)
