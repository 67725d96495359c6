"""What it costs to receive spans and make them queryable, beside what one would write first.

Each round blasts a fresh `llmcost serve` with the same requests, times the steps of landing one by one, and
runs a plain Python loop over the same bytes; with --peer rotel also the Rotel collector, which stores nothing.
Figures are medians of the rounds. Example:

    python bench/landing.py --spans 200000 --per-request 8,64,512,8192 --peer rotel
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from blaster import save, saved
from generator import Generator
from python_loop import python_loop
from servers import Llmcost, Rotel

from llmcost.ingest.check import check_traces
from llmcost.ingest.columns import Decoder
from llmcost.ingest.journal import Request
from llmcost.ingest.landing import decodable_at_once
from llmcost.ingest.parquet import write_parquet
from llmcost.ingest.wire import Signal
from llmcost.models import conventions, settings

RECEIVED_US = 1_795_000_100_000_000
LOOP_SPANS = 50_000
DECODES_A_FILE = 4
"""About what the worker lands in one commit when it is behind."""

WARM_UP_SPANS = 2_048
"""Sent and landed before the clock starts: imports, table creation and first calls are no cost per span."""


class Bench:
    """One load, measured in rounds; every figure is kept under its name."""

    def __init__(self, folder: Path, per_request: int, chosen: argparse.Namespace) -> None:
        self.folder = folder
        self.per_request = per_request
        self.spans: int = chosen.spans
        self._sending = {"in_flight": chosen.in_flight, "connections": chosen.connections}
        self._processes = {"receivers": chosen.receivers, "workers": chosen.workers}
        self.seen: defaultdict[str, list[float]] = defaultdict(list)
        generator = Generator(content=chosen.content)
        self.warm_up, self.load = folder / "warm-up", folder / "load"
        save(generator.requests(WARM_UP_SPANS, per_request), self.warm_up)
        save(generator.requests(self.spans, per_request), self.load)
        self.wire_bytes = self.load.stat().st_size
        self.loop_requests = max(1, min(self.spans, LOOP_SPANS) // per_request)
        self.loop_spans = min(self.spans, self.loop_requests * per_request)
        self._decoder = Decoder(conventions.load(), "drop", settings.Landing(), coded=True)

    def median(self, name: str) -> float:
        return statistics.median(self.seen[name])

    def serve(self, number: int) -> None:
        """Received to queryable, by the server as a user runs it."""
        server = Llmcost(self.folder / f"lake-{number}", **self._processes)
        try:
            server.blast(self.warm_up, **self._sending)
            server.wait_until_landed(WARM_UP_SPANS)
            stored_before, before = server.stored_bytes(), server.cpu()
            sent = server.blast(self.load, **self._sending)
            waiting = WARM_UP_SPANS + self.spans - server.landed()
            landed_at = server.wait_until_landed(WARM_UP_SPANS + self.spans)
            used = server.cpu() - before
            stored = server.stored_bytes() - stored_before
        finally:
            server.stop()
        self._keep("receiver", used.others, sent.last_acked_at - sent.first_sent_at)
        self._keep("worker", used.landing, landed_at - sent.first_sent_at)
        self._keep("received to queryable", used.all, landed_at - sent.first_sent_at)
        self.seen["median ms"].append(sent.median_ms)
        self.seen["p99 ms"].append(sent.p99_ms)
        self.seen["waiting"].append(waiting)
        self.seen["stored"].append(stored / self.spans)

    def rotel(self, number: int) -> None:
        """Received and thrown away."""
        server = Rotel(self.folder / f"rotel-{number}.log")
        try:
            server.blast(self.warm_up, **self._sending)
            before = server.cpu()
            sent = server.blast(self.load, **self._sending)
            used = server.cpu() - before
        finally:
            server.stop()
        self._keep("Rotel -> blackhole", used.all, sent.last_acked_at - sent.first_sent_at)

    def steps(self, number: int) -> None:
        """The parts of landing, each alone in this process."""

        def check() -> None:
            for body in saved(self.load):
                check_traces(body)

        self._keep("check before the ack", *_cost(check))
        decoding, writing = np.zeros(2), np.zeros(2)
        requests = self._requests()
        while group := list(itertools.islice(requests, DECODES_A_FILE)):
            tables: list[pa.Table] = []
            path = self.folder / f"steps-{number}.parquet"
            decoding += _cost(lambda group=group, tables=tables: tables.extend(map(self._decoded, group)))
            writing += _cost(lambda tables=tables, path=path: write_parquet(pa.concat_tables(tables), path))
        self._keep("decode to Arrow", *decoding)
        self._keep("write Parquet", *writing)

    def loop(self, number: int) -> None:
        """The yardstick, on the first spans of the load: it is slow, and its cost per span does not change."""
        bodies = list(itertools.islice(saved(self.load), self.loop_requests))
        used, seconds = _cost(lambda: python_loop(bodies, self.folder / f"loop-{number}.parquet"))
        self._keep("Python loop", used, seconds, spans=self.loop_spans)

    def _decoded(self, requests: list[Request]) -> pa.Table:
        return self._decoder.decode(requests).spans.drop_columns(["day"])

    def _requests(self) -> Iterator[list[Request]]:
        """As many at once as the worker decodes."""
        return decodable_at_once(Request(Signal.TRACES, RECEIVED_US, body) for body in saved(self.load))

    def _keep(self, name: str, used: float, seconds: float, *, spans: int | None = None) -> None:
        self.seen[f"{name} CPU"].append(used * 1e6 / (spans or self.spans))
        self.seen[f"{name} spans/s"].append((spans or self.spans) / seconds)


def _cost(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of `work`."""
    started, cpu_started = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - cpu_started, time.perf_counter() - started


def report(bench: Bench, chosen: argparse.Namespace) -> None:
    """Print the table."""
    loop = bench.median("Python loop CPU")

    def line(label: str, name: str) -> None:
        cpu, speed = bench.median(f"{name} CPU"), bench.median(f"{name} spans/s")
        print(f"{label:<46}{cpu:>9.2f}{speed:>12,.0f}{cpu / loop:>11.2f}x")

    print(
        f"{chosen.spans:,} spans, {bench.per_request} a request, {bench.wire_bytes / chosen.spans:.0f} B a span, "
        f"medians of {chosen.rounds} rounds; {os.cpu_count()} cores shared with the sender, Python "
        f"{platform.python_version()}\n"
    )
    print(f"{'':<46}{'CPU-s/1M':>9}{'spans/s':>12}{'CPU : loop':>12}")
    for step in ("check before the ack", "decode to Arrow", "write Parquet"):
        line(f"step: {step}", step)
    line("Python loop: parse, dictionaries, Parquet", "Python loop")
    line("llmcost serve: receiver, to the durable ack", "receiver")
    line("llmcost serve: worker, journal to Delta", "worker")
    line("llmcost serve: received to queryable", "received to queryable")
    if chosen.peer:
        line("Rotel -> blackhole: to the ack, nothing kept", "Rotel -> blackhole")
    print()
    seconds = chosen.spans / bench.median("received to queryable spans/s")
    print(f"all queryable after {seconds:.2f} s; {bench.median('waiting'):,.0f} waited at the last ack")
    print(f"ack: median {bench.median('median ms'):.1f} ms, p99 {bench.median('p99 ms'):.1f} ms")
    stored = bench.median("stored")
    print(f"stored: {stored:.1f} B a span, {stored * chosen.spans / bench.wire_bytes:.3f}x the wire size")
    if chosen.peer:
        print(
            "llmcost : Rotel: " + ", ".join(f"{name} {ratio:.2f}x" for name, ratio in ratios_to_rotel(bench).items())
        )
    print()


def ratios_to_rotel(bench: Bench) -> dict[str, float]:
    return {
        name: bench.median(ours) / bench.median(f"Rotel -> blackhole {unit}")
        for name, ours, unit in (
            ("acked spans/s", "receiver spans/s", "spans/s"),
            ("CPU to the ack", "receiver CPU", "CPU"),
            ("CPU to queryable", "received to queryable CPU", "CPU"),
        )
    }


def summarise(benches: list[Bench], chosen: argparse.Namespace) -> None:
    """One line a request size: CPU-s per 1M spans, spans/s, and the ratios to the peers of the same run."""
    columns = ["spans a request", "ack CPU", "acked/s", "landed CPU", "landed/s", "B a span", "CPU : loop"]
    columns += ["acked : Rotel", "ack CPU : Rotel"] if chosen.peer else []
    print("".join(f"{column:>17}" for column in columns))
    for bench in benches:
        ack, landed = "receiver", "received to queryable"
        figures = [f"{bench.per_request:,}"]
        for name in (ack, landed):
            figures += [f"{bench.median(f'{name} CPU'):.2f}", f"{bench.median(f'{name} spans/s'):,.0f}"]
        figures += [f"{bench.median('stored'):.1f}"]
        figures += [f"{bench.median(f'{landed} CPU') / bench.median('Python loop CPU'):.2f}x"]
        if chosen.peer:
            figures += [f"{ratio:.2f}x" for ratio in list(ratios_to_rotel(bench).values())[:2]]
        print("".join(f"{figure:>17}" for figure in figures))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--spans", type=int, default=200_000, help="1000000 for a figure to quote")
    options.add_argument("--per-request", type=_sizes, default="512", help="spans a request; several: 8,64,512,8192")
    options.add_argument("--content", action="store_true", help="with prompt text on model calls")
    options.add_argument("--in-flight", type=int, default=32, help="requests sent and not yet acknowledged")
    options.add_argument("--connections", type=int, default=2, help="of the sender; receivers share them")
    options.add_argument("--receivers", type=int, help="as server.receivers; its default if not given")
    options.add_argument("--workers", type=int, help="as landing.workers; its default if not given")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--peer", choices=["rotel"], help="needs: pip install --group bench")
    chosen = options.parse_args()
    benches = []
    for per_request in chosen.per_request:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder), per_request, chosen)
            for number in range(chosen.rounds):
                bench.serve(number)
                if chosen.peer:
                    bench.rotel(number)
                bench.loop(number)
                bench.steps(number)
        report(bench, chosen)
        benches.append(bench)
    if len(benches) > 1:
        summarise(benches, chosen)


def _sizes(text: str) -> list[int]:
    return [int(size) for size in text.split(",")]


if __name__ == "__main__":
    main()
