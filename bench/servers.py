"""Servers under measurement, each a process of its own: started, blasted, asked for their CPU, stopped."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

PATIENCE_SECONDS = 300.0
LANDING_MODULE = "llmcost.ingest.worker"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Blast:
    """What a sender saw; instants are of time.monotonic(), which on Linux is one clock for all processes."""

    requests: int
    first_sent_at: float
    last_acked_at: float
    median_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU-seconds, user and system, of a whole tree of processes: the ones that land, and all the others."""

    landing: float
    others: float

    @property
    def all(self) -> float:
        return self.landing + self.others

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.landing - other.landing, self.others - other.others)


class Server:
    """A started process that listens on `address`."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self._log = log
        with log.open("wb") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=said, env=os.environ | (environment or {}))
        self.address = ""

    def cpu(self) -> Cpu:
        """CPU used since the start by the process and all below it, those that ended included."""
        landing = others = 0.0
        for pid in _tree(self.process.pid):
            used = _cpu_seconds(pid)
            if LANDING_MODULE in _command(pid):
                landing += used
            else:
                others += used
        return Cpu(landing, others)

    def blast(self, requests: Path, *, in_flight: int, connections: int = 2) -> Blast:
        """Send the requests from another process; exits if any is refused."""
        blaster = [sys.executable, str(Path(__file__).with_name("blaster.py"))]
        command = [*blaster, str(requests), self.address]
        command += ["--in-flight", str(in_flight), "--connections", str(connections)]
        sent = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        return Blast(**json.loads(sent.stdout))

    def log(self) -> str:
        """Everything the process said."""
        return self._log.read_text()

    def wait_for(self, sign: str) -> re.Match[str]:
        """The first match of `sign` in the log."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := re.search(sign, self.log())):
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{self.process.args} did not start:\n{self.log()}")
            time.sleep(0.02)
        return found

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_SECONDS)


class Llmcost(Server):
    """`llmcost serve` on a lake of its own."""

    def __init__(self, lake: Path, *, receivers: int | None = None, workers: int | None = None) -> None:
        chosen = {"SERVER__RECEIVERS": receivers, "LANDING__WORKERS": workers}
        super().__init__(
            [
                *(str(Path(sys.executable).with_name("llmcost")), "serve", "--lake", str(lake)),
                *("--grpc", "127.0.0.1:0", "--http", ""),
            ],
            lake.with_suffix(".log"),
            {f"LLMCOST_{name}": str(count) for name, count in chosen.items() if count is not None},
        )
        self.lake = lake
        self.address = self.wait_for(r"grpc=(127\.0\.0\.1:\d+)")[1]
        self.wait_for("landing worker started")

    def landed(self) -> int:
        """Spans a reader of the Delta table sees now."""
        return sum(self._files("num_records"))

    def stored_bytes(self) -> int:
        """Bytes of the Parquet files of `spans`."""
        return sum(self._files("size_bytes"))

    def wait_until_landed(self, spans: int) -> float:
        """Return the instant (time.perf_counter) at which exactly `spans` are seen; exits if that never is."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        # The journal first: looking into its folder costs next to nothing, opening the table does not.
        while any(path.suffix in (".open", ".seg") for path in self.lake.glob("journal/*/*")):
            if time.monotonic() > deadline:
                sys.exit(f"not landed:\n{self.log()}")
            time.sleep(0.02)
        seen, at = self.landed(), time.monotonic()
        if seen != spans:
            sys.exit(f"{seen} spans can be queried, not the {spans} that were acknowledged:\n{self.log()}")
        return at

    def _files(self, fact: str) -> list[int]:
        """A fact of each file that the Delta table names."""
        actions = pa.table(DeltaTable(self.lake / "spans").get_add_actions(flatten=True))
        facts: list[int] = actions.column(fact).to_pylist()
        return facts


class Rotel(Server):
    """The Rotel collector (PyPI `rotel`), which throws away what it receives: https://rotel.dev."""

    def __init__(self, log: Path) -> None:
        found = importlib.util.find_spec("rotel")
        if found is None or found.origin is None:
            sys.exit("Rotel is not installed: pip install --group bench")
        grpc, http = _free_address(), _free_address()
        agent = str(Path(found.origin).with_name("rotel-agent"))
        endpoints = ["--otlp-grpc-endpoint", grpc, "--otlp-http-endpoint", http]
        endpoints += ["--otlp-grpc-max-recv-msg-size-mib", "64"]  # as many as ours
        super().__init__([agent, "start", "--exporter", "blackhole", *endpoints], log)
        self.address = grpc


def _cpu_seconds(pid: int) -> float:
    """Of the process, and of its children that ended (whose own had ended before them)."""
    try:
        return sum(map(int, _stat(pid)[11:15])) / _TICKS
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _tree(root: int) -> list[int]:
    """The process and all below it that run."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children.setdefault(int(_stat(int(path.name))[1]), []).append(int(path.name))
    tree = [root]
    for pid in tree:  # it grows
        tree += children.get(pid, [])
    return tree


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _free_address() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"
