"""The landing worker's process, seen from the receiver: start it, wake it, start it again, drain it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import time

from .logs import fields
from .receiver_folder import ReceiverFolder

log = logging.getLogger(__name__)

_BACK_OFF_SECONDS = (0.2, 1, 2, 5, 10, 30)
_STEADY_SECONDS = 60
"""A worker that ran this long did not die of what its predecessor died of."""


class Supervisor:
    """Keeps one worker running from `start` to `drain`."""

    def __init__(self, folder: ReceiverFolder, order: bytes) -> None:
        self._folder = folder
        self._order = order
        self._worker: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._draining = False

    def start(self) -> None:
        """Start the worker and watch it."""
        self._watching = asyncio.create_task(self._watch())

    def wake(self) -> None:
        """Tell the worker that a segment was closed. It also looks by itself, a second later."""
        self._say(b"s")

    async def drain(self, seconds: float) -> int:
        """Have everything closed landed, for at most `seconds`; returns the bytes that still wait."""
        self._draining = True
        self._say(b"d")
        if self._watching is not None:
            await asyncio.wait([self._watching], timeout=seconds)
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        worker = self._worker
        if worker is not None and worker.returncode is None:
            # Landing is safe against this by design; what was not committed waits for the next start.
            worker.kill()
            await worker.wait()
        return sum(segment.bytes for segment in self._folder.waiting())

    def _say(self, word: bytes) -> None:
        worker = self._worker
        if worker is not None and worker.stdin is not None and worker.returncode is None:
            with contextlib.suppress(ConnectionError, RuntimeError):  # it has just died; _watch will see
                worker.stdin.write(word)

    async def _watch(self) -> None:
        deaths = 0
        while not (self._draining and not self._folder.waiting()):
            started = time.monotonic()
            self._worker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "llmcost.ingest.worker", stdin=asyncio.subprocess.PIPE
            )  # fmt: skip
            self._say(self._order)
            log.info("landing worker started", extra=fields(worker=self._worker.pid))
            if self._draining:
                self._say(b"d")
            code = await self._worker.wait()
            if code == 0 and self._draining:
                continue
            deaths = 0 if time.monotonic() - started > _STEADY_SECONDS else deaths
            pause = _BACK_OFF_SECONDS[min(deaths, len(_BACK_OFF_SECONDS) - 1)]
            deaths += 1
            log.error(
                "the landing worker ended, starting it again",
                extra=fields(reason=_reason(code), wait_seconds=pause, worker=self._worker.pid),
            )
            await asyncio.sleep(pause)


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
