"""Sixty made-up days of calls with incidents planted in them, and what alert rules say of them hour by hour.

The ordinary part has what real spend has: a daily cycle, quiet weekends (some work stops altogether), growth, noise,
prompt versions that roll out within a day, evals at night, accounts that pay nothing, calls without usage.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from llmcost.models.alert_settings import Alerts
from llmcost.models.alerts import Notice, Policy, State, advance
from llmcost.models.lake import Lake
from llmcost.models.prices import PriceBook
from llmcost.models.windows import Window
from llmcost.sql.alert import Looker, Standings
from llmcost.sql.alert_rules import Rule, rules
from llmcost.sql.database import connect
from llmcost.sql.derive import empty_relation
from llmcost.sql.model_rates import offer_model_rates
from llmcost.sql.relations import VIEWS, read

from .lakes import NOW

DAYS = 60
KNOWN_DAYS = 30
"""Days before the first incident: what is usual must be known."""

START = (NOW - timedelta(days=DAYS)).replace(hour=0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CUSTOMERS = tuple(f"customer-{n}" for n in range(6))
DEVELOPERS = tuple(f"dev-{n}" for n in range(6))
ACCOUNTS = tuple(f"free-{n}" for n in range(10))
INTERNAL = ("indexer", "reporter", "cleaner")
FEATURES = ("chat", "search", "summary")
AGENT_OF = {"chat": "support", "search": "searcher", "summary": "summariser"}
MODEL = "gpt-4o-2024-11-20"
PROMPT_TOKENS, PREFIX_TOKENS = 48_000, 40_000


@dataclass(frozen=True)
class Incident:
    """Something planted: which rule is to find it, for which entity (a part of its name), and when."""

    rule: str
    about: str
    start: datetime
    end: datetime
    strength: float = 1.0

    def holds(self, at: datetime) -> bool:
        return self.start <= at < self.end


@dataclass
class Past:
    """One history; the same seed, the same calls."""

    seed: int
    kinds: Sequence[str] = ()
    each: int = 4
    """Incidents of each kind."""

    incidents: list[Incident] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311  (histories for tests)
        self.number = 0
        for kind in self.kinds or tuple(_PLANS):
            self.incidents += _PLANS[kind](self)
        self.growth = self.chance.uniform(-0.002, 0.008)

    def slots(self, days: float, hours: tuple[int, int] = (0, 23)) -> Iterator[tuple[datetime, datetime]]:
        """When the incidents of one kind are: spread over the days after the known ones, never two at once."""
        share = (DAYS - KNOWN_DAYS - 2) / max(self.each, 1)
        for n in range(self.each):
            day = KNOWN_DAYS + n * share + self.chance.uniform(0, max(0.0, share - days - 1.5))
            start = START + int(day) * DAY + self.chance.randint(*hours) * HOUR
            yield start, start + days * DAY

    def calls(self) -> pa.Table:
        """All calls of the history, by time."""
        rows: list[dict[str, Any]] = []
        for hour in range(int((NOW - START) / HOUR)):
            at = START + hour * HOUR
            for rate, call in self._streams(at):
                rows += [row for _ in range(self._poisson(rate)) for row in call(at + self.chance.random() * HOUR)]
        for incident in self.incidents:
            rows += _ADDED.get(incident.rule, lambda *_: [])(self, incident)
        rows.sort(key=lambda row: row["started_at"])
        return pa.Table.from_pylist(rows, schema=empty_relation("calls").schema)

    def planted(self, rule: str, at: datetime, about: str) -> float:
        """How strong the incident of this rule is that holds then, for whom it is about; 1 without one."""
        found = (i.strength for i in self.incidents if i.rule == rule and i.about == about and i.holds(at))
        return next(found, 1.0)

    def _streams(self, at: datetime) -> Iterator[tuple[float, Any]]:
        """What happens in this hour: how often, and the calls of one time."""
        days = (at - START) / DAY
        grown = (1 + self.growth) ** days
        by_day = 1 + 0.8 * math.sin((at.hour - 9) / 24 * 2 * math.pi)
        weekend = at.weekday() > 4
        people = grown * by_day * (0.35 if weekend else 1.0) / 24
        for customer, size in zip(CUSTOMERS, (30, 25, 25, 20, 20, 20), strict=True):
            rate = size * people * self.planted("tenant-spend-delta", at, customer)
            yield rate, lambda t, c=customer: self.request(t, c)
        office = 0.0 if weekend or not 7 <= at.hour < 19 else grown / 12
        for developer in DEVELOPERS:
            rate = 14 * office * self.planted("developer-spend-delta", at, developer)
            yield rate, lambda t, d=developer: self.coding(t, d)
        for agent in INTERNAL:
            rate = (40 if agent != "cleaner" or at.hour < 6 else 4) * grown / 24
            rate *= self.planted("agent-spend-anomaly", at, agent)
            yield rate, lambda t, a=agent: self.internal(t, a)
        for account in ACCOUNTS:
            rate = 1.5 / 24 * self.planted("free-tier-abusers", at, account)
            yield rate, lambda t, a=account: self.free(t, a)
        if at.hour == 2:
            yield 15 * grown, self.evaluation
        if self.planted("eval-over-inference", at, "evals") > 1:
            yield 20 * self.planted("eval-over-inference", at, "evals"), self.evaluation

    def request(self, at: datetime, customer: str) -> list[dict[str, Any]]:
        feature = self.chance.choices(FEATURES, (5, 3, 2))[0]
        version = self.version(feature, at)
        trace = self._trace()
        dear = self.planted("feature-request-cost", at, feature)
        bloat = self.planted("context-bloat", at, feature)
        rows = []
        for step in range(self.chance.choices((1, 2, 3), (6, 3, 1))[0]):
            tokens = round(PROMPT_TOKENS * self.chance.uniform(0.9, 1.1) * bloat)
            is_hit = self.planted("cache-misses", at, feature) == 1 and self.chance.random() < 0.95
            cost = 0.06 * self.chance.lognormvariate(0, 0.3) * dear * (1 + (bloat - 1) * 0.8)
            rows.append(
                self.row(
                    at + timedelta(seconds=20 * step), cost, trace,
                    customer_id=customer, feature=feature, agent_name=AGENT_OF[feature], agent_run_id=f"run-{trace}",
                    prompt_version=version, team="product", input_tokens=tokens,
                    cache_read_tokens=PREFIX_TOKENS if is_hit else 0, cache_write_5m_tokens=0,
                )
            )  # fmt: skip
        if self.chance.random() < 0.005:  # now and then a stream ends without telling its usage
            rows[-1] |= {"cost_usd": None, "unpriced_reason": "usage_missing", "cost_basis": None}
        return rows

    def version(self, feature: str, at: datetime) -> str:
        """The prompt version in use: a new one every few weeks, rolled out within a day."""
        day = (at - START) / DAY + 5 * FEATURES.index(feature)
        number, into = divmod(day, 17)
        if number and into < 1 and self.chance.random() > into:
            number -= 1
        late = next((i for i in self.incidents if i.rule == "stale-prompt-versions" and i.about == feature), None)
        if late and late.holds(at) and number and self.chance.random() < 0.4:
            number -= 1
        return f"v{int(number) + 1}"

    def coding(self, at: datetime, developer: str) -> list[dict[str, Any]]:
        return [self.row(at, 0.12 * self.chance.lognormvariate(0, 0.4), developer=developer, feature="coding",
                         team="platform", input_tokens=self.chance.randint(8000, 10_000))]  # fmt: skip

    def internal(self, at: datetime, agent: str) -> list[dict[str, Any]]:
        trace = self._trace()
        rows = []
        for step in range(self.chance.choices((1, 2), (2, 1))[0]):
            moment, cost = at + step * timedelta(seconds=10), 0.08 * self.chance.lognormvariate(0, 0.3)
            named = {"agent_name": agent, "agent_run_id": f"run-{trace}", "feature": agent, "team": "platform"}
            rows.append(self.row(moment, cost, trace, input_tokens=self.chance.randint(4500, 5500), **named))
        return rows

    def free(self, at: datetime, account: str) -> list[dict[str, Any]]:
        return [self.row(at, 0.05 * self.chance.lognormvariate(0, 0.3), customer_id=account, feature="trial",
                         tags=["plan:free"], input_tokens=4000)]  # fmt: skip

    def evaluation(self, at: datetime) -> list[dict[str, Any]]:
        return [self.row(at, 0.15 * self.chance.lognormvariate(0, 0.2), feature="judging", traffic_type="eval",
                         team="quality", input_tokens=3000)]  # fmt: skip

    def row(self, at: datetime, cost: float | None, trace: str | None = None, **columns: Any) -> dict[str, Any]:
        trace = trace or self._trace()
        nano = None if cost is None else Decimal(round(cost * 10**9)).scaleb(-9)
        self.number += 1
        return {
            "day": at.date(), "trace_id": trace, "span_id": f"{self.number:016x}", "started_at": at,
            "ended_at": at + timedelta(seconds=2), "duration_ms": 2000.0, "operation": "chat", "provider": "openai",
            "model": MODEL, "request_model": MODEL, "status": "UNSET", "is_batch": False, "deployment": "prod",
            "traffic_type": "inference", "output_tokens": 200 + self.number % 50, "cost_usd": nano,
            "output_cost_usd": None if nano is None else (nano / 5).quantize(Decimal("0.000000001")),
            "cost_basis": "list", "unpriced_reason": None,
        } | columns  # fmt: skip

    def _trace(self) -> str:
        return f"{self.chance.getrandbits(128):032x}"

    def _poisson(self, rate: float) -> int:
        if rate > 30:
            return max(0, round(self.chance.gauss(rate, math.sqrt(rate))))
        limit, product, count = math.exp(-rate), self.chance.random(), 0
        while product > limit:
            product *= self.chance.random()
            count += 1
        return count


def _plan(rule: str, about: Sequence[str], days: float, strength: tuple[float, float], **slots: Any) -> Any:
    def plan(past: Past) -> list[Incident]:
        names = past.chance.sample(about, len(about))
        return [
            Incident(rule, names[n % len(names)], start, end, past.chance.uniform(*strength))
            for n, (start, end) in enumerate(past.slots(days, **slots))
        ]

    return plan


def _weekdays(plan: Any) -> Any:
    """The same, begun on a working day: what stops at weekends cannot go wrong then."""

    def moved(past: Past) -> list[Incident]:
        found = []
        for each in plan(past):
            shift = max(0, 7 - each.start.weekday()) * DAY if each.start.weekday() > 3 else timedelta(0)
            found.append(Incident(each.rule, each.about, each.start + shift, each.end + shift, each.strength))
        return found

    return moved


def _after_rollout(past: Past) -> list[Incident]:
    """A service that stays with the old version for days after a rollout: one for each of the busier features."""
    found = []
    for feature in FEATURES[:2]:
        turn = next(d for d in range(KNOWN_DAYS, DAYS) if (d + 5 * FEATURES.index(feature)) % 17 == 0)
        start = START + turn * DAY
        found.append(Incident("stale-prompt-versions", feature, start, start + 8 * DAY))
    return found


_PLANS: Mapping[str, Any] = {
    "tenant-spend-delta": _plan("tenant-spend-delta", CUSTOMERS, 1.5, (3, 5)),
    "developer-spend-delta": _weekdays(_plan("developer-spend-delta", DEVELOPERS, 1, (8, 12), hours=(6, 8))),
    "agent-spend-anomaly": _plan("agent-spend-anomaly", INTERNAL, 2, (2.0, 3.0)),
    "eval-over-inference": _plan("eval-over-inference", ("evals",), 1, (1.4, 2.0)),
    "feature-request-cost": _weekdays(_plan("feature-request-cost", FEATURES, 1, (2.2, 3))),
    "unpriced-spend": _plan("unpriced-spend", tuple(f"acme-{n}" for n in range(9)), 1, (1, 1)),
    "retry-storms": _plan("retry-storms", FEATURES, 0.01, (1, 1)),
    "runaway-agents": _plan("runaway-agents", tuple(f"away-{n}" for n in range(9)), 0.1, (20, 40)),
    "context-bloat": _weekdays(_plan("context-bloat", FEATURES, 3, (1.9, 2.5))),
    "stale-prompt-versions": _after_rollout,
    "free-tier-abusers": _plan("free-tier-abusers", ACCOUNTS, 2, (40, 70)),
    "cache-misses": _weekdays(_plan("cache-misses", ("chat",), 1, (2, 2))),
}
"""How each kind is planted."""


def _unpriced(past: Past, incident: Incident) -> list[dict[str, Any]]:
    return [
        past.row(incident.start + past.chance.random() * DAY, None, model=incident.about, provider="acme",
                 request_model=incident.about, feature="search", unpriced_reason="model_not_in_price_book",
                 cost_basis=None, input_tokens=2000)
        for _ in range(40)
    ]  # fmt: skip


def _storm(past: Past, incident: Incident) -> list[dict[str, Any]]:
    return [
        past.row(incident.start + n * timedelta(seconds=12), 0.0, status="ERROR", feature=incident.about,
                 agent_name=AGENT_OF[incident.about], output_tokens=0, input_tokens=3000, cost_basis="failed")
        for n in range(past.chance.randint(40, 60))
    ]  # fmt: skip


def _away(past: Past, incident: Incident) -> list[dict[str, Any]]:
    count = round(incident.strength) * 3
    return [
        past.row(incident.start + n * timedelta(seconds=60), 0.08, incident.about, agent_name="support",
                 agent_run_id=f"run-{incident.about}", feature="back office", team="product",
                 input_tokens=5000 + 7 * n)
        for n in range(count)
    ]  # fmt: skip


_ADDED: Mapping[str, Any] = {"unpriced-spend": _unpriced, "retry-storms": _storm, "runaway-agents": _away}
"""What a kind adds to the ordinary calls."""


@contextmanager
def replaying(calls: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
    """A session whose calls are those of memory in the window that is set, so that `now` can be moved quickly."""
    with connect() as con:
        con.execute("set threads = 1")  # a look is quick, and others work here too
        con.register("given", calls)
        con.execute("create temp table all_calls as from given order by started_at")
        con.execute("set variable tz = 'UTC'")
        for name in ("since", "until"):
            con.execute(f"set variable {name} = $at", {"at": NOW})
        con.execute(
            "create temp view call_rows as select * from all_calls "
            "where started_at >= getvariable('since') and started_at < getvariable('until')"
        )
        con.execute(f"create temp view calls as {read(VIEWS / 'calls.sql').text}")

        _offer_rates(con)
        yield con


def _offer_rates(con: duckdb.DuckDBPyConnection) -> None:
    """List prices of the calls' models, as a question over files would offer them."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "day=2026-11-01" / "calls.parquet"
        file.parent.mkdir()
        con.execute(f"copy (select * exclude (day) from all_calls) to '{file}' (format parquet)")
        offer_model_rates(con, [file], Window(START, NOW), PriceBook())


@dataclass
class Fired:
    """One firing as it was told, and when it was resolved, if it was."""

    rule: str
    entity: str
    period: str
    at: datetime
    resolved_at: datetime | None = None


def replay(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    looks: Iterable[datetime],
    *,
    settings: Alerts | None = None,
    asked: Sequence[Rule] | None = None,
    standings: Standings | None = None,
) -> tuple[list[Fired], State, list[Notice]]:
    """What is told by looking at each of these instants in turn."""
    settings = settings or Alerts()
    chosen = list(asked or rules(None, settings))
    known = [rule.name for rule in chosen]
    policy = Policy(settle=timedelta(minutes=30), most_at_once=1000)
    state, fired, notices = State(), dict[str, Fired](), list[Notice]()
    looker = Looker(con, lake, *([standings] if standings else []))
    for now in looks:
        found = looker.look(chosen, now, settings.tz)
        broken = [each.problem for each in found if each.problem]
        assert not broken, broken
        state, told = advance(state, found, known, policy, now)
        notices += told
        for notice in told:
            alert = notice.alert
            key = alert.key("test")
            if notice.state == "firing":
                assert key not in fired, f"told twice: {key}"
                fired[key] = Fired(alert.rule, alert.entity, alert.period, now)
            else:
                assert fired[key].resolved_at is None, f"resolved twice: {key}"
                fired[key].resolved_at = now
    return list(fired.values()), state, notices


SLACK = timedelta(hours=26)
"""How long after its end an incident may still be found: rules look back over 24 hours."""


def touches(incident: Incident) -> set[str]:
    """Entities that an incident moves too, though it is not planted for them: to be told of these is no mistake."""
    about = incident.about
    match incident.rule:
        case "feature-request-cost" | "context-bloat":
            return {about, AGENT_OF[about], *CUSTOMERS}
        case "runaway-agents":
            return {"support", "back office"}
        case "cache-misses" | "stale-prompt-versions" | "retry-storms":
            return {about, AGENT_OF[about]}
        case _:
            return {about}


@dataclass
class Score:
    """How one rule did. A firing is a hit, a repeat of one, a consequence of another incident, or false."""

    planted: int = 0
    found: int = 0
    repeats: int = 0
    consequences: int = 0
    false: list[Fired] = field(default_factory=list)
    resolved: int = 0
    hours_to_find: list[float] = field(default_factory=list)
    hours_to_resolve: list[float] = field(default_factory=list)

    @property
    def recall(self) -> float:
        return self.found / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        told = self.found + self.repeats + len(self.false)
        return (self.found + self.repeats) / told if told else 1.0


def score(incidents: Sequence[Incident], fired: Sequence[Fired], last_look: datetime) -> dict[str, Score]:
    """How each rule did over one history; what is open at the last look may still be resolved."""
    scores: dict[str, Score] = {}
    left = list(fired)
    for incident in sorted(incidents, key=lambda each: each.start):
        mine = scores.setdefault(incident.rule, Score())
        mine.planted += 1
        hits = [
            each
            for each in left
            if each.rule == incident.rule
            and incident.about in each.entity
            and incident.start <= each.at <= incident.end + SLACK
        ]
        for each in hits:
            left.remove(each)
        if hits:
            first = min(hits, key=lambda each: each.at)
            mine.found += 1
            mine.repeats += len(hits) - 1
            mine.hours_to_find.append((first.at - incident.start) / HOUR)
            mine.resolved += first.resolved_at is not None or last_look < incident.end + 9 * DAY
            if first.resolved_at:
                mine.hours_to_resolve.append((first.resolved_at - incident.end) / HOUR)
    for each in left:
        mine = scores.setdefault(each.rule, Score())
        is_moved = any(
            other.start <= each.at <= other.end + SLACK and any(name in each.entity for name in touches(other))
            for other in incidents
        )
        if is_moved:
            mine.consequences += 1
        else:
            mine.false.append(each)
    return scores
