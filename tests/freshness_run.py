"""How soon an outcome is in the answer, and how long answers take, while the server lands and derives.

    python tests/freshness_run.py --minutes 2 --readers 10 --probes 40

A sender keeps a steady load; reader processes ask three rollups again and again, and hold the sum of each answer
against its coverage. Meanwhile probes: a call, then its outcome; from its OK until cost-per-outcome counts it.
Exits with 1 on an error or a wrong sum.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from soak_run import Soak
from support.server import Server
from support.spans import SpanOf, call, request

from llmcost.sql import Warehouse

ROLLUPS = ("cost-per-outcome", "cost-per-feature", "cost-per-agent-run")
PATIENCE_SECONDS = 60


def read(lake: Path, seconds: float) -> None:
    """One reader: a JSON line for each answer, with the rollup, what it took, and what was wrong with it."""
    warehouse = Warehouse(lake)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name in ROLLUPS:
            begun, wrong = time.monotonic(), None
            try:
                answer = warehouse.ask(name, since="2d")
                column = "ledger_cost_usd" if "ledger_cost_usd" in answer.table.column_names else "cost_usd"
                total = sum(filter(None, answer.table[column].to_pylist()), Decimal(0))
                if total != answer.coverage.cost_usd:
                    wrong = f"{name}: rows {total}, coverage {answer.coverage.cost_usd}"
            except Exception as error:
                wrong = f"{name}: {type(error).__name__}: {error}"
            took = time.monotonic() - begun
            print(json.dumps({"rollup": name, "seconds": took, "wrong": wrong}), flush=True)  # noqa: T201


def probe(server: Server, warehouse: Warehouse, number: int) -> float:
    """Seconds from the OK of an outcome to an answer that counts it."""
    word, feature = f"probe {number} {time.time_ns()}", f"probe-{number}-{os.getpid()}"
    owner = {"app.feature": feature}
    server.send(request([call(word, "call", at=datetime.now(UTC), input=1000, output=100, attributes=owner)]))
    told = {"outcome.resolved": True}
    server.send(request([SpanOf(word, "verdict", "outcome", at=datetime.now(UTC), seconds=0.001, attributes=told)]))
    acknowledged = time.monotonic()
    while True:
        rows = warehouse.ask("cost-per-outcome", since="1h", where={"feature": feature}).table.to_pylist()
        if [row["successes"] for row in rows] == [1]:
            return time.monotonic() - acknowledged
        if time.monotonic() > acknowledged + PATIENCE_SECONDS:
            raise TimeoutError(f"{feature} after {PATIENCE_SECONDS} s: {rows}")


def spread(seconds: list[float]) -> str:
    """The middle and the tail."""
    tail = statistics.quantiles(seconds, n=100, method="inclusive")[98] if len(seconds) > 1 else seconds[0]
    return f"p50 {statistics.median(seconds):.2f} s, p99 {tail:.2f} s, most {max(seconds):.2f} s ({len(seconds)})"


def main() -> int:
    """Run it and say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--readers", type=int, default=10)
    parser.add_argument("--probes", type=int, default=40)
    parser.add_argument("--per-second", type=float, default=100, help="calls sent a second")
    parser.add_argument("--read", type=Path, metavar="LAKE", help="be one reader of this lake")
    options = parser.parse_args()
    if options.read:
        read(options.read, options.minutes * 60)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        lake = Path(folder) / "lake"
        soak, done = Soak(lake), threading.Event()
        waits: list[float] = []
        with Server(lake, keeper=True) as server:
            sender = threading.Thread(
                target=lambda: soak.send(server.port, per_second=options.per_second, days=1, seed=1, done=done)
            )
            sender.start()
            server.wait_until_landed()
            command = [sys.executable, __file__, "--read", str(lake), "--minutes", str(options.minutes)]
            readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(options.readers)]
            warehouse = Warehouse(lake)
            for number in range(options.probes):
                waits.append(probe(server, warehouse, number))
            answers = [json.loads(line) for reader in readers for line in reader.communicate()[0].splitlines()]
            done.set()
            sender.join()
            load = os.getloadavg()[0]
            stopped = server.stop()
    for name in ROLLUPS:
        seconds = [each["seconds"] for each in answers if each["rollup"] == name]
        if seconds:
            print(f"{name}: {spread(seconds)}")  # noqa: T201
    wrong = [each["wrong"] for each in answers if each["wrong"]]
    print(f"{len(answers)} answers to {options.readers} readers, {len(wrong)} errors or wrong sums")  # noqa: T201
    print(f"from an outcome's OK to the changed answer: {spread(waits)}")  # noqa: T201
    print(f"{soak.acknowledged:,} calls acknowledged, {soak.refused} refused, load average {load:.1f}")  # noqa: T201
    for line in wrong[:10]:
        print(line)  # noqa: T201
    return 1 if wrong or stopped or any(reader.returncode for reader in readers) else 0


if __name__ == "__main__":
    sys.exit(main())
