"""Journalled OTLP requests into Arrow tables of the landed schema, without a Python statement per span.

bytes -> Arrow (ptars) -> flat attributes -> promoted columns and maps. No clock, no disk, no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from ..models.conventions import Conventions
from ..models.settings import Landing
from .privacy import Privacy
from .records import CODED_EVENTS, CODED_SPANS, EVENTS_BY_DAY, SPANS_BY_DAY, Batch, Landed, Rulebook
from .requests import Request, batches, to_arrow
from .wire import Signal


@dataclass(frozen=True)
class Decoded:
    """What requests hold: landed rows, requests that could not be read, and how often each note was made."""

    spans: pa.Table
    events: pa.Table
    undecodable: list[int]
    notes: dict[str, int]


class Decoder:
    """Decodes requests by the conventions table; keeps one in-process DuckDB for values inside JSON.

    Not for use by several threads at once.
    """

    def __init__(
        self,
        conventions: Conventions,
        content_policy: str,
        landing: Landing,
        privacy: Privacy | None = None,
        *,
        coded: bool = False,
    ) -> None:
        """With `coded`, rows that are only to be written: text that repeats is left as codes (coded.py)."""
        self._coded = coded
        self._rulebook = Rulebook(conventions, content_policy, landing, privacy or Privacy())

    def decode(self, requests: Sequence[Request]) -> Decoded:
        """Land all requests; rows of one signal keep the order of arrival.

        Never raises for what a request holds: a request that is no OTLP is named in `undecodable` by its
        index, a span or log record in doubt is noted in its `landing_notes` and counted in `notes`
        (`invalid_ids_dropped` counts spans that are not landed at all).
        """
        landed = Landed()
        undecodable: list[int] = []
        waiting = list(batches(requests))[::-1]
        while waiting:
            signal, indices = waiting.pop()
            try:
                found, unreadable = self._land(signal, [requests[index] for index in indices])
            except (pa.ArrowException, MemoryError):
                # More than Arrow's 2 GiB in one column or than memory holds: halve, at last set one aside.
                if len(indices) == 1:
                    undecodable += indices
                    continue
                half = len(indices) // 2
                waiting += [(signal, indices[half:]), (signal, indices[:half])]
                continue
            landed.add(found)
            undecodable += [indices[at] for at in unreadable]
        spans = pa.Table.from_batches(landed.spans, CODED_SPANS)
        events = pa.Table.from_batches(landed.events, CODED_EVENTS)
        if not self._coded:
            spans, events = spans.cast(SPANS_BY_DAY), events.cast(EVENTS_BY_DAY)
        return Decoded(spans, events, sorted(undecodable), landed.notes)

    def _land(self, signal: Signal, requests: list[Request]) -> tuple[Landed, list[int]]:
        """The rows of some requests, and which of them are unreadable."""
        landed = Landed()
        batch, readable = to_arrow(signal, [request.body for request in requests])
        if batch is not None:
            read = [request for request, good in zip(requests, readable, strict=True) if good]
            Batch(self._rulebook, signal, batch, read, landed).land()
        return landed, [at for at, good in enumerate(readable) if not good]
