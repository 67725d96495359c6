"""Journal segments: what an acknowledged request looks like on disk until it is landed.

A segment is a file of framed raw OTLP requests. Little-endian, no padding:

    header  8 bytes   b"LLMCJNL" and the format version, 2
    frame   u32       length of the body
            u32       CRC32C over everything that follows in the frame
            u8        signal
            u64       instant of receipt, microseconds since 1970
            u16       length of the forced attributes
            …         forced attributes (forced.py), nothing for most senders
            …         body, the OTLP message as it came

Frames of version 1 have no forced attributes, nor their length; they are read as well, because an upgrade
finds in the journal what the older program acknowledged.

What is written here is read back after a kill -9 at any instant, so a reader trusts only frames
whose checksum holds and calls the rest a torn tail.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import google_crc32c

from ..models.errors import LandingError
from .wire import Signal

_MAGIC = b"LLMCJNL"
HEADER = _MAGIC + b"\x02"
_SIZE_AND_CRC = struct.Struct("<II")
_STAMPS = {1: struct.Struct("<BQ"), 2: struct.Struct("<BQH")}
"""Version -> what stands between the checksum and the bytes: signal, instant, length of what is forced."""
_STAMP = _STAMPS[HEADER[-1]]

_SIGNALS = {int(signal): signal for signal in Signal}
_IOV_MAX = os.sysconf("SC_IOV_MAX") if hasattr(os, "sysconf") else 1024


class SegmentUnreadable(LandingError):
    """Not a segment, or one of a format unknown here, or one the disk cannot read."""


@dataclass(frozen=True, slots=True)
class Request:
    """One OTLP export request as it came off the wire."""

    signal: Signal
    received_at_us: int
    body: bytes
    forced: bytes = b""
    """What its sender's token says of every row, whatever the body says: forced.packed(); at most 65,535 bytes."""


def frame_bytes(request: Request) -> int:
    """How much of a segment a request takes."""
    return _SIZE_AND_CRC.size + _STAMP.size + len(request.forced) + len(request.body)


def frame_head(request: Request) -> bytes:
    """The part of a request's frame that stands before its body."""
    stamp = _STAMP.pack(request.signal, request.received_at_us, len(request.forced)) + request.forced
    crc = google_crc32c.extend(google_crc32c.value(stamp), request.body)
    return _SIZE_AND_CRC.pack(len(request.body), crc) + stamp


class SegmentWriter:
    """One segment being written. Blocking; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Create the file. Its folder entry is on disk when this returns; OSError if that fails."""
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        try:
            os.write(self._file, HEADER)
            sync_folder(path.parent)
        except OSError:
            os.close(self._file)
            path.unlink(missing_ok=True)
            raise
        self.length = len(HEADER)
        """Bytes known to be good: the header and every frame whose fsync succeeded."""

    def append(self, requests: Sequence[Request]) -> None:
        """Write `requests` and force them to disk with one fdatasync.

        On OSError none of them may be acknowledged, and the segment must be closed: after a failed
        fsync the kernel may have dropped the pages it could not write, so trying again proves nothing.
        """
        parts: list[bytes] = []
        for request in requests:
            parts.append(frame_head(request))
            parts.append(request.body)
        written = _write_all(self._file, parts)
        _sync_bytes(self._file)
        self.length += written

    def close(self) -> Path | None:
        """Cut the file at its last good byte and rename `.open` to `.seg`; None if it held no frame.

        Closes the file even if it cannot be renamed, which is an OSError; close_segment may be tried later.
        """
        with suppress(OSError):  # what stands after the last good byte was never acknowledged: harmless
            if os.fstat(self._file).st_size != self.length:
                os.ftruncate(self._file, self.length)
                os.fsync(self._file)
        os.close(self._file)
        return close_segment(self.path, self.length)


def close_segment(path: Path, length: int) -> Path | None:
    """Rename the whole segment `path` of `length` bytes to `.seg`, or remove it if it holds no frame."""
    if length <= len(HEADER):
        path.unlink(missing_ok=True)
        return None
    closed = path.with_suffix(".seg")
    path.rename(closed)
    sync_folder(path.parent)
    return closed


def _write_all(file: int, parts: list[bytes]) -> int:
    total = 0
    for first in range(0, len(parts), _IOV_MAX):
        wave = parts[first : first + _IOV_MAX]
        size = sum(map(len, wave))
        written = os.writev(file, wave)
        if written < size:  # a signal, the 2 GiB limit of one call, or a disk that is nearly full
            rest = memoryview(b"".join(wave))[written:]
            while rest:
                rest = rest[os.write(file, rest) :]
        total += size
    return total


class Reading:
    """The whole frames of one segment, in order, read as they are asked for.

    After the last one `whole_bytes` and `cut_bytes` say where the file stops being good.
    """

    def __init__(self, path: Path) -> None:
        """Open `path`. Raises SegmentUnreadable if it is no segment of a format known here."""
        self.path = path
        self.whole_bytes = 0
        self.cut_bytes = 0
        try:
            self._file = path.open("rb", buffering=1 << 20)
        except OSError as error:
            raise _unreadable(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Request]:
        try:
            yield from self._frames()
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _frames(self) -> Iterator[Request]:
        size = os.fstat(self._file.fileno()).st_size
        header = self._file.read(len(HEADER))
        if len(header) < len(HEADER) and HEADER.startswith(header):
            self.cut_bytes = size
            return
        stamp = _STAMPS.get(header[-1])
        if header[:-1] != _MAGIC or stamp is None:
            raise SegmentUnreadable(
                f'"{self.path}" is not a journal segment of version 1 or {HEADER[-1]}: it begins with {header!r}'
            )
        self.whole_bytes = len(HEADER)
        while request := self._frame(stamp, size):
            self.whole_bytes = self._file.tell()
            yield request
        self.cut_bytes = size - self.whole_bytes

    def _frame(self, stamp: struct.Struct, size: int) -> Request | None:
        head = self._file.read(_SIZE_AND_CRC.size + stamp.size)
        if len(head) < _SIZE_AND_CRC.size + stamp.size:
            return None
        length, crc = _SIZE_AND_CRC.unpack_from(head)
        signal, received_at_us, *more = stamp.unpack_from(head, _SIZE_AND_CRC.size)
        forced_length = more[0] if more else 0
        if self._file.tell() + forced_length + length > size:  # before read(): a torn length may say 4 GiB
            return None
        forced, body = self._file.read(forced_length), self._file.read(length)
        stamped = head[_SIZE_AND_CRC.size :] + forced
        if google_crc32c.extend(google_crc32c.value(stamped), body) != crc:
            return None
        if signal not in _SIGNALS:
            raise SegmentUnreadable(f'"{self.path}" holds a request of the unknown signal {signal}')
        return Request(_SIGNALS[signal], received_at_us, body, forced)


def _unreadable(path: Path, error: OSError) -> SegmentUnreadable:
    return SegmentUnreadable(f'cannot read the journal segment "{path}": {error.strerror or error}')


def _sync_bytes(file: int) -> None:
    if sys.platform == "darwin":
        fcntl.fcntl(file, fcntl.F_FULLFSYNC)  # fsync there stops at the drive's cache
    else:
        os.fdatasync(file)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries (new names, renames) to disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Force a file's content to disk, whoever wrote it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
