"""One trace of the demo's story: spans as real instrumentations write them, and the ledger's entries beside them.

The ledger is priced by genai-prices directly, so it owes nothing to the warehouse it is later compared with.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from genai_prices import Usage, calc_price

BOOKED = Decimal("0.000000001")
"""The booked precision, DECIMAL(18,9); each call is rounded once, then summed."""

Attribute = str | bool | int | float


@dataclass(frozen=True, slots=True)
class Event:
    """A span event."""

    name: str
    at: datetime
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span of the story, before any SDK has seen it."""

    service: str
    scope: str
    trace_id: int
    span_id: int
    parent_id: int | None
    name: str
    kind: str = "INTERNAL"
    started_at: datetime
    ended_at: datetime
    attributes: Mapping[str, Attribute]
    events: tuple[Event, ...] = ()
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """A model as spans name it, and how its vendor's response ids begin."""

    provider: str
    name: str
    response_prefix: str = ""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Usage of one request; the cache counts are within `input`."""

    input: int
    output: int | None = None
    cache_read: int = 0
    cache_write: int = 0


@dataclass(frozen=True, slots=True)
class Owner:
    """Who a piece of work is for; stands on the root span, as applications do it."""

    feature: str
    team: str
    customer: str | None = None
    user: str | None = None
    agent: str | None = None
    is_eval: bool = False

    def attributes(self) -> dict[str, Attribute]:
        """What the root span carries; an owner nobody named is left out."""
        named = {
            "feature": self.feature,
            "team": self.team,
            "customer.id": self.customer,
            "user.id": self.user,
            "deployment.environment.name": "production",
            "traffic.type": "eval" if self.is_eval else "inference",
        }
        return {key: value for key, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class TrueCall:
    """One request that really happened, and every span that tells of it; a refused one had no usage, cost 0."""

    span_ids: frozenset[str]
    trace_id: str
    at: datetime
    model: Model
    tokens: Tokens
    owner: Owner
    cost_usd: Decimal | None
    is_reported: bool = False
    is_refused: bool = False


_SDK_SCOPES = {
    "openai": "opentelemetry.instrumentation.genai.openai",
    "anthropic": "opentelemetry.instrumentation.genai.anthropic",
    "gcp.gemini": "opentelemetry.instrumentation.google_genai",
    "mistral_ai": "opentelemetry.instrumentation.genai.mistral",
}
_PRICE_BOOK_PROVIDERS = {"gcp.gemini": "google", "mistral_ai": "mistral"}


def new_span_id(rng: random.Random) -> int:
    """A span id; the last bit is set because zero is no id."""
    return rng.getrandbits(64) | 1


@dataclass
class Trace:
    """A trace being told: `cursor` is the story's clock inside it."""

    rng: random.Random
    service: str
    owner: Owner
    begun: datetime
    trace_id: int = 0
    root: int = 0
    spans: list[Span] = field(default_factory=list)
    calls: list[TrueCall] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cursor = self.begun
        self.trace_id = self.rng.getrandbits(128) | 1
        self.root = new_span_id(self.rng)

    def call(
        self,
        model: Model,
        tokens: Tokens,
        *,
        parent: int | None = None,
        is_wrapped: bool = False,
        discount: Decimal | None = None,
    ) -> None:
        """One request, after the failed first try that some have.

        A wrapped one is told twice, by a wrapper and by the SDK below it; one with a discount went through a
        gateway that says on the span what it charged.
        """
        if self.rng.random() < 0.04:
            self._failed_try(model, parent)
        response_id = f"{model.response_prefix}{self.rng.getrandbits(96):024x}"
        started, self.cursor = self.cursor, self._later(400, 2500)
        attributes = _semconv(model, tokens, response_id)
        if tokens.output is not None and self.rng.random() < 0.4:
            attributes["gen_ai.request.stream"] = True
        cost = list_price(model, tokens, started)
        reported = None if discount is None or cost is None else (cost * discount).quantize(Decimal("0.000001"))
        if reported is not None:
            attributes["gen_ai.cost.total_cost"] = float(reported)
        span_ids = []
        if is_wrapped:
            words = _openinference(model, tokens, response_id)
            scope = "openinference.instrumentation.langchain"
            parent = self.span("ChatOpenAI", started, words, scope=scope, parent=parent)
            span_ids.append(parent)
            started += timedelta(milliseconds=4)
        name, scope = f"{attributes['gen_ai.operation.name']} {model.name}", _SDK_SCOPES[model.provider]
        span_ids.append(self.span(name, started, attributes, scope=scope, parent=parent, kind="CLIENT"))
        self._book(
            span_ids, started, model, tokens, cost if reported is None else reported, is_reported=reported is not None
        )
        self.cursor += timedelta(milliseconds=5)

    def _failed_try(self, model: Model, parent: int | None) -> None:
        """A request the vendor refused: a span without usage, a call that cost nothing."""
        started, self.cursor = self.cursor, self._later(30, 200)
        attributes: dict[str, Attribute] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": model.provider,
            "gen_ai.request.model": model.name,
            "error.type": "rate_limit_exceeded",
        }
        name, scope = f"chat {model.name}", _SDK_SCOPES[model.provider]
        span_id = self.span(name, started, attributes, scope=scope, parent=parent, kind="CLIENT", is_error=True)
        self._book([span_id], started, model, Tokens(0, 0), Decimal(0), is_refused=True)
        self.cursor += timedelta(seconds=1)

    def _book(
        self,
        span_ids: list[int],
        at: datetime,
        model: Model,
        tokens: Tokens,
        cost_usd: Decimal | None,
        *,
        is_reported: bool = False,
        is_refused: bool = False,
    ) -> None:
        self.calls.append(
            TrueCall(
                span_ids=frozenset(f"{span_id:016x}" for span_id in span_ids),
                trace_id=f"{self.trace_id:032x}",
                at=at,
                model=model,
                tokens=tokens,
                owner=self.owner,
                cost_usd=cost_usd,
                is_reported=is_reported,
                is_refused=is_refused,
            )
        )

    def tool(self, name: str, parent: int) -> None:
        """A tool call between two requests."""
        started, self.cursor = self.cursor, self._later(20, 400)
        attributes: dict[str, Attribute] = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
        self.span(f"execute_tool {name}", started, attributes, scope="support.agents", parent=parent)
        self.cursor += timedelta(milliseconds=2)

    def close(self, name: str, *events: Event, **extra: Attribute) -> None:
        """The root span, which ends last and says who all of it was for."""
        attributes = self.owner.attributes() | extra
        started, self.cursor = self.begun - timedelta(milliseconds=3), self.cursor + timedelta(milliseconds=3)
        self.span(name, started, attributes, kind="SERVER", span_id=self.root, events=events)

    def outcome(self, name: str, succeeded: bool, at: datetime) -> None:
        """A later span of this trace, by the ticket system."""
        self.service, self.cursor = "ticket-system", at + timedelta(milliseconds=1)
        self.span("outcome", at, {f"outcome.{name}": succeeded})

    def span(
        self,
        name: str,
        started: datetime,
        attributes: Mapping[str, Attribute],
        *,
        scope: str = "support.app",
        parent: int | None = None,
        kind: str = "INTERNAL",
        span_id: int | None = None,
        events: tuple[Event, ...] = (),
        is_error: bool = False,
    ) -> int:
        """A span from `started` to the cursor, below `parent` or the root; returns its id."""
        own = span_id or new_span_id(self.rng)
        self.spans.append(
            Span(
                service=self.service,
                scope=scope,
                trace_id=self.trace_id,
                span_id=own,
                parent_id=None if own == self.root else parent or self.root,
                name=name,
                kind=kind,
                started_at=started,
                ended_at=self.cursor,
                attributes=attributes,
                events=events,
                is_error=is_error,
            )
        )
        return own

    def _later(self, least_ms: int, most_ms: int) -> datetime:
        return self.cursor + timedelta(milliseconds=self.rng.randint(least_ms, most_ms))


def list_price(model: Model, tokens: Tokens, at: datetime) -> Decimal | None:
    """What genai-prices says this request cost; None for a model it does not know."""
    usage = Usage(
        input_tokens=tokens.input,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
        output_tokens=tokens.output or 0,
    )
    provider = _PRICE_BOOK_PROVIDERS.get(model.provider, model.provider)
    try:
        priced = calc_price(usage, model.name, provider_id=provider, genai_request_timestamp=at)
    except LookupError:
        return None
    return Decimal(priced.total_price).quantize(BOOKED, ROUND_HALF_UP)


def _semconv(model: Model, tokens: Tokens, response_id: str) -> dict[str, Attribute]:
    """The request in the words of the official GenAI conventions."""
    attributes: dict[str, Attribute] = {
        "gen_ai.operation.name": "embeddings" if tokens.output is None else "chat",
        "gen_ai.provider.name": model.provider,
        "gen_ai.request.model": model.name,
        "gen_ai.response.model": model.name,
        "gen_ai.response.id": response_id,
        "gen_ai.usage.input_tokens": tokens.input,
    }
    if tokens.output is not None:
        attributes["gen_ai.usage.output_tokens"] = tokens.output
    if tokens.cache_read:
        attributes["gen_ai.usage.cache_read.input_tokens"] = tokens.cache_read
    if tokens.cache_write:
        attributes["gen_ai.usage.cache_write.input_tokens"] = tokens.cache_write
    return attributes


def _openinference(model: Model, tokens: Tokens, response_id: str) -> dict[str, Attribute]:
    """The same request in a wrapper's words, blind to caching."""
    return {
        "openinference.span.kind": "LLM",
        "llm.provider": model.provider,
        "llm.model_name": model.name,
        "llm.response.id": response_id,
        "llm.token_count.prompt": tokens.input,
        "llm.token_count.completion": tokens.output or 0,
    }
