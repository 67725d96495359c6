"""The recorded captures: their requests, the mock provider's truth, and a comparison with what was counted."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llmcost.cli.demo_send import delimited
from llmcost.ingest.columns import Decoder
from llmcost.ingest.wire import Signal
from llmcost.models import conventions
from llmcost.models.lake import MARTS, Lake
from llmcost.models.settings import Settings
from llmcost.sql.derive import Rules, derived_day
from llmcost.sql.inventory import Inventory

FOLDER = Path(__file__).resolve().parents[2] / "data" / "fixtures" / "captures"
RECEIVED_AT_US = 1_795_400_000_000_000
"""A receipt shortly after the captures were recorded (2026-11-22)."""


@dataclass(frozen=True)
class RawRequest:
    """A request as the journal would give it back."""

    signal: int
    received_at_us: int
    body: bytes
    forced: bytes = b""


def names() -> list[str]:
    """Every capture with truth."""
    return sorted(path.name.removesuffix(".truth.jsonl") for path in FOLDER.glob("*.truth.jsonl"))


def names_with_logs() -> list[str]:
    """Those that recorded log records beside their spans."""
    return [name for name in names() if (FOLDER / f"{name}.logs.bin").exists()]


def requests(name: str, *, logs: bool = True) -> list[RawRequest]:
    """The capture's requests in order of arrival, those of logs after those of spans."""
    found = [
        RawRequest(Signal.TRACES, RECEIVED_AT_US, body) for body in delimited((FOLDER / f"{name}.bin").read_bytes())
    ]
    recorded_logs = FOLDER / f"{name}.logs.bin"
    if logs and recorded_logs.exists():
        found += [RawRequest(Signal.LOGS, RECEIVED_AT_US, body) for body in delimited(recorded_logs.read_bytes())]
    return found


def truth(name: str) -> list[dict[str, Any]]:
    """Calls the mock provider answered, in the order of completion."""
    lines = (FOLDER / f"{name}.truth.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def expected(name: str) -> dict[str, Any]:
    """Which spans describe which truth row."""
    return json.loads((FOLDER / f"{name}.expected.json").read_text())


def land(folder: Path, batches: Sequence[Sequence[RawRequest]]) -> Inventory:
    """Decode batches of requests into day files below `folder`, one set of files a batch."""
    decoder = Decoder(conventions.load(), "drop", Settings().landing)
    files: dict[str, dict[date, list[Path]]] = {"spans": defaultdict(list), "events": defaultdict(list)}
    for number, batch in enumerate(batches):
        decoded = decoder.decode(batch)
        for table_name, table in (("spans", decoded.spans), ("events", decoded.events)):
            for day in table["day"].unique().to_pylist():
                rows = table.filter(pc.equal(table["day"], day)).drop_columns("day")
                path = folder / table_name / f"day={day}" / f"{number:06}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(rows, path)
                files[table_name][day].append(path)
    return Inventory({name: {day: tuple(paths) for day, paths in days.items()} for name, days in files.items()})


def derive(folder: Path, inventory: Inventory, settings: Settings | None = None) -> dict[str, pa.Table]:
    """The marts of all days of `inventory`, by name."""
    rules = Rules.load(Lake(folder), settings or Settings())
    marts: dict[str, list[pa.Table]] = defaultdict(list)
    for day in inventory.days():
        with derived_day(day, inventory, rules) as con:
            for name in MARTS:
                of_the_day = con.sql(f"select * from {name} where day = $day", params={"day": day})
                marts[name].append(of_the_day.to_arrow_table())
    return {name: pa.concat_tables(tables) for name, tables in marts.items()}
