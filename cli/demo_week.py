"""The demo's story: one made-up week of a support product, as spans, with a ledger of what really happened.

Pure: the same seed and the same `now` give the same week.

Four features share the bill. `refund-bot` is the lesson: one half of its runs use a dear model that needs few
turns, the other a cheap one that loops. The rest are the hazards of real telemetry: wrappers that repeat a
call, agents that repeat its usage, retries, judges, owners named on the root span only, a gateway's own
prices, a model nobody has a price for, and outcomes that come late, come twice, or never come.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from .demo_trace import Attribute, Event, Model, Owner, Span, Tokens, Trace, TrueCall, new_span_id

SEED = 20261122
DAYS = 7

_GPT_MINI = Model("openai", "gpt-5-mini", "chatcmpl-")
_HAIKU = Model("anthropic", "claude-haiku-4-5", "msg_01")
_SONNET = Model("anthropic", "claude-sonnet-4-6", "msg_01")
_FLASH = Model("gcp.gemini", "gemini-2.5-flash")
_MISTRAL = Model("mistral_ai", "mistral-small-latest")
_EMBEDDER = Model("openai", "text-embedding-3-small", "emb-")
_FINE_TUNED = Model("openai", "ft:gpt-4.1-mini-2025-04-14:brightdesk::b7Qx", "chatcmpl-")

_CUSTOMERS = {
    "alder-bank": 30,
    "birch-books": 8,
    "cedar-air": 22,
    "dogwood-health": 12,
    "elm-energy": 10,
    "fir-foods": 18,
}
"""Customer -> its share of the traffic."""

_TOOLS = ("find_order", "read_policy", "check_payment", "issue_refund")
_GATEWAY_DISCOUNT = Decimal("0.9")


@dataclass(frozen=True, slots=True)
class TrueOutcome:
    """How one trace ended, by its latest word."""

    trace_id: str
    name: str
    succeeded: bool
    owner: Owner


@dataclass(frozen=True, slots=True)
class Week:
    """Spans in the order they ended, and the truth about them."""

    since: datetime
    until: datetime
    spans: tuple[Span, ...]
    calls: tuple[TrueCall, ...]
    outcomes: tuple[TrueOutcome, ...]


@dataclass(frozen=True, slots=True)
class _Agent:
    """One way to run the refund bot."""

    name: str
    model: Model
    turns: tuple[int, int]
    resolves: float
    runs_away: float = 0.0


_AGENTS = (
    _Agent("refund-sonnet", _SONNET, turns=(2, 4), resolves=0.86),
    _Agent("refund-haiku", _HAIKU, turns=(8, 15), resolves=0.42, runs_away=0.04),
)


def tell(now: datetime, seed: int = SEED) -> Week:
    """The week that ends at `now`."""
    until = now.replace(microsecond=0)
    story = _Story(random.Random(seed), until)  # noqa: S311  a story, not a secret
    for day in range(DAYS):
        begin = until - timedelta(days=DAYS - day)
        for feature, count in (
            (story.support_chat, 45),
            (story.refunds, 12),
            (story.search, 30),
            (story.summary, 20),
            (story.eval_case, 10),
        ):
            for _ in range(count):
                feature(begin)
    return Week(
        since=until - timedelta(days=DAYS),
        until=until,
        spans=tuple(sorted(story.spans, key=lambda span: (span.ended_at, span.span_id))),
        calls=tuple(story.calls),
        outcomes=tuple(story.outcomes.values()),
    )


@dataclass
class _Story:
    rng: random.Random
    until: datetime
    spans: list[Span] = field(default_factory=list)
    calls: list[TrueCall] = field(default_factory=list)
    outcomes: dict[int, TrueOutcome] = field(default_factory=dict)

    def support_chat(self, begin: datetime) -> None:
        """A conversation of one to four answers; some reach us through a wrapper and its SDK, twice."""
        trace = self._trace("support-api", self._owner("support-chat", "support"), begin)
        history, is_wrapped = self.rng.randint(600, 1400), self.rng.random() < 0.3
        for _turn in range(self.rng.choice((1, 2, 2, 3, 4))):
            answer = self.rng.randint(80, 320)
            tokens = Tokens(history, answer, cache_read=history // 256 * 128)
            trace.call(_GPT_MINI, tokens, is_wrapped=is_wrapped)
            history += answer + self.rng.randint(40, 200)
        trace.close("POST /chat")
        self._ending(trace, chance=0.74)
        self._keep(trace)

    def refunds(self, begin: datetime) -> None:
        """Two refunds, one with each agent."""
        for agent in _AGENTS:
            trace = self._trace("agent-runner", self._owner("refund-bot", "support", agent.name), begin)
            self._agent_run(trace, agent)
            trace.close("POST /refunds")
            self._ending(trace, chance=agent.resolves)
            self._keep(trace)

    def _agent_run(self, trace: Trace, agent: _Agent) -> None:
        """Turns of a request and a tool; then the run's own span, which repeats the usage of all its calls."""
        run, context = new_span_id(self.rng), self.rng.randint(2600, 3600)
        turns = 40 if self.rng.random() < agent.runs_away else self.rng.randint(*agent.turns)
        prefix = context // 2  # the first turn writes it to the cache, later turns read it back
        for turn in range(turns):
            answer = self.rng.randint(120, 420)
            usage = {"cache_read": prefix} if turn else {"cache_write": prefix}
            trace.call(agent.model, Tokens(context, answer, **usage), parent=run)
            trace.tool(self.rng.choice(_TOOLS), parent=run)
            context += answer + self.rng.randint(300, 900)
        repeated: dict[str, Attribute] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": agent.name,
            "agent.run.id": f"run-{run:016x}",
            "gen_ai.usage.input_tokens": sum(call.tokens.input for call in trace.calls),
            "gen_ai.usage.output_tokens": sum(call.tokens.output or 0 for call in trace.calls),
        }
        trace.span(f"invoke_agent {agent.name}", trace.begun, repeated, scope="support.agents", span_id=run)

    def search(self, begin: datetime) -> None:
        """Retrieval, and an answer through a gateway that names its own price; taken or not in a span event."""
        trace = self._trace("search-api", self._owner("search-answers", "search"), begin)
        trace.call(_EMBEDDER, Tokens(self.rng.randint(12, 60)))
        tokens = Tokens(self.rng.randint(2000, 5200), self.rng.randint(90, 380))
        trace.call(_FLASH, tokens, discount=_GATEWAY_DISCOUNT)
        heard: list[Event] = []
        if self.rng.random() < 0.8:
            accepted = self.rng.random() < 0.66
            heard.append(Event("outcome", trace.cursor, {"outcome.accepted": accepted}))
            self._remember(trace, "accepted", accepted)
        trace.close("GET /answers", *heard)
        self._keep(trace)

    def summary(self, begin: datetime) -> None:
        """A ticket summary: two thirds on a listed model, the rest on a fine-tuned one without a list price."""
        trace = self._trace("support-api", self._owner("ticket-summary", "operations"), begin)
        model = _FINE_TUNED if self.rng.random() < 0.33 else _MISTRAL
        trace.call(model, Tokens(self.rng.randint(900, 4200), self.rng.randint(60, 180)))
        trace.close("summarise ticket")
        self._keep(trace)

    def eval_case(self, begin: datetime) -> None:
        """A case of the nightly evals: the answer under test, and a judge whose call costs money too."""
        trace = self._trace("nightly-evals", Owner("support-chat", "quality", is_eval=True), begin)
        version, chance = self.rng.choice((("chat-v7", 0.71), ("chat-v8", 0.83)))
        trace.call(_GPT_MINI, Tokens(self.rng.randint(700, 1500), self.rng.randint(80, 300)))
        judge, judged_at = new_span_id(self.rng), trace.cursor
        trace.call(_SONNET, Tokens(self.rng.randint(1400, 2600), self.rng.randint(30, 90)), parent=judge)
        trace.span("judge", judged_at, {"gen_ai.operation.name": "evaluate"}, scope="quality.judge", span_id=judge)
        passed = self.rng.random() < chance
        score = self.rng.uniform(0.7, 1.0) if passed else self.rng.uniform(0.1, 0.6)
        verdict: dict[str, Attribute] = {
            "gen_ai.evaluation.name": "TaskCompletion",
            "gen_ai.evaluation.score.value": round(score, 2),
            "gen_ai.evaluation.score.label": "pass" if passed else "fail",
        }
        trace.close("eval case", Event("gen_ai.evaluation.result", trace.cursor, verdict), prompt_version=version)
        self._keep(trace)

    def _ending(self, trace: Trace, *, chance: float) -> None:
        """The outcome as later spans: soon, a day later, first yes then no, or not at all."""
        said, fate = self.rng.random() < chance, self.rng.random()
        soon = trace.cursor + timedelta(seconds=self.rng.randint(30, 600))
        if fate < 0.08:
            words = []
        elif fate < 0.22:
            words = [(soon + timedelta(hours=self.rng.randint(18, 30)), said)]
        elif fate < 0.28:
            words = [(soon, True), (soon + timedelta(hours=self.rng.randint(20, 28)), False)]
        else:
            words = [(soon, said)]
        for at, succeeded in words:
            if at < self.until:  # else it is still to come, and the case is pending
                trace.outcome("resolved", succeeded, at)
                self._remember(trace, "resolved", succeeded)

    def _trace(self, service: str, owner: Owner, begin: datetime) -> Trace:
        """A trace that begins within the day after `begin`, early enough for the longest run to end in it."""
        return Trace(self.rng, service, owner, begin + timedelta(seconds=self.rng.randint(60, 86_400 - 300)))

    def _keep(self, trace: Trace) -> None:
        self.spans += trace.spans
        self.calls += trace.calls

    def _remember(self, trace: Trace, name: str, succeeded: bool) -> None:
        self.outcomes[trace.trace_id] = TrueOutcome(f"{trace.trace_id:032x}", name, succeeded, trace.owner)

    def _owner(self, feature: str, team: str, agent: str | None = None) -> Owner:
        """A customer by its share of the traffic, and one of its people; one request in twelve names nobody."""
        if self.rng.random() < 1 / 12:
            return Owner(feature, team, agent=agent)
        customer = self.rng.choices(list(_CUSTOMERS), weights=list(_CUSTOMERS.values()))[0]
        return Owner(feature, team, customer, f"{customer}-{self.rng.randint(1, 9)}", agent)
