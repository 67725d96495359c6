"""Kill, stop and damage a server again and again under load, then count every call and every dollar.

    python tests/fault_run.py --kills 200            minutes long; its short form is in the suite
    python tests/fault_run.py --full-disk            a real full disk, a small tmpfs: needs root to mount it

Each call costs the same, and its id is drawn once. So an acknowledged call that is not in the lake is
lost, a call that is billed twice was doubled, and the bill must be the price of one call times the calls
that landed. A request whose answer never came may have landed or not. Some requests are delivered
twice, as exporters do.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).parent))

from support.load import CALL_USD, calls, new_ids
from support.server import CHILDREN, EXPORT, Server, free_port, landed_span_ids, wait_until

from llmcost.ingest.journal import Request, frame_head
from llmcost.ingest.wire import Signal
from llmcost.models.settings import Settings
from llmcost.sql import Warehouse

SENDERS = 4
CALLS_A_REQUEST = 64
REPEATED = 0.1
"""Share of acknowledged requests that are delivered again."""

_HASTE: dict[str, object] = {"landing__segment_seconds": 0.3, "upkeep__rest_seconds": 0.1}
_OPTIONS = [("grpc.enable_retries", 0), ("grpc.initial_reconnect_backoff_ms", 100)]
_FAULTS = (*CHILDREN, "keeper", "parent", "all", "all, torn tail", "stopped worker")


@dataclass
class Counts:
    """What came of it, in calls and US dollars."""

    sent: int = 0
    acknowledged: set[str] = field(default_factory=set)
    delivered_twice: set[str] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)
    landed: int = 0
    lost: int = 0
    landed_twice: int = 0
    billed: int = 0
    billed_usd: Decimal = Decimal(0)

    @property
    def kills(self) -> int:
        """SIGKILLs, each to one process or to all at once."""
        return sum(count for name, count in self.faults.items() if name != "stopped worker")

    @property
    def is_exact(self) -> bool:
        """Nothing lost, nothing twice, and the bill is that of what landed."""
        right = (self.landed, self.landed * CALL_USD)
        return (self.lost, self.landed_twice) == (0, 0) and (self.billed, self.billed_usd) == right

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        return (
            f"{self.sent:,} calls sent, {len(self.acknowledged):,} acknowledged, "
            f"{len(self.delivered_twice):,} delivered twice, {self.kills} kills ({faults}): {self.landed:,} landed, "
            f"{self.lost} lost, {self.landed_twice} landed twice, {self.billed:,} billed for ${self.billed_usd} "
            f"where ${self.landed * CALL_USD} is right"
        )


def run(lake: Path, *, kills: int, seed: int, every: float = 0.9, **settings: object) -> Counts:
    """Send until `kills` faults, about `every` seconds apart and drawn from `seed`, have happened."""
    source = random.Random(seed)  # noqa: S311  (which fault, and when)
    counts, done = Counts(), threading.Event()
    with Server(lake, port=free_port(), keeper=True, **(_HASTE | settings)) as server:

        def send(number: int) -> None:
            mine = random.Random(seed * SENDERS + number)  # noqa: S311  (ids)
            while not done.is_set():
                ids = new_ids(mine, CALLS_A_REQUEST)
                body = calls(ids, mine, time.time_ns())
                counts.sent += len(ids)
                if _delivered(server.port, body):
                    counts.acknowledged.update(ids)
                    if mine.random() < REPEATED:
                        counts.delivered_twice.update(ids)
                        _delivered(server.port, body)
                time.sleep(0.1 * mine.random())

        senders = [threading.Thread(target=send, args=(number,)) for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        try:
            for number in range(kills):
                time.sleep(2 * every * source.random())
                # Each kind in turn first, so that a short run has them all.
                fault = _FAULTS[number] if number < len(_FAULTS) else source.choice(_FAULTS)
                _do(fault, server, source)
                counts.faults[fault] += 1
                # However slow the machine is, the next fault has something to lose again.
                acknowledged = len(counts.acknowledged)
                wait_until(lambda so_far=acknowledged: len(counts.acknowledged) > so_far)  # type: ignore[misc]
        finally:
            done.set()
            for sender in senders:
                sender.join()
        server.wait_until_landed()
        code = server.stop()
        assert code == 0, server.log()
    _count(lake, counts)
    return counts


def _delivered(port: int, body: bytes) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS) as channel:
        try:
            channel.unary_unary(EXPORT)(body, timeout=10, wait_for_ready=True)
        except grpc.RpcError:
            return False
        return True


def _do(fault: str, server: Server, source: random.Random) -> None:
    if fault in (*CHILDREN, "keeper"):
        server.signal_child(fault)
    elif fault == "stopped worker":
        server.signal_child("landing worker", signal.SIGSTOP)
        time.sleep(source.random())
        server.signal_child("landing worker", signal.SIGCONT)
    else:
        if fault == "parent":
            server.kill()
        else:
            server.kill_all()
        if fault == "all, torn tail":
            _tear(server.lake, source)
        server.start()


def _tear(lake: Path, source: random.Random) -> None:
    """What a write that a power cut interrupted leaves behind: a frame that ends anywhere."""
    body = calls(new_ids(source, 1), source, time.time_ns())
    frame = frame_head(Request(Signal.TRACES, time.time_ns() // 1000, body)) + body
    for path in lake.glob("journal/*/*.open"):
        with path.open("ab") as torn:
            torn.write(frame[: source.randrange(1, len(frame))])


def _count(lake: Path, counts: Counts) -> None:
    landed = landed_span_ids(lake)
    counts.landed = len(landed)
    counts.lost = len(counts.acknowledged - landed.keys())
    counts.landed_twice = sum(count - 1 for span_id, count in landed.items() if span_id not in counts.delivered_twice)
    bill = Warehouse(lake, Settings()).sql("select count(*) as calls, sum(cost_usd) as cost from calls")
    ((counts.billed, cost),) = (row.values() for row in bill.to_pylist())
    counts.billed_usd = Decimal(cost)


@contextmanager
def _tmpfs(folder: Path, mib: int) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder], check=True)  # noqa: S607
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)  # noqa: S607


def full_disk(folder: Path, *, mib: int = 24) -> str:
    """Fill the disk under a server, make room again, and count. Needs the right to mount a tmpfs."""
    source = random.Random(0)  # noqa: S311  (ids)
    acknowledged: set[str] = set()
    refused: Counter[str] = Counter()

    def send(export: Callable[..., object]) -> str | None:
        """The code of a refusal, or None."""
        ids = new_ids(source, 512)
        try:
            export(calls(ids, source, time.time_ns()), timeout=30)
        except grpc.RpcError as error:
            return str(error.code().name)
        acknowledged.update(ids)
        return None

    with _tmpfs(folder / "lake", mib) as lake:
        ballast = lake / "ballast"
        ballast.write_bytes(bytes(mib * 2**20 // 2))
        with Server(lake, landing__segment_seconds=0.3) as server:
            with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                export = channel.unary_unary(EXPORT)
                deadline = time.monotonic() + 120
                while refused.total() < 20 and time.monotonic() < deadline:
                    if code := send(export):
                        refused[code] += 1
                ballast.unlink()
                while send(export):
                    time.sleep(0.2)
            server.wait_until_landed()
            assert server.stop() == 0, server.log()
        landed = landed_span_ids(lake)
    lost, doubled = len(acknowledged - landed.keys()), sum(landed.values()) - len(landed)
    assert (lost, doubled) == (0, 0), (lost, doubled)
    assert refused, "the disk was never full"
    return (
        f"a full disk of {mib} MiB: refused ({dict(refused)}) and accepted again; {len(acknowledged):,} calls "
        f"acknowledged, {len(landed):,} landed, {lost} lost, {doubled} landed twice"
    )


def main() -> int:
    """Print the counts; exit 1 if anything was lost, doubled or billed wrongly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full-disk", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="server__receivers=2")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.full_disk:
            print(full_disk(Path(folder)))  # noqa: T201
            return 0
        settings = dict(word.split("=", 1) for word in options.set)
        counts = run(Path(folder) / "lake", kills=options.kills, seed=options.seed, **settings)
    print(counts)  # noqa: T201
    return 0 if counts.is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
