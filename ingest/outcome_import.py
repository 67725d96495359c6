"""Outcomes of a file into the lake: rows of `events` with the carrier `file`, in one commit.

They are rows like those of a span event or a log record, so everything that reads outcomes reads them, a
day's fingerprint sees them, and the latest word on an outcome holds whoever told it.
"""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa

from ..models.lake import Lake
from ..models.schema import DAY, EVENTS
from .delta import LandedTable
from .outcome_file import Outcome, OutcomeFile


def import_outcomes(lake: Lake, file: OutcomeFile, now: datetime) -> bool:
    """Land the outcomes of `file`; those without an `observed_at` were observed `now`.

    All or none of them. On return they are on disk. False, and nothing changed, where the same outcomes
    were imported before: the table remembers the digest with the rows.
    """
    table = LandedTable(lake, "events", EVENTS, "occurred_at")
    importer = f"outcomes-{file.digest}"
    if not file.outcomes or table.landed_number(importer):
        return False
    table.commit(table.write(_rows(file.outcomes, now)), receiver_id=importer, number=1)
    return True


def _rows(outcomes: tuple[Outcome, ...], now: datetime) -> pa.Table:
    observed = pa.array([said.observed_at or now for said in outcomes], EVENTS.field("occurred_at").type)
    columns = {
        "trace_id": [said.trace_id for said in outcomes],
        "carrier": ["file"] * len(outcomes),
        "name": ["outcome"] * len(outcomes),
        "occurred_at": observed,
        "response_id": [said.response_id for said in outcomes],
        "session_id": [said.session_id for said in outcomes],
        "outcome_attributes": [_attributes(said) for said in outcomes],
        "received_at": [now] * len(outcomes),
        DAY.name: observed.cast(pa.timestamp("us")).cast(pa.date32()),
    }
    by_day = EVENTS.append(DAY)
    return pa.table(
        [
            columns[field.name] if isinstance(columns.get(field.name), pa.Array)
            else pa.array(columns.get(field.name, [None] * len(outcomes)), field.type)
            for field in by_day
        ],
        schema=by_day,
    )  # fmt: skip


def _attributes(said: Outcome) -> list[tuple[str, str]]:
    """As a span would say it with outcome.name and outcome.success, so that any name will do."""
    verdict = "pending" if said.succeeded is None else str(said.succeeded).lower()
    worth = [] if said.value_usd is None else [("value_usd", f"{said.value_usd:f}")]
    return [("name", said.outcome), ("success", verdict), *worth]
