"""One round of alerts: look, remember, tell. What the command and the server's keeper both do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING

from .alert_file import AlertFile

if TYPE_CHECKING:
    from pyarrow import Table

    from ..models.alert_settings import Alerts, AnyChannel
    from ..models.alerts import Looked, Notice, Policy, Queued, State
    from ..sql.alert import Standings
    from ..sql.warehouse import Warehouse
    from .alert_channels import Sender

_SHORTEST_WAIT, _LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=15)
"""How long an undelivered notice is left alone: twice as long after each round, from the first to the second."""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A notice that a channel did not take, and why; it is kept unless it is `given_up`."""

    channel: str
    notice: Notice
    reason: str
    given_up: bool


@dataclass(slots=True)
class Round:
    """What a round found and told."""

    looks: list[Looked]
    state: State
    fired: int = 0
    resolved: int = 0
    delivered: int = 0
    undelivered: list[Undelivered] = field(default_factory=list)

    @property
    def problems(self) -> list[Looked]:
        """The rules that could not look."""
        return [look for look in self.looks if look.problem is not None]


def go_round(
    warehouse: Warehouse,
    sender: Sender,
    now: datetime,
    *,
    rule: str | None = None,
    dry_run: bool = False,
    wait_seconds: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> Round:
    """Look at all rules, or the one called `rule`; remember and tell what changed, unless it is a dry run.

    Raises LakeBusy where another process is at it, and whatever looking raises; a channel that does not answer is
    in the result.
    """
    file = AlertFile(warehouse.lake)
    if dry_run:
        return _looked(warehouse, file.read(), now, rule, progress)[0]
    with file.locked(wait_seconds):
        before = file.read()
        gone, notices = _looked(warehouse, before, now, rule, progress)
        settings = warehouse.settings.alerts
        gone.state = gone.state.model_copy(update={"queue": (*before.queue, *_queued(notices, settings, now))})
        if gone.state != before:
            file.write(gone.state)
        _tell(gone, file, settings, sender, now)
    return gone


def _looked(
    warehouse: Warehouse,
    state: State,
    now: datetime,
    rule: str | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[Round, list[Notice]]:
    from ..models.alerts import advance  # noqa: PLC0415  start-up time
    from ..sql.alert_rules import rules  # noqa: PLC0415

    settings = warehouse.settings.alerts
    looks = warehouse.alerts(rule, standings=_standings(warehouse), progress=progress)
    known = [each.name for each in rules(warehouse.lake, settings) if each.is_enabled]
    after, notices = advance(state, looks, known, policy(settings), now)
    fired = sum(notice.state == "firing" for notice in notices)
    others = sum(notice.others for notice in notices)
    return Round(looks, after, fired + others, len(notices) - fired), notices


def _standings(warehouse: Warehouse) -> Standings | None:
    """How budgets stand, where there are any; a file that is broken breaks the rules that read it, and no other."""
    from ..models.budget_file import load  # noqa: PLC0415  start-up time
    from ..models.errors import BudgetFileError  # noqa: PLC0415
    from ..sql.budgets import standings  # noqa: PLC0415
    from ..sql.standing_rows import standing_rows  # noqa: PLC0415
    from .budget_sources import budget_file, hidden  # noqa: PLC0415

    path = budget_file(warehouse.settings)
    if not path.exists():
        return None
    try:
        budgets = load(path)
    except BudgetFileError as error:
        problem = error

        def refuse(_: datetime) -> Table:
            raise problem

        return refuse
    made = hidden(warehouse.settings)
    spent = warehouse.spent(budgets, made)
    return lambda now: standing_rows(standings(spent, now), made)


def policy(settings: Alerts) -> Policy:
    """What the settings say of all rules."""
    from ..models.alerts import Policy, owner_of  # noqa: PLC0415  start-up time
    from ..models.windows import length  # noqa: PLC0415

    return Policy(length(settings.settle), settings.most_at_once, partial(owner_of, settings.owners))


def is_told(channel: AnyChannel, notice: Notice) -> bool:
    """Whether the channel wants to hear of it."""
    from ..models.alert_settings import SEVERITIES  # noqa: PLC0415  start-up time

    return (
        SEVERITIES.index(notice.alert.severity) >= SEVERITIES.index(channel.severity)
        and any(fnmatchcase(notice.alert.rule, wanted) for wanted in channel.rules)
        and (channel.resolved or notice.state != "resolved")
    )


def _queued(notices: Iterable[Notice], settings: Alerts, now: datetime) -> list[Queued]:
    from ..models.alerts import Queued  # noqa: PLC0415  start-up time

    return [
        Queued(channel=name, notice=notice, queued_at=now, next_try_at=now)
        for notice in notices
        for name, channel in settings.channels.items()
        if is_told(channel, notice)
    ]


def _tell(gone: Round, file: AlertFile, settings: Alerts, sender: Sender, now: datetime) -> None:
    """Send what is queued, each channel's in order; a channel that takes one not is left alone for this round."""
    stuck = set[str]()
    for queued in gone.state.queue:
        channel = settings.channels.get(queued.channel)
        if channel is None:
            reason = "there is no such channel any more"
            _settled(gone, file, queued, Undelivered(queued.channel, queued.notice, reason, given_up=True))
            continue
        if queued.channel in stuck or queued.next_try_at > now:
            stuck.add(queued.channel)
            continue
        sent = sender.send(channel, queued.notice)
        if sent.result == "delivered":
            gone.delivered += 1
            _settled(gone, file, queued)
            continue
        is_old = now - queued.queued_at >= timedelta(hours=settings.keep_hours)
        failed = Undelivered(queued.channel, queued.notice, sent.reason, given_up=is_old or sent.result == "never")
        if failed.given_up:
            _settled(gone, file, queued, failed)
            continue
        stuck.add(queued.channel)
        wait = max(
            min(_SHORTEST_WAIT * 2 ** min(queued.tries, 10), _LONGEST_WAIT), timedelta(seconds=sent.wait_seconds)
        )
        again = queued.model_copy(update={"tries": queued.tries + 1, "next_try_at": now + wait})
        _settled(gone, file, queued, failed, again)


def _settled(
    gone: Round,
    file: AlertFile,
    queued: Queued,
    failed: Undelivered | None = None,
    again: Queued | None = None,
) -> None:
    """Record what became of one notice."""
    rest = [again if each is queued else each for each in gone.state.queue]
    gone.state = gone.state.model_copy(update={"queue": tuple(each for each in rest if each is not None)})
    if failed is not None:
        gone.undelivered.append(failed)
    file.write(gone.state)
