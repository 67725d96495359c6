"""The server: one receiver, its journal, and the worker that lands it, from start to a drained stop."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path

from deltalake.exceptions import DeltaError

from ..models import conventions
from ..models.errors import LakeNotWritable, SettingsError
from ..models.lake import Lake
from ..models.settings import MIB, Settings
from .delta import landed_tables
from .group_commit import Bounds, GroupCommit
from .logs import LogFormat, configure, fields
from .memory import keep_freed_memory
from .receiver import Receiver
from .receiver_folder import ReceiverFolder, claim
from .supervisor import Supervisor
from .worker_order import Order

log = logging.getLogger(__name__)


def serve(
    settings: Settings,
    *,
    lake: Path,
    ready: Callable[[int], object] | None = None,
    log_format: LogFormat = "text",
) -> None:
    """Receive OTLP into the lake until SIGTERM or SIGINT, then land what was received and return.

    `ready` is called with the bound port once requests are accepted. Raises LakeError or SettingsError
    if the server cannot start; from then on it rides out what goes wrong, and says so in the log.
    """
    host = _host(settings.server.grpc)
    conventions.load(settings.conventions)  # a wrong table should stop the start, not the worker
    configure(log_format)
    keep_freed_memory()
    opened = Lake.create(lake)
    try:
        folder, lock = claim(opened.journal)
        next_number = _next_number(opened, folder)
    except (OSError, DeltaError) as error:
        raise LakeNotWritable(f'cannot write the lake "{lake}": {error}') from error
    try:
        asyncio.run(
            _serve(settings, opened, folder, host, next_number=next_number, ready=ready, log_format=log_format)
        )
    finally:
        lock.release()


def _next_number(lake: Lake, folder: ReceiverFolder) -> int:
    """A segment number this receiver never used, after putting its folder in order.

    Segments a dead receiver left open are closed, and what is in quarantine gets another try: this may be
    a newer llmcost.

    The folder is looked at before the tables: a worker that outlived its receiver may be landing, and
    removes a segment only after the tables have its number.
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


async def _serve(
    settings: Settings,
    lake: Lake,
    folder: ReceiverFolder,
    host: str,
    *,
    next_number: int,
    ready: Callable[[int], object] | None,
    log_format: LogFormat,
) -> None:
    stop = asyncio.Event()
    for wish in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(wish, stop.set)
    supervisor = Supervisor(folder, Order.of(settings, lake, folder, log_format).line())
    journal = GroupCommit(folder, _bounds(settings), next_number=next_number, on_close=supervisor.wake)
    receiver = Receiver(journal, max_message_bytes=settings.server.max_message_mib * MIB)
    port = await receiver.start(settings.server.grpc)
    supervisor.start()
    _say_started(settings, lake, folder, f"{host}:{port}")
    if not _is_loopback(host):
        log.warning(
            "anyone who reaches this address can send: there is no authentication yet", extra=fields(host=host)
        )
    if ready is not None:
        ready(port)
    await stop.wait()

    deadline = time.monotonic() + settings.server.stop_seconds
    log.info("stopping", extra=fields(stop_seconds=settings.server.stop_seconds))
    await receiver.stop()
    await journal.close()
    left_bytes = await supervisor.drain(max(0.0, deadline - time.monotonic()))
    if left_bytes:
        log.warning(
            "stopped; the rest waits in the journal for the next start",
            extra=fields(left_bytes=left_bytes, journal=folder.root),
        )
    else:
        log.info("stopped, everything is landed")


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        segment_seconds=settings.landing.segment_seconds,
        segment_bytes=settings.landing.segment_mib * MIB,
        backlog_bytes=settings.landing.journal_max_mib * MIB,
    )


def _say_started(settings: Settings, lake: Lake, folder: ReceiverFolder, address: str) -> None:
    days = settings.deriving.spans_retention_days
    log.info(
        "receiving",
        extra=fields(
            grpc=address,
            lake=lake.root.resolve(),
            receiver=folder.receiver_id,
            retention="forever" if days is None else f"{days}d",
            content=settings.content.policy,
        ),
    )


def _host(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) <= 65535):
        raise SettingsError(f'server.grpc = "{address}" is not HOST:PORT, such as 127.0.0.1:4317 or 0.0.0.0:4317')
    return host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
