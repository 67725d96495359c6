"""How budgets stand as a relation, for alert rules: `budget_standings`."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from ..models.budgets import COLUMNS
from ..models.money import usd
from ..models.verdicts import Standing
from .spending import Hidden, as_said

_MONEY = pa.decimal128(18, 9)
SCHEMA = pa.schema(
    [
        ("level", pa.string()),
        ("entity", pa.string()),
        ("value", pa.string()),
        ("is_shared", pa.bool_()),
        ("is_hard", pa.bool_()),
        ("budget_period", pa.string()),
        ("since", pa.timestamp("us", "UTC")),
        ("until", pa.timestamp("us", "UTC")),
        ("limit_usd", _MONEY),
        ("spent_usd", _MONEY),
        ("unpriced_calls", pa.int64()),
    ]
)
"""One row per ceiling and entity: `value` is the entity as the lake has it, a pattern where `is_shared`."""


def standing_rows(standings: Iterable[Standing], hidden: Hidden = as_said) -> pa.Table:
    """The standings as rows; `hidden` is how the lake's hashed values are made."""
    rows = []
    for each in standings:
        ceiling, entity = each.counter.ceiling, each.counter.entity
        rows.append(
            {
                "level": ceiling.level,
                "entity": entity,
                "value": entity if ceiling.is_shared else hidden(COLUMNS[ceiling.level], entity),
                "is_shared": ceiling.is_shared,
                "is_hard": ceiling.hard,
                "budget_period": str(ceiling.period),
                "since": each.window.since,
                "until": each.window.until,
                "limit_usd": usd(each.limit),
                "spent_usd": usd(each.spend.total),
                "unpriced_calls": each.spend.unpriced_calls,
            }
        )
    return pa.Table.from_pylist(rows, SCHEMA)
