"""What people send with, against a real receiver.

    python tests/senders.py [--lake DIR]                       the SDKs of Python and Node, over every protocol
    python tests/senders.py litellm|langfuse|rotel|fluent-bit  a library or a forwarder that sends by itself

Starts `llmcost serve` on free ports and sends. Of the SDKs it asks `llmcost rollup cost-per-outcome` until each
one's outcome is there, five seconds at most after it was acknowledged. Of all it prints how many spans and log
records were sent and how many landed. Node's packages: (cd tests/node && npm install). Those of the libraries:
pip install --group senders (Rotel: --group bench).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from grpc import Compression
from opentelemetry import trace
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto import http
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from llmcost.cli.receiver_process import Receiver, receiver

NODE = Path(__file__).parent / "node"
SECONDS = 5.0
COST = (1000 * Decimal("0.25") + 100 * Decimal(2)) / 1_000_000
"""What either call costs: 1000 tokens in, 100 out, of gpt-5-mini at $0.25 and $2 a million."""


@dataclass(frozen=True)
class Seen:
    """One sender's row of the rollup, and how long after the outcome's acknowledgement it was there."""

    row: dict[str, Any]
    seconds: float


@dataclass
class Sent:
    """What a sender knows to be acknowledged: ids of spans in hex, names of log events."""

    spans: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)

    def __add__(self, other: Sent) -> Sent:
        return Sent(self.spans + other.spans, self.logs + other.logs)


def landed(lake: Path) -> Sent:
    """What is in the lake, duplicates included."""
    ids = DeltaTable(lake / "spans").to_pyarrow_table(columns=["span_id"])["span_id"].to_pylist()
    logs = DeltaTable(lake / "events").to_pyarrow_table(columns=["carrier", "name"]).to_pylist()
    return Sent(ids, [row["name"] for row in logs if row["carrier"] == "log"])


def compared(sent: Sent, lake: Path) -> str:
    """One line; raises AssertionError unless each item sent landed exactly once, and nothing else did."""
    there = landed(lake)
    for kind, ours, theirs in (("spans", sent.spans, there.spans), ("log records", sent.logs, there.logs)):
        assert Counter(ours) == Counter(theirs), f"{kind}: sent {sorted(ours)}, landed {sorted(theirs)}"
    return f"{len(sent.spans)} spans and {len(sent.logs)} log records sent, each landed once"


def endpoint(running: Receiver, protocol: str) -> str:
    """What an SDK is given as its endpoint."""
    return running.endpoint if protocol == "grpc" else running.http_endpoint


def node_is_installed() -> bool:
    """Whether the Node half can run."""
    return shutil.which("node") is not None and (NODE / "node_modules" / "@opentelemetry").is_dir()


def send_from_python(endpoint: str, feature: str, protocol: str = "grpc") -> Sent:
    """As an application does it: the SDK, its batch processors, its exporters.

    The outcome goes in a later request than its trace, a log record in one of its own.
    """
    resource = Resource({"service.name": "python-sender"})
    refused: list[str] = []
    spans, logs = (_watched(exporter, refused) for exporter in _exporters(endpoint, protocol))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(spans))
    loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
    loggers.add_log_record_processor(BatchLogRecordProcessor(logs))
    tracer = provider.get_tracer("python-sender")
    root = tracer.start_span("POST /chat", kind=trace.SpanKind.SERVER, attributes={"feature": feature})
    inside = trace.set_span_in_context(root)
    usage = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100}
    named = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5-mini"}
    call = tracer.start_span("chat gpt-5-mini", inside, trace.SpanKind.CLIENT, {**named, **usage})
    call.end()
    root.end()
    assert provider.force_flush()
    outcome = tracer.start_span("outcome", inside, attributes={"outcome.resolved": True})
    outcome.end()
    assert provider.force_flush()
    loggers.get_logger("python-sender").emit(LogRecord(event_name="feedback", body={"liked": True}, context=inside))
    assert loggers.force_flush()
    provider.shutdown()
    loggers.shutdown()
    assert not refused, refused
    return Sent([f"{span.get_span_context().span_id:016x}" for span in (root, call, outcome)], ["feedback"])


def _watched(exporter: Any, refused: list[str]) -> Any:
    """The exporter; it notes what it could not deliver, of which a flush says nothing."""
    export = exporter.export

    def watched(batch: Any) -> Any:
        result = export(batch)
        if result.name != "SUCCESS":
            refused.append(f"{len(batch)} of {type(exporter).__name__}")
        return result

    exporter.export = watched
    return exporter


def _exporters(endpoint: str, protocol: str) -> tuple[Any, Any]:
    """Exporters of spans and of log records, packing as production settings do."""
    if protocol == "grpc":
        packed = {"insecure": True, "compression": Compression.Gzip}
        return GrpcSpanExporter(endpoint=endpoint, **packed), GrpcLogExporter(endpoint=endpoint, **packed)
    return (
        HttpSpanExporter(endpoint=f"{endpoint}/v1/traces", compression=http.Compression.Gzip),
        HttpLogExporter(endpoint=f"{endpoint}/v1/logs", compression=http.Compression.Gzip),
    )


def send_from_node(endpoint: str, feature: str, protocol: str = "grpc") -> Sent:
    """The same through the Node SDK."""
    command = ["node", "send.mjs", endpoint, feature, protocol]
    said = subprocess.run(command, cwd=NODE, check=True, stdout=subprocess.PIPE, timeout=60)
    return Sent(**json.loads(said.stdout))


Send = Callable[[str, str, str], Sent]
SDKS: dict[str, Send] = {
    "python grpc": send_from_python,
    "python http/protobuf": send_from_python,
    "node grpc": send_from_node,
    "node http/protobuf": send_from_node,
    "node http/json": send_from_node,
}
"""Every SDK and protocol; Python's SDK has no exporter of JSON."""


def wait_for(lake: Path, feature: str, patience: float = SECONDS) -> Seen:
    """Ask the rollup, as a process of its own, until the feature's success is in it; so many seconds at most."""
    begun = time.monotonic()
    question = ["rollup", "cost-per-outcome", "--since", "1h", "--group-by", "feature", "--format", "json"]
    command = [sys.executable, "-m", "llmcost.cli", *question, "--lake", str(lake)]
    while True:
        asked = subprocess.run(command, check=False, capture_output=True)
        seconds = time.monotonic() - begun
        for row in json.loads(asked.stdout)["rows"] if asked.returncode == 0 else []:
            if row["feature"] == feature and row["outcome"] == "resolved" and row["successes"] == 1:
                return Seen(row, seconds)
        if seconds > patience:
            raise AssertionError(
                f"{feature} is not in the rollup after {patience:.0f} s: {asked.stdout + asked.stderr!r}"
            )


def send_from_sdks(lake: Path) -> Sent:
    """Send from all and print what the rollup shows."""
    sent = Sent()
    with receiver(lake) as running:
        for name, send in SDKS.items():
            if send is send_from_node and not node_is_installed():
                print(f"{name}: not run, its packages are not installed: (cd tests/node && npm install)")  # noqa: T201
                continue
            protocol = name.split()[1]
            sent += send(endpoint(running, protocol), name, protocol)
            seen = wait_for(lake, name)
            assert Decimal(seen.row["cost_per_success_usd"]) == COST
            print(f"{name}: in the rollup {seen.seconds:.1f} s after its outcome was acknowledged: {seen.row}")  # noqa: T201
    return sent


def main(names: Iterable[str], lake: Path) -> None:
    """Run what was asked for, each over a lake of its own, and print the counts."""
    import sender_libraries

    known = {"sdks": send_from_sdks, **sender_libraries.SENDERS}
    for name in names:
        if name not in known:
            sys.exit(f'no sender is called "{name}": choose from {", ".join(known)}')
        of_its_own = lake / name
        print(f"{name}: {compared(known[name](of_its_own), of_its_own)}")  # noqa: T201


if __name__ == "__main__":
    asked = sys.argv[1:]
    at = None
    if "--lake" in asked:
        where = asked.index("--lake")
        at = Path(asked[where + 1])
        del asked[where : where + 2]
    with tempfile.TemporaryDirectory() as folder:
        main(asked or ["sdks"], at or Path(folder) / "lakes")
