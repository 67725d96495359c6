"""Group commit: an append returns after its fsync, and never says yes after a failed one."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import os
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from llmcost.ingest import group_commit
from llmcost.ingest.group_commit import Bounds, GroupCommit, JournalFull, JournalWriteFailed
from llmcost.ingest.journal import Reading, Request, frame_bytes
from llmcost.ingest.receiver_folder import ReceiverFolder
from llmcost.ingest.wire import Signal

WIDE = Bounds(segment_seconds=60, segment_bytes=1 << 20, backlog_bytes=1 << 30)


def request(body: bytes) -> Request:
    return Request(Signal.TRACES, 1, body)


def run(
    folder: Path, use: Callable[[GroupCommit], Coroutine[None, None, None]], bounds: Bounds = WIDE, first: int = 1
) -> ReceiverFolder:
    async def body() -> None:
        journal = GroupCommit(ReceiverFolder(folder), bounds, next_number=first)
        try:
            await use(journal)
        finally:
            await journal.close()

    asyncio.run(body())
    return ReceiverFolder(folder)


def bodies(path: Path) -> list[bytes]:
    with Reading(path) as reading:
        return [found.body for found in reading]


def test_concurrent_appends_share_an_fsync_and_are_durable_when_they_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever got its answer finds its request in bytes that were synced before; 200 need far fewer syncs."""
    synced: list[bytes] = []
    fdatasync = os.fdatasync

    def remember(file: int) -> None:
        fdatasync(file)
        synced.append(next(tmp_path.glob("*.open")).read_bytes())

    monkeypatch.setattr(os, "fdatasync", remember)

    async def use(journal: GroupCommit) -> None:
        async def append(number: int) -> None:
            await journal.append(request(b"<%d>" % number))
            assert b"<%d>" % number in synced[-1]

        await asyncio.gather(*map(append, range(200)))

    folder = run(tmp_path, use)
    assert len(synced) < 20
    assert {b"<%d>" % number for number in range(200)} == set(bodies(folder.waiting()[0].path))


def test_a_crowd_of_small_requests_gathers_before_its_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that come one by one share an fsync, if the fsync before them was for many."""
    syncs: list[int] = []
    monkeypatch.setattr(os, "fdatasync", syncs.append)
    monkeypatch.setattr(group_commit, "GATHER_SECONDS", 0.05)

    async def use(journal: GroupCommit) -> None:
        await asyncio.gather(*(journal.append(request(b"a")) for _ in range(group_commit.CROWD_REQUESTS)))
        before = len(syncs)
        late = [asyncio.create_task(journal.append(request(b"b")))]
        for _ in range(3):
            await asyncio.sleep(0)
            late.append(asyncio.create_task(journal.append(request(b"b"))))
        await asyncio.gather(*late)
        assert 1 == len(syncs) - before

    run(tmp_path, use)


def test_a_lone_sender_waits_for_its_fsync_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "GATHER_SECONDS", 3600)

    async def use(journal: GroupCommit) -> None:
        for _ in range(20):
            await journal.append(request(b"a"))

    run(tmp_path, use)


@pytest.mark.parametrize("call", ["fdatasync", "writev"])
def test_nothing_is_acknowledged_after_a_failed_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The senders get the reason, the segment closes at its last good byte, the next one starts afresh."""

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def use(journal: GroupCommit) -> None:
        await journal.append(request(b"before"))
        with monkeypatch.context() as broken:
            broken.setattr(os, call, fail)
            for result in await asyncio.gather(
                *(journal.append(request(b"during")) for _ in range(3)), return_exceptions=True
            ):
                assert isinstance(result, JournalWriteFailed)
                assert "No space left on device" in str(result)
        await journal.append(request(b"after"))

    folder = run(tmp_path, use)
    assert [[b"before"], [b"after"]] == [bodies(segment.path) for segment in folder.waiting()]


def test_a_segment_closes_by_age_and_by_size(tmp_path: Path) -> None:
    """By size at once, by age without another request."""

    async def use(journal: GroupCommit) -> None:
        await journal.append(request(b"x" * 1000))
        await journal.append(request(b"small"))
        while len(ReceiverFolder(tmp_path).waiting()) < 2:
            await asyncio.sleep(0.01)

    bounds = Bounds(segment_seconds=0.05, segment_bytes=1000, backlog_bytes=1 << 30)
    folder = run(tmp_path, use, bounds, first=41)
    assert [41, 42] == [segment.number for segment in folder.waiting()]


def test_a_full_journal_refuses_until_landing_has_made_room(tmp_path: Path) -> None:
    """Back-pressure names the bound and the setting, and ends by itself."""

    async def use(journal: GroupCommit) -> None:
        await journal.append(request(b"x" * 900))
        with pytest.raises(JournalFull, match=r"landing\.journal_max_mib"):
            await journal.append(request(b"y" * 900))
        await journal.close_segment()
        folder = ReceiverFolder(tmp_path)
        folder.retire(folder.waiting())
        for _ in range(100):
            try:
                await journal.append(request(b"y" * 900))
                break
            except JournalFull:
                await asyncio.sleep(0.05)

    bounds = Bounds(segment_seconds=60, segment_bytes=1 << 20, backlog_bytes=1000 + frame_bytes(request(b"")))
    folder = run(tmp_path, use, bounds)
    assert [[b"y" * 900]] == [bodies(segment.path) for segment in folder.waiting()]


def test_a_sender_that_hangs_up_does_not_disturb_the_others(tmp_path: Path) -> None:
    """Its request may be on disk or not; theirs are."""

    async def use(journal: GroupCommit) -> None:
        gone = asyncio.create_task(journal.append(request(b"gone")))
        stays = asyncio.create_task(journal.append(request(b"stays")))
        await asyncio.sleep(0)
        gone.cancel()
        await stays

    folder = run(tmp_path, use)
    assert b"stays" in bodies(folder.waiting()[0].path)


def test_a_backlog_that_is_too_old_refuses_whatever_its_size(tmp_path: Path) -> None:
    """Its age is counted from when it was seen to wait, not from time stamps: clocks jump."""
    old = dataclasses.replace(WIDE, backlog_seconds=0.05)

    async def use(journal: GroupCommit) -> None:
        await journal.append(request(b"first"))
        await journal.close_segment()
        os.utime(ReceiverFolder(tmp_path).waiting()[0].path, (0, 0))
        while journal.backlog_seconds <= 0.05:
            await asyncio.sleep(0.01)
        with pytest.raises(JournalFull, match=r"landing\.journal_max_age_seconds"):
            await journal.append(request(b"refused"))
        ReceiverFolder(tmp_path).waiting()[0].path.unlink()
        while journal.backlog_seconds:
            with contextlib.suppress(JournalFull):
                await journal.append(request(b"asked again"))
            await asyncio.sleep(0.01)
        await journal.append(request(b"accepted"))

    run(tmp_path, use, old)
