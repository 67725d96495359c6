"""Budgets under load, over real HTTP against a real server: how fast it decides, what slips through, what comes back.

    python tests/budget_run.py [--seconds 20] [--connections 16] [--rounds 5] [--folder DIR]

Load: decisions with a reservation that is settled, first alone, then while spans land: p50, p99 and decisions a
second, over keep-alive connections. Overshoot: 200 requests at once against a hard budget that has room for some of
them. Kill: SIGKILL to every process while spans are sent, and after the start each counter beside the lake's own sum.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
from support.server import PATIENCE_SECONDS, Server
from support.spans import call, request

from llmcost.models.budget_file import parse
from llmcost.models.lake import Lake
from llmcost.models.money import usd
from llmcost.models.settings import Settings
from llmcost.sql import Warehouse
from llmcost.sql.budgets import standings

CALL_USD = Decimal("0.15")
"""A million tokens into gpt-4o-mini."""
ROOM_USD, EACH_USD = Decimal("0.70"), Decimal("0.05")
"""What is left of the nearly used budget, and what each request may cost."""
TEAMS = 50
BUDGETS = """
budgets:
  org: {limit: 1000000, hard: true}
  teams: {nearly: {limit: 1, hard: true}, "*": {limit: 100000, hard: true}}
  users: {"*": {limit: 50000, hard: true, period: daily}}
  models: {"gpt-*": {limit: 500000}}
  keys: {"*": [{limit: 1000, period: daily}, {limit: 900000, hard: true}]}
"""


class Asking:
    """Questions over one keep-alive connection to a running server."""

    def __init__(self, server: Server, token: str | None = None) -> None:
        self.connection = HTTPConnection("127.0.0.1", server.http_port(), timeout=PATIENCE_SECONDS)
        self.headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})

    def post(self, path: str, body: object) -> tuple[int, dict[str, Any], str | None]:
        """Status, answer and Retry-After."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.connection.request("POST", f"/v1/budget/{path}", text, self.headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.getheader("retry-after")

    def decide(self, **body: object) -> tuple[int, dict[str, Any]]:
        """Status and answer of a decision."""
        status, answer, _ = self.post("decision", body)
        return status, answer

    def until(self, spent: Decimal, **body: object) -> dict[str, Any]:
        """The decision once so much is known to be spent."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            _, answer = self.decide(**body)
            if Decimal(answer.get("budget", {}).get("spent_usd", -1)) == spent:
                return answer
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)


def spans(names: list[str], team: str | None = None) -> bytes:
    """Calls of $0.15 that began a few seconds ago, each in a trace of its own; without `team` of some team each."""
    source = random.Random(names[0])  # noqa: S311  (whose they are)
    at = datetime.now(UTC) - timedelta(seconds=5)
    return request(
        call(
            name,
            "llm",
            input=1_000_000,
            output=0,
            at=at,
            attributes={"team": team or f"team-{source.randrange(TEAMS)}", "user.id": f"u{source.randrange(500)}"},
        )
        for name in names
    )


@dataclass(frozen=True)
class Pace:
    """How fast decisions came."""

    decisions: int
    seconds: float
    latencies_ms: list[float]

    def __str__(self) -> str:
        ordered = sorted(self.latencies_ms)
        p50, p99 = (ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
        return f"{self.decisions / self.seconds:,.0f} decisions/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def load(port: int, connections: int, seconds: float) -> Pace:
    """Decisions with an estimate, each settled, over keep-alive connections; only the decisions are timed."""
    latencies: list[float] = []

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        source = random.Random(number)  # noqa: S311  (which team asks)
        while time.monotonic() < end:
            team, user = f"team-{source.randrange(TEAMS)}", f"u{source.randrange(500)}"
            body = {"team": team, "user": user, "model": "gpt-4o-mini", "key": "k1", "estimated_cost_usd": "0.001"}
            begun = time.perf_counter()
            answer = await _post(reader, writer, "decision", body)
            latencies.append(1000 * (time.perf_counter() - begun))
            settled = {"reservation_id": answer["reservation_id"], "cost_usd": "0.0009"}
            await _post(reader, writer, "settle", settled)
        writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(one(number) for number in range(connections)))

    begun = time.monotonic()
    end = begun + seconds
    asyncio.run(all_of_them())
    return Pace(len(latencies), time.monotonic() - begun, latencies)


async def _post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: object
) -> dict[str, Any]:
    text = json.dumps(body).encode()
    head = f"POST /v1/budget/{path} HTTP/1.1\r\nhost: llmcost\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(text)}\r\n\r\n".encode() + text)
    said = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(said.partition("content-length: ")[2].partition("\r\n")[0])
    answer: dict[str, Any] = json.loads(await reader.readexactly(length))
    assert said.startswith("http/1.1 200"), answer
    return answer


def cpu_seconds(server: Server) -> dict[str, float]:
    """CPU seconds of the processes that a decision passes through: what a busy machine does not change. Linux."""
    found = {}
    for name in ("receiver", "budget desk"):
        words = Path(f"/proc/{server.child_pid(name)}/stat").read_text().rpartition(")")[2].split()
        found[name] = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return found


def at_once(server: Server, count: int) -> int:
    """How many of `count` requests of EACH_USD at once are let through to team nearly."""

    def ask(_: int) -> int:
        return Asking(server).decide(team="nearly", estimated_cost_usd=str(EACH_USD))[0]

    with ThreadPoolExecutor(count) as pool:
        statuses = list(pool.map(ask, range(count)))
    assert set(statuses) <= {200, 429}, statuses
    return statuses.count(200)


@contextmanager
def sending(server: Server, rest_seconds: float) -> Iterator[list[str]]:
    """Spans sent all the while; the names of those that were acknowledged."""
    stop, known = threading.Event(), list[str]()

    def send() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            names = [f"sent-{id(known)}-{number}-{each}" for each in range(20)]
            with suppress(grpc.RpcError):
                server.send(spans(names))
                known.extend(names)
            stop.wait(rest_seconds)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield known
    finally:
        stop.set()
        thread.join()


def compare(server: Server) -> int:
    """How many counters are the lake's own sums, to the nano-dollar; AssertionError where one is not."""
    server.wait_until_landed()
    asking = Asking(server)
    warehouse = Warehouse(server.lake, Settings(lake=server.lake))
    sums = warehouse.sql("select team, sum(cost_usd) as cost from calls where cost_usd is not null group by team")
    for row in sums.to_pylist():
        asking.until(row["cost"], team=row["team"])
    every = standings(warehouse.spent(parse(BUDGETS)), datetime.now(UTC))
    org = next(each for each in every if each.counter.ceiling.level == "org")
    assert sum(row["cost"] for row in sums.to_pylist()) == usd(org.spend.total)
    return sums.num_rows


def main() -> None:
    """All of it, with its figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=20)
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--folder", type=Path)
    told = options.parse_args()
    with tempfile.TemporaryDirectory(dir=told.folder) as folder:
        lake = Lake.create(Path(folder) / "lake")
        lake.budgets.write_text(BUDGETS)
        with Server(lake.root, desk=0, keeper=True) as server:
            Asking(server).until(Decimal(0), team="nearly")
            say(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, the client's among them")
            for connections in (1, told.connections):
                before = cpu_seconds(server)
                pace = load(server.http_port(), connections, told.seconds)
                took = ", ".join(
                    f"{name} {1000 * (after - then) / pace.decisions:.2f} ms"
                    for (name, after), then in zip(cpu_seconds(server).items(), before.values(), strict=True)
                )
                say(f"{connections} connections alone:", pace, f"(CPU a decision and its settling: {took})")
            with sending(server, 0.2) as known:
                pace = load(server.http_port(), told.connections, told.seconds)
            say(f"{told.connections} connections while {len(known):,} spans land:", pace)
            nearly_used(server)
            for number in range(told.rounds):
                killed(server, number)


def nearly_used(server: Server) -> None:
    """200 at once against what is left of a budget."""
    server.send(spans(["nearly 1", "nearly 2"], team="nearly"))
    Asking(server).until(2 * CALL_USD, team="nearly")
    through = at_once(server, 200)
    over = max(Decimal(0), through * EACH_USD - ROOM_USD)
    say(f"200 at once of ${EACH_USD} against ${ROOM_USD} left: {through} let through, overshoot ${over}")
    assert through == ROOM_USD / EACH_USD


def killed(server: Server, number: int) -> None:
    """SIGKILL to all while spans are sent; then the counters are the lake's sums."""
    with sending(server, 0.05) as known:
        time.sleep(1.0 + number * 0.37)
        server.kill_all()
    begun = time.monotonic()
    server.start()
    equal = compare(server)
    took = time.monotonic() - begun
    say(f"kill -9 of all, {len(known):,} spans before it: {equal} counters equal the lake's sums, {took:.1f} s after")


def say(*words: object) -> None:
    """Print."""
    print(*words, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
