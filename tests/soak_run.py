"""A server under a steady load for minutes or hours, watched from outside while readers ask it for totals.

    python tests/soak_run.py --minutes 2 --readers            0 errors, 0 wrong totals
    python tests/soak_run.py --minutes 60 --per-second 300    memory, files and lag over time

Every call costs the same and every request holds the same number of calls. So at any moment a right
total is a whole number of requests, between what was visible before it was asked and what was sent by
the time it was answered, at exactly the price of one call each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import duckdb
import grpc

sys.path.insert(0, str(Path(__file__).parent))

from support.load import CALL_USD, calls, new_ids
from support.server import EXPORT, Server

CALLS_A_REQUEST = 32
_DAY_NS = 86_400 * 10**9
Body = Callable[[Sequence[str], random.Random, int], bytes]
"""Writes a request: one call for each id, at a moment in nanoseconds."""


@dataclass
class Soak:
    """What was sent and seen so far; each field has one writer."""

    lake: Path
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def send(
        self, port: int, *, per_second: float, days: int, seed: int, done: threading.Event, body: Body = calls
    ) -> None:
        """Send at a steady pace, over the last `days` days; a request without an answer is sent again, the same."""
        source = random.Random(seed)  # noqa: S311  (ids and users)
        started = time.monotonic()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            export = channel.unary_unary(EXPORT)
            while not done.is_set():
                at_ns = time.time_ns() - source.randrange(days) * _DAY_NS
                export_request = body(new_ids(source, CALLS_A_REQUEST), source, at_ns)
                self.sent += CALLS_A_REQUEST
                while True:
                    try:
                        export(export_request, timeout=60, wait_for_ready=True)
                        break
                    except grpc.RpcError:
                        self.refused += 1
                        time.sleep(0.5)
                self.acknowledged += CALLS_A_REQUEST
                done.wait(max(0.0, started + self.sent / per_second - time.monotonic()))

    def watch(self, name: str, total: Callable[[], tuple[int, Decimal]], done: threading.Event) -> None:
        """Ask for the total again and again; remember every one that cannot be right."""
        seen = 0
        while not done.is_set():
            try:
                found, cost = total()
            except Exception as error:
                self.errors.append(f"{name}: {error}")
                time.sleep(0.2)
                continue
            self.answers[name] = self.answers.get(name, 0) + 1
            if found < seen or found > self.sent or found % CALLS_A_REQUEST or cost != found * CALL_USD:
                self.wrong.append(f"{name}: {found} calls for ${cost} after {seen}; {self.sent} were sent")
            seen = max(seen, found)
            time.sleep(0.05)

    def rollup(self) -> tuple[int, Decimal]:
        """`llmcost rollup` as a process: fresh, whatever has landed."""
        rows = json.loads(llmcost("rollup", "cost-per-feature", "--since", "40d", "--format", "json", lake=self.lake))
        found = rows["rows"] if isinstance(rows, dict) else rows
        return sum(row["calls"] for row in found), sum((Decimal(str(row["cost_usd"])) for row in found), Decimal(0))

    def glob(self) -> tuple[int, Decimal]:
        """What a BI tool does: every Parquet file of `calls`."""
        if not any(self.lake.glob("calls/*/*.parquet")):
            return 0, Decimal(0)
        with duckdb.connect() as con:
            files = str(self.lake / "calls/*/*.parquet")
            rows = con.execute("select count(*), coalesce(sum(cost_usd), 0) from read_parquet($f)", {"f": files})
            found, cost = rows.fetchall()[0]
        return found, Decimal(cost)

    def upkeep(self, done: threading.Event) -> None:
        """By hand, beside what the server does by itself."""
        for command in _round(done, ("refresh", "compact", "vacuum")):
            try:
                llmcost(command, lake=self.lake)
            except Exception as error:
                self.errors.append(f"llmcost {command}: {error}")

    def sample(self, server: Server) -> str:
        """A line of figures: memory of each process, files, journal, lag."""
        sizes = [f"{name} {size:.0f}" for name, size in sorted(memory_mib(server.process.pid).items())]
        files = {name: len(list((self.lake / name).glob("day=*/*.parquet"))) for name in ("spans", "events")}
        log_files = len(list((self.lake / "spans" / "_delta_log").glob("*")))
        journal = sum(path.stat().st_size for path in self.lake.glob("journal/*/*.seg"))
        lags = re.findall(r"event=landed .*lag_seconds=([\d.]+)", server.log())[-20:]
        return (
            f"{self.acknowledged:>10,} acknowledged  MiB: {', '.join(sizes)}  files: spans {files['spans']}, "
            f"events {files['events']}, log {log_files}  journal {journal >> 10} KiB  "
            f"lag {max(map(float, lags), default=0):.1f} s  "
            f"answers {sum(self.answers.values())}, wrong {len(self.wrong)}, errors {len(self.errors)}"
        )


def llmcost(*words: str, lake: Path) -> str:
    """The output of a command; raises RuntimeError with its last line."""
    command = [sys.executable, "-m", "llmcost.cli", *words, "--lake", str(lake)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(
            answer.stderr.strip().splitlines()[-1] if answer.stderr.strip() else str(answer.returncode)
        )
    return answer.stdout


def memory_mib(parent: int) -> dict[str, float]:
    """Resident memory of a process and its children, by what they run."""
    sizes: dict[str, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if parent not in (int(folder.name), int((folder / "stat").read_text().rpartition(")")[2].split()[1])):
                continue
            words = (folder / "cmdline").read_text().split("\0")
            name = next((word.rpartition(".")[2] for word in words if word.startswith("llmcost.")), "parent")
            found = re.search(r"VmRSS:\s+(\d+)", (folder / "status").read_text())
            sizes[name] = sizes.get(name, 0) + (int(found[1]) / 1024 if found else 0)
    return sizes


def _round(done: threading.Event, words: tuple[str, ...]) -> Iterator[str]:
    while True:
        for word in words:
            if done.wait(1):
                return
            yield word


def run(
    lake: Path,
    *,
    seconds: float,
    per_second: float,
    days: int,
    readers: bool,
    every: float,
    settings: dict[str, object],
) -> Soak:
    """Soak for `seconds`, then stop, and ask once more for the final totals."""
    soak, done = Soak(lake), threading.Event()
    with Server(lake, keeper=True, **settings) as server:
        tasks: list[Callable[[], None]] = [
            lambda: soak.send(server.port, per_second=per_second, days=days, seed=1, done=done)
        ]
        if readers:
            tasks += [
                lambda: soak.watch("rollup", soak.rollup, done),
                lambda: soak.watch("glob", soak.glob, done),
                lambda: soak.upkeep(done),
            ]
        threads = [threading.Thread(target=task) for task in tasks]
        for thread in threads:
            thread.start()
        started = time.monotonic()
        while (left := started + seconds - time.monotonic()) > 0:
            time.sleep(min(every, left))
            print(f"{time.monotonic() - started:>6.0f} s {soak.sample(server)}", flush=True)  # noqa: T201
        done.set()
        for thread in threads:
            thread.join()
        server.wait_until_landed()
        if server.stop():
            soak.errors.append(f"the server did not stop cleanly: {server.log()[-500:]}")
        if "starting it again" in server.log():
            soak.errors.append("a process of the server died")
    found, cost = soak.rollup()
    if (found, cost) != (soak.acknowledged, soak.acknowledged * CALL_USD):
        soak.wrong.append(f"at the end: {found} calls for ${cost}, {soak.acknowledged} were acknowledged")
    return soak


def main() -> int:
    """Print what was seen; exit 1 if any of it was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--per-second", type=float, default=300, help="calls sent a second")
    parser.add_argument("--days", type=int, default=3, help="over how many days the calls are spread")
    parser.add_argument("--readers", action="store_true", help="a rollup, a plain glob, and upkeep by hand beside it")
    parser.add_argument("--every", type=float, default=10, help="seconds between two lines")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="upkeep__rest_seconds=1")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = run(
            Path(folder) / "lake",
            seconds=options.minutes * 60,
            per_second=options.per_second,
            days=options.days,
            readers=options.readers,
            every=options.every,
            settings=dict(word.split("=", 1) for word in options.set),
        )
    for line in (*soak.errors[:10], *soak.wrong[:10]):
        print(line)  # noqa: T201
    print(  # noqa: T201
        f"{soak.acknowledged:,} calls acknowledged, {soak.refused} refusals, answers {soak.answers}, "
        f"{len(soak.wrong)} wrong, {len(soak.errors)} errors"
    )
    return 1 if soak.wrong or soak.errors else 0


if __name__ == "__main__":
    sys.exit(main())
