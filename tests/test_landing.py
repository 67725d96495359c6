"""Landing: every request in the journal becomes rows exactly once, whatever interrupts it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from deltalake import DeltaTable
from support.otlp import span_ids, trace_request
from support.server import landed_span_ids

from llmcost.ingest import landing, worker
from llmcost.ingest.columns import Decoder
from llmcost.ingest.delta import LandedTable, landed_tables
from llmcost.ingest.journal import Reading, Request, SegmentWriter
from llmcost.ingest.landing import Lander
from llmcost.ingest.receiver_folder import ReceiverFolder
from llmcost.ingest.wire import Signal
from llmcost.models import conventions
from llmcost.models.lake import Lake
from llmcost.models.settings import Landing

RECEIVED_AT_US = 1_795_356_001_000_000


class Place:
    """A lake with one receiver's journal."""

    def __init__(self, root: Path) -> None:
        self.lake = Lake.create(root / "lake")
        self.folder = ReceiverFolder(self.lake.journal / "0123456789ab")
        self.folder.root.mkdir()
        self.spans, self.events = landed_tables(self.lake)

    def lander(self) -> Lander:
        decoder = Decoder(conventions.load(), "drop", Landing(), coded=True)
        return Lander(self.folder, decoder, self.spans, self.events)

    def journal(self, number: int, *bodies: bytes) -> list[bytes]:
        """A closed segment with `bodies`."""
        writer = SegmentWriter(self.folder.open_path(number))
        writer.append([Request(Signal.TRACES, RECEIVED_AT_US, body) for body in bodies])
        writer.close()
        return list(bodies)

    def land_all(self) -> None:
        lander = self.lander()
        while waiting := self.folder.waiting():
            lander.land(lander.next_group(waiting))

    def rows(self, table: str) -> int:
        return int(DeltaTable(self.lake.table(table)).to_pyarrow_table().num_rows)

    def commits(self, table: str) -> int:
        return DeltaTable(self.lake.table(table)).version()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def once(ids: Sequence[bytes]) -> Counter[str]:
    return Counter(span_id.hex() for span_id in ids)


def test_waiting_segments_land_together_in_one_commit(place: Place) -> None:
    """Three segments: all spans and events once, one commit a table, nothing waits any more."""
    ids = span_ids(30)
    for number in range(3):
        place.journal(number + 1, trace_request(ids[number * 10 : number * 10 + 10], event="chosen"))
    place.land_all()
    assert once(ids) == landed_span_ids(place.lake.root)
    assert (30, 1, 1) == (place.rows("events"), place.commits("spans"), place.commits("events"))
    assert [] == place.folder.waiting()


def test_a_table_without_rows_gets_no_commit(place: Place) -> None:
    """Spans without events leave the events' log alone."""
    place.journal(1, trace_request(span_ids(3)))
    place.land_all()
    assert (1, 0) == (place.commits("spans"), place.commits("events"))


@pytest.mark.parametrize("dies_at", ["spans", "events", "retire"])
def test_killed_between_the_steps_nothing_is_lost_or_doubled(
    place: Place, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    """Before a commit, between the two, or before the segments are removed; and more have come since."""
    ids = span_ids(40)

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    commit = LandedTable.commit

    def commit_or_die(table: LandedTable, files: object, **of: object) -> None:
        if table.name == dies_at:
            die()
        commit(table, files, **of)  # type: ignore[arg-type]

    for number in (1, 2):
        place.journal(number, trace_request(ids[number * 10 - 10 : number * 10], event="chosen"))
    with monkeypatch.context() as deadly:
        deadly.setattr(LandedTable, "commit", commit_or_die)
        if dies_at == "retire":
            deadly.setattr(ReceiverFolder, "retire", die)
        with pytest.raises(Killed):
            place.land_all()
    for number in (3, 4):
        place.journal(number, trace_request(ids[number * 10 - 10 : number * 10], event="chosen"))
    place.land_all()
    assert once(ids) == landed_span_ids(place.lake.root)
    assert 40 == place.rows("events")


def test_segments_that_come_back_are_not_landed_again(place: Place) -> None:
    """A power cut may undo the removal of a landed segment."""
    ids = span_ids(10)
    place.journal(1, trace_request(ids))
    place.journal(2, trace_request([]))
    kept = place.folder.root / "kept"
    os.link(place.folder.waiting()[0].path, kept)
    place.land_all()
    kept.rename(place.folder.open_path(1).with_suffix(".seg"))
    place.land_all()
    assert once(ids) == landed_span_ids(place.lake.root)


def test_an_undecodable_request_is_kept_and_its_neighbours_land(place: Place) -> None:
    """It stays in quarantine as a segment of its own, byte for byte."""
    ids = span_ids(20)
    place.journal(1, trace_request(ids[:10]), b"\xff\xff no protobuf", trace_request(ids[10:]))
    place.land_all()
    assert once(ids) == landed_span_ids(place.lake.root)
    with Reading(place.folder.quarantine_root / "000000000001.undecodable.seg") as kept:
        assert [b"\xff\xff no protobuf"] == [request.body for request in kept]


def test_whole_frames_of_a_damaged_segment_land_and_the_file_is_kept(place: Place) -> None:
    """A closed segment was acknowledged, so its damaged rest is not thrown away."""
    ids = span_ids(10)
    place.journal(1, trace_request(ids), trace_request(span_ids(1, seed=1)))
    path = place.folder.waiting()[0].path
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    place.land_all()
    assert once(ids) == landed_span_ids(place.lake.root)
    assert ["000000000001.damaged.seg"] == [kept.name for kept in place.folder.quarantine_root.iterdir()]


def test_rows_are_written_out_before_they_fill_the_memory(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound a day gets a second file, still in the same commit."""
    monkeypatch.setattr(landing, "HELD_BYTES", 1)
    monkeypatch.setattr(landing, "REQUESTS_A_DECODE", 2)
    ids = span_ids(50)
    place.journal(1, *(trace_request(ids[first : first + 10]) for first in range(0, 50, 10)))
    place.land_all()
    assert once(ids) == landed_span_ids(place.lake.root)
    assert (1, 3) == (place.commits("spans"), len(DeltaTable(place.lake.table("spans")).file_uris()))


def land_until_empty(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the worker does, without its rests after a failure."""
    monkeypatch.setattr(worker.Queue, "_rest", lambda *_: None)
    queue = worker.Queue(place.lander(), place.folder, [])
    while not queue.is_empty:
        queue.step()


def test_a_segment_that_never_lands_does_not_block_the_others(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After its tries it is put aside with one clear line, whole."""
    ids = span_ids(20)
    place.journal(1, trace_request(ids[:10]))
    (bad,) = place.journal(2, b"poison")
    place.journal(3, trace_request(ids[10:]))
    decode = Decoder.decode

    def choke(decoder: Decoder, requests: Sequence[Request]) -> object:
        if any(request.body == bad for request in requests):
            raise ValueError("cannot swallow this")
        return decode(decoder, requests)

    monkeypatch.setattr(Decoder, "decode", choke)
    land_until_empty(place, monkeypatch)
    assert once(ids) == landed_span_ids(place.lake.root)
    assert ["000000000002.seg"] == [kept.name for kept in place.folder.quarantine_root.iterdir()]
    assert 1 == sum("kept in quarantine" in line for line in caplog.messages)


def test_what_is_in_quarantine_can_be_tried_again(place: Place) -> None:
    """With a number of its own, because its old one counts as landed; damaged segments stay."""
    ids = span_ids(20)
    place.journal(1, trace_request(ids[:10]))
    place.folder.quarantine(place.folder.waiting()[0])
    (place.folder.quarantine_root / "000000000003.damaged.seg").touch()
    place.journal(2, trace_request(ids[10:]))
    place.land_all()
    assert [4] == [segment.number for segment in place.folder.readmit(place.folder.last_number() + 1)]
    place.land_all()
    assert once(ids) == landed_span_ids(place.lake.root)
    assert ["000000000003.damaged.seg"] == [kept.name for kept in place.folder.quarantine_root.iterdir()]


def test_a_segment_that_kills_the_worker_is_put_aside_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beginnings are counted on disk, so that a crash counts as well as an exception."""
    place.journal(1, trace_request(span_ids(1)))
    tries = worker.Tries(place.folder.root / "tries")
    assert list(range(worker.TRIES_A_SEGMENT)) == [tries.begin(1) for _ in range(worker.TRIES_A_SEGMENT)]
    assert 0 == worker.Tries(place.folder.root / "other").begin(2)
    land_until_empty(place, monkeypatch)
    assert ["000000000001.seg"] == [kept.name for kept in place.folder.quarantine_root.iterdir()]


def test_a_lake_that_cannot_be_written_is_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk is not the segment's fault: it stays, however often landing fails, and then lands."""
    ids = span_ids(10)
    place.journal(1, trace_request(ids))
    failures = 2 * worker.TRIES_A_SEGMENT
    write = LandedTable.write

    def full(table: LandedTable, rows: object) -> object:
        if len(caplog.messages) < failures:
            raise OSError(28, "No space left on device")
        return write(table, rows)

    monkeypatch.setattr(LandedTable, "write", full)
    land_until_empty(place, monkeypatch)
    assert once(ids) == landed_span_ids(place.lake.root)
    assert failures == sum("No space left on device" in line for line in caplog.messages)
