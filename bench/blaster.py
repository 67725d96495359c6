"""Sends a file of serialised requests as fast as they are acknowledged, from a process of its own.

`python bench/blaster.py REQUESTS HOST:PORT` prints one line of JSON. Nothing is serialised or parsed here, so
that the sender takes as little as it can of the cores it shares with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import mmap
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc.aio

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_LENGTH = struct.Struct("<I")


def save(bodies: Iterable[bytes], path: Path) -> None:
    """Write requests to `path` for a blaster to send."""
    with path.open("wb") as file:
        for body in bodies:
            file.write(_LENGTH.pack(len(body)))
            file.write(body)


def saved(path: Path) -> Iterator[bytes]:
    """The requests in `path`."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as octets:
        at = 0
        while at < len(octets):
            (length,) = _LENGTH.unpack_from(octets, at)
            at += _LENGTH.size + length
            yield octets[at - length : at]


async def blast(path: Path, address: str, *, in_flight: int, connections: int) -> dict[str, float]:
    """Send every request in `path` once; raises grpc.aio.AioRpcError at the first that is refused."""
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(connections)
    ]
    for channel in channels:
        await channel.channel_ready()
    requests = saved(path)
    waits: list[float] = []

    async def send(channel: grpc.aio.Channel) -> None:
        export = channel.unary_unary(EXPORT)
        for body in requests:  # the senders share it
            sent = time.perf_counter()
            await export(body, timeout=60)
            waits.append(time.perf_counter() - sent)

    first_sent_at = time.monotonic()
    await asyncio.gather(*(send(channels[number % connections]) for number in range(in_flight)))
    last_acked_at = time.monotonic()
    for channel in channels:
        await channel.close()
    waits.sort()
    return {
        "requests": len(waits),
        "first_sent_at": first_sent_at,
        "last_acked_at": last_acked_at,
        "median_ms": waits[len(waits) // 2] * 1000,
        "p99_ms": waits[len(waits) * 99 // 100] * 1000,
    }


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("requests", type=Path)
    options.add_argument("address")
    options.add_argument("--in-flight", type=int, default=32)
    options.add_argument("--connections", type=int, default=2)
    chosen = options.parse_args()
    print(
        json.dumps(
            asyncio.run(
                blast(chosen.requests, chosen.address, in_flight=chosen.in_flight, connections=chosen.connections)
            )
        )
    )
