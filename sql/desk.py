"""The budget desk: who counts, and says of each request whether it may be made.

It holds figures of spend, which it brings up to date from the lake as spans land, and the reservations of requests
under way. All of it is in the lake: a desk that starts again comes to the same figures and keeps what was promised.
"""

from __future__ import annotations

import json
import logging
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..models.budget_file import BudgetFile
from ..models.decisions import asked_of, dollars, levels_of, name_of, told, undecided
from ..models.errors import BudgetFileError
from ..models.lake import Lake
from ..models.money import amount_of
from ..models.reservations import Reservations
from ..models.settings import Settings
from ..models.verdicts import Asked, Ceilings, Counter, Standing, Verdict
from .budget_metrics import FILE, exposition
from .budgets import decide, standings
from .metrics import write_page
from .reservation_file import ReservationFile
from .spending import Hidden, Spending, Spent

log = logging.getLogger("llmcost.budgets")

_BLOCKS = 1000
"""In place of a notice's percent: that a block was said."""


@dataclass(slots=True)
class _Known:
    """The budgets and what was spent under them; `turns_at` is when the first of their periods ends."""

    ceilings: Ceilings
    spent: Spent
    turns_at: datetime


class Desk:
    """The desk of one lake; `now` is its clock. All but `look` is for one thread, `look` for any one at a time."""

    def __init__(
        self, lake: Lake, settings: Settings, file: BudgetFile, hidden: Hidden, now: Callable[[], datetime]
    ) -> None:
        self._lake = lake
        self._settings = settings.budgets
        self._file = file
        self._now = now
        self._spending = Spending(lake, settings, now, hidden)
        self._reservations = Reservations(timedelta(seconds=self._settings.landing_seconds))
        self._promises = ReservationFile(lake.reservations)
        for each in self._promises.read(now()):
            self._reservations.restore(each)
        self._promises.rewrite(self._reservations.all())
        self._known: _Known | None = None
        self._decisions: Tally[str] = Tally()
        self._said: dict[tuple[Counter, datetime], int] = {}

    @property
    def problem(self) -> str | None:
        """Why the file of budgets cannot be used as it stands."""
        return self._file.problem

    def answer(self, question: bytes) -> dict[str, Any]:
        """The answer to one question of a receiver: a decision, what settling did, or what is `wrong` with it."""
        asked = json.loads(question)
        try:
            if asked["ask"] == "settle":
                return self.settle(asked["body"])
            return self.decide(asked["body"], asked["forced"])
        except ValueError as error:
            return {"wrong": str(error)}

    def decide(self, body: Any, forced: Mapping[str, str]) -> dict[str, Any]:
        """The decision on the request that `body` describes, and its reservation. Raises ValueError."""
        asked, now, known = asked_of(body, forced), self._now(), self._known
        if known is None:
            ceilings = None if self.problem else Ceilings(self._file.budgets)
            return self._counted(self._undecided(ceilings, asked, self.problem or "nobody knows yet what was spent"))
        age = now - known.spent.as_of
        is_stale = age.total_seconds() > self._settings.stale_seconds
        if is_stale:
            why = f"figures of what was spent are {age.total_seconds():.0f} s old"
            answer = self._undecided(known.ceilings, asked, why, known.spent.as_of)
            if answer["decision"] == "block":
                return self._counted(answer)
        if now >= known.turns_at:
            self._arrange(known, now)
        verdict, found = decide(known.ceilings, known.spent, asked, now, self._reservations.held)
        answer = told(verdict, asked.estimate, now, known.spent.as_of, may_see=levels_of(forced))
        answer["is_stale"] = is_stale
        if verdict.is_allowed and asked.estimate:
            answer |= self._reserve(asked, asked.estimate, found, now)
        self._say_block(verdict)
        return self._counted(answer)

    def settle(self, body: Any) -> dict[str, Any]:
        """End a reservation: with what the request cost, or as one that was not made. Raises ValueError."""
        known = {"reservation_id", "cost_usd", "released"}
        if not isinstance(body, dict) or body.keys() - known or not isinstance(body.get("reservation_id"), str):
            raise ValueError("the body must be an object with reservation_id, and cost_usd or released")
        released, cost = body.get("released", False), body.get("cost_usd")
        if not isinstance(released, bool) or (released and cost is not None):
            raise ValueError('"released" is true for a request that was not made, and then there is no cost_usd')
        amount, name = (None if cost is None else amount_of(cost)), body["reservation_id"]
        found = self._reservations.drop(name) if released else self._reservations.settle(name, amount, self._now())
        if found is None:
            return {
                "settled": False,
                "message": "no such reservation is held: it has expired, or its call has landed",
            }
        self._promises.write(found, is_gone=released)
        return {"settled": True, "message": "released" if released else "it counts until its call has landed"}

    def look(self) -> Spent:
        """What was spent by now; may take long, so it is for a thread of its own. Raises what a question raises."""
        self._file.look()
        if self.problem is not None and self._known is None:
            raise BudgetFileError(self.problem)
        return self._spending.look(self._file.budgets)

    def take(self, spent: Spent) -> None:
        """Decide by these figures from now on."""
        now, before = self._now(), self._known
        if before is not None and before.spent.budgets is spent.budgets:
            before.spent = spent
        else:
            self._known = _Known(Ceilings(spent.budgets), spent, now)
            self._arrange(self._known, now)
        self._reservations.sweep(now, spent.as_of)
        if self._promises.is_long(len(self._reservations)):
            self._promises.rewrite(self._reservations.all())

    def tell(self) -> None:
        """Write the figures for /metrics, and say which budgets have reached another notice's share of their limit.

        A budget for each entity has notices too, but no figures. Raises LakeNotWritable.
        """
        if self._known is None:
            return
        now, spent = self._now(), self._known.spent
        page = exposition(spent, self._reservations.held, self._decisions, now)
        write_page(self._lake.metrics / FILE, page)
        for each in standings(spent, now):
            key = (each.counter, each.window.since)
            if each.notice > self._said.get(key, 0):
                self._said[key] = each.notice
                facts = {
                    "percent": each.notice,
                    "budget": name_of(each),
                    "period": each.counter.ceiling.period.value,
                    "spent": dollars(each.spend.total),
                    "limit": dollars(each.limit),
                    "period_end": each.window.until.isoformat(),
                }
                log.warning("a budget has reached a share of its limit", extra={"fields": facts})

    def _undecided(
        self, ceilings: Ceilings | None, asked: Asked, why: str, as_of: datetime | None = None
    ) -> dict[str, Any]:
        return undecided(ceilings, asked, why, block=self._settings.when_unknown == "block", as_of=as_of)

    def _reserve(self, asked: Asked, amount: int, found: Sequence[Standing], now: datetime) -> dict[str, Any]:
        lasts = timedelta(seconds=self._settings.reservation_seconds)
        counters = [each.counter for each in found]
        made = self._reservations.make(asked.entities, amount, counters, now=now, lasts=lasts)
        self._promises.write(made)
        return {"reservation_id": made.id, "reservation_expires_at": f"{made.expires_at:%Y-%m-%dT%H:%M:%S.%fZ}"}

    def _arrange(self, known: _Known, now: datetime) -> None:
        """Hold what is reserved under the ceilings and periods of now."""
        budgets = known.spent.budgets
        windows = {ceiling.period: ceiling.period.window(now, budgets.tz) for ceiling in budgets.ceilings}
        known.turns_at = min((each.until for each in windows.values()), default=now + timedelta(days=1))
        self._reservations.arrange(known.ceilings.over, lambda counter: windows[counter.ceiling.period].since)

    def _say_block(self, verdict: Verdict) -> None:
        """Once a period: who asks again and again must not fill the log."""
        if not verdict.is_allowed and isinstance(verdict.by, Standing):
            key = (verdict.by.counter, verdict.by.window.since)
            if self._said.get(key, 0) < _BLOCKS:
                self._said[key] = _BLOCKS
                log.warning("a hard budget blocks", extra={"fields": {"budget": name_of(verdict.by)}})

    def _counted(self, answer: dict[str, Any]) -> dict[str, Any]:
        self._decisions[answer["decision"]] += 1
        return answer
