"""Send the check and the decoder what nobody should send, beside requests that are in order.

    python tests/fuzz_run.py --cases 1000000 [--seed N]     check and decode, in this process
    python tests/fuzz_run.py --cases 100000 --json          the same, from OTLP/JSON
    python tests/fuzz_run.py --live 60                      a running `llmcost serve`, over gRPC and HTTP

In this process, for each case: the check before the ack says yes or no and nothing else; what it says yes to
lands as many rows as it said, or is set aside as undecodable; the good requests in the same batch land exactly as
they do alone; nothing raises; what comes out is valid Arrow and can be written; the memory stays. A failing case
is made smaller and printed as hex.

Against a server: every good span that was acknowledged is in the lake exactly once, no process dies, hangs or grows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

sys.path.insert(0, str(Path(__file__).parent))

from support import fuzz_live
from support.memory import growth_mib, resident_mib
from support.mutants import JsonMutants, Mutants, Seed, seeds
from support.otlp import span_ids, trace_request

from llmcost.ingest.check import Checked, MalformedRequest, check_logs, check_traces
from llmcost.ingest.columns import Decoded, Decoder
from llmcost.ingest.otlp_json import to_protobuf
from llmcost.ingest.parquet import write_parquet
from llmcost.ingest.services import LOGS, TRACES
from llmcost.ingest.wire import Signal
from llmcost.models import conventions
from llmcost.models.settings import Landing

SERVICES = {Signal.TRACES: TRACES, Signal.LOGS: LOGS}
CHECKS = {Signal.TRACES: check_traces, Signal.LOGS: check_logs}
FIRST_US = 1_795_400_000_000_000
GOOD_US = FIRST_US + 1_000_000
"""Good requests are received later than all others of their batch: so their rows are known."""
BATCH = 2048
"""Requests a decode: more than the worker takes, because opening JSON costs the same for few and many."""
REFUSED_TOO_EVERY = 8
"""One batch in so many holds refused requests as well: a journal may have been written by another version."""
WRITTEN_EVERY = 10
"""One batch in so many is written as Parquet."""


class Request(NamedTuple):
    """As the journal hands it over."""

    signal: Signal
    received_at_us: int
    body: bytes
    forced: bytes = b""


class Broken(AssertionError):
    """A promise that did not hold, and the requests with which it did not."""

    def __init__(self, promise: str, requests: Sequence[Request]) -> None:
        super().__init__(promise)
        self.requests = list(requests)


@dataclass
class Report:
    """What came of it: cases by outcome, and resident memory in MiB as the run went on."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    memory_mib: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        """For people."""
        shares = ", ".join(f"{count:,} {name}" for name, count in self.outcomes.most_common())
        memory = f"{self.memory_mib[0]:.0f} … {self.memory_mib[-1]:.0f} MiB, at most {max(self.memory_mib):.0f}"
        growth = growth_mib(self.memory_mib)
        return f"{self.cases:,} cases in {self.seconds:.0f} s: {shares}; memory {memory}, growth {growth:+.0f}"


class Bench:
    """Checks and decodes batches, and knows what the good requests must land as."""

    def __init__(self) -> None:
        self._decoder = Decoder(conventions.load(), "drop", Landing())
        self.good = [Request(one.signal, GOOD_US + at, one.body) for at, one in enumerate(_good())]
        alone = [self._decoder.decode([request]) for request in self.good]
        assert not any(one.undecodable for one in alone)
        self._good_spans = pa.concat_tables([one.spans for one in alone])
        self._good_events = pa.concat_tables([one.events for one in alone])
        assert self._good_spans.num_rows > len(self.good) // 2
        assert self._good_events.num_rows

    def check(self, request: Request) -> Checked | None:
        """What the receiver would say; None for a refusal. Raises Broken."""
        try:
            return CHECKS[request.signal](request.body)
        except MalformedRequest:
            return None
        except Exception as error:
            raise Broken(f"the check raised {error!r}", [request]) from error

    def from_json(self, signal: Signal, text: bytes) -> bytes | None:
        """The request as protobuf; None for a refusal. Raises Broken."""
        try:
            return to_protobuf(SERVICES[signal], text)
        except MalformedRequest:
            return None
        except Exception as error:
            raise Broken(f"reading JSON raised {error!r}", [Request(signal, FIRST_US, text)]) from error

    def decode(
        self, requests: Sequence[Request], accepted: Mapping[int, int], write_to: Path | None = None
    ) -> set[int]:
        """Decode requests among the good ones; returns the instants of receipt of those set aside.

        `accepted` are the rows that each of them must land, by its instant of receipt. Raises Broken.
        """
        middle = len(requests) // 2
        batch = [*self.good[:3], *requests[:middle], *self.good[3:-2], *requests[middle:], *self.good[-2:]]
        try:
            decoded = self._decoder.decode(batch)
            for name, table in (("spans", decoded.spans), ("events", decoded.events)):
                table.validate(full=True)
                if write_to is not None:
                    write_parquet(table, write_to / f"{name}.parquet")
        except Exception as error:
            raise Broken(f"decoding raised {error!r}", requests) from error
        for rows, expected in ((decoded.spans, self._good_spans), (decoded.events, self._good_events)):
            if not _received_from(rows, GOOD_US).equals(expected):
                raise Broken("a good request landed otherwise than alone", requests)
        aside = {batch[index].received_at_us for index in decoded.undecodable}
        landed = _rows_by_receipt(decoded)
        for request in requests:
            at = request.received_at_us
            found = landed[request.signal].get(at, 0)
            if at in aside and found:
                raise Broken("rows landed of a request that is called undecodable", [request])
            if at in accepted and at not in aside and found != accepted[at]:
                raise Broken(f"{accepted[at]} rows were acknowledged, {found} landed", [request])
        return aside


def _good() -> Iterable[Seed]:
    """Recorded spans and logs of several libraries, and two made by hand."""
    recorded = seeds()
    logs = [seed for seed in recorded if seed.signal is Signal.LOGS]
    spans = [seed for seed in recorded if seed.signal is Signal.TRACES and b"usage" in seed.body]
    made = [Seed.of(Signal.TRACES, trace_request(span_ids(2, seed), event="chosen")) for seed in (1, 2)]
    return [*made, *spans[:: len(spans) // 4], *logs[:: len(logs) // 2]]


def _received_from(rows: pa.Table, instant_us: int) -> pa.Table:
    return rows.filter(
        pc.greater_equal(rows.column("received_at"), pa.scalar(instant_us, rows.schema.field("received_at").type))
    )


def _rows_by_receipt(decoded: Decoded) -> dict[Signal, dict[int, int]]:
    """How many spans, and how many log records, came of the request received at an instant."""
    events = decoded.events
    records = {
        Signal.TRACES: decoded.spans.column("received_at"),
        Signal.LOGS: events.column("received_at").filter(pc.equal(events.column("carrier"), "log")),
    }
    counted = {}
    for signal, instants in records.items():
        pairs = instants.cast(pa.int64()).value_counts()
        counted[signal] = dict(zip(pairs.field("values").to_pylist(), pairs.field("counts").to_pylist(), strict=True))
    return counted


def run(cases: int, seed: int, *, json: bool = False, progress: Callable[[str], object] = lambda _: None) -> Report:
    """Try `cases` mutants drawn from `seed`. Raises Broken with a small failing case."""
    bench, report, source = Bench(), Report(), JsonMutants(seed) if json else Mutants(seed)
    started = said = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        while report.cases < cases:
            batch = len(report.memory_mib)
            requests, accepted = [], {}
            while len(requests) < min(BATCH, max(1, cases // 8)) and report.cases < cases:
                signal, body = source.next()
                report.cases += 1
                if json and (body := bench.from_json(signal, body)) is None:
                    report.outcomes["refused as JSON"] += 1
                    continue
                request = Request(signal, FIRST_US + len(requests), body)
                checked = bench.check(request)
                report.outcomes[_outcome(checked)] += 1
                if checked is not None:
                    accepted[request.received_at_us] = checked.spans - checked.rejected
                if checked is not None or batch % REFUSED_TOO_EVERY == 0:
                    requests.append(request)
            try:
                aside = bench.decode(requests, accepted, Path(folder) if batch % WRITTEN_EVERY == 0 else None)
            except Broken as error:
                raise smaller(bench, error) from error
            report.outcomes["accepted and set aside"] += len(aside & accepted.keys())
            report.memory_mib.append(resident_mib())
            report.seconds = time.monotonic() - started
            if time.monotonic() - said > 10:
                said = time.monotonic()
                progress(str(report))
    return report


def _outcome(checked: Checked | None) -> str:
    if checked is None:
        return "refused"
    return "accepted in part" if checked.rejected else "accepted"


def smaller(bench: Bench, broken: Broken) -> Broken:
    """The same failure with fewer requests and fewer bytes, as far as cutting pieces out leads."""

    def fails(requests: Sequence[Request]) -> bool:
        nonlocal broken
        try:
            checks = {request.received_at_us: bench.check(request) for request in requests}
            bench.decode(requests, {at: one.spans - one.rejected for at, one in checks.items() if one is not None})
        except Broken as error:
            broken = error
            return True
        return False

    def without_pieces(whole: Sequence[Any], still_fails: Callable[[Any], bool]) -> Sequence[Any]:
        size = len(whole) // 2
        while size:
            at = 0
            while at < len(whole):
                less = whole[:at] + whole[at + size :]  # type: ignore[operator]  # a list or bytes
                if still_fails(less):
                    whole = less
                else:
                    at += size
            size //= 2
        return whole

    kept = list(without_pieces(broken.requests, fails))
    for at, request in enumerate(kept):

        def with_body(body: bytes, at: int = at, request: Request = request) -> list[Request]:
            return [*kept[:at], request._replace(body=body), *kept[at + 1 :]]

        body = without_pieces(request.body, lambda less, rebuilt=with_body: fails(rebuilt(less)))  # type: ignore[misc]
        kept[at] = request._replace(body=bytes(body))
    return broken


def main() -> int:
    """Print what came of it; exit 1 with the failing case if a promise did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--live", type=float, metavar="SECONDS", help="against a running server, for so long")
    parser.add_argument("--json", action="store_true", help="mutants of OTLP/JSON instead of protobuf")
    options = parser.parse_args()
    if options.live:
        with tempfile.TemporaryDirectory() as folder:
            live = fuzz_live.run(Path(folder) / "lake", seconds=options.live, seed=options.seed)
        print(live)  # noqa: T201
        return 1 if live.faults() else 0
    try:
        print(run(options.cases, options.seed, json=options.json, progress=lambda line: print(line, flush=True)))  # noqa: T201
    except Broken as broken:
        print(f"{broken} (seed {options.seed})")  # noqa: T201
        for request in broken.requests:
            print(f"{request.signal.name}: {request.body.hex()}")  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
