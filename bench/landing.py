"""What landing costs: `python bench/landing.py --spans 200000 --per-request 512`.

Prints CPU-seconds per million spans and spans a second for each step, and beside them, measured in turn
with them, a plain Python loop over every span from the same bytes to Parquet.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from generator import Generator
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from llmcost.ingest.check import check_traces
from llmcost.ingest.columns import Decoder
from llmcost.ingest.wire import Signal
from llmcost.models import conventions, settings

RECEIVED_US = 1_795_000_100_000_000
SEGMENT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What the journal hands to the decoder."""

    signal: Signal
    received_at_us: int
    body: bytes


def segments(requests: list[Request]) -> list[list[Request]]:
    """The requests as the journal would close them."""
    closed: list[list[Request]] = [[]]
    size = 0
    for request in requests:
        if closed[-1] and size + len(request.body) > SEGMENT_BYTES:
            closed.append([])
            size = 0
        closed[-1].append(request)
        size += len(request.body)
    return closed


def python_loop(requests: list[Request], path: Path) -> None:
    """What one writes first: parse, a dictionary per span, Parquet."""
    for number, segment in enumerate(segments(requests)):
        rows = []
        for request in segment:
            message = ExportTraceServiceRequest.FromString(request.body)
            for resource in message.resource_spans:
                about = {a.key: _text(a.value) for a in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        rows.append(
                            {
                                "trace_id": span.trace_id.hex(),
                                "span_id": span.span_id.hex(),
                                "parent_span_id": span.parent_span_id.hex(),
                                "name": span.name,
                                "kind": span.kind,
                                "started_at": span.start_time_unix_nano // 1000,
                                "ended_at": span.end_time_unix_nano // 1000,
                                "status": span.status.code,
                                "scope_name": scope.scope.name,
                                "attributes": list({a.key: _text(a.value) for a in span.attributes}.items()),
                                "resource_attributes": list(about.items()),
                            }
                        )
        names = ("trace_id", "span_id", "parent_span_id", "name", "scope_name")
        texts = [pa.field(name, pa.string()) for name in names]
        numbers = [pa.field(name, pa.int64()) for name in ("kind", "started_at", "ended_at", "status")]
        maps = [pa.field(name, pa.map_(pa.string(), pa.string())) for name in ("attributes", "resource_attributes")]
        table = pa.Table.from_pylist(rows, pa.schema([*texts, *numbers, *maps]))
        pq.write_table(table, path / f"loop-{number}.parquet", compression="zstd")


def _text(value: object) -> str:
    held = value.WhichOneof("value")  # type: ignore[attr-defined]
    return str(getattr(value, held)) if held else ""


def cpu(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of `work`."""
    started, cpu_started = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - cpu_started, time.perf_counter() - started


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--spans", type=int, default=200_000)
    options.add_argument("--per-request", type=int, default=512)
    options.add_argument("--content", action="store_true", help="with prompt text on model calls")
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()

    generator = Generator(content=chosen.content)
    bodies = list(generator.requests(chosen.spans, chosen.per_request))
    requests = [Request(Signal.TRACES, RECEIVED_US, body) for body in bodies]
    wire_bytes = sum(map(len, bodies))
    decoder = Decoder(conventions.load(), "drop", settings.Landing())
    tables: list[pa.Table] = []
    stored = 0

    def check() -> None:
        for body in bodies:
            check_traces(body)

    def decode() -> None:
        tables[:] = [decoder.decode(segment).spans for segment in segments(requests)]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)

        def write() -> None:
            for number, table in enumerate(tables):
                pq.write_table(table, path / f"spans-{number}.parquet", compression="zstd")

        steps: dict[str, Callable[[], None]] = {
            "check before the ack": check,
            "decode to Arrow": decode,
            "write Parquet": write,
            "Python loop, all of it": lambda: python_loop(requests, path),
        }
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
        for _ in range(chosen.rounds):
            for name, work in steps.items():
                seen[name].append(cpu(work))
        stored = sum(file.stat().st_size for file in path.glob("spans-*.parquet"))

    print(f"{chosen.spans:,} spans, {chosen.per_request} a request, {wire_bytes / chosen.spans:.0f} B a span")
    print(f"{'step':<26}{'CPU-s per 1M':>14}{'spans/s':>12}")
    costs = {}
    for name, runs in seen.items():
        costs[name] = statistics.median(used for used, _ in runs) * 1e6 / chosen.spans
        wall = statistics.median(took for _, took in runs)
        print(f"{name:<26}{costs[name]:>14.2f}{chosen.spans / wall:>12,.0f}")
    ours = costs["decode to Arrow"] + costs["write Parquet"]
    print(f"decode and write: {ours:.2f} CPU-s per 1M, {ours / costs['Python loop, all of it']:.2f}x the Python loop")
    print(f"stored: {stored / chosen.spans:.1f} B a span, {stored / wire_bytes:.3f}x the wire size")


if __name__ == "__main__":
    main()
