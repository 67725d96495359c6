"""Which ceilings a request is under, what is left of each, and whether it may be made: pure functions.

The lowest ceiling decides: of those that are used up the hard one with the least left, else the one with the least
left. What is left makes a ceiling low, not its limit.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .budgets import EACH, WHOLE, Budgets, Ceiling, RunLimits
from .windows import Window

NOTICES = (50, 80, 100)
"""Percent of a limit at which a notice is given."""

RUN_FIGURES = ("tokens", "cost", "tool_calls", "retries", "depth")


@dataclass(frozen=True, slots=True)
class RunFigures:
    """What one run of an agent has done so far; `cost` in nano-dollars, `depth` in spans from the root down."""

    tokens: int = 0
    cost: int = 0
    tool_calls: int = 0
    retries: int = 0
    depth: int = 0

    @property
    def is_told(self) -> bool:
        """Whether any figure is above nothing."""
        return any(getattr(self, name) for name in RUN_FIGURES)

    def or_more(self, other: RunFigures) -> RunFigures:
        """The larger of each figure: what landed, and what the agent itself has counted."""
        return RunFigures(*(max(getattr(self, name), getattr(other, name)) for name in RUN_FIGURES))

    def and_then(self, later: RunFigures) -> RunFigures:
        """The figures of two days of one run."""
        sums = {name: getattr(self, name) + getattr(later, name) for name in RUN_FIGURES if name != "depth"}
        return RunFigures(**sums, depth=max(self.depth, later.depth))


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is about to be made: whose it is, by level, and what it may cost, in nano-dollars."""

    entities: Mapping[str, Sequence[str]] = field(default_factory=dict)
    estimate: int | None = None
    agent_run_id: str | None = None
    run: RunFigures = RunFigures()


@dataclass(frozen=True, slots=True)
class Counter:
    """What is counted against one ceiling: the spend of an entity, or of all that a pattern matches."""

    ceiling: Ceiling
    entity: str


@dataclass(frozen=True, slots=True)
class Spend:
    """Nano-dollars spent in a period, the bound on what has no price among them, and how many calls that is."""

    priced: int = 0
    unpriced: int = 0
    calls: int = 0
    unpriced_calls: int = 0

    @property
    def total(self) -> int:
        """What counts: booked costs, and at most as much for what has none."""
        return self.priced + self.unpriced

    def __add__(self, other: Spend) -> Spend:
        return Spend(
            self.priced + other.priced,
            self.unpriced + other.unpriced,
            self.calls + other.calls,
            self.unpriced_calls + other.unpriced_calls,
        )


NOTHING = Spend()


@dataclass(frozen=True, slots=True)
class Held:
    """Nano-dollars that are in no figures yet: `reserved` for requests under way, `settled` of those done."""

    reserved: int = 0
    settled: int = 0


NOTHING_HELD = Held()


@dataclass(frozen=True, slots=True)
class Standing:
    """How one ceiling stands: what was spent in its period, and what is held beside it."""

    counter: Counter
    window: Window
    spend: Spend = NOTHING
    held: Held = NOTHING_HELD

    @property
    def limit(self) -> int:
        """Nano-dollars of the period."""
        return self.counter.ceiling.limit

    @property
    def left(self) -> int:
        """Nano-dollars that may still be spent; below 0 where more was."""
        return self.limit - self.spent - self.held.reserved

    @property
    def spent(self) -> int:
        """Nano-dollars of the period that are gone, landed or not."""
        return self.spend.total + self.held.settled

    def is_over(self, estimate: int | None) -> bool:
        """Whether a request that costs `estimate`, if anybody knows, is one too many."""
        return estimate > self.left if estimate else self.left <= 0

    @property
    def is_warning(self) -> bool:
        """Whether the share that warn_threshold names is used."""
        return self.spent + self.held.reserved >= self.limit * self.counter.ceiling.warn_threshold

    @property
    def notice(self) -> int:
        """The highest of NOTICES that was spent, in percent; 0 for none."""
        return max((each for each in NOTICES if self.spend.total * 100 >= each * self.limit), default=0)


@dataclass(frozen=True, slots=True)
class RunExcess:
    """A limit that a run has reached."""

    limits: RunLimits
    figure: str
    limit: int
    reached: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may be made. `by` is what decided: what blocks, else the lowest ceiling, None without any."""

    is_allowed: bool
    by: Standing | RunExcess | None
    over: tuple[Standing | RunExcess, ...] = ()
    """Soft limits that are used up."""
    warnings: tuple[Standing, ...] = ()


class Ceilings:
    """The budgets, arranged so that those of a request are found without looking at all of them."""

    def __init__(self, budgets: Budgets) -> None:
        self.budgets = budgets
        self._named: dict[tuple[str, str], list[Ceiling]] = {}
        self._shared: dict[str, list[Ceiling]] = {}
        self._runs = sorted(budgets.runs, key=lambda limits: any(sign in limits.agent for sign in "*?["))
        for ceiling in budgets.ceilings:
            if ceiling.is_shared:
                self._shared.setdefault(ceiling.level, []).append(ceiling)
            else:
                self._named.setdefault((ceiling.level, ceiling.name), []).append(ceiling)

    def over(self, entities: Mapping[str, Sequence[str]]) -> list[Counter]:
        """What a request of these entities is counted against, by level."""
        found = [Counter(ceiling, WHOLE) for ceiling in self._named.get(("org", WHOLE), ())]
        for level, names in entities.items():
            for name in dict.fromkeys(names):
                found += self._of(level, name)
        return list(dict.fromkeys(found))

    def _of(self, level: str, name: str) -> Iterator[Counter]:
        own = self._named.get((level, name)) or self._named.get((level, EACH), [])
        yield from (Counter(ceiling, name) for ceiling in own)
        for ceiling in self._shared.get(level, ()):
            if fnmatch.fnmatchcase(name, ceiling.name):
                yield Counter(ceiling, ceiling.name)

    def limits_of(self, agents: Sequence[str]) -> RunLimits | None:
        """The limits of a run of these agents: of its own name, else of the first pattern that matches."""
        for limits in self._runs:
            if any(fnmatch.fnmatchcase(agent, limits.agent) for agent in agents or ("",)):
                return limits
        return None


def excesses(limits: RunLimits | None, figures: RunFigures) -> list[RunExcess]:
    """The limits that a run has reached: the next step would be one too many. A depth may be reached, not passed."""
    found = []
    for name in RUN_FIGURES if limits else ():
        limit, reached = getattr(limits, name), getattr(figures, name)
        if limit is not None and (reached > limit if name == "depth" else reached >= limit):
            assert limits is not None  # noqa: S101  (there are names only if it is)
            found.append(RunExcess(limits, name, limit, reached))
    return found


def verdict(standings: Iterable[Standing], run: Sequence[RunExcess] = (), estimate: int | None = None) -> Verdict:
    """Whether a request that may cost `estimate` is allowed under all of these."""
    lowest_first = sorted(standings, key=lambda each: (each.left, each.limit))
    over = [each for each in lowest_first if each.is_over(estimate)]
    killing = [each for each in run if each.limits.hard]
    blocking: list[Standing | RunExcess] = [*killing, *(each for each in over if each.counter.ceiling.hard)]
    by = next(iter([*blocking, *over, *run, *lowest_first]), None)
    soft: list[Standing | RunExcess] = [
        *(each for each in over if not each.counter.ceiling.hard),
        *(each for each in run if not each.limits.hard),
    ]
    warnings = tuple(each for each in lowest_first if each.is_warning)
    return Verdict(not blocking, by, tuple(soft), warnings)
