"""A receiver's process: OTLP on a port that several of them may share, into one folder of the journal.

A process of its own so that a second core can answer senders, and so that one that dies is started
again in its own folder: what it acknowledged is there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from deltalake.exceptions import DeltaError

from ..models.errors import LlmcostError
from ..models.lake import Lake
from ..models.settings import MIB
from . import child
from .access import Access
from .budget_line import BudgetLine
from .delta import landed_tables
from .group_commit import Bounds, GroupCommit
from .http_receiver import HttpReceiver
from .intake import Intake
from .logs import configure, fields
from .memory import keep_freed_memory
from .orders import ReceiverOrder
from .receiver import Receiver
from .receiver_folder import ReceiverFolder
from .tls import Tls

log = logging.getLogger("llmcost.ingest.receiving")


def main() -> int:
    """Take the order from stdin and receive until told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    line = child.read_order()
    if not line:
        sys.exit("llmcost.ingest.receiving is started by: llmcost serve")
    order = ReceiverOrder.parse(line)
    configure(order.log_format)
    keep_freed_memory()
    lake = Lake(Path(order.lake))
    folder = ReceiverFolder(lake.journal / order.receiver_id)
    try:
        asyncio.run(_receive(order, lake, folder, next_number(lake, folder)))
    except (LlmcostError, OSError, DeltaError) as error:
        log.error("cannot receive: %s", error)
        child.say(child.FAILED, str(error))
        return 1
    return 0


async def _receive(order: ReceiverOrder, lake: Lake, folder: ReceiverFolder, number: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(0, _hear, stop)
    bounds = Bounds(
        segment_seconds=order.landing.segment_seconds,
        segment_bytes=order.landing.segment_mib * MIB,
        backlog_bytes=order.backlog_bytes,
        backlog_seconds=order.landing.journal_max_age_seconds,
    )
    journal = GroupCommit(folder, bounds, next_number=number, on_close=lambda: child.say(child.CLOSED))
    access = Access(
        lake.tokens,
        open_without_tokens=order.open_without_tokens,
        allow_anonymous=order.server.allow_anonymous,
    )
    intake = Intake.of(journal, order.server, access)
    receivers = await _receivers(order, lake, intake)
    child.say(child.READY)
    beating = asyncio.create_task(_beat())
    await stop.wait()
    loop.remove_reader(0)
    await asyncio.gather(*(receiver.stop() for receiver in receivers))
    await journal.close()
    beating.cancel()


async def _receivers(order: ReceiverOrder, lake: Lake, intake: Intake) -> list[Receiver | HttpReceiver]:
    """What listens, started."""
    tls = Tls.of(order.server)
    grpc = Receiver(
        intake,
        max_message_bytes=intake.max_message_bytes,
        share_port=True,
        credentials=None if tls is None else tls.grpc_credentials(),
    )
    await grpc.start(order.grpc)
    if order.http is None:
        return [grpc]
    http = HttpReceiver(
        intake,
        request_seconds=order.server.request_seconds,
        cors_origins=order.server.cors_origins,
        journal=lake.journal,
        more_metrics=lake.metrics,
        budgets=BudgetLine(lake, order.budgets),
        share_port=True,
        tls=tls,
    )
    await http.start(order.http)
    return [grpc, http]


def _hear(stop: asyncio.Event) -> None:
    """Whether the parent says so or is gone: there is only one thing a receiver can be told."""
    said = os.read(0, 4096)
    if not said or child.DRAIN in said:
        stop.set()


async def _beat() -> None:
    while True:
        child.say(child.ALIVE)
        await asyncio.sleep(child.BEAT_SECONDS)


def next_number(lake: Lake, folder: ReceiverFolder) -> int:
    """A segment number this receiver never used, after putting its folder in order.

    Segments a dead receiver left open are closed, and what is in quarantine gets another try: this may be
    a newer llmcost. Only the holder of the receiver's lock may call this.

    The folder is looked at before the tables: a worker may be landing, and removes a segment only after
    the tables have its number.
    """
    for left in folder.recover():
        if left.unreadable:
            log.error(
                "a segment left open is unreadable and kept in quarantine", extra=fields(reason=left.unreadable)
            )
        else:
            log.info(
                "closed a segment that was left open",
                extra=fields(segment=left.path.stem, bytes=left.whole_bytes, cut_bytes=left.cut_bytes),
            )
    highest = folder.last_number()
    number = 1 + max(highest, *(table.landed_number(folder.receiver_id) for table in landed_tables(lake)))
    readmitted = folder.readmit(number)
    for segment in readmitted:
        log.info(
            "a segment from quarantine is tried again", extra=fields(was=segment.path.name, segment=segment.number)
        )
    return number + len(readmitted)


if __name__ == "__main__":
    sys.exit(main())
