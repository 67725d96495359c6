"""A child process of the server, seen from its parent: start it, tell it, start it again, drain it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence

from ..models.errors import LandingError
from . import child
from .logs import fields
from .metrics import metrics

log = logging.getLogger(__name__)

_BACK_OFF_SECONDS = (0.2, 1, 2, 5, 10, 30)
_LOOK_SECONDS = 60
_STEADY_SECONDS = 60
"""A child that ran this long did not die of what its predecessor died of."""


class Child:
    """Keeps one process running from `start` to `drain`.

    It is started again when it dies, later each time, and killed when it is silent for `silence_seconds`:
    a process that is stopped or stuck holds its locks, and another can do its work only without them.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        order: bytes,
        *,
        silence_seconds: float,
        heard: Callable[[str], None] = lambda _: None,
        unfinished: Callable[[], bool] = lambda: False,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """`heard` is called with each word it says; one that dies while draining starts again if `unfinished`."""
        self.name = name
        self._command = command
        self._order = order
        self._silence_seconds = silence_seconds
        self._heard = heard
        self._unfinished = unfinished
        self._pass_fds = pass_fds
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._heard_at = 0.0
        self._draining = False
        self._restarts = metrics().restarts.labels(name)

    def start(self) -> None:
        """Start the process and watch it."""
        self._ready = asyncio.get_running_loop().create_future()
        self._watching = asyncio.create_task(self._watch())

    async def ready(self) -> None:
        """Return once it has said that it is ready.

        Raises LandingError with its last words if it cannot start, even once.
        """
        if self._ready is not None:
            await asyncio.shield(self._ready)

    def tell(self, word: bytes) -> None:
        """Say one of the words of `child` to it; lost if it has just died."""
        process = self._process
        if process is not None and process.stdin is not None and process.returncode is None:
            with contextlib.suppress(ConnectionError, RuntimeError):  # it has just died; _watch will see
                process.stdin.write(word)

    async def drain(self, deadline: float) -> None:
        """Have it finish and exit; at `deadline` (time.monotonic) it is killed, which is safe by design."""
        self._draining = True
        self.tell(child.DRAIN)
        if self._watching is not None:
            await asyncio.wait([self._watching], timeout=max(0.0, deadline - time.monotonic()))
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _watch(self) -> None:
        deaths = 0
        while True:
            started = time.monotonic()
            code = await self._run()
            if self._draining and (code == 0 or not self._unfinished()):
                return
            if self._ready is not None and not self._ready.done():
                self._ready.set_exception(LandingError(f"the {self.name} ended at its start: {_reason(code)}"))
            deaths = 0 if time.monotonic() - started > _STEADY_SECONDS else deaths
            pause = _BACK_OFF_SECONDS[min(deaths, len(_BACK_OFF_SECONDS) - 1)]
            deaths += 1
            self._restarts.inc()
            log.error(
                f"the {self.name} ended, starting it again",
                extra=fields(reason=_reason(code), wait_seconds=pause, process=self._process and self._process.pid),
            )
            await asyncio.sleep(pause)

    async def _run(self) -> int:
        """One life of the process; returns its exit code."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=self._pass_fds,
        )
        self._process = process
        self._heard_at = time.monotonic()
        self.tell(self._order)
        log.info(f"{self.name} started", extra=fields(process=process.pid))
        if self._draining:
            self.tell(child.DRAIN)
        listening = asyncio.create_task(self._listen(process))
        ended = asyncio.create_task(process.wait())
        try:
            while not (await asyncio.wait([ended], timeout=min(self._silence_left(), _LOOK_SECONDS)))[0]:
                if self._silence_left() <= 0:
                    log.error(
                        f"the {self.name} is silent and is killed",
                        extra=fields(silent_seconds=self._silence_seconds, process=process.pid),
                    )
                    process.kill()
                    self._heard_at = time.monotonic()  # a process the kernel cannot end now is tried again
            await asyncio.wait([listening], timeout=1)
            return ended.result()
        finally:
            listening.cancel()

    def _silence_left(self) -> float:
        return max(0.0, self._heard_at + self._silence_seconds - time.monotonic())

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        while process.stdout is not None and (line := await process.stdout.readline()):
            self._heard_at = time.monotonic()
            word, _, message = line.decode(errors="replace").strip().partition(" ")
            if self._ready is not None and not self._ready.done():
                if word == child.READY:
                    self._ready.set_result(None)
                elif word == child.FAILED:
                    self._ready.set_exception(LandingError(message))
            self._heard(word)


def module(name: str) -> list[str]:
    """The command that runs the module `name` under this interpreter."""
    return [sys.executable, "-m", name]


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
