"""A receiver of one's own: `llmcost serve` as a child process on a free port, stopped at the end.

Separate from the demo because the checks with other SDKs (tests/senders.py) start theirs the same way.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..models.errors import LandingError

_ADDRESSES = re.compile(r"grpc\W+127\.0\.0\.1:(\d+)\W+http\W+127\.0\.0\.1:(\d+)")
_START_SECONDS = 90.0
_STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running receiver, and where it listens."""

    port: int
    http_port: int
    process: subprocess.Popen[str]

    @property
    def endpoint(self) -> str:
        """What an OTLP/gRPC exporter takes."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def http_endpoint(self) -> str:
        """What an OTLP/HTTP exporter takes."""
        return f"http://127.0.0.1:{self.http_port}"


@contextmanager
def receiver(lake: Path) -> Iterator[Receiver]:
    """Run `llmcost serve` over `lake`; leaving the block stops it and waits until all it acknowledged is landed.

    Raises LandingError with the receiver's last words if it does not start or does not stop cleanly.
    """
    addresses = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    command = [sys.executable, "-m", "llmcost.cli", "serve", "--lake", str(lake), *addresses]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    lines: deque[str] = deque(maxlen=20)
    ports: list[int] = []
    known = threading.Event()

    def listen() -> None:
        # Reads to the end, so that a talkative receiver never blocks on a full pipe.
        for line in process.stderr or ():
            lines.append(line.strip())
            found = _ADDRESSES.search(line)
            if found and not ports:
                ports.extend(map(int, found.groups()))
                known.set()
        known.set()

    threading.Thread(target=listen, daemon=True, name="receiver-log").start()
    try:
        if not known.wait(_START_SECONDS) or not ports:
            raise LandingError(f"the receiver did not start: {lines[-1] if lines else 'it said nothing'}")
        yield Receiver(ports[0], ports[1], process)
    finally:
        process.terminate()
        try:
            code = process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = -9
    if code not in (0, -15):
        raise LandingError(f"the receiver ended with code {code}: {lines[-1] if lines else 'it said nothing'}")
