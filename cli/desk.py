"""The budget desk's process: one for a lake, however many receivers ask it over its socket.

Its first line on stdin is the order (desk_order.py); the end of stdin, `d` or SIGTERM ends it. Until there are
budgets it only looks for their file, and loads no engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from .desk_order import Order

if TYPE_CHECKING:
    from ..models.budget_file import BudgetFile
    from ..models.lake import Lake
    from ..sql.desk import Desk

log = logging.getLogger("llmcost.cli.desk")

_WAIT_SECONDS = 0.5
_LONGEST_QUESTION = 1 << 20


async def _serve(order: Order) -> None:
    """Decide from when there are budgets until the parent says stop or is gone."""
    from ..models.budget_file import BudgetFile  # noqa: PLC0415  start-up time
    from ..models.lake import Lake  # noqa: PLC0415
    from .budget_sources import budget_file  # noqa: PLC0415

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(0, _hear, stop)
    lake = Lake.open(order.settings.lake)
    file = BudgetFile(budget_file(order.settings))
    with _lock(lake) as lock:
        # Another server of this lake may have a desk: there is one at a time.
        while not (_has_budgets(file) and _is_mine(lock)):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _WAIT_SECONDS)
            if stop.is_set():
                return
        await _decide(order, lake, file, stop)


async def _decide(order: Order, lake: Lake, file: BudgetFile, stop: asyncio.Event) -> None:
    from ..ingest.logs import fields  # noqa: PLC0415  start-up time
    from ..sql.desk import Desk  # noqa: PLC0415
    from .budget_sources import hidden  # noqa: PLC0415

    ahead = timedelta(seconds=order.clock_ahead_seconds)
    names = hidden(order.settings, order.hash_key)
    desk = Desk(lake, order.settings, file, names, lambda: datetime.now(UTC) + ahead)
    socket = lake.budget_socket
    _own(socket.parent, lake)
    socket.unlink(missing_ok=True)
    keeping = asyncio.create_task(_keep_up(desk, order.settings.budgets.refresh_seconds))
    old = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(
            lambda reader, writer: _answer(desk, reader, writer), socket, limit=_LONGEST_QUESTION, backlog=1024
        )
    finally:
        os.umask(old)
    log.info("deciding on budgets", extra=fields(budgets=file.path))
    await stop.wait()
    keeping.cancel()
    server.close()
    socket.unlink(missing_ok=True)


async def _answer(desk: Desk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one receiver until it hangs up."""
    from ..models.decisions import line  # noqa: PLC0415  start-up time

    with contextlib.suppress(OSError, ValueError, asyncio.CancelledError):
        while question := await reader.readline():
            writer.write(line(desk.answer(question)))
    writer.close()


async def _keep_up(desk: Desk, rest_seconds: float) -> None:
    """Bring the figures up to date as spans land, for ever; a look that fails is said, and tried again."""
    said = None
    while True:
        begun = time.monotonic()
        problem = None
        try:
            desk.take(await asyncio.to_thread(desk.look))
            desk.tell()
            problem = desk.problem
        except Exception as error:  # the next look tries again, whatever it was
            problem = f"{type(error).__name__}: {error}"
        if problem is not None and problem != said:
            log.error("budgets are not brought up to date: %s", problem)
        said = problem
        await asyncio.sleep(max(rest_seconds, time.monotonic() - begun))


def _has_budgets(file: BudgetFile) -> bool:
    """Whether there is anything to decide; a file that cannot be read is to be complained of."""
    file.look()
    return file.problem is not None or not file.budgets.is_empty


@contextlib.contextmanager
def _lock(lake: Lake) -> Iterator[int]:
    handle = os.open(lake.budget_lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def _is_mine(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _own(folder: Path, lake: Lake) -> None:
    """See that nobody else can put a socket into the folder. Raises OSError."""
    if folder == lake.root.resolve():
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f'"{folder}" belongs to somebody else')


def _hear(stop: asyncio.Event) -> None:
    said = os.read(0, 4096)
    if not said or b"d" in said:
        asyncio.get_running_loop().remove_reader(0)
        stop.set()


def main() -> int:
    """Take the order from stdin and decide until the parent is gone."""
    from ..ingest.child import read_order  # noqa: PLC0415  start-up time
    from ..ingest.logs import configure  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    line = read_order()
    if not line:
        sys.exit("llmcost.cli.desk is started by: llmcost serve")
    order = Order.parse(line)
    configure(order.log_format)
    asyncio.run(_serve(order))
    return 0


if __name__ == "__main__":
    sys.exit(main())
