"""Group commit: many requests at once share one write and one fsync, and none returns before it.

The event loop only collects; one thread owns the segment being written. While it syncs a batch the
next batch collects, so the batches grow with the load and the fsyncs do not. Many small requests would
still be synced by twos and threes: a crowd is given a few milliseconds to gather, a lone sender never waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..models.errors import LakeError
from .journal import Request, SegmentWriter, close_segment, frame_bytes
from .logs import fields
from .metrics import metrics
from .receiver_folder import ReceiverFolder

log = logging.getLogger(__name__)

PENDING_MAX_BYTES = 256 * 1024 * 1024
"""Requests that may wait in memory for their fsync; a disk slower than that is a full journal."""

CROWD_REQUESTS = 4
"""After an fsync for so many requests or more, the next one gathers its own for a moment."""

GATHER_SECONDS = 0.005
"""That moment. An fsync and the thread's two hops cost as much as receiving several small requests."""

_GATHERED_BYTES = 256 * 1024
_RECOUNT_SECONDS = 0.25
_LOOK_AGAIN_SECONDS = 2.0
_TROUBLE_SECONDS = 5.0
"""After a write that failed the next one is the only way to know whether the disk is well again."""


class JournalFull(LakeError):
    """The backlog has reached its bound; the request was not taken."""


class JournalWriteFailed(LakeError):
    """The request could not be forced to disk; it was not taken."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a segment closes, and how large and how old the backlog may grow."""

    segment_seconds: float
    segment_bytes: int
    backlog_bytes: int
    backlog_seconds: float = math.inf


class GroupCommit:
    """The writing end of one receiver's journal. Use from one event loop; `close` it at the end."""

    def __init__(
        self, folder: ReceiverFolder, bounds: Bounds, *, next_number: int, on_close: Callable[[], None] = lambda: None
    ) -> None:
        """`next_number` must be above every number this receiver has ever used.

        `on_close` is called in the event loop when a segment has been closed and can be landed.
        """
        self._folder = folder
        self._bounds = bounds
        self._next_number = next_number
        self._on_close = on_close
        self._pending: list[tuple[Request, asyncio.Future[None]]] = []
        self._pending_bytes = 0
        self._last_batch = 0
        self._flushing: asyncio.Task[None] | None = None
        self._age_limit: asyncio.TimerHandle | None = None
        self._rotating: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._segment: SegmentWriter | None = None  # only the thread touches this and the next
        self._not_renamed: list[tuple[Path, int]] = []
        waiting = folder.waiting()
        self._closed_bytes = sum(segment.bytes for segment in waiting)
        self._open_bytes = 0
        self._counted_at = time.monotonic()
        self._counting: asyncio.Task[None] | None = None
        self._count_later: asyncio.TimerHandle | None = None
        # When each waiting segment was first seen to wait. Not its time stamp: clocks jump.
        self._waiting_since = {segment.number: self._counted_at for segment in waiting}
        self._is_closed = False
        self._is_failing = False
        self._failed_at = 0.0

    @property
    def backlog_bytes(self) -> int:
        """Bytes acknowledged or about to be, and not known to be landed.

        An upper bound: what landing has freed is counted again after a segment closes, and every two seconds
        while one waits.
        """
        return self._closed_bytes + self._open_bytes + self._pending_bytes

    @property
    def backlog_seconds(self) -> float:
        """How long the oldest segment that was closed and not landed at the last count has waited; 0 if none."""
        return time.monotonic() - min(self._waiting_since.values()) if self._waiting_since else 0.0

    def trouble(self) -> str | None:
        """Why a request would be refused now, or None. For readiness: a failed write counts for a few seconds.

        After that requests must be let in again, or a load balancer that asks here would keep away for ever.
        """
        try:
            self._refuse_if_full(0)
        except LakeError as error:
            return str(error)
        if self._is_failing and time.monotonic() - self._failed_at < _TROUBLE_SECONDS:
            return f'the journal "{self._folder.root}" could not be written a moment ago'
        return None

    async def append(self, request: Request) -> None:
        """Return once `request` is on disk, fsynced.

        Raises JournalFull or JournalWriteFailed, and then it is not in the journal as far as the sender
        may know: it must be sent again.
        """
        size = frame_bytes(request)
        self._refuse_if_full(size)
        done = asyncio.get_running_loop().create_future()
        self._pending.append((request, done))
        self._pending_bytes += size
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        await done

    async def close_segment(self) -> None:
        """Close the open segment now, if there is one, so that it can be landed."""
        if self._age_limit is not None:
            self._age_limit.cancel()
            self._age_limit = None
        await asyncio.get_running_loop().run_in_executor(self._thread, self._rotate)
        self._note_rotation()

    async def close(self) -> None:
        """Finish what is pending, close the segment, end the thread."""
        self._is_closed = True
        while self._flushing is not None:
            await asyncio.wait([self._flushing])
        await self.close_segment()
        if self._count_later is not None:
            self._count_later.cancel()
        if self._counting is not None:
            await asyncio.wait([self._counting])
        self._thread.shutdown()

    def _refuse_if_full(self, size: int) -> None:
        if self._is_closed:
            raise JournalWriteFailed("the receiver is stopping: send this again later")
        if self._pending_bytes + size > PENDING_MAX_BYTES and self._pending:
            raise JournalFull(
                "the disk cannot keep up: too many requests wait for their fsync, send this again later"
            )
        if self.backlog_bytes + size > self._bounds.backlog_bytes:
            self._count_again()
            raise JournalFull(
                f'the journal "{self._folder.root}" holds {self.backlog_bytes} bytes that are not landed yet, '
                f"the bound is {self._bounds.backlog_bytes} (setting landing.journal_max_mib): send this again later"
            )
        if self.backlog_seconds > self._bounds.backlog_seconds:
            self._count_again()
            raise JournalFull(
                f'requests in the journal "{self._folder.root}" wait {self.backlog_seconds:.0f} s to be landed, the '
                f"bound is {self._bounds.backlog_seconds:.0f} s (setting landing.journal_max_age_seconds): "
                "send this again later"
            )

    async def _flush(self) -> None:
        """Sync batch after batch until nothing is pending."""
        loop = asyncio.get_running_loop()
        try:
            while self._pending:
                if self._last_batch >= CROWD_REQUESTS and self._pending_bytes < _GATHERED_BYTES:
                    await asyncio.sleep(GATHER_SECONDS)
                batch, self._pending = self._pending, []
                self._last_batch, size = len(batch), self._pending_bytes
                try:
                    rotated = await loop.run_in_executor(self._thread, self._write, [request for request, _ in batch])
                except Exception as error:  # whatever it is, every sender must get its answer
                    self._pending_bytes -= size
                    self._fail(batch, error)
                    continue
                self._pending_bytes -= size
                self._open_bytes += size
                if self._is_failing:
                    self._is_failing = False
                    log.info("requests are accepted again")
                for _, done in batch:
                    if not done.done():  # a sender that hung up has cancelled its own
                        done.set_result(None)
                if rotated:
                    self._note_rotation()
                elif self._age_limit is None:
                    self._age_limit = loop.call_later(self._bounds.segment_seconds, self._at_age_limit)
        finally:
            self._flushing = None

    def _fail(self, batch: list[tuple[Request, asyncio.Future[None]]], error: Exception) -> None:
        reason = f'cannot write the journal "{self._folder.root}": {getattr(error, "strerror", None) or error}'
        self._failed_at = time.monotonic()
        if not self._is_failing:
            self._is_failing = True
            log.error("requests are refused: %s", reason, extra=fields(requests=len(batch)))
        for _, done in batch:
            if not done.done():
                done.set_exception(JournalWriteFailed(reason))
        self._note_rotation()

    def _at_age_limit(self) -> None:
        self._age_limit = None
        if not self._is_closed:
            self._rotating = asyncio.create_task(self.close_segment())  # kept: a task nobody holds may vanish

    def _note_rotation(self) -> None:
        self._closed_bytes, self._open_bytes = self._closed_bytes + self._open_bytes, 0
        self._on_close()
        if not self._is_closed:
            self._count_again()

    def _count_again(self) -> None:
        """Look whether landing has made room, now or when a quarter of a second has passed since the last look."""
        if self._counting is None:
            if self._count_later is not None:
                self._count_later.cancel()
            wait = self._counted_at + _RECOUNT_SECONDS - time.monotonic()
            self._count_later = asyncio.get_running_loop().call_later(max(0.0, wait), self._start_count)

    def _start_count(self) -> None:
        self._count_later = None
        if not self._is_closed:
            self._counting = asyncio.create_task(self._count())

    async def _count(self) -> None:
        before = self._closed_bytes
        try:
            waiting = await asyncio.to_thread(self._folder.waiting)
        except OSError:  # the folder cannot be read now: what was known stands
            return
        finally:
            self._counted_at, self._counting = time.monotonic(), None
        closed_meanwhile = self._closed_bytes - before  # rather counted twice than never
        self._closed_bytes = sum(segment.bytes for segment in waiting) + closed_meanwhile
        since = self._waiting_since
        self._waiting_since = {segment.number: since.get(segment.number, self._counted_at) for segment in waiting}
        if waiting and not self._is_closed and self._count_later is None:
            self._count_later = asyncio.get_running_loop().call_later(_LOOK_AGAIN_SECONDS, self._start_count)

    # In the thread.

    def _write(self, requests: list[Request]) -> bool:
        """Append and sync; True if that closed the segment. A segment that fails is closed and left behind."""
        if self._segment is None:
            number, self._next_number = self._next_number, self._next_number + 1
            self._segment = SegmentWriter(self._folder.open_path(number))
        started = time.perf_counter()
        try:
            self._segment.append(requests)
        except OSError:
            self._rotate()
            raise
        metrics().fsync_seconds.observe(time.perf_counter() - started)
        if self._segment.length >= self._bounds.segment_bytes:
            self._rotate()
            return True
        return False

    def _rotate(self) -> None:
        """Close the open segment. What cannot be renamed now stays as it is and is tried again later."""
        segment, self._segment = self._segment, None
        if segment is not None:
            self._not_renamed.append((segment.path, segment.length))
            with contextlib.suppress(OSError):
                segment.close()
                self._not_renamed.pop()
        for path, length in self._not_renamed[:]:
            with contextlib.suppress(OSError):
                close_segment(path, length)
                self._not_renamed.remove((path, length))
