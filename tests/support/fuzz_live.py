"""Mutants against a running `llmcost serve`, over both of its transports, with good requests between them."""

from __future__ import annotations

import http.client
import itertools
import random
import re
import socket
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from llmcost.ingest.services import LOGS, TRACES
from llmcost.ingest.wire import Signal

from .memory import growth_mib, resident_mib
from .mutants import Mutants, json_mutant
from .otlp import span_ids, trace_request
from .server import CHILDREN, Server, landed_span_ids

GOOD_EVERY = 4
SPANS_A_REQUEST = 8
ANSWER_SECONDS = 30.0
SERVICES = {Signal.TRACES: TRACES, Signal.LOGS: LOGS}
ANSWERS = {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNIMPLEMENTED"}
HTTP_ANSWERS = {"200", "400", "413", "415", "429", "503"}
ALLOWED_GROWTH_MIB = 100.0
_PATHS = {Signal.TRACES: "/v1/traces", Signal.LOGS: "/v1/logs"}


@dataclass
class Live:
    """What came of it."""

    answers: Counter[str] = field(default_factory=Counter)
    acknowledged: set[str] = field(default_factory=set)
    lost: int = 0
    doubled: int = 0
    restarts: int = 0
    exit_code: int = 0
    memory_mib: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def faults(self) -> list[str]:
        """Every promise that did not hold."""
        strange = self.answers.keys() - ANSWERS - {f"HTTP {code}" for code in HTTP_ANSWERS}
        grown = {name: growth_mib(samples) for name, samples in self.memory_mib.items()}
        found = {
            f"{self.lost} acknowledged spans are not in the lake": self.lost,
            f"{self.doubled} spans are in the lake twice": self.doubled,
            f"a process was started again {self.restarts} times": self.restarts,
            f"the server ended with {self.exit_code}": self.exit_code,
            f"answers that nobody should get: {sorted(strange)}": strange,
            f"memory grew: {grown}": max(grown.values()) > ALLOWED_GROWTH_MIB,
        }
        return [fault for fault, is_there in found.items() if is_there]

    def __str__(self) -> str:
        """For people."""
        memory = "; ".join(
            f"{name} {samples[0]:.0f} … {samples[-1]:.0f} MiB, at most {max(samples):.0f}"
            for name, samples in self.memory_mib.items()
            if samples
        )
        answers = ", ".join(f"{count:,} {answer}" for answer, count in self.answers.most_common())
        told = "; ".join(self.faults()) or "every promise held"
        return f"{answers}; {len(self.acknowledged):,} good spans acknowledged; {memory}; {told}"


def run(lake: Path, *, seconds: float, seed: int) -> Live:
    """Send for `seconds`, stop the server, and count."""
    live = Live()
    with Server(lake, landing__segment_seconds=0.5) as server:
        processes = {"parent": server.process.pid} | {name: server.child_pid(name) for name in CHILDREN}
        over = time.monotonic() + seconds
        ports = [server.port, server.http_port()]
        transports = [kind(port) for kind, port in zip((_Grpc, _Http) * 2, ports * 2, strict=True)]
        senders = [
            threading.Thread(target=_send, args=(transport, over, seed * 1000 + number, live))
            for number, transport in enumerate(transports)
        ]
        senders.append(threading.Thread(target=_noise, args=(ports, over, seed)))
        for sender in senders:
            sender.start()
        while any(sender.is_alive() for sender in senders):
            for name, process in processes.items():
                live.memory_mib[name].append(resident_mib(process))
            time.sleep(0.25)
        server.wait_until_landed()
        live.exit_code = server.stop()
        live.restarts = len(re.findall("starting it again|is silent and is killed", server.log()))
    landed = landed_span_ids(lake)
    live.lost = len(live.acknowledged - landed.keys())
    live.doubled = sum(landed[span_id] - 1 for span_id in live.acknowledged & landed.keys())
    return live


class _Grpc:
    """A channel that is kept, as exporters do."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def send(self, source: random.Random, signal: Signal, body: bytes) -> str:
        call = self._channel.unary_unary(f"/{SERVICES[signal].grpc}/Export")
        try:
            call(body, timeout=ANSWER_SECONDS, compression=source.choice((None, grpc.Compression.Gzip)))
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    def send_strange(self, source: random.Random, signal: Signal, body: bytes) -> str:
        return self.send(source, signal, body)

    def close(self) -> None:
        self._channel.close()


class _Http:
    """A connection that is kept until something goes wrong on it."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)

    def send(self, _: random.Random, signal: Signal, body: bytes, kind: str = "application/x-protobuf") -> str:
        try:
            self._connection.request("POST", _PATHS[signal], body, {"Content-Type": kind})
            answer = self._connection.getresponse()
            answer.read()
        except TimeoutError:
            self._connection.close()
            return "HTTP no answer"
        except (http.client.HTTPException, ConnectionError):
            self._connection.close()
            return "HTTP hung up"
        return f"HTTP {answer.status}"

    def send_strange(self, source: random.Random, signal: Signal, body: bytes) -> str:
        if source.random() < 0.5:
            return self.send(source, signal, json_mutant(source, signal), "application/json")
        return self.send(source, signal, body)

    def close(self) -> None:
        self._connection.close()


def _send(transport: _Grpc | _Http, over: float, seed: int, live: Live) -> None:
    source, mutants = random.Random(seed), Mutants(seed)  # noqa: S311  (what to send next)
    for number in itertools.count():
        if time.monotonic() > over:
            break
        ids = span_ids(SPANS_A_REQUEST, seed=hash((seed, number)))
        if number % GOOD_EVERY:
            answer = transport.send_strange(source, *mutants.next())
        else:
            answer = transport.send(source, Signal.TRACES, trace_request(ids))
            if answer in ("OK", "HTTP 200"):
                live.acknowledged.update(span_id.hex() for span_id in ids)
        live.answers[answer] += 1
    transport.close()


def _noise(ports: list[int], over: float, seed: int) -> None:
    """Connections that speak no protocol, or stop in the middle of one."""
    source = random.Random(seed)  # noqa: S311
    begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    while time.monotonic() < over:
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", source.choice(ports)), timeout=5) as connection,
        ):
            connection.sendall(
                source.choice((b"", begin, b"POST /v1/traces HTTP/1.1\r\nContent-Length: 99999\r\n\r\n"))
            )
            connection.sendall(source.randbytes(source.randrange(1, 2000)))
        time.sleep(0.05)
