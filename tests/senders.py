"""Two SDKs, one receiver: a trace and later its outcome, from Python and from Node, seen in the rollup.

    python tests/senders.py [--lake DIR]

Starts `llmcost serve` on a free port, sends, and asks `llmcost rollup cost-per-outcome --format json` until
each sender's outcome is there, five seconds at most after the receiver acknowledged it. The Node half runs
where its packages are installed: (cd tests/node && npm install).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from llmcost.cli.receiver_process import receiver

NODE = Path(__file__).parent / "node"
SECONDS = 5.0
COST = (1000 * Decimal("0.25") + 100 * Decimal(2)) / 1_000_000
"""What either call costs: 1000 tokens in, 100 out, of gpt-5-mini at $0.25 and $2 a million."""


@dataclass(frozen=True)
class Seen:
    """One sender's row of the rollup, and how long after the outcome's acknowledgement it was there."""

    row: dict[str, Any]
    seconds: float


def node_is_installed() -> bool:
    """Whether the Node half can run."""
    return shutil.which("node") is not None and (NODE / "node_modules" / "@opentelemetry").is_dir()


def send_from_python(endpoint: str, feature: str) -> None:
    """As an application does it: the SDK, its batch processor, its gRPC exporter; the outcome in a later request."""
    provider = TracerProvider(resource=Resource({"service.name": "python-sender"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=True)))
    tracer = provider.get_tracer("python-sender")
    root = tracer.start_span("POST /chat", kind=trace.SpanKind.SERVER, attributes={"feature": feature})
    inside = trace.set_span_in_context(root)
    usage = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100}
    named = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5-mini"}
    tracer.start_span("chat gpt-5-mini", inside, trace.SpanKind.CLIENT, {**named, **usage}).end()
    root.end()
    assert provider.force_flush()
    tracer.start_span("outcome", inside, attributes={"outcome.resolved": True}).end()
    assert provider.force_flush()
    provider.shutdown()


def send_from_node(endpoint: str, feature: str) -> None:
    """The same through the Node SDK."""
    subprocess.run(["node", "send.mjs", endpoint, feature], cwd=NODE, check=True, stdout=subprocess.PIPE, timeout=60)  # noqa: S607


def wait_for(lake: Path, feature: str) -> Seen:
    """Ask the rollup, as a process of its own, until the feature's success is in it."""
    begun = time.monotonic()
    question = ["rollup", "cost-per-outcome", "--since", "1h", "--group-by", "feature", "--format", "json"]
    command = [sys.executable, "-m", "llmcost.cli", *question, "--lake", str(lake)]
    while True:
        asked = subprocess.run(command, check=False, capture_output=True)
        seconds = time.monotonic() - begun
        for row in json.loads(asked.stdout)["rows"] if asked.returncode == 0 else []:
            if row["feature"] == feature and row["outcome"] == "resolved" and row["successes"] == 1:
                return Seen(row, seconds)
        if seconds > SECONDS:
            raise AssertionError(
                f"{feature} is not in the rollup after {SECONDS:.0f} s: {asked.stdout + asked.stderr!r}"
            )


def main(lake: Path) -> None:
    """Send from both and print what the rollup shows."""
    with receiver(lake) as running:
        for feature, send in (("from-python", send_from_python), ("from-node", send_from_node)):
            if send is send_from_node and not node_is_installed():
                print("Node: not run, its packages are not installed: (cd tests/node && npm install)")  # noqa: T201
                continue
            send(running.endpoint, feature)
            seen = wait_for(lake, feature)
            assert Decimal(seen.row["cost_per_success_usd"]) == COST
            print(f"{feature}: in the rollup {seen.seconds:.1f} s after its outcome was acknowledged: {seen.row}")  # noqa: T201


if __name__ == "__main__":
    if "--lake" in sys.argv:
        main(Path(sys.argv[sys.argv.index("--lake") + 1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder) / "lake")
