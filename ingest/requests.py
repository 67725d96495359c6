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
    form = LANDED[signal]
    try:
        return form.to_arrow(bodies), [True] * len(bodies)
    except Exception:
        # ptars does not say which request it refused, nor by an exception of its own.
        batches: list[pa.RecordBatch] = []
        readable = []
        for body in bodies:
            batch = _one_to_arrow(signal, body)
            readable.append(batch is not None)
            if batch is not None:
                batches.append(batch)
        return pa.concat_batches(batches) if batches else None, readable


def _one_to_arrow(signal: Signal, body: bytes) -> pa.RecordBatch | None:
    form = LANDED[signal]
    try:
        return form.to_arrow([body])
    except Exception:
        # A field of the wrong wire type is an unknown field to upb: without it ptars may read the rest.
        try:
            return form.to_arrow([form.repair(body)])
        except Exception:
            return None
