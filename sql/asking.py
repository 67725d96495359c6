"""How a question reaches the files: marts that are fresh, a session over them, and files that stand still."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb

from ..models.lake import MARTS, REPORTS, Lake
from ..models.settings import Settings
from ..models.windows import Window
from .answers import Restatement
from .derive import Rules
from .inventory import Answered, Inventory, ask_current, mart_days
from .materialise import fresh
from .questions import Progress
from .session import lake_session, window_session
from .steady import ask_steady


@dataclass(frozen=True, slots=True)
class Seen:
    """What a question looks at: the lake whose files it reads, their days, and what making them restated."""

    lake: Lake
    days: Sequence[date]
    restated: tuple[Restatement, ...]


Question = Callable[[duckdb.DuckDBPyConnection, Seen], Answered]


@dataclass(frozen=True, slots=True)
class Asking:
    """One lake as it is asked under its settings; `now` is the clock of what it makes on the way."""

    lake: Lake
    settings: Settings
    now: Callable[[], datetime]

    def window(
        self,
        question: Question[Answered],
        asked: Window,
        *,
        tz: str = "UTC",
        where: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        reads: Collection[str] = (),
        wanted: Collection[str] | None = None,
        around: Callable[[duckdb.DuckDBPyConnection, Lake, Sequence[date]], None] | None = None,
    ) -> Answered:
        """Answer from a session over a window, of all relations or those `wanted`.

        `reads` are relations it is known to read, for those that cost something to make; `around` makes those of the
        look-back on both sides of the window.
        """
        rules = Rules.load(self.lake, self.settings)
        book = rules.book if "model_rates" in reads else None
        after = timedelta(days=self.settings.deriving.lookback_days)
        before = after if around else timedelta(0)

        def over(lake: Lake, days: Sequence[date], _: Inventory, restated: tuple[Restatement, ...]) -> Answered:
            opened = window_session(lake, days, asked, tz=tz, where=where or {}, book=book, wanted=wanted)
            with opened as con:
                if around:
                    around(con, lake, days)
                return question(con, Seen(lake, days, restated))

        return self._over(
            over, rules, lambda day: asked.first_day - before <= day <= asked.last_day + after, progress
        )

    def everything(
        self,
        question: Question[Answered],
        more: Callable[[duckdb.DuckDBPyConnection], Sequence[Path]] = lambda _: (),
    ) -> Answered:
        """Answer from a session over all of the lake; `more` makes relations of the user's files in it."""

        def over(
            lake: Lake, days: Sequence[date], inventory: Inventory, restated: tuple[Restatement, ...]
        ) -> Answered:
            with lake_session(lake, inventory, days, more) as con:
                return question(con, Seen(lake, days, restated))

        return self._over(over, Rules.load(self.lake, self.settings), lambda _: True, None)

    def _over(
        self,
        over: Callable[[Lake, Sequence[date], Inventory, tuple[Restatement, ...]], Answered],
        rules: Rules,
        is_asked: Callable[[date], bool],
        progress: Progress | None,
    ) -> Answered:
        def answer(inventory: Inventory) -> Answered:
            known = sorted({*inventory.days(), *mart_days(self.lake, "calls")})
            days = [day for day in known if is_asked(day)]
            told = {day for name in REPORTS for day in self.lake.report_days(name)}
            with fresh(self.lake, inventory, rules, days, progress, now=self.now()) as marts:
                return ask_steady(
                    marts.lake,
                    {*days, *told},
                    lambda source: over(source, days, inventory, marts.restated),
                    (*MARTS, *REPORTS),
                )

        return ask_current(self.lake, answer)
