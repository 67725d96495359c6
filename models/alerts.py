"""When an alert fires, stays open and is resolved: what is remembered between two looks, and what is told of them.

Pure functions; `now` is passed in. A rule's rows at an instant are violations. The first violation of an entity opens
an alert and tells it; while the entity is among the rows the alert stays open and nothing more is told, over the end
of its period too; once it has been absent for `settle`, the alert is resolved and that is told. A rule, entity and
period that fired once does not fire again, nor does an entity within the rule's cool-down after a resolve.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from .alert_settings import Severity

REMEMBERED = timedelta(days=400)
"""How long a firing is known after its resolve: longer than any period is."""

_KEY_CHARACTERS = 255
"""The longest key that PagerDuty takes."""


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(_Stored):
    """One number of a violation, and what it is: `spent in the last 24 hours`, 12.5, USD."""

    meaning: str
    value: Decimal | None
    unit: str | None = None


class Violation(_Stored):
    """One row of a rule: an entity that is over the threshold, with what to show of it."""

    entity: str
    period: str
    observed: Figure
    baseline: Figure
    threshold: Figure
    severity: Severity | None = None
    """Its own, where it is not the rule's."""

    shown: dict[str, str] = {}
    """Dimensions and other columns, in the order of the row."""

    trace_ids: tuple[str, ...] = ()


class Alert(_Stored):
    """A rule that fired for an entity: the violation as it was last seen."""

    rule: str
    sentence: str
    severity: Severity
    violation: Violation
    period: str
    """The period in which it fired, which names it for good."""

    fired_at: AwareDatetime
    seen_at: AwareDatetime
    is_told: bool = True
    """Whether it was told by a notice of its own; then its resolve is told too."""

    @property
    def entity(self) -> str:
        """What it is about."""
        return self.violation.entity

    def key(self, source: str) -> str:
        """The name of this firing wherever notices go; the same for its resolve and whatever is sent again."""
        key = "/".join((source, self.rule, self.entity, self.period))
        if len(key) <= _KEY_CHARACTERS and key.isprintable():
            return key
        return "/".join((source, self.rule[:100], hashlib.sha256(key.encode()).hexdigest()))


class Notice(_Stored):
    """What is told of an alert, once for each channel."""

    state: Literal["firing", "resolved", "test"]
    alert: Alert
    at: AwareDatetime
    owner: str | None = None
    others: int = 0
    """Alerts of the same rule that fired with it and are not told one by one."""


class Queued(_Stored):
    """A notice that a channel has not taken yet."""

    channel: str
    notice: Notice
    queued_at: AwareDatetime
    next_try_at: AwareDatetime
    tries: int = 0


class Closed(_Stored):
    """A firing that is over."""

    rule: str
    entity: str
    period: str
    resolved_at: AwareDatetime


class State(_Stored):
    """All that is remembered between two looks."""

    version: Literal[1] = 1
    open: tuple[Alert, ...] = ()
    closed: tuple[Closed, ...] = ()
    queue: tuple[Queued, ...] = ()


@dataclass(frozen=True, slots=True)
class Looked:
    """What one rule gave: its violations, the worst first; or the problem, and then nothing is known."""

    rule: str
    sentence: str
    severity: Severity
    cool_down: timedelta
    violations: Sequence[Violation] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for all rules; `owner` says who owns what a violation shows."""

    settle: timedelta
    most_at_once: int
    owner: Callable[[Mapping[str, str]], str | None] = lambda _: None


def advance(
    state: State, looks: Iterable[Looked], known: Iterable[str], policy: Policy, now: datetime
) -> tuple[State, list[Notice]]:
    """The state after a look at `now`, and what is to be told; its queue is left as it is.

    A rule with a problem, and one that was not looked at, leaves its alerts as they are. `known` are all rules that
    there are: alerts of others are resolved.
    """
    still = {(alert.rule, alert.entity): alert for alert in state.open}
    closed = {(past.rule, past.entity, past.period): past for past in state.closed}
    notices: list[Notice] = []

    def resolve(alert: Alert) -> None:
        del still[alert.rule, alert.entity]
        closed[alert.rule, alert.entity, alert.period] = Closed(
            rule=alert.rule, entity=alert.entity, period=alert.period, resolved_at=now
        )
        if alert.is_told:
            notices.append(Notice(state="resolved", alert=alert, at=now, owner=policy.owner(alert.violation.shown)))

    names = set(known)
    for alert in state.open:
        if alert.rule not in names:
            resolve(alert)
    for looked in looks:
        if looked.problem is not None:
            continue
        found = {each.entity: each for each in reversed(looked.violations)}
        for alert in [alert for alert in still.values() if alert.rule == looked.rule]:
            if alert.entity in found:
                update = {"violation": found[alert.entity], "seen_at": now}
                still[alert.rule, alert.entity] = alert.model_copy(update=update)
            elif now - alert.seen_at >= policy.settle:
                resolve(alert)
        fired = _fired(looked, still, closed, now)
        told, rest = fired[: policy.most_at_once], fired[policy.most_at_once :]
        for alert in told:
            still[alert.rule, alert.entity] = alert
            others = len(rest) if alert is told[-1] else 0
            owner = policy.owner(alert.violation.shown)
            notices.append(Notice(state="firing", alert=alert, at=now, owner=owner, others=others))
        still |= {(alert.rule, alert.entity): alert.model_copy(update={"is_told": False}) for alert in rest}
    kept = tuple(past for past in closed.values() if now - past.resolved_at < REMEMBERED)
    return state.model_copy(update={"open": tuple(still.values()), "closed": kept}), notices


def _fired(
    looked: Looked,
    still: Mapping[tuple[str, str], Alert],
    closed: Mapping[tuple[str, str, str], Closed],
    now: datetime,
) -> list[Alert]:
    """The alerts that violations open, one an entity."""
    quiet_until: dict[str, datetime] = {}
    for past in closed.values():
        if past.rule == looked.rule:
            until = past.resolved_at + looked.cool_down
            quiet_until[past.entity] = max(until, quiet_until.get(past.entity, until))
    opened: dict[str, Alert] = {}
    for each in looked.violations:
        is_known = (looked.rule, each.entity) in still or (looked.rule, each.entity, each.period) in closed
        is_quiet = each.entity in quiet_until and now < quiet_until[each.entity]
        if not (is_known or is_quiet or each.entity in opened):
            opened[each.entity] = Alert(
                rule=looked.rule,
                sentence=looked.sentence,
                severity=each.severity or looked.severity,
                violation=each,
                period=each.period,
                fired_at=now,
                seen_at=now,
            )
    return list(opened.values())


def owner_of(owners: Mapping[str, Mapping[str, str]], shown: Mapping[str, str]) -> str | None:
    """Who owns what a violation shows: the first dimension of the settings that names somebody.

    >>> owner_of({"feature": {"search": "Ada"}, "team": {"web": "Bo"}}, {"team": "web", "feature": "search"})
    'Ada'
    """
    for dimension, named in owners.items():
        if dimension in shown and shown[dimension] in named:
            return named[shown[dimension]]
    return None
