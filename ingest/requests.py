"""Journalled requests as Arrow batches, without a malformed one taking its neighbours along."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from .wire import LANDED, Signal

# Measured: below 4 MiB the fixed cost of a batch shows, above 16 MiB the columns outgrow the cache.
_BATCH_BYTES = 8 * 1024 * 1024


class Request(Protocol):
    """One acknowledged export request, as the journal gives it back."""

    @property
    def signal(self) -> int:
        """A wire.Signal."""

    @property
    def received_at_us(self) -> int:
        """When it was acknowledged, in microseconds since 1970."""

    @property
    def body(self) -> bytes:
        """The serialised request."""

    @property
    def forced(self) -> bytes:
        """What its sender's token says of each of its rows: forced.packed(); empty for most."""


def batches(requests: Sequence[Request]) -> Iterator[tuple[Signal, list[int]]]:
    """Indices of requests of one signal that are decoded together: enough to amortise, few enough for the cache."""
    for signal in Signal:
        batch: list[int] = []
        size = 0
        for index, request in enumerate(requests):
            if request.signal != signal:
                continue
            if batch and size + len(request.body) > _BATCH_BYTES:
                yield signal, batch
                batch, size = [], 0
            batch.append(index)
            size += len(request.body)
        if batch:
            yield signal, batch


def to_arrow(signal: Signal, bodies: list[bytes]) -> tuple[pa.RecordBatch | None, list[bool]]:
    """The readable requests as a batch, and which they are."""
    batches, readable = _in_parts(signal, bodies)
    return (pa.concat_batches(batches) if len(batches) > 1 else next(iter(batches), None)), readable


def _in_parts(signal: Signal, bodies: list[bytes]) -> tuple[list[pa.RecordBatch], list[bool]]:
    try:
        return [LANDED[signal].to_arrow(bodies)], [True] * len(bodies)
    except Exception:
        # ptars does not say which request it refused, nor by an exception of its own: halve until it is alone.
        if len(bodies) == 1:
            batch = _repaired(signal, bodies[0])
            return ([] if batch is None else [batch]), [batch is not None]
        half = len(bodies) // 2
        first, second = _in_parts(signal, bodies[:half]), _in_parts(signal, bodies[half:])
        return first[0] + second[0], first[1] + second[1]


def _repaired(signal: Signal, body: bytes) -> pa.RecordBatch | None:
    """A field of the wrong wire type is an unknown field to upb: without it ptars may read the rest."""
    form = LANDED[signal]
    try:
        return form.to_arrow([form.repair(body)])
    except Exception:
        return None
