"""The server: receivers, the workers that land what they acknowledge, and companions, from start to a drained stop.

This process only starts the others, passes word between them, and starts again whichever ends. It holds
the ports and the locks of the receivers' folders, so that neither is lost while a receiver is started again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..models import conventions
from ..models.errors import LakeNotWritable
from ..models.lake import Lake
from ..models.settings import MIB, Settings
from . import child
from .addresses import Address, Held, hold
from .binding import guarded
from .logs import LogFormat, configure, fields
from .metrics import share
from .orders import ReceiverOrder, WorkerOrder
from .privacy import hash_key
from .receiver_folder import Lock, ReceiverFolder, claim
from .supervisor import Child, module
from .tls import Tls

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Companion:
    """Another process that runs beside receivers and workers, started, restarted and stopped with them.

    It is made above, because it may need what landing must not know.
    """

    name: str
    command: Sequence[str]
    order: bytes


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be started."""

    settings: Settings
    lake: Lake
    log_format: LogFormat
    grpc: Held
    http: Held | None
    folders: Sequence[tuple[ReceiverFolder, Lock]]
    companions: Sequence[Companion]
    tls: Tls | None
    open_without_tokens: bool

    @property
    def addresses(self) -> dict[str, Address]:
        """Where it listens, by transport."""
        held = {"grpc": self.grpc, "http": self.http}
        return {transport: port.address for transport, port in held.items() if port is not None}


def serve(
    settings: Settings,
    *,
    lake: Path,
    companions: Sequence[Companion] = (),
    ready: Callable[[int], object] | None = None,
    log_format: LogFormat = "text",
) -> None:
    """Receive OTLP into the lake until SIGTERM or SIGINT, then land what was received and return.

    `ready` is called with the bound port once requests are accepted. Raises LakeError, SettingsError or
    LandingError if the server cannot start; from then on it rides out what goes wrong, and says so in the log.
    """
    grpc = Address.parse("server.grpc", settings.server.grpc)
    http = Address.parse("server.http", settings.server.http) if settings.server.http else None
    conventions.load(settings.conventions)  # a wrong table should stop the start, not the worker
    hash_key(settings.content)
    configure(log_format)
    addresses = [address for address in (grpc, http) if address is not None]
    tls = Tls.of(settings.server)
    access = guarded(settings.server, addresses, Lake(lake).tokens, tls)
    with ExitStack() as held:
        ports = [hold(address) for address in addresses]
        for port in ports:
            held.callback(port.close)
        opened = Lake.create(lake)
        folders = []
        try:
            for _ in range(settings.server.receivers):
                folder, lock = claim(opened.journal)
                held.callback(lock.release)
                folders.append((folder, lock))
        except OSError as error:
            raise LakeNotWritable(f'cannot write the lake "{lake}": {error}') from error
        share(folders[0][0].root / "metrics")
        plan = _Plan(
            settings=settings,
            lake=opened,
            log_format=log_format,
            grpc=ports[0],
            http=ports[1] if http else None,
            folders=folders,
            companions=companions,
            tls=tls,
            open_without_tokens=access.open_without_tokens,
        )
        asyncio.run(_serve(plan, ready))


async def _serve(plan: _Plan, ready: Callable[[int], object] | None) -> None:
    stop = asyncio.Event()
    for wish in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(wish, stop.set)
    workers = _workers(plan)
    receivers = _receivers(plan, workers)
    companions = [
        Child(beside.name, beside.command, beside.order, silence_seconds=math.inf) for beside in plan.companions
    ]
    seconds = plan.settings.server.stop_seconds
    try:
        for started in (*receivers, *workers, *companions):
            started.start()
        for receiver in receivers:
            await receiver.ready()
        _say_started(plan)
        if ready is not None:
            ready(plan.grpc.address.port)
        await stop.wait()
        log.info("stopping", extra=fields(stop_seconds=seconds))
    finally:
        deadline = time.monotonic() + seconds
        # The receivers first: what they close last is then landed too.
        for group in (receivers, [*workers, *companions]):
            await asyncio.gather(*(started.drain(deadline) for started in group))
    left_bytes = sum(folder.left_bytes() for folder, _ in plan.folders)
    if left_bytes:
        log.warning(
            "stopped; the rest waits in the journal for the next start",
            extra=fields(left_bytes=left_bytes, journal=plan.lake.journal),
        )
    else:
        log.info("stopped, everything is landed")


def _workers(plan: _Plan) -> list[Child]:
    """Landing workers, each with its share of the folders; the first also lands what others left."""
    settings, made = plan.settings, []
    count = min(settings.landing.workers, len(plan.folders))
    for number in range(count):
        folders = [folder for folder, _ in plan.folders[number::count]]
        order = WorkerOrder.of(
            settings,
            plan.lake,
            (folder.receiver_id for folder in folders),
            lands_abandoned=number == 0,
            log_format=plan.log_format,
        )
        made.append(
            Child(
                "landing worker",
                module("llmcost.ingest.worker"),
                order.line(),
                silence_seconds=settings.landing.silence_seconds,
                unfinished=lambda folders=folders: any(folder.waiting() for folder in folders),  # type: ignore[misc]
            )
        )
    return made


def _receivers(plan: _Plan, workers: Sequence[Child]) -> list[Child]:
    """Receivers, one a folder, which wake the folder's worker when they have closed a segment."""
    settings, made = plan.settings, []
    for number, (folder, lock) in enumerate(plan.folders):
        order = ReceiverOrder(
            lake=str(plan.lake.root.resolve()),
            log_format=plan.log_format,
            receiver_id=folder.receiver_id,
            grpc=str(plan.grpc.address),
            http=str(plan.http.address) if plan.http else None,
            server=settings.server,
            landing=settings.landing,
            backlog_bytes=settings.landing.journal_max_mib * MIB // len(plan.folders),
            open_without_tokens=plan.open_without_tokens,
            budgets=settings.budgets,
        )
        made.append(
            Child(
                "receiver",
                module("llmcost.ingest.receiving"),
                order.line(),
                silence_seconds=settings.landing.silence_seconds,
                heard=_waker(workers[number % len(workers)]),
                pass_fds=[lock.fileno()],  # held by whichever of the two processes lives longer
            )
        )
    return made


def _waker(worker: Child) -> Callable[[str], None]:
    def wake(word: str) -> None:
        if word == child.CLOSED:
            worker.tell(child.SEGMENT)

    return wake


def _say_started(plan: _Plan) -> None:
    settings = plan.settings
    days = settings.retention.spans_days
    log.info(
        "receiving",
        extra=fields(
            **plan.addresses,
            lake=plan.lake.root.resolve(),
            receivers=len(plan.folders),
            retention="forever" if days is None else f"{days}d",
            content=settings.content.policy,
            tls="off" if plan.tls is None else "mutual" if plan.tls.is_mutual else "on",
        ),
    )
    if plan.tls is not None:
        # gRPC itself tells of a failed handshake, in words that nobody understands.
        log.info("senders must speak TLS (https://): of one that does not, WRONG_VERSION_NUMBER is told here")
