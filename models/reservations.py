"""What is held for requests under way, so that many at once do not pass a ceiling together. Pure: `now` is passed in.

A reservation counts at its estimate until it is settled or expires. Settled, it goes on counting at its cost until
figures of spend are as new as its call's landing; in a later period than the one it was settled in it does not count.
"""

from __future__ import annotations

import heapq
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .verdicts import NOTHING_HELD, Counter, Held

Entities = Mapping[str, Sequence[str]]
Over = Callable[[Entities], Iterable[Counter]]
"""What a request of these entities is counted against."""


@dataclass(slots=True)
class Reservation:
    """One request's place: nano-dollars, whose they are, and until when nobody need settle it."""

    id: str
    entities: Entities
    amount: int
    expires_at: datetime
    settled_at: datetime | None = None
    held: list[Counter] = field(default_factory=list)


class Reservations:
    """All reservations of a lake. `landing` is how long after its settling a request's call may land."""

    def __init__(self, landing: timedelta) -> None:
        self._landing = landing
        self._all: dict[str, Reservation] = {}
        self._sums: dict[Counter, Held] = {}
        self._expiring: list[tuple[datetime, str]] = []
        self._landed: deque[tuple[datetime, str]] = deque()

    def __len__(self) -> int:
        return len(self._all)

    def held(self, counter: Counter) -> Held:
        """What is held under a ceiling."""
        return self._sums.get(counter, NOTHING_HELD)

    def make(
        self, entities: Entities, amount: int, counters: Iterable[Counter], *, now: datetime, lasts: timedelta
    ) -> Reservation:
        """Hold `amount` under `counters`."""
        made = Reservation(secrets.token_hex(12), entities, amount, now + lasts)
        self._all[made.id] = made
        heapq.heappush(self._expiring, (made.expires_at, made.id))
        self._hold(made, counters)
        return made

    def restore(self, reservation: Reservation) -> None:
        """Hold one of before; under which ceilings, `arrange` says."""
        self._all[reservation.id] = reservation
        if reservation.settled_at is None:
            heapq.heappush(self._expiring, (reservation.expires_at, reservation.id))
        else:
            self._landed.append((reservation.settled_at + self._landing, reservation.id))

    def all(self) -> list[Reservation]:
        """Every reservation that is held."""
        return list(self._all.values())

    def settle(self, name: str, cost: int | None, now: datetime) -> Reservation | None:
        """The request is done and cost so much, None is its estimate; None if there is no such reservation.

        Settled twice, the last word holds.
        """
        found = self._all.get(name)
        if found is None:
            return None
        counters = found.held
        self._release(found)
        if cost is not None:
            found.amount = cost
        found.settled_at = now
        self._landed.append((now + self._landing, name))
        self._hold(found, counters)
        return found

    def drop(self, name: str) -> Reservation | None:
        """The request was not made: nothing is held for it; None if there is no such reservation."""
        found = self._all.pop(name, None)
        if found is not None:
            self._release(found)
        return found

    def sweep(self, now: datetime, as_of: datetime | None) -> None:
        """Forget what expired by `now`, and what is in figures of spend as of `as_of`."""
        while self._expiring and self._expiring[0][0] <= now:
            found = self._all.get(heapq.heappop(self._expiring)[1])
            if found is not None and found.settled_at is None:
                self.drop(found.id)
        while self._landed and as_of is not None and self._landed[0][0] <= as_of:
            at, name = self._landed.popleft()
            found = self._all.get(name)
            if found is not None and found.settled_at is not None and found.settled_at + self._landing <= at:
                self.drop(name)

    def arrange(self, over: Over, begins: Callable[[Counter], datetime]) -> None:
        """Hold everything anew, under the ceilings that there are now; `begins` says when the period of each did.

        To be called when the budgets are others, or a period has ended.
        """
        self._sums.clear()
        for each in self._all.values():
            each.held = []
            settled_at = each.settled_at
            self._hold(each, [one for one in over(each.entities) if settled_at is None or settled_at >= begins(one)])

    def _hold(self, reservation: Reservation, counters: Iterable[Counter]) -> None:
        reservation.held = list(counters)
        self._add(reservation, reservation.amount)

    def _release(self, reservation: Reservation) -> None:
        self._add(reservation, -reservation.amount)
        reservation.held = []

    def _add(self, reservation: Reservation, amount: int) -> None:
        for counter in reservation.held:
            there = self._sums.pop(counter, NOTHING_HELD)
            if reservation.settled_at is None:
                there = Held(there.reserved + amount, there.settled)
            else:
                there = Held(there.reserved, there.settled + amount)
            if there != NOTHING_HELD:
                self._sums[counter] = there
