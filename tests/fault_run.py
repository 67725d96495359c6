"""Kill the receiver, the worker, their parent, or all of them, again and again under load, then count.

    python tests/fault_run.py --spans 200000 --seconds 60

Every request is sent exactly once, with ids of its own. So an acknowledged span that is not in the
lake is lost, and a span that is there twice was doubled by the server; both must be 0. A request whose
answer never came may have landed or not.
"""

from __future__ import annotations

import argparse
import random
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).parent))

from support.otlp import span_ids, trace_request
from support.server import CHILDREN, EXPORT, Server, landed_span_ids

SENDERS = 4
SPANS_A_REQUEST = 64
_OPTIONS = [("grpc.enable_retries", 0), ("grpc.initial_reconnect_backoff_ms", 100)]


@dataclass(frozen=True, slots=True)
class Counts:
    """What came of it, in spans."""

    sent: int
    acknowledged: int
    landed: int
    lost: int
    doubled: int
    kills: int


def run(lake: Path, *, spans: int, seconds: float, seed: int) -> Counts:
    """Spread `spans` over about `seconds`, killing at random moments drawn from `seed`."""
    source = random.Random(seed)  # noqa: S311  (which moment to kill at)
    per_sender = spans // SENDERS // SPANS_A_REQUEST
    acknowledged: set[str] = set()
    done = threading.Event()
    with Server(lake, port=_free_port(), landing__segment_seconds=0.3) as server:

        def send(number: int) -> None:
            for request in range(per_sender):
                ids = span_ids(SPANS_A_REQUEST, seed=hash((seed, number, request)))
                with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=_OPTIONS) as channel:
                    try:
                        channel.unary_unary(EXPORT)(trace_request(ids), timeout=10, wait_for_ready=True)
                        acknowledged.update(span_id.hex() for span_id in ids)
                    except grpc.RpcError:
                        pass  # never sent again: its ids are not reused
                time.sleep(seconds / per_sender * source.random())

        senders = [threading.Thread(target=send, args=(number,)) for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        threading.Thread(target=lambda: ([sender.join() for sender in senders], done.set())).start()
        kills = 0
        while not done.wait(0.3 + 1.5 * source.random()):
            victim = source.choice((*CHILDREN, "parent", "all"))
            if victim in CHILDREN:
                server.signal_child(victim)
            elif victim == "all":
                server.kill_all()
                server.start()
            else:
                server.kill()
                server.start()
            kills += 1
        server.wait_until_landed()
        code = server.stop()
        assert code == 0, server.log()
    landed = landed_span_ids(lake)
    return Counts(
        sent=per_sender * SENDERS * SPANS_A_REQUEST,
        acknowledged=len(acknowledged),
        landed=len(landed),
        lost=len(acknowledged - landed.keys()),
        doubled=sum(count - 1 for count in landed.values()),
        kills=kills,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Print the counts; exit 1 if anything was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = run(Path(folder) / "lake", spans=options.spans, seconds=options.seconds, seed=options.seed)
    print(counts)  # noqa: T201
    return 1 if counts.lost or counts.doubled else 0


if __name__ == "__main__":
    sys.exit(main())
