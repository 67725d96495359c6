"""`llmcost serve` as a process: started on a free port, asked, stopped, killed, by its own process id."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from deltalake import DeltaTable

from llmcost.ingest.access import Access
from llmcost.ingest.group_commit import GroupCommit
from llmcost.ingest.intake import Intake
from llmcost.ingest.services import TRACES, Service
from llmcost.models.settings import MIB

EXPORT = f"/{TRACES.grpc}/Export"
PATIENCE_SECONDS = 60.0
CHILDREN = ("receiver", "landing worker")
_SERVE = """
import sys
from pathlib import Path
from llmcost.ingest.serve import serve
from llmcost.cli import desk_order, keeper_order
from llmcost.models import errors, settings
try:
    told = settings.load(lake=Path(sys.argv[1]))
    beside = [keeper_order.companion(told, "text")] if "keeper" in sys.argv else []
    if ahead := [word.removeprefix("desk=") for word in sys.argv if word.startswith("desk=")]:
        beside.append(desk_order.companion(told, "text", clock_ahead_seconds=float(ahead[0])))
    serve(told, lake=told.lake, companions=beside, ready=lambda port: print(port, flush=True))
except errors.LlmcostError as error:
    sys.exit(str(error))
"""


class Server:
    """A running server, with a keeper if asked. Settings are given as LLMCOST_ environment variables.

    With `desk` also with the process that decides on budgets, whose clock is so many seconds ahead.
    """

    def __init__(
        self, lake: Path, *, port: int = 0, keeper: bool = False, desk: float | None = None, **settings: object
    ) -> None:
        self._options = ["keeper"] if keeper else []
        self._options += [] if desk is None else [f"desk={desk}"]
        self.lake = lake
        self._log = lake.parent / f"{lake.name}.log"
        addresses = {"LLMCOST_SERVER__GRPC": f"127.0.0.1:{port}", "LLMCOST_SERVER__HTTP": "127.0.0.1:0"}
        self._settings = addresses | {f"LLMCOST_{name.upper()}": str(value) for name, value in settings.items()}
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, self.lake, *self._options],
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | self._settings,
                cwd=self.lake.parent,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.process.stdout.close()
        assert line, f"the server did not start:\n{self.log()}"
        self.port = int(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """SIGKILL to the parent process; its children notice by themselves."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def kill_all(self) -> None:
        """SIGKILL to all of its processes, as when the machine loses its power."""
        for name in (*CHILDREN, *(option.partition("=")[0] for option in self._options)):
            self.signal_child({"desk": "budget desk"}.get(name, name))
        self.kill()

    def signal_child(self, name: str, number: int = signal.SIGKILL) -> None:
        """A signal to the child `name` that was started last."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child_pid(name), number)

    def child_pid(self, name: str) -> int:
        """Process id of the child `name` ("receiver", "landing worker") that was started last."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := re.findall(rf'event="?{name} started"? process=(\d+)', self.log())):
            assert time.monotonic() < deadline, f"no {name}:\n{self.log()}"
            time.sleep(0.01)
        return int(found[-1])

    def http_port(self) -> int:
        """Where the server that was started last listens for HTTP."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := re.findall(r"event=receiving grpc=\S+ http=127\.0\.0\.1:(\d+)", self.log())):
            assert time.monotonic() < deadline, f"no HTTP:\n{self.log()}"
            time.sleep(0.01)
        return int(found[-1])

    def log(self) -> str:
        """Everything said on stderr so far."""
        return self._log.read_text()

    def send(self, body: bytes, service: Service = TRACES, **options: Any) -> bytes:
        """Export one request over gRPC; returns the response's bytes or raises grpc.RpcError."""
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            answer: bytes = channel.unary_unary(f"/{service.grpc}/Export")(body, timeout=PATIENCE_SECONDS, **options)
            return answer

    def wait_until_landed(self) -> None:
        """Return when no segment waits."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(path.suffix in (".open", ".seg") for path in self.lake.glob("journal/*/*")):
            assert time.monotonic() < deadline, f"not landed:\n{self.log()}"
            time.sleep(0.05)


def wait_until(true: Callable[[], object]) -> None:
    """Return when something is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def free_port() -> int:
    """A port nobody listens on, for servers that must come back on the same one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def landed_span_ids(lake: Path) -> Counter[str]:
    """How often each span id stands in the lake, raw duplicates included."""
    table = DeltaTable(lake / "spans").to_pyarrow_table(columns=["span_id"])
    return Counter(table.column("span_id").to_pylist())


def intake(journal: GroupCommit, access: Access | None = None, **limits: int) -> Intake:
    """An intake with small bounds."""
    bounds = {"max_message_bytes": MIB, "max_json_bytes": MIB, "max_requests": 64}
    return Intake(journal, access=access, **(bounds | limits))
