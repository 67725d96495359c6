"""Lakes of many days for the benches of queries: one day is landed and derived, further days are copies of it.

A copy has trace, run and response ids of its own and the same people, features and models; its files are registered
in the Delta logs and its marts bear the fingerprint that deriving them would, so llmcost takes them for its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from bench.generator import START_NS, Generator
from llmcost.ingest.columns import Decoder
from llmcost.ingest.delta import LandedFile, landed_tables
from llmcost.ingest.journal import Request
from llmcost.ingest.wire import Signal
from llmcost.models import conventions
from llmcost.models.lake import MARTS, Lake
from llmcost.models.schema import TELLING
from llmcost.models.settings import Settings
from llmcost.sql import Warehouse
from llmcost.sql.derive import Rules
from llmcost.sql.inventory import Inventory
from llmcost.sql.materialise import FINGERPRINT, refresh_days
from llmcost.sql.replaceable import ROW_GROUP_ROWS, replace
from llmcost.sql.turns import Word, turn

FIRST_DAY = datetime.fromtimestamp(START_NS / 1e9, UTC).date()
PER_REQUEST, REQUESTS_AT_ONCE = 512, 200
_SHIFTED = {
    "trace_id": "md5(trace_id || $n)",
    "response_id": "response_id || '-' || $n",
    "agent_run_id": "substr(md5(agent_run_id || $n), 1, 16)",
    "day": "day + $n::integer",
    **{
        name: f"{name} + $n::integer * interval 1 day"
        for name in ("started_at", "ended_at", "observed_at", "evaluated_at", "received_at")
    },
}


class BenchLake:
    """A lake that grows by days of `spans_a_day` spans, about half of them calls; the same seed, the same lake.

    `judged` adds to its traces an agent's span, outcomes and scores.
    """

    def __init__(self, folder: Path, spans_a_day: int, *, judged: bool = True) -> None:
        self.lake = Lake.create(folder)
        self.spans_a_day = spans_a_day
        self._spans, _ = landed_tables(self.lake)
        self._base = folder / "base.parquet"
        if not self._base.exists():
            _landed_day(self._base, spans_a_day, judged=judged)
        self._days = len(Inventory.take(self.lake).days())

    @property
    def warehouse(self) -> Warehouse:
        """The lake, asked at the end of its last day."""
        end = datetime.combine(self.day(self._days), datetime.min.time(), UTC)
        return Warehouse(self.lake.root, Settings(), now=lambda: end)

    @property
    def spans(self) -> int:
        """How many spans there are."""
        return self._days * self.spans_a_day

    def day(self, number: int) -> date:
        """The UTC day `number`, from 0."""
        return FIRST_DAY + timedelta(days=number)

    def land(self, days: int = 1) -> None:
        """More days of spans, whose marts are not made."""
        for _ in range(days):
            number = self._days
            day = self.day(number)
            path = self.lake.table("spans") / f"day={day}" / f"copy-{number}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy(f"select {_shifted(self._columns)} from read_parquet('{self._base}')", number, path)
            self._commit(path, day)
            self._days += 1

    def land_late(self, spans: int) -> None:
        """So many more spans of the last day, of traces of their own, as a second of traffic brings them."""
        day = self.day(self._days - 1)
        path = self.lake.table("spans") / f"day={day}" / f"late-{uuid.uuid4()}.parquet"
        last = f"(from read_parquet('{self._base}') order by started_at desc limit {spans})"
        shifted = _shifted(self._columns).replace("|| $n", f"|| '{path.stem}'")
        _copy(f"select {shifted} from {last}", self._days - 1, path)
        self._commit(path, day)

    @property
    def _columns(self) -> list[str]:
        return list(pq.read_schema(self._base).names)

    def _commit(self, path: Path, day: date) -> None:
        rows, begin = pq.read_metadata(path).num_rows, datetime.combine(day, datetime.min.time(), UTC)
        file = LandedFile(
            path, day, rows, path.stat().st_size, begin, begin + timedelta(days=1), dict.fromkeys(TELLING, 1)
        )
        self._spans.commit([file], receiver_id="bench", number=self._spans.landed_number("bench") + 1)

    def grow(self, days: int) -> None:
        """More days, derived: the first by the program, the others as copies of its marts."""
        rules = Rules.load(self.lake, Settings())
        begun = self._days
        self.land(days)
        inventory = Inventory.take(self.lake)
        if begun == 0:
            refresh_days(self.lake, inventory, rules, [FIRST_DAY], now=datetime.now(UTC))
        for number in range(max(1, begun), self._days):
            stamp = {FINGERPRINT: inventory.fingerprint(self.day(number), rules.names())}
            for name in MARTS:
                source = self.lake.mart_file(name, FIRST_DAY)
                target = self.lake.mart_file(name, self.day(number))
                target.parent.mkdir(parents=True, exist_ok=True)
                replace(target, lambda source=source, number=number: _mart(source, number), stamp)
            self._leave_word(number, stamp[FINGERPRINT], inventory, rules)
        for number in {0, begun - 1} - {-1}:  # the last day that was there has a neighbour now
            stamp = {FINGERPRINT: inventory.fingerprint(self.day(number), rules.names())}
            for name in MARTS:
                target = self.lake.mart_file(name, self.day(number))
                table = pq.read_table(target, partitioning=None)
                replace(target, lambda table=table: table.to_reader(ROW_GROUP_ROWS), stamp)
            self._leave_word(number, stamp[FINGERPRINT], inventory, rules)

    def _leave_word(self, number: int, stamp: str, inventory: Inventory, rules: Rules) -> None:
        """What whoever derived the day would say of its marts."""
        word = Word(stamp, stamp, inventory.versions, rules.names(), rules.book.name)
        with turn(self.lake, self.day(number)) as mine:
            mine.leave(word)


def _landed_day(path: Path, spans: int, *, judged: bool) -> None:
    """One day's spans as landing writes them, all within FIRST_DAY."""
    decoder = Decoder(conventions.load(), "drop", Settings().landing)
    writer: pq.ParquetWriter | None = None
    for bodies in _batches(Generator(judged=judged).requests(spans, PER_REQUEST)):
        decoded = decoder.decode([Request(Signal.TRACES, START_NS // 1000, body) for body in bodies])
        table: pa.Table = decoded.spans.drop_columns("day")
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=1)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def _batches(bodies: Iterator[bytes]) -> Iterator[list[bytes]]:
    waiting: list[bytes] = []
    for body in bodies:
        waiting.append(body)
        if len(waiting) == REQUESTS_AT_ONCE:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _shifted(columns: list[str]) -> str:
    return ", ".join(f"{_SHIFTED[name]} as {name}" if name in _SHIFTED else f'"{name}"' for name in columns)


def _copy(query: str, number: int, path: Path) -> None:
    text = query.replace("$n", str(number))
    duckdb.execute(f"copy ({text}) to '{path}' (format parquet, compression zstd, row_group_size {ROW_GROUP_ROWS})")


def _mart(source: Path, number: int) -> pa.RecordBatchReader:
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    columns = pq.read_schema(source).names
    text = f"select {_shifted(columns)} from read_parquet('{source}', hive_partitioning = false)"
    return con.sql(text.replace("$n", str(number))).to_arrow_reader(ROW_GROUP_ROWS)
