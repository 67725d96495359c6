"""A FOCUS export: the ledger of a window as charges by owner, model and kind of token, with what is not in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Literal, get_args

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ..models.errors import UsageError
from ..models.prices import provider_names
from ..models.schema import DIMENSIONS
from ..models.windows import Window
from . import catalogue
from .answers import Coverage, Restatement
from .database import rows
from .focus_columns import Account, columns
from .relations import CHARGEBACK, read

BilledCost = Literal["zero", "booked"]
"""What BilledCost holds: 0, because llmcost invoices nothing; or the booked cost, for tools that show no other."""

DEFAULT_DIMENSIONS = ("team", "customer_id", "feature", "agent_name")
_LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_STEPS = ("charged_calls", "token_kinds", "call_charges")


@dataclass(frozen=True, slots=True)
class FocusExport:
    """The rows of an export and what they leave out.

    `table` has the columns of FOCUS; `uncharged` a row for each provider, model and reason of the calls that are in
    none: those of unknown cost, which FOCUS cannot say, and those that made no request. `coverage` is the ledger,
    summed on its own: `difference_usd` is 0.
    """

    window: Window
    by: str
    dimensions: tuple[str, ...]
    account: Account
    table: pa.Table
    uncharged: pa.Table
    coverage: Coverage
    restated: tuple[Restatement, ...] = ()

    @property
    def effective_usd(self) -> Decimal:
        """The sum of EffectiveCost, USD."""
        return Decimal(pc.sum(self.table["EffectiveCost"]).as_py() or 0)

    @property
    def difference_usd(self) -> Decimal:
        """What EffectiveCost sums to beyond the ledger, USD."""
        return self.effective_usd - self.coverage.cost_usd


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be exported. Raises UsageError for what cannot be."""

    window: Window
    by: str
    dimensions: tuple[str, ...]
    sub_account: str
    billing_account: str | None
    billed_cost: str

    def __post_init__(self) -> None:
        if self.billed_cost not in get_args(BilledCost):
            raise UsageError(f'--billed-cost "{self.billed_cost}": accepted are {", ".join(get_args(BilledCost))}')
        for name in (self.sub_account, *self.dimensions):
            if name not in DIMENSIONS:
                raise UsageError(f'there is no dimension "{name}": accepted are {", ".join(DIMENSIONS)}')

    @property
    def grouped(self) -> Sequence[str]:
        """Dimensions that the charges are split by."""
        return list(dict.fromkeys([*self.dimensions, self.sub_account]))


def answer(
    con: duckdb.DuckDBPyConnection, question: Question, coverage: Coverage, restated: tuple[Restatement, ...]
) -> FocusExport:
    """The export over a session whose `calls` are those of the window; see Warehouse.focus."""
    text = catalogue.render(catalogue.info_of(read(CHARGEBACK / "charges.sql")), question.by, question.grouped)
    for name in _STEPS:
        con.execute(f"create temp table {name} as {read(CHARGEBACK / f'{name}.sql').text}")
    account = Account(question.sub_account, question.billing_account, question.billed_cost == "booked")
    table = columns(
        rows(con, text),
        asked=question.window,
        length=_LENGTHS[question.by],
        dimensions=question.dimensions,
        account=account,
        providers=provider_names(),
    )
    uncharged = con.sql(read(CHARGEBACK / "uncharged_calls.sql").text).to_arrow_table()
    return FocusExport(
        question.window, question.by, question.dimensions, account, table, uncharged, coverage, restated
    )
