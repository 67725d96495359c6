"""The keeper: a process beside the receiver that keeps its lake in order, round after round.

Its first line on stdin is the order (keeper_order.py). The end of stdin means that the parent is gone, `d` or
SIGTERM that it is to stop: each ends it after the merge or the day at hand. A round that fails is said, and tried
again.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from .keeper_order import Order

log = logging.getLogger("llmcost.cli.keeper")

REST = 10
"""How many times as long as a round took the keeper rests after it: upkeep takes a tenth of a core at most."""

Facts = dict[str, object]
"""What a duty did; nothing to say where it is empty."""


class Stopped(Exception):
    """The keeper is to stop in the middle of a duty."""


class Parent:
    """The process that started this one: whether it still wants it to run."""

    def __init__(self, stdin: int) -> None:
        self._stdin = stdin
        self._selector = selectors.DefaultSelector()
        self._selector.register(stdin, selectors.EVENT_READ)
        self._wake, self._woken = os.pipe()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._stopped = False

    def stop(self) -> None:
        """It does not any more; may be called by a signal handler."""
        self._stopped = True
        os.write(self._woken, b".")

    def gone(self, wait_seconds: float = 0.0) -> bool:
        """Whether to stop; waits for it at most so long."""
        deadline = time.monotonic() + wait_seconds
        while not self._stopped:
            ready = [key.fd for key, _ in self._selector.select(max(deadline - time.monotonic(), 0))]
            if self._stdin in ready and (b"d" in (said := os.read(self._stdin, 4096)) or not said):
                self._stopped = True
            if time.monotonic() >= deadline:
                break
        return self._stopped

    def check(self, *_: object) -> None:
        """Raise Stopped if it is to stop: what long work calls as its progress."""
        if self.gone():
            raise Stopped


@dataclass(frozen=True, slots=True)
class Duty:
    """One thing to do in every round."""

    name: str
    do: Callable[[], Facts]


def keep(duties: list[Duty], parent: Parent, rest_seconds: float) -> None:
    """Do the duties in order, again and again, until the parent is gone."""
    while True:
        begun = time.monotonic()
        for duty in duties:
            if parent.gone():
                return
            _do(duty)
        took = time.monotonic() - begun
        if parent.gone(max(rest_seconds, REST * took)):
            return


def _do(duty: Duty) -> None:
    from ..ingest.logs import fields  # noqa: PLC0415  start-up time
    from ..models.errors import LakeBusy  # noqa: PLC0415

    begun = time.monotonic()
    try:
        facts = duty.do()
    except Stopped:
        return
    except LakeBusy:
        log.info("left to another process", extra=fields(duty=duty.name))
    except Exception as error:  # the next round tries again, whatever it was
        log.error("%s failed: %s: %s", duty.name, type(error).__name__, error)
    else:
        if facts:
            log.info(duty.name, extra=fields(**facts, seconds=round(time.monotonic() - begun, 3)))


def duties(order: Order, parent: Parent) -> list[Duty]:
    """What the order asks for: compaction, vacuum, derivation of changed days, retention, alerts, metrics."""
    found = [
        Duty("compacted", partial(_compact, order, parent)),
        Duty("vacuumed", partial(_vacuum, order, parent)),
        Duty("derived", partial(_derive, order, parent)),
        Duty("removed by age", partial(_retain, order, parent)),
    ]
    if order.settings.alerts.channels:
        found.append(Duty("alerts", Watch(order, parent)))
    if order.metrics:
        found.append(Duty("metrics", partial(_metrics, order)))
    return found


def _compact(order: Order, parent: Parent) -> Facts:
    from ..ingest.upkeep import compact_lake  # noqa: PLC0415  start-up time

    done = [
        each for each in compact_lake(order.settings.lake, order.settings.upkeep, stop=parent.gone) if not each.lost
    ]
    if not done:
        return {}
    return {
        "merges": len(done),
        "files_before": sum(each.files_before for each in done),
        "files_after": sum(each.files_after or 0 for each in done),
        "bytes": sum(each.bytes_after or 0 for each in done),
    }


def _vacuum(order: Order, parent: Parent) -> Facts:
    from ..ingest.upkeep import vacuum_lake  # noqa: PLC0415  start-up time

    done = vacuum_lake(order.settings.lake, order.settings.upkeep, progress=parent.check)
    return {"files": len(done), "bytes": sum(each.bytes for each in done)} if done else {}


def _derive(order: Order, parent: Parent) -> Facts:
    from ..sql.warehouse import Warehouse  # noqa: PLC0415  start-up time

    report = Warehouse(order.settings.lake, order.settings).refresh(progress=parent.check)
    restated = {"restated_days": len(report.restated)} if report.restated else {}
    return {"days": len(report.refreshed), **restated} if report.refreshed else {}


def _retain(order: Order, parent: Parent) -> Facts:
    from ..ingest.exchange import take_out  # noqa: PLC0415  start-up time
    from ..ingest.upkeep import upkeep_lock  # noqa: PLC0415
    from ..sql.warehouse import Warehouse  # noqa: PLC0415

    warehouse = Warehouse(order.settings.lake, order.settings)
    with upkeep_lock(warehouse.lake):
        done = warehouse.retain(take_out, progress=parent.check)
    return {f"{each.relation}_files": each.files for each in done}


class Watch:
    """Looks for alerts once a while and tells them; says of a broken rule once."""

    def __init__(self, order: Order, parent: Parent, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = order.settings
        self._parent = parent
        self._monotonic = monotonic
        self._next_at = 0.0
        self._said: dict[str, str | None] = {}

    def __call__(self) -> Facts:
        """A round, if it is time for one."""
        from ..ingest.logs import fields  # noqa: PLC0415  start-up time
        from ..sql.warehouse import Warehouse  # noqa: PLC0415
        from .alert_channels import Sender  # noqa: PLC0415
        from .alert_round import go_round  # noqa: PLC0415

        if self._monotonic() < self._next_at:
            return {}
        self._next_at = self._monotonic() + self._settings.alerts.every_seconds
        # stdout is how this process speaks with its parent
        sender = Sender(self._settings.alerts, out=lambda body: log.warning("alert", extra=fields(**body)))
        warehouse = Warehouse(self._settings.lake, self._settings)
        gone = go_round(warehouse, sender, datetime.now(UTC), progress=self._parent.check)
        for look in gone.looks:
            if look.problem and self._said.get(look.rule) != look.problem:
                log.error("an alert rule is broken: %s", look.problem, extra=fields(rule=look.rule))
            self._said[look.rule] = look.problem
        for each in gone.undelivered:
            what = "a notice is given up" if each.given_up else "a notice waits"
            log.warning(what, extra=fields(channel=each.channel, rule=each.notice.alert.rule, reason=each.reason))
        return {
            name: count for name in ("fired", "resolved", "delivered") for count in [getattr(gone, name)] if count
        }


def _metrics(order: Order) -> Facts:
    from ..models.lake import Lake  # noqa: PLC0415  start-up time
    from ..sql.metrics import write_metrics  # noqa: PLC0415

    assert order.metrics is not None  # noqa: S101  (the duty is there only if it is)
    write_metrics(Lake.open(order.settings.lake), order.metrics)
    return {}


def main() -> int:
    """Take the order from stdin and keep the lake until the parent is gone."""
    from ..ingest.child import read_order  # noqa: PLC0415  start-up time
    from ..ingest.logs import configure, fields  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    line = read_order()
    if not line:
        sys.exit("llmcost.cli.keeper is started by: llmcost serve")
    order, parent = Order.parse(line), Parent(0)
    signal.signal(signal.SIGTERM, lambda *_: parent.stop())
    configure(order.log_format)
    log.info("keeping the lake", extra=fields(lake=order.settings.lake))
    keep(duties(order, parent), parent, order.settings.upkeep.rest_seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
