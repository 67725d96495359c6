"""How soon an outcome is in the answer, and how long answers take, while the server lands and derives.

    python tests/freshness_run.py --minutes 2 --readers 10 --probes 40
    python tests/freshness_run.py --already 300000       # late on a long day

A sender keeps a steady load of agents' calls and their outcomes. Probes: a call, and once it is in, its outcome;
from the OK of that until cost-per-outcome counts it. First without readers, then with them: processes that ask
three rollups again and again, and hold the sum of each answer against its coverage and the price of its calls.
Exits with 1 on an error or a wrong sum.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import cycle, pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from soak_run import Soak
from support.load import CALL_USD, INPUT_TOKENS, OUTPUT_TOKENS
from support.server import Server
from support.spans import SpanOf, call, request

from llmcost.models.settings import Settings
from llmcost.sql import Warehouse
from llmcost.sql.answers import Answer

ROLLUPS = ("cost-per-outcome", "cost-per-feature", "cost-per-agent-run")
PATIENCE_SECONDS = 180
FILLED_AT_ONCE = 1000


@dataclass
class Seen:
    """What readers or probes saw: seconds under each name, and everything that was wrong."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def add(self, name: str, seconds: float) -> None:
        self.seconds.setdefault(name, []).append(seconds)

    def __str__(self) -> str:
        return "\n".join(f"  {name}: {spread(seconds)}" for name, seconds in self.seconds.items())


def spread(seconds: list[float]) -> str:
    """The middle and the tail."""
    tail = statistics.quantiles(seconds, n=100, method="inclusive")[98] if len(seconds) > 1 else seconds[0]
    return f"p50 {statistics.median(seconds):.2f} s, p99 {tail:.2f} s, most {max(seconds):.2f} s ({len(seconds)})"


def work(word: str, feature: str) -> SpanOf:
    """A call, at the price of all; a verdict beside it in its trace is about it."""
    tokens = {"input": INPUT_TOKENS, "output": OUTPUT_TOKENS}
    return call(word, "call", parent="agent", at=datetime.now(UTC), attributes={"app.feature": feature}, **tokens)


def verdict(word: str) -> SpanOf:
    return SpanOf(word, "verdict", "outcome", "agent", at=datetime.now(UTC), attributes={"outcome.resolved": True})


def load(ids: Sequence[str], source: random.Random, at_ns: int) -> bytes:
    """A request of agents' calls, three in four of them with an outcome."""
    spans = []
    for number, word in enumerate(ids):
        run = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": f"agent-{source.randrange(4)}"}
        spans += [SpanOf(word, "agent", "invoke_agent", at=datetime.now(UTC), attributes=run)]
        spans += [work(word, f"load-{source.randrange(8)}"), *([verdict(word)] if number % 4 else [])]
    return request(spans)


def fill(server: Server, calls: int) -> int:
    """Send so many calls as fast as they are taken, and derive them; how many it were."""
    source = random.Random(0)  # noqa: S311  (a load)
    for begin in range(0, calls, FILLED_AT_ONCE):
        words = [f"already {number}" for number in range(begin, min(begin + FILLED_AT_ONCE, calls))]
        server.send(load(words, source, 0))
    if calls:
        server.wait_until_landed()
        Warehouse(server.lake, Settings()).refresh()
    return calls


def problem(answer: Answer) -> str | None:
    """What is wrong with an answer's money: its rows, its coverage and the price of its calls are one sum."""
    column = "ledger_cost_usd" if "ledger_cost_usd" in answer.table.column_names else "cost_usd"
    rows = sum(filter(None, answer.table[column].to_pylist()), Decimal(0))
    if rows == (covered := answer.coverage).cost_usd == covered.calls * CALL_USD:
        return None
    return f"{answer.info.name}: rows ${rows}, coverage ${covered.cost_usd}, {covered.calls} calls of ${CALL_USD}"


def read(lake: Path, stop: Path) -> Seen:
    """One reader process, until the file `stop` is there or nobody waits for it."""
    seen, warehouse, parent = Seen(), Warehouse(lake, Settings()), multiprocessing.parent_process()
    for name in cycle(ROLLUPS):
        if stop.exists() or parent is None or not parent.is_alive():
            break
        begun = time.monotonic()
        try:
            answer = warehouse.ask(name, since="2d")
        except Exception:
            seen.wrong.append(f"{name}: {traceback.format_exc()}")
            continue
        seen.add(name, time.monotonic() - begun)
        seen.wrong += filter(None, [problem(answer)])
    return seen


def wait_for(warehouse: Warehouse, feature: str, successes: int) -> None:
    """Ask cost-per-outcome until the feature has one call and so many successes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        rows = warehouse.ask("cost-per-outcome", since="1h", where={"feature": feature}).table.to_pylist()
        if [(row["calls"], row["successes"]) for row in rows] == [(1, successes)]:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{feature}: {successes} successes not seen in {PATIENCE_SECONDS} s: {rows}")
        time.sleep(0.05)


def probe(server: Server, warehouse: Warehouse, word: str, following: str) -> float:
    """Seconds from the OK of an outcome, told once its call is in, to its answer; sends the following one's call."""
    server.send(request([work(following, following)]))
    wait_for(warehouse, word, 0)
    time.sleep(random.random())  # noqa: S311  (an answer comes just after a landing; people do not tell just then)
    server.send(request([verdict(word)]))
    begun = time.monotonic()
    wait_for(warehouse, word, 1)
    return time.monotonic() - begun


def phase(server: Server, folder: Path, readers: int, probes: int, seconds: float) -> list[str]:
    """Probe; beside readers, who ask for `seconds`, only as often as there is time for. Print it; what was wrong."""
    stop, warehouse, seen, answers = folder / f"stop-{readers}", Warehouse(server.lake, Settings()), Seen(), Seen()
    until, words = time.monotonic() + seconds, [f"probe-{readers}-{number}" for number in range(probes + 1)]
    server.send(request([work(words[0], words[0])]))
    with ProcessPoolExecutor(max(readers, 1), multiprocessing.get_context("spawn")) as pool:
        try:
            reading = [pool.submit(read, server.lake, stop) for _ in range(readers)]
            for word, following in pairwise(words):
                if readers and time.monotonic() > until:
                    break
                try:
                    seen.add("from an outcome's OK to the changed answer", probe(server, warehouse, word, following))
                except Exception:
                    seen.wrong.append(traceback.format_exc())
            time.sleep(max(0.0, until - time.monotonic()) if readers else 0)
            machine = os.getloadavg()[0]
        finally:
            stop.touch()
        for answered in (each.result() for each in reading):
            answers.wrong += answered.wrong
            for name, took in answered.seconds.items():
                answers.seconds.setdefault(name, []).extend(took)
    wrong = answers.wrong + seen.wrong
    count = f"{readers} readers, {sum(map(len, answers.seconds.values()))} answers, {len(wrong)} errors or wrong sums"
    print(f"{count}, load average {machine:.1f}", *filter(None, (f"{answers}", f"{seen}")), sep="\n", flush=True)  # noqa: T201
    return wrong


def main() -> int:
    """Run it and say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2, help="how long the readers ask")
    parser.add_argument("--readers", type=int, default=0, help="reader processes of a second phase")
    parser.add_argument("--probes", type=int, default=40, help="probes; beside readers, at most")
    parser.add_argument("--per-second", type=float, default=100, help="calls sent a second")
    parser.add_argument("--already", type=int, default=0, help="calls of the day that were there before, and derived")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "lake", keeper=True) as server:
        soak, done = Soak(server.lake), threading.Event()
        soak.acknowledged += fill(server, options.already)
        pace = {"per_second": options.per_second, "days": 1, "seed": 1, "done": done, "body": load}
        sender = threading.Thread(target=soak.send, args=(server.port,), kwargs=pace, daemon=True)
        sender.start()
        wrong = []
        for readers in sorted({0, options.readers}):
            wrong += phase(server, Path(folder), readers, options.probes, options.minutes * 60)
        done.set()
        sender.join(PATIENCE_SECONDS)
        server.wait_until_landed()
        if server.stop() or "starting it again" in server.log():
            wrong.append(f"a process of the server died or did not stop cleanly: {server.log()[-2000:]}")
        last = Warehouse(server.lake, Settings()).ask("cost-per-feature", since="2d")
        calls = sum(row["calls"] for row in last.table.to_pylist() if row["feature"].startswith("load-"))
        if problem(last) or calls != soak.acknowledged:
            wrong.append(f"at the end: {problem(last)}; {calls} calls where {soak.acknowledged} were acknowledged")
        wrong += [line for line in server.log().splitlines() if " failed: " in line]
        derived = server.log().count("event=derived ")
    print(f"{soak.acknowledged:,} calls acknowledged, {soak.refused} refusals, the keeper derived {derived} times")  # noqa: T201
    print("\n".join(["the bar for a changed answer is 5 s", *wrong[:10]]))  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
