"""Random histories of a lake: what lands, late, twice, out of order; what is revised, repriced, compacted, killed.

At any point every answer must be what the landed spans alone give.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from llmcost.ingest import tiers
from llmcost.ingest.compact import compact
from llmcost.ingest.vacuum import vacuum
from llmcost.models.settings import Deriving, Pricing, Settings, Upkeep
from llmcost.sql import Warehouse, materialise

from .lakes import NOW, SmallLake
from .logs import LogOf, api_request
from .spans import SpanOf, call

DAYS = 4
FIRST = (NOW - timedelta(days=DAYS)).replace(hour=0)
MODELS = (
    ("gpt-4o-mini-2024-07-18", "openai"),
    ("claude-haiku-4-5", "anthropic"),
    ("gpt-4.1-2025-04-14", "openai"),
    ("acme-7b", "acme"),
)
PRICES = (
    "",
    '[[override]]\nmodel = "gpt-4o-mini*"\ninput = 1\noutput = 2\n',
    '[[contract]]\npercent = -20\ncustomer_id = "acme"\n',
    '[[list]]\nprovider = "acme"\nmodel = "acme-7b"\ninput = 0.5\noutput = 1.5\n',
)


class Killed(BaseException):
    """What a process that is killed in the middle of its work does not catch."""


@dataclass
class History:
    """One lake and what happened to it so far; the same seed, the same history.

    With `is_eager` all days are refreshed after each step, as a server does: most of them in part only.
    """

    folder: Path
    seed: int
    is_eager: bool = False
    lake: SmallLake = field(init=False)
    steps: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source = random.Random(self.seed)  # noqa: S311  (histories for tests)
        self.lake = SmallLake(self.folder / "lake")
        self._held: list[SpanOf] = []
        self._sent: list[tuple[SpanOf, ...]] = []
        self._logged: list[tuple[LogOf, ...]] = []
        self._traces: list[str] = []

    @property
    def warehouse(self) -> Warehouse:
        """The lake as it is, with whatever it has stored ahead."""
        return Warehouse(self.lake.lake.root, self.lake.settings, now=lambda: NOW)

    def step(self) -> None:
        """One more thing happens."""
        kinds: list[tuple[int, Callable[[], None]]] = [
            (6, self.work), (4, self.outcome), (1, self.score), (2, self.repeat), (2, self.held_back),
            (1, self.logged), (1, self.prices), (1, self.settings), (3, self.refresh), (1, self.killed),
            (2, self.compacted), (3, self.asked),
        ]  # fmt: skip
        (chosen,) = self.source.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])
        self.steps.append(chosen.__name__)
        chosen()
        if self.is_eager:
            self.warehouse.refresh()

    @contextmanager
    def from_scratch(self) -> Iterator[Warehouse]:
        """The same spans, events and prices in a lake that has stored nothing ahead."""
        copy = self.folder / "scratch"
        shutil.copytree(
            self.lake.lake.root,
            copy,
            ignore=lambda folder, names: [
                name for name in names if Path(folder) == self.lake.lake.root and name not in _LANDED
            ],
        )
        try:
            yield Warehouse(copy, self.lake.settings, now=lambda: NOW)
        finally:
            shutil.rmtree(copy)

    def options(self) -> dict[str, Any]:
        """How somebody may ask a rollup."""
        pick = self.source
        since, until = sorted(pick.sample(range(DAYS * 24 + 1), 2))
        dimensions = ("feature", "customer_id", "model", "agent_name", "prompt_version", "user_id", "team")
        return {
            "since": pick.choice(("30d", (FIRST + timedelta(hours=since)).isoformat())),
            "until": pick.choice((None, (FIRST + timedelta(hours=until)).isoformat())),
            "by": pick.choice((None, None, "day", "hour")),
            "group_by": pick.sample(dimensions, pick.choice((0, 0, 1, 2))),
            "where": pick.choice(({}, {}, {"customer_id": "acme"}, {"feature": "chat"})),
            "tz": pick.choice(("UTC", "UTC", "Europe/Berlin", "Asia/Kolkata")),
        }

    def work(self) -> None:
        """A trace or two; some of its spans are kept back for later, some requests come at once."""
        for _ in range(self.source.choice((1, 1, 2, 4))):
            self._send(*self._trace())

    def held_back(self) -> None:
        """What was kept back arrives."""
        spans, self._held = self._held, []
        if spans:
            self._send(*spans)

    def repeat(self) -> None:
        """An exporter sends a request again."""
        if self._sent:
            self.lake.land(*self.source.choice(self._sent))

    def logged(self) -> None:
        """A coding agent's log records, in a trace or without one; some are sent again."""
        pick = self.source
        if self._logged and pick.random() < 0.3:
            self.lake.land_logs(*pick.choice(self._logged))
            return
        records = []
        for _ in range(pick.choice((1, 2))):
            counts = {"input_tokens": pick.randrange(1, 5000), "output_tokens": pick.randrange(500)}
            trace = pick.choice((None, None, *self._traces[-2:]))
            session = pick.choice((None, *(f"s{number}" for number in range(4))))
            request = pick.choice((None, f"shared/{pick.randrange(3)}", f"logged {pick.random()}"))
            records.append(api_request(request, session=session, trace=trace, at=self._moment(), attributes=counts))
        self._logged.append(tuple(records))
        self.lake.land_logs(*records)

    def outcome(self) -> None:
        """How some work ended, told now or days later, for the first time or revised."""
        if not self._traces:
            return
        pick = self.source
        trace = pick.choice(self._traces)
        name = pick.choice(("resolved", "accepted"))
        told: dict[str, Any] = {f"outcome.{name}": pick.choice((True, False, "pending")), "outcome.value_usd": 2.5}
        if pick.random() < 0.3:
            told["session.id"], trace = f"s{pick.randrange(4)}", f"ticket system {pick.random()}"
        self._send(SpanOf(trace, f"verdict {pick.random()}", "outcome", at=self._moment(), attributes=told))

    def score(self) -> None:
        """An evaluation of a trace."""
        if self._traces:
            pick = self.source
            score = {"gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.value": pick.random()}
            scored = SpanOf(pick.choice(self._traces), f"score {pick.random()}", "eval", at=self._moment())
            self._send(SpanOf(**{**scored.__dict__, "events": {"gen_ai.evaluation.result": score}}))

    def prices(self) -> None:
        """Somebody edits the price file."""
        (self.lake.lake.prices / "own.toml").write_text(self.source.choice(PRICES))

    def settings(self) -> None:
        """Somebody edits the settings."""
        self.lake.settings = Settings().model_copy(
            update={
                "pricing": Pricing(prefer=self.source.choice(("reported", "list"))),
                "deriving": Deriving(lookback_days=self.source.choice((1, 2, 30))),
            }
        )

    def refresh(self) -> None:
        """Days are made ahead, all or some."""
        since = self.source.choice((None, FIRST + timedelta(days=self.source.randrange(DAYS))))
        self.warehouse.refresh(since=since.isoformat() if since else None)

    def killed(self) -> None:
        """A refresh dies before or after one of its writes."""
        left, write = self.source.randrange(12), materialise.write_mart
        before = self.source.random() < 0.5

        def dying(*arguments: Any, **options: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0 and before:
                raise Killed
            write(*arguments, **options)
            if left < 0:
                raise Killed

        with mock.patch.object(materialise, "write_mart", dying):
            try:
                self.warehouse.refresh()
            except Killed:
                self.steps[-1] = "killed in the middle"

    def compacted(self) -> None:
        """Small files are merged, and what is left over goes."""
        with mock.patch.object(tiers, "FAN", 3):
            list(compact(self.lake.lake, Upkeep(), now=datetime.now(UTC)))
        if self.source.random() < 0.5:
            list(vacuum(self.lake.lake, grace=timedelta(hours=-1), now=datetime.now(UTC) + timedelta(days=1)))

    def asked(self) -> None:
        """Somebody asks a question, which makes the days it needs."""
        chosen = self.options() | {"group_by": ()}
        info = self.source.choice(self.warehouse.rollups())
        self.warehouse.ask(info.name, **chosen | ({} if info.where is None else {"where": {}}))

    def _send(self, *spans: SpanOf) -> None:
        self._sent.append(spans)
        self.lake.land(*spans)

    def _moment(self) -> datetime:
        return FIRST + timedelta(seconds=self.source.randrange(DAYS * 86400))

    def _trace(self) -> list[SpanOf]:
        pick = self.source
        trace = f"trace {len(self._traces)}"
        self._traces.append(trace)
        at = self._moment()
        if pick.random() < 0.3:  # around midnight
            at = at.replace(hour=23, minute=59, second=pick.randrange(60))
        span = pick.choice((5, 60, 3600, 86400 * 2 + 7200)) if pick.random() < 0.5 else 30
        owner = {
            "user.id": pick.choice(("ann", "bob", "cyd")),
            "customer.id": pick.choice(("acme", "globex")),
            "app.feature": pick.choice(("chat", "search")),
            "session.id": f"s{pick.randrange(4)}",
            "prompt_version": pick.choice(("v1", "v2")),
            "team": "support",
        }
        owner |= {"agent_run_id": f"run-{pick.randrange(6)}"} if pick.random() < 0.2 else {}
        owner |= {"traffic.type": "eval"} if pick.random() < 0.15 else {}
        spans = [SpanOf(trace, "root", "POST /chat", at=at, seconds=span, attributes=owner)]
        parent = "root"
        if pick.random() < 0.6:
            agent: dict[str, Any] = {"gen_ai.operation.name": "invoke_agent"}
            agent["gen_ai.agent.name"] = pick.choice(("solver", "porter"))
            if pick.random() < 0.3:  # it claims more than its calls tell, or less
                agent["gen_ai.usage.input_tokens"] = pick.randrange(20000)
            spans.append(SpanOf(trace, "agent", "invoke_agent", "root", at=at, seconds=span, attributes=agent))
            parent = "agent"
        for number in range(pick.choice((1, 1, 2, 3))):
            model, provider = pick.choice(MODELS)
            when = at + timedelta(seconds=pick.uniform(0, span))
            usage: dict[str, Any] = {"input": pick.randrange(1, 5000), "output": pick.randrange(0, 500)}
            if pick.random() < 0.3:
                usage["cache_read"] = pick.randrange(usage["input"])
            if pick.random() < 0.7:
                shared = pick.random() < 0.1
                usage["response_id"] = f"shared/{pick.randrange(3)}" if shared else f"{trace}/{number}"
            failed = pick.random() < 0.1
            told: dict[str, Any] = {"parent": parent, "provider": provider, "at": when}
            spans.append(call(trace, f"call {number}", model, failed=failed, **told, **({} if failed else usage)))
            if not failed and pick.random() < 0.3:  # a wrapper tells it too
                scope = "opentelemetry.instrumentation.langchain"
                spans.append(call(trace, f"wrapper {number}", model, seconds=1.5, scope=scope, **told, **usage))
        pick.shuffle(spans)
        kept = pick.randrange(len(spans)) if pick.random() < 0.4 else len(spans)
        self._held += spans[kept:]
        return spans[:kept] or spans


_LANDED = {"llmcost.json", "spans", "events", "prices", "rollups", "journal"}


def days() -> list[date]:
    """The days of every history."""
    return [(FIRST + timedelta(days=number)).date() for number in range(DAYS)]
