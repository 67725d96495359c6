"""The warehouse: ask a lake what its LLM calls cost and what they achieved.

>>> from llmcost.sql import Warehouse                                      # doctest: +SKIP
>>> Warehouse("llmcost-lake").rollup("cost-per-outcome", since="7d")       # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import duckdb
import pyarrow as pa

from ..models.errors import LakeNotWritable, UsageError
from ..models.lake import Lake
from ..models.prices import PriceKey
from ..models.schema import DIMENSIONS
from ..models.settings import Settings
from ..models.settings import load as load_settings
from ..models.windows import Window, window, zone
from . import catalogue, coverage
from .answers import (
    Answer,
    Audited,
    BiDatabase,
    Finding,
    PriceCheck,
    PriceView,
    RefreshReport,
    Repricing,
    RollupInfo,
    TraceView,
)
from .asking import Asking, Seen
from .compare import compared, earlier_window
from .database import connect, reason, rows
from .derive import Rules
from .files import mentioned, open_files
from .governing import Governing
from .inventory import Inventory, ask_current, mart_days
from .materialise import Refreshed, refresh_days
from .questions import Progress, RollupOptions
from .steady import ask_steady

if TYPE_CHECKING:
    import polars as pl

    from .cost_change import CostChange
    from .retention import Remove, Retained


class Warehouse(Governing):
    """One lake, opened for questions. Holds no connection between calls; safe to share and to fork.

    `now` is the clock, for tests; it must return aware UTC instants.
    Raises LakeMissing or LakeTooNew when it cannot be opened.
    """

    def __init__(
        self,
        lake: Path | str,
        settings: Settings | None = None,
        *,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self.lake = Lake.open(Path(lake))
        self.settings = settings or load_settings(lake=Path(lake))
        self._now = now or (lambda: datetime.now(UTC))
        self._asking = Asking(self.lake, self.settings, self._now)

    def rollups(self) -> list[RollupInfo]:
        """Every rollup by name, the user's own among them; one that cannot be asked says its `problem`."""
        from .own_rollups import checked  # noqa: PLC0415  (imports what only this question needs)

        return checked(self.lake, sorted(catalogue.rollups(self.lake).values(), key=lambda info: info.name))

    def new_rollup(self, name: str) -> Path:
        """Write the start of a user's rollup to the lake, never over a file; its path. Raises UsageError."""
        from .own_rollups import start  # noqa: PLC0415

        return start(self.lake, name)

    def rollup(self, name: str, **options: Unpack[RollupOptions]) -> pl.DataFrame:
        """The rows of a rollup as a polars DataFrame: money is Decimal(…, 9) US dollars, NULL where it is unknown.

        Takes what `ask` takes, and raises what it raises. `ask` also says what the answer covers.
        """
        return _frame(self.ask(name, **options).table)

    def query(self, query: str) -> pl.DataFrame:
        """The rows of one read-only SQL query as a polars DataFrame; what `sql` gives and raises."""
        return _frame(self.sql(query))

    def ask(
        self,
        name: str,
        *,
        since: str = "7d",
        until: str | None = None,
        by: str | None = None,
        group_by: Sequence[str] = (),
        where: Mapping[str, str] | None = None,
        tz: str = "UTC",
        top: int | None = None,
        compare: str | None = None,
        progress: Progress | None = None,
    ) -> Answer:
        """Answer one rollup over calls that started in [since, until).

        Clean days are read, dirty days are made first, so the answer is what the landed spans say now.
        `by` is "day" or "hour" in the time zone `tz`; `group_by` and `where` name dimensions; `top` keeps
        the first rows. `compare` asks the same over an earlier window, "previous" or from when it starts, and sets
        its figures beside as `previous_…`. Raises UsageError for what cannot be asked.
        """
        info = catalogue.find(name, self.lake)
        catalogue.check_where(info, where or {})
        text = catalogue.render(info, by, group_by)
        now = self._now()
        asked = window(since, until, now=now, tz=zone(tz))

        def over(asked: Window) -> Answer:
            def answer(con: duckdb.DuckDBPyConnection, seen: Seen) -> Answer:
                opened = open_files(con, self.lake, info.reads, info.path)
                try:
                    found = con.sql(text)
                    catalogue.check_columns(info, text, found.columns, by, group_by)
                    table = found.to_arrow_table()
                except duckdb.Error as error:
                    raise UsageError(f'rollup "{info.path}": {reason(error)}') from error
                dimensions = _dimensions_of(info, group_by)
                covered = coverage.of_window(con, seen.lake, seen.days, asked, whole=not where)
                return Answer(info, asked, table, covered, dimensions, seen.restated, opened.notes)

            # a user's own may read what its header does not name
            wanted = None if catalogue.is_users(info) else info.reads
            return self._asking.window(
                answer, asked, tz=tz, where=where, progress=progress, reads=info.reads, wanted=wanted
            )

        if compare is None:
            found = over(asked)
        else:
            earlier = earlier_window(compare, asked, now=now, tz=zone(tz))
            found = compared(over(asked), over(earlier), by, group_by, zone(tz))
        return replace(found, table=found.table.slice(0, top)) if top else found

    def why(
        self,
        name: str,
        *,
        since: str = "7d",
        until: str | None = None,
        compare: str = "previous",
        outcome: str | None = None,
        group_by: Sequence[str] = (),
        where: Mapping[str, str] | None = None,
        tz: str = "UTC",
        progress: Progress | None = None,
    ) -> CostChange:
        """Why `name` (cost-per-outcome) changed in [since, until) against an earlier window, driver by driver.

        That is the one before of the same length, or one of the same length that starts at `compare`. `outcome` is
        the one told most often unless named; `group_by` names the dimensions whose segments are told. Raises
        UsageError for what cannot be asked.
        """
        from .why import asked, explain  # noqa: PLC0415

        question = asked(
            name,
            since=since,
            until=until,
            compare=compare,
            outcome=outcome,
            group_by=group_by,
            now=self._now(),
            tz=tz,
        )
        return self._asking.window(
            lambda con, seen: explain(con, question, seen.restated),
            question.union,
            tz=tz,
            where=where,
            progress=progress,
        )

    def refresh(
        self, *, since: str | None = None, until: str | None = None, progress: Progress | None = None
    ) -> RefreshReport:
        """Make every dirty day's marts, of the whole lake or of a window."""
        begun = time.monotonic()
        rules = Rules.load(self.lake, self.settings)
        asked = window(since, until, now=self._now(), tz=zone("UTC")) if since else None

        def make(inventory: Inventory) -> tuple[list[date], Refreshed]:
            known = sorted({*inventory.days(), *mart_days(self.lake, "calls")})
            days = [day for day in known if asked is None or asked.first_day <= day <= asked.last_day]
            return days, refresh_days(self.lake, inventory, rules, days, progress, now=self._now())

        days, refreshed = ask_current(self.lake, make)
        calls, cost = ask_steady(self.lake, days, lambda source: _booked(source, days), ("calls",))
        return RefreshReport(len(days), refreshed.days, calls, cost, time.monotonic() - begun, refreshed.restated)

    def reprice(
        self,
        *,
        since: str = "7d",
        until: str | None = None,
        as_of: date | None = None,
        book: Path | None = None,
        apply: bool = False,
        progress: Progress | None = None,
    ) -> Repricing:
        """Price the calls of every UTC day the window touches again: the current price book beside what is booked.

        Or with prices as they stood on the day `as_of`, or under the layers of the file or folder `book`. Writes
        nothing, unless `apply`: then those days are booked again, and restated, under the current book; what arrived
        meanwhile is booked with them. Raises UsageError for `apply` with another book than the current one.
        """
        from .reprice import reprice  # noqa: PLC0415

        asked = window(since, until, now=self._now(), tz=zone("UTC"))
        rules = Rules.load(self.lake, self.settings)
        return ask_current(
            self.lake,
            lambda inventory: reprice(
                self.lake,
                inventory,
                rules,
                asked,
                as_of=as_of,
                book=book,
                apply=apply,
                now=self._now(),
                progress=progress,
            ),
        )

    def audit(
        self,
        name: str | None = None,
        *,
        since: str = "7d",
        until: str | None = None,
        tz: str = "UTC",
        progress: Progress | None = None,
    ) -> list[Audited]:
        """What all audits, or the one called `name`, find in a window: rows that must not be.

        Raises UsageError for an unknown audit or window; one that is broken says so in its result.
        """
        from .audit import audits, calls_around, run  # noqa: PLC0415

        chosen = audits(self.lake, name)
        asked = window(since, until, now=self._now(), tz=zone(tz))
        return self._asking.window(
            lambda con, _: run(con, chosen),
            asked,
            tz=tz,
            progress=progress,
            reads=("model_rates",),
            around=calls_around,
        )

    def sql(self, query: str) -> pa.Table:
        """Run one read-only query over the marts, the views over them, spans, events and the user's files.

        It can read nothing but these, and write nothing. Raises UsageError with DuckDB's own words.
        """

        def answer(con: duckdb.DuckDBPyConnection, _: object) -> pa.Table:
            try:
                statements = con.extract_statements(query)
                if len(statements) != 1 or statements[0].type is not duckdb.StatementType.SELECT:
                    raise UsageError("SQL: one read-only statement at a time: select, from, with, describe or show")
                return con.sql(query).to_arrow_table()
            except (
                duckdb.Error,
                ValueError,
            ) as error:  # ValueError: a statement that DuckDB's Python has no name for
                raise UsageError(f"SQL: {error}") from error

        def more(con: duckdb.DuckDBPyConnection) -> Sequence[Path]:
            return open_files(con, self.lake, mentioned(query, self.lake), Path("SQL")).paths

        return self._asking.everything(answer, more)

    def bi(
        self, output: Path | None = None, *, relative: bool = False, progress: Progress | None = None
    ) -> BiDatabase:
        """Write the database of views over the lake that BI tools open, to `output`, else into the lake.

        Derives changed days first, where the lake can be written. With `relative` its views name files from the
        lake's folder on. Raises UsageError for an `output` that is something else, LakeNotWritable.
        """
        from .bi import write  # noqa: PLC0415

        try:
            self.refresh(progress=progress)
        except LakeNotWritable:
            is_fresh = False
        else:
            is_fresh = True
        written = write(self.lake, output or self.lake.database, relative=relative, now=self._now())
        return replace(written, is_fresh=is_fresh)

    def trace(self, trace_id: str) -> TraceView:
        """One trace as a tree; a unique beginning of its id (8 hex digits at least) is enough."""
        from .trace import view  # noqa: PLC0415  (imports what only this question needs)

        rules = Rules.load(self.lake, self.settings)
        return ask_current(self.lake, lambda inventory: view(inventory, rules, trace_id))

    def prices(self, model: str, provider: str | None = None) -> PriceView:
        """What the price book says `model` costs, under the lake's own layers."""
        from .pricelist import view  # noqa: PLC0415

        return view(Rules.load(self.lake, self.settings), model, provider, self._now())

    def unpriced_models(self) -> pa.Table:
        """The lake's models without a price, the most tokens first."""
        return self.sql("from unpriced_models")

    def check_prices(self, path: Path) -> PriceCheck:
        """What is wrong with the price files at `path`, and what each entry is about in this lake."""
        from .pricefiles import check  # noqa: PLC0415

        return self._asking.everything(lambda con, _: check(con, path))

    def diff_prices(self, old: Path | None, new: Path, models: Sequence[str] = ()) -> pa.Table:
        """Prices that differ today between two price files or folders, in USD per million tokens.

        For the models named, else for those of the lake; without `old`, against the pinned list alone.
        """
        from .pricefiles import diff, models_of  # noqa: PLC0415

        keys = [PriceKey(None, model, None, None, None, None) for model in models]
        if not keys:
            keys = self._asking.everything(lambda con, _: models_of(con))
        return diff(keys, old, new, self._now())

    def retain(self, remove: Remove, progress: Progress | None = None) -> list[Retained]:
        """Remove what the settings' [retention] keeps no longer; `remove` takes files out of a landed table."""
        from .retention import retain  # noqa: PLC0415

        rules = Rules.load(self.lake, self.settings)
        return retain(self.lake, rules, self.settings.retention, now=self._now(), remove=remove, progress=progress)

    def doctor(self) -> list[Finding]:
        """Check the lake's health, freshness and coverage."""
        from .doctor import findings  # noqa: PLC0415

        return ask_current(self.lake, lambda inventory: findings(self.lake, inventory, self.settings, self._now()))


def _frame(table: pa.Table) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415  (only where a DataFrame is asked for)

    frame = pl.from_arrow(table)
    return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()


def _booked(lake: Lake, days: Sequence[date]) -> tuple[int, Decimal]:
    """How many calls are booked on `days`, and what they cost."""
    files = [str(path) for day in days if (path := lake.mart_file("calls", day)).exists()]
    if not files:
        return 0, Decimal(0)
    query = "select count(*) as calls, coalesce(sum(cost_usd), 0) as cost from read_parquet($files)"
    with connect() as con:
        row = rows(con, query, {"files": files})[0]
    return row["calls"], row["cost"]


def _dimensions_of(info: RollupInfo, group_by: Sequence[str]) -> tuple[str, ...]:
    """The dimensions an answer's rows are split by."""
    own = [column.name for column in info.columns if column.name in DIMENSIONS]
    return tuple(dict.fromkeys([*own, *(name for name in group_by if name in DIMENSIONS)]))
