"""Landing: closed journal segments become rows of `spans` and `events`, each exactly once.

A landing takes one or more segments in order and makes one commit to each table under the last
segment's number. Killed between the two commits, it is taken up where it stopped: each table knows
the last number it holds.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from .delta import LandedFile, LandedTable, discard
from .journal import Reading, Request, SegmentWriter
from .logs import fields
from .metrics import metrics
from .receiver_folder import ReceiverFolder, Segment

log = logging.getLogger(__name__)

REQUESTS_A_DECODE = 4096
"""Requests decoded in one call. A call costs as much as thousands of spans, and a request may hold one."""

DECODE_BYTES = 16 * 1024 * 1024
"""Bytes decoded in one call, unless a single request is larger."""

GROUP_BYTES = 128 * 1024 * 1024
"""Journal bytes landed in one commit, unless a single segment is larger."""

HELD_BYTES = 256 * 1024 * 1024
"""Decoded rows held in memory before they are written out."""


class Decoded(Protocol):
    """What a decoder makes of some requests: rows with their `day`, and what it could not read."""

    @property
    def spans(self) -> pa.Table: ...  # noqa: D102
    @property
    def events(self) -> pa.Table: ...  # noqa: D102
    @property
    def undecodable(self) -> Sequence[int]: ...  # noqa: D102
    @property
    def notes(self) -> Mapping[str, int]: ...  # noqa: D102


class Decoder(Protocol):
    """Turns requests into rows. The real one is in columns.py."""

    def decode(self, requests: Sequence[Request]) -> Decoded: ...  # noqa: D102


@dataclass(slots=True)
class Landed:
    """What one landing did; `oldest_us` is when its first request was received."""

    segments: int = 0
    requests: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    files: int = 0
    bytes: int = 0
    undecodable: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    oldest_us: int | None = None


class Lander:
    """Lands the segments of one receiver. Only the holder of its worker lock may use one."""

    def __init__(self, folder: ReceiverFolder, decoder: Decoder, spans: LandedTable, events: LandedTable) -> None:
        self._folder = folder
        self._decoder = decoder
        self._tables = (spans, events)

    def next_group(self, waiting: Sequence[Segment]) -> list[Segment]:
        """The oldest of `waiting`, and those after it that may share its commit.

        A table's last landed number never falls inside a group, or the group could be committed to that
        table neither as a whole nor not at all.
        """
        marks = {table.landed_number(self._folder.receiver_id) for table in self._tables}
        group: list[Segment] = []
        size = 0
        for segment in waiting:
            if group and size + segment.bytes > GROUP_BYTES:
                break
            if group and any(group[-1].number <= mark < segment.number for mark in marks):
                break
            group.append(segment)
            size += segment.bytes
        return group

    def land(self, group: Sequence[Segment]) -> Landed:
        """Land `group` (from `next_group`), then retire its segments.

        Raises OSError or DeltaError if the lake cannot be written: nothing is lost and it can be called
        again. Any other exception is about what is in the segments.
        """
        receiver_id, number = self._folder.receiver_id, group[-1].number
        missing = [table for table in self._tables if table.landed_number(receiver_id) < number]
        landed = Landed(segments=len(group))
        if missing:
            files = self._write(group, missing, landed)
            for table in missing:
                if files[table.name]:
                    started = time.perf_counter()
                    table.commit(files[table.name], receiver_id=receiver_id, number=number)
                    metrics().commit_seconds.labels(table.name).observe(time.perf_counter() - started)
                    metrics().landed_rows.labels(table.name).inc(sum(file.rows for file in files[table.name]))
        self._folder.retire(group)
        return landed

    def _write(
        self, group: Sequence[Segment], tables: Sequence[LandedTable], landed: Landed
    ) -> dict[str, list[LandedFile]]:
        """Decode `group` and write the rows of `tables` to files, holding at most HELD_BYTES of rows."""
        files: dict[str, list[LandedFile]] = {table.name: [] for table in tables}
        held: dict[str, list[pa.Table]] = {table.name: [] for table in tables}
        held_bytes = 0
        try:
            for rows in self._decoded(group, landed):
                for table in tables:
                    held[table.name].append(rows[table.name])
                    held_bytes += rows[table.name].nbytes
                if held_bytes > HELD_BYTES:
                    self._write_out(tables, held, files)
                    held_bytes = 0
            self._write_out(tables, held, files)
        except BaseException:
            discard([file for written in files.values() for file in written])
            raise
        for table in tables:
            landed.rows[table.name] += sum(file.rows for file in files[table.name])
        landed.files += sum(map(len, files.values()))
        landed.bytes += sum(file.bytes for written in files.values() for file in written)
        return files

    @staticmethod
    def _write_out(
        tables: Sequence[LandedTable], held: dict[str, list[pa.Table]], files: dict[str, list[LandedFile]]
    ) -> None:
        for table in tables:
            rows, held[table.name] = held[table.name], []
            if any(part.num_rows for part in rows):
                files[table.name] += table.write(pa.concat_tables(rows))

    def _decoded(self, group: Sequence[Segment], landed: Landed) -> Iterator[dict[str, pa.Table]]:
        for segment in group:
            undecodable: list[Request] = []
            with Reading(segment.path) as reading:
                for requests in decodable_at_once(reading):
                    decoded = self._decoder.decode(requests)
                    undecodable += [requests[index] for index in decoded.undecodable]
                    landed.requests += len(requests)
                    landed.notes.update(decoded.notes)
                    landed.oldest_us = min(requests[0].received_at_us, landed.oldest_us or requests[0].received_at_us)
                    yield {"spans": decoded.spans, "events": decoded.events}
            if undecodable:
                self._keep_undecodable(segment, undecodable)
                landed.undecodable += len(undecodable)
            if reading.cut_bytes:
                self._keep_damaged(segment, reading.cut_bytes)

    def _keep_undecodable(self, segment: Segment, requests: list[Request]) -> None:
        """Keep requests nobody can read as a segment of their own, so that their neighbours land."""
        self._folder.quarantine_root.mkdir(exist_ok=True)
        kept = self._folder.quarantine_root / f"{segment.path.stem}.undecodable.seg"
        kept.unlink(missing_ok=True)  # of a landing that was killed
        writer = SegmentWriter(kept)
        try:
            writer.append(requests)
        finally:
            writer.close()
        log.error("undecodable requests are kept in quarantine", extra=fields(requests=len(requests), file=kept))

    def _keep_damaged(self, segment: Segment, cut_bytes: int) -> None:
        """Keep a second name of a closed segment whose tail is damaged: its whole frames land, the rest cannot."""
        self._folder.quarantine_root.mkdir(exist_ok=True)
        kept = self._folder.quarantine_root / f"{segment.path.stem}.damaged.seg"
        kept.unlink(missing_ok=True)
        os.link(segment.path, kept)
        log.error("a damaged segment is kept in quarantine", extra=fields(unreadable_bytes=cut_bytes, file=kept))


def decodable_at_once(requests: Iterable[Request]) -> Iterator[list[Request]]:
    """Cut `requests` into lists of at most REQUESTS_A_DECODE requests and about DECODE_BYTES."""
    chunk: list[Request] = []
    size = 0
    for request in requests:
        if chunk and (len(chunk) == REQUESTS_A_DECODE or size + len(request.body) > DECODE_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(request)
        size += len(request.body)
    if chunk:
        yield chunk
