"""Segments: what was synced comes back, byte for byte, whatever a crash left behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.ingest.journal import HEADER, Reading, Request, SegmentUnreadable, SegmentWriter
from llmcost.ingest.receiver_folder import ReceiverFolder, claim
from llmcost.ingest.wire import Signal

requests = st.builds(
    Request,
    signal=st.sampled_from(Signal),
    received_at_us=st.integers(0, 2**63),
    body=st.binary(max_size=300),
    forced=st.binary(max_size=40),
)


def written(path: Path, batches: list[list[Request]]) -> bytes:
    writer = SegmentWriter(path)
    for batch in batches:
        writer.append(batch)
    writer.close()
    return path.with_suffix(".seg").read_bytes()


def read(path: Path) -> tuple[list[Request], int]:
    with Reading(path) as reading:
        return list(reading), reading.cut_bytes


@given(st.lists(st.lists(requests, min_size=1, max_size=4), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_round_trip(batches: list[list[Request]]) -> None:
    """What is appended is read back in order, nothing cut."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "000000000001.open"
        written(path, batches)
        assert ([request for batch in batches for request in batch], 0) == read(path.with_suffix(".seg"))


def test_a_torn_tail_is_cut_at_the_last_whole_frame(tmp_path: Path) -> None:
    """Cut anywhere inside the last frame, the frames before it stand, and the torn bytes are counted."""
    kept = Request(Signal.TRACES, 1, b"first" * 9)
    torn = Request(Signal.TRACES, 2, b"last" * 9, b'{"team":"search"}')
    whole = len(written(tmp_path / "000000000001.open", [[kept]]))
    both = written(tmp_path / "000000000002.open", [[kept], [torn]])
    path = tmp_path / "000000000003.seg"
    for length in range(whole, len(both)):
        path.write_bytes(both[:length])
        assert ([kept], length - whole) == read(path)


def test_a_flipped_byte_is_never_read_as_a_request(tmp_path: Path) -> None:
    """Any one damaged byte in the last frame loses that frame and no other."""
    kept = Request(Signal.TRACES, 1, b"first")
    damaged = Request(Signal.TRACES, 2, b"second", b'{"team":"search"}')
    whole = len(written(tmp_path / "000000000001.open", [[kept]]))
    both = written(tmp_path / "000000000002.open", [[kept, damaged]])
    path = tmp_path / "000000000003.seg"
    for at in range(whole, len(both)):
        path.write_bytes(both[:at] + bytes([both[at] ^ 0x40]) + both[at + 1 :])
        assert ([kept], len(both) - whole) == read(path)


def test_zeros_after_a_power_cut_are_a_torn_tail(tmp_path: Path) -> None:
    """File systems may leave zeros where data was not written yet."""
    kept = Request(Signal.TRACES, 1, b"first")
    whole = written(tmp_path / "000000000001.open", [[kept]])
    path = tmp_path / "000000000002.seg"
    path.write_bytes(whole + bytes(4096))
    assert ([kept], 4096) == read(path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    """A segment of a later version is not guessed at."""
    path = tmp_path / "000000000001.seg"
    path.write_bytes(HEADER[:-1] + b"\x03" + bytes(100))
    with pytest.raises(SegmentUnreadable, match="not a journal segment of version 1 or 2"):
        read(path)


VERSION_1 = bytes.fromhex(
    "4c4c4d434a4e4c 01"  # LLMCJNL, version 1
    "05000000 b78df2dd 01 0100000000000000 6669727374"  # 5 bytes, their checksum, traces, at 1 us, "first"
    "06000000 3c6cca19 02 0200000000000000 7365636f6e64"  # 6 bytes, their checksum, logs, at 2 us, "second"
)
"""A segment as the program before forced attributes wrote it."""


def test_a_segment_of_version_1_is_read(tmp_path: Path) -> None:
    """An upgrade finds in the journal what the older program acknowledged: all of it, and nobody forced."""
    path = tmp_path / "000000000001.seg"
    whole = [Request(Signal.TRACES, 1, b"first"), Request(Signal.LOGS, 2, b"second")]
    path.write_bytes(VERSION_1)
    assert (whole, 0) == read(path)
    for length in range(len(VERSION_1) - 23, len(VERSION_1)):
        path.write_bytes(VERSION_1[:length])
        assert whole[:1] == read(path)[0]
    for at in range(len(VERSION_1) - 23, len(VERSION_1)):
        path.write_bytes(VERSION_1[:at] + bytes([VERSION_1[at] ^ 0x40]) + VERSION_1[at + 1 :])
        assert whole[:1] == read(path)[0]


def test_a_segment_of_version_1_that_was_left_open_is_closed(tmp_path: Path) -> None:
    """The older program was killed, and its torn tail is cut as ours would be."""
    (tmp_path / "000000000001.open").write_bytes(VERSION_1 + b"torn")
    [left] = ReceiverFolder(tmp_path).recover()
    assert (len(VERSION_1), 4) == (left.whole_bytes, left.cut_bytes)
    assert VERSION_1 == (tmp_path / "000000000001.seg").read_bytes()


def test_segments_left_open_are_closed(tmp_path: Path) -> None:
    """A start closes what a killed receiver left: torn tails cut, empty ones removed, strange ones kept aside."""
    kept = Request(Signal.TRACES, 1, b"first")
    whole = written(tmp_path / "000000000009.open", [[kept]])
    (tmp_path / "000000000009.seg").unlink()
    (tmp_path / "000000000001.open").write_bytes(whole + b"torn")
    (tmp_path / "000000000002.open").write_bytes(HEADER[:3])
    (tmp_path / "000000000003.open").write_bytes(b"something else")
    folder = ReceiverFolder(tmp_path)
    found = list(folder.recover())
    assert [(len(whole), 4), (0, 3), (0, 0)] == [(left.whole_bytes, left.cut_bytes) for left in found]
    assert [1] == [segment.number for segment in folder.waiting()]
    assert whole == (tmp_path / "000000000001.seg").read_bytes()
    assert ["000000000003.open"] == [path.name for path in folder.quarantine_root.iterdir()]
    assert 3 == folder.last_number()


def test_a_receiver_takes_over_what_a_stopped_one_left(tmp_path: Path) -> None:
    """Its id stays in use; a folder whose owner runs is never taken."""
    first, lock = claim(tmp_path)
    second, other_lock = claim(tmp_path)
    assert first.receiver_id != second.receiver_id
    written(second.open_path(7), [[Request(Signal.TRACES, 1, b"waiting")]])
    lock.release()
    other_lock.release()
    taken, lock = claim(tmp_path)
    assert second.receiver_id == taken.receiver_id, "the one with a backlog comes first"
    lock.release()
