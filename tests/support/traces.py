"""Synthetic traces with known truth: model requests told by any mix of instrumentations, beside a ledger.

A request is what a provider answers and bills. Each is told by one span or by several: wrappers nested in
wrappers, twins on other branches, a gateway's span in the same trace or in one of its own; each span of them
with or without the response id, the cache counts, or any usage at all. Around them stand what agents and
workflows repeat: sums, the last call's usage, nothing.

Left out, because telemetry alone cannot tell (the limits of the rule):

* two requests of equal usage at the same time without ids, one seen by one library only and the other by
  another only: nothing says that they are two;
* twins on different branches whose input and output both differ: nothing says that they are one;
* a request directly inside another library's span of another request (no tool or agent between them) that
  happens to have the same input or the same output: every trace's counts differ here unless a shape repeats
  a request on purpose;
* a gateway's span in a trace of its own without a shared response id.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmcost.models.schema import SPANS
from llmcost.sql.inventory import Inventory

DAY = datetime(2026, 11, 20, tzinfo=UTC)
VENDORS = {"gpt-4o-mini": ("openai", "chatcmpl-"), "claude-haiku-4-5": ("anthropic", "msg_")}
SCOPES = {
    "opentelemetry.instrumentation.langchain": "chat",
    "openinference.instrumentation.langchain": "LLM",
    "opentelemetry.instrumentation.openai.v1": "chat",
    "openinference.instrumentation.openai": "LLM",
    "com.anthropic.sdk.python": "chat",
    "traceai_openai": "LLM",
    "langfuse-sdk": "generation",
}
"""Instrumentations, and the operation by which each marks a model request."""
EXCLUSIVE = "traceai_anthropic"
"""A scope that leaves cache tokens out of its input."""
GATEWAY = "litellm"


@dataclass(eq=False)
class Request:
    """One true request: what the provider counted, when, and by which spans it is told."""

    shape: str
    model: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    response_id: str | None
    start_us: int
    end_us: int
    failed: bool = False
    is_told: bool = True
    span_ids: set[str] = field(default_factory=set)
    first: Request | None = None

    @property
    def alike(self) -> Request:
        """The first of several identical requests at the same time; else itself."""
        return self.first or self


@dataclass
class Forest:
    """Spans of many traces, as landed, and the ledger of true requests."""

    seed: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    ledger: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source = random.Random(self.seed)  # noqa: S311  (traces for tests)

    def grow(self, count: int) -> Forest:
        """Add `count` applications' traces (a gateway may add traces of its own)."""
        shapes: list[Callable[[Trace], None]] = [
            sequence, agent_loop, workflow, retries, all_failed, identical, summing_wrapper, repeated_id, untold
        ]  # fmt: skip
        for number in range(count):
            shape = shapes[number % len(shapes)]
            shape(Trace(self, self.word(16), number * 8_000_000 % 86_000_000_000))
        return self

    def word(self, size: int) -> str:
        """Random hex digits for `size` bytes."""
        return self.source.randbytes(size).hex()

    def land(self, folder: Path) -> Inventory:
        """Write the spans as landed files; returns where they are."""
        path = folder / "spans" / f"day={DAY.date()}" / "0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self.rows, schema=SPANS), path)
        return Inventory({"spans": {DAY.date(): (path,)}})


@dataclass
class Trace:
    """One trace in the making: a clock in microseconds of the day, and the counts already used."""

    forest: Forest
    trace_id: str
    now_us: int
    used: set[int] = field(default_factory=set)
    chance: random.Random | None = None
    """Where choices of libraries come from, if not from the forest's own source."""

    @property
    def source(self) -> random.Random:
        """The forest's source of ids, counts and times."""
        return self.forest.source

    def span(self, parent: str | None, scope: str, name: str, start_us: int, end_us: int, **columns: Any) -> str:
        """Add one span; returns its id."""
        span_id = self.forest.word(8)
        row = {"trace_id": self.trace_id, "span_id": span_id, "parent_span_id": parent, "scope_name": scope}
        row |= {"name": name, "status": "UNSET", **columns}
        row |= {
            "started_at": DAY + timedelta(microseconds=start_us),
            "ended_at": DAY + timedelta(microseconds=end_us),
        }
        self.forest.rows.append({**row, "received_at": row["ended_at"]})
        return span_id

    def plain(self, parent: str | None, operation: str | None = None, **columns: Any) -> str:
        """A span around work yet to come, an hour long: nobody reads when it ends."""
        name = operation or "work"
        return self.span(
            parent, "app", name, self.now_us, self.now_us + 3_600_000_000, operation=operation, **columns
        )

    def count(self, low: int, high: int) -> int:
        """A token count that no other request of the trace has."""
        while (number := self.source.randrange(low, high)) in self.used:
            pass
        self.used.add(number)
        return number

    def request(self, shape: str, *, has_id: bool | None = None, start_us: int | None = None) -> Request:
        """A new true request, now; not told by any span yet."""
        model = self.source.choice(list(VENDORS))
        size = self.count(1_000, 200_000)
        cached = self.source.choice((0, 0, self.source.randrange(1, size // 2)))
        written = self.source.choice((0, self.source.randrange(1, size // 2))) if "claude" in model else 0
        start = self.now_us if start_us is None else start_us
        end = start + self.source.randrange(50_000, 900_000)
        self.now_us = max(self.now_us, end + self.source.randrange(1_000, 50_000))
        known = self.source.random() < 0.5 if has_id is None else has_id
        response_id = VENDORS[model][1] + self.forest.word(12) if known else None
        made = Request(shape, model, size, self.count(1, 900), cached, written, response_id, start, end)
        self.forest.ledger.append(made)
        return made

    def again(self, other: Request, start_us: int) -> Request:
        """Another true request with the very same usage."""
        made = Request(**{**vars(other), "span_ids": set()})
        made.start_us, made.end_us = start_us, start_us + other.end_us - other.start_us
        if made.response_id:
            made.response_id = VENDORS[made.model][1] + self.forest.word(12)
        self.now_us = max(self.now_us, made.end_us + 20_000)
        self.forest.ledger.append(made)
        return made

    def tell(
        self,
        request: Request,
        parent: str | None,
        scope: str,
        *,
        inset_us: int = 0,
        usage: str = "full",
        knows_id: bool = True,
        own_id: str | None = None,
        operation: str | None = None,
    ) -> str:
        """One span about `request`: `usage` is full, bare (no cache counts), exclusive or none."""
        provider, _ = VENDORS[request.model]
        columns: dict[str, Any] = {
            "operation": operation or SCOPES.get(scope, "chat"),
            "provider": provider,
            "request_model": request.model,
            "status": "ERROR" if request.failed else "UNSET",
            "response_id": own_id or (request.response_id if knows_id else None),
        }
        cached = request.cache_read_tokens + request.cache_write_tokens
        if usage != "none" and request.is_told and not request.failed:
            columns |= {"input_tokens": request.input_tokens, "output_tokens": request.output_tokens}
            columns |= {"usage_source": "gen_ai.usage.input_tokens"}
            if usage != "full":
                columns["input_tokens"] -= cached if usage == "exclusive" else 0
            if usage == "full" or (usage == "exclusive" and scope == EXCLUSIVE):
                columns |= {"cache_read_tokens": request.cache_read_tokens}
                columns |= {"cache_write_tokens": request.cache_write_tokens}
        span_id = self.span(
            parent, scope, f"chat {request.model}", request.start_us + inset_us, request.end_us - inset_us, **columns
        )
        request.span_ids.add(span_id)
        return span_id

    def instrument(self, request: Request, parent: str | None, style: str | None = None) -> str:
        """Tell a request in one of the ways that stacks of libraries do; returns its innermost span."""
        return STYLES[style or self.some(*STYLES)](self, request, parent)

    def scopes(self, count: int) -> list[str]:
        """Different instrumentations."""
        return (self.chance or self.source).sample(list(SCOPES), count)

    def some(self, *choices: Any) -> Any:
        """One of these."""
        return (self.chance or self.source).choice(choices)


def _single(trace: Trace, request: Request, parent: str | None) -> str:
    exclusive = request.model.startswith("claude") and trace.some(True, False)
    return trace.tell(
        request, parent, EXCLUSIVE if exclusive else trace.scopes(1)[0], usage="exclusive" if exclusive else "full"
    )


def _nested(trace: Trace, request: Request, parent: str | None) -> str:
    """Two or three libraries, one inside the other; one of them at least tells the cache."""
    scopes = trace.scopes(trace.some(2, 3))
    knowing, known_by = trace.some(*range(len(scopes))), trace.some(*range(len(scopes)))
    for depth, scope in enumerate(scopes):
        usage = "full" if depth == knowing else trace.some("full", "bare", "exclusive", "none")
        if usage == "none" and depth > knowing:
            usage = "bare"  # a span without usage inside one that has it would be a request of its own
        parent = trace.tell(
            request,
            parent,
            scope,
            inset_us=depth * trace.source.randrange(1, 400),
            usage=usage,
            knows_id=depth == known_by or trace.some(True, False),
        )
        if depth < len(scopes) - 1 and trace.some(True, False, False):
            parent = trace.plain(parent, trace.some(None, "CHAIN"))
    return str(parent)


def _twins(trace: Trace, request: Request, parent: str | None) -> str:
    """Two or three libraries on branches of their own, a few milliseconds apart."""
    span = ""
    for number, scope in enumerate(trace.scopes(trace.some(2, 2, 3))):
        branch = trace.plain(parent, trace.some(None, "CHAIN", "workflow"))
        usage = "full" if number == 0 else trace.some("full", "bare")
        span = trace.tell(
            request, branch, scope, inset_us=trace.source.randrange(-1500, 1500), usage=usage,
            knows_id=trace.some(True, False),
        )  # fmt: skip
    return span


def _nested_and_twin(trace: Trace, request: Request, parent: str | None) -> str:
    """A wrapper around the client's span, and a third library beside them."""
    outer, inner, beside = trace.scopes(3)
    branch = trace.plain(parent, "CHAIN")
    wrapper = trace.tell(request, parent, outer, usage="bare", knows_id=trace.some(True, False))
    trace.tell(request, branch, beside, inset_us=900, usage="bare", knows_id=trace.some(True, False))
    return trace.tell(request, wrapper, inner, inset_us=300)


def _gateway_inside(trace: Trace, request: Request, parent: str | None) -> str:
    """Client, HTTP, gateway in one trace; the gateway makes an id of its own family up for Anthropic."""
    client = trace.tell(request, parent, trace.scopes(1)[0], usage=trace.some("full", "bare", "none"))
    server = trace.span(trace.plain(client), GATEWAY, "proxy", request.start_us, request.end_us, operation="proxy")
    made_up = "chatcmpl-" + trace.forest.word(16) if request.model.startswith("claude") else None
    return trace.tell(request, server, GATEWAY, inset_us=2_000, own_id=made_up, operation="acompletion")


def _gateway_beside(trace: Trace, request: Request, parent: str | None) -> str:
    """The gateway's own trace, joined by the response id; its clock is up to 60 ms off."""
    if request.response_id is None:
        return _gateway_inside(trace, request, parent)
    other = Trace(trace.forest, trace.forest.word(16), request.start_us)
    server = other.span(None, GATEWAY, "proxy", request.start_us, request.end_us, operation="proxy")
    other.tell(
        request, server, GATEWAY, inset_us=trace.source.randrange(0, 20_000), usage=trace.some("full", "bare"),
        operation="acompletion",
    )  # fmt: skip
    return trace.tell(request, parent, trace.scopes(1)[0])


STYLES: dict[str, Callable[[Trace, Request, str | None], str]] = {
    "single": _single,
    "nested": _nested,
    "twins": _twins,
    "nested and twin": _nested_and_twin,
    "gateway inside": _gateway_inside,
    "gateway beside": _gateway_beside,
}


def sequence(trace: Trace) -> None:
    """One to five requests after each other below an application's span."""
    root = trace.plain(None)
    for _ in range(trace.some(1, 2, 3, 5)):
        trace.instrument(trace.request("sequence"), root)


def agent_loop(trace: Trace, parent: str | None = None, depth: int = 0) -> None:
    """An agent: requests, tools between them, sub-agents below a tool or straight below a request."""
    trace.now_us += 1_000
    mine = len(trace.forest.ledger)
    agent = trace.plain(parent, trace.some("invoke_agent", "AGENT", "agent"), agent_name="solver")
    row = len(trace.forest.rows) - 1
    for _ in range(trace.some(1, 2, 3)):
        request = trace.request("agent loop")
        inner = trace.instrument(request, agent)
        if depth < 2 and trace.some(True, False, False):
            below = trace.plain(trace.some(agent, inner), trace.some("execute_tool", "TOOL"))
            agent_loop(trace, trace.some(below, inner), depth + 1)
    _repeat(trace, row, trace.forest.ledger[mine:])


def _repeat(trace: Trace, row: int, requests: Sequence[Request]) -> None:
    """Write onto an aggregate's span what such spans repeat: the sum, the last call's usage, or nothing."""
    repeated = trace.some(requests, requests[-1:], ())
    if repeated:
        usage = {
            "input_tokens": sum(request.input_tokens for request in repeated),
            "output_tokens": sum(request.output_tokens for request in repeated),
        }
        trace.forest.rows[row] |= {**usage, "request_model": repeated[-1].model}


def workflow(trace: Trace) -> None:
    """A workflow over two agents, with usage of its own, too."""
    mine = len(trace.forest.ledger)
    root = trace.plain(None, trace.some("invoke_workflow", "CHAIN", "workflow"))
    row = len(trace.forest.rows) - 1
    for _ in range(2):
        agent_loop(trace, root, 1)
    _repeat(trace, row, trace.forest.ledger[mine:])


def retries(trace: Trace) -> None:
    """Failed attempts, then an answer; each attempt is a request. Half of them inside a wrapper that sees one."""
    root: str | None = trace.plain(None)
    outer, inner = trace.scopes(2)
    failed = [trace.request("retries", has_id=False) for _ in range(trace.some(1, 2, 3))]
    answered = trace.request("retries")
    begun, answered.start_us = answered.start_us, failed[0].start_us
    if trace.some(True, False):
        root = trace.tell(answered, root, outer, usage=trace.some("full", "bare", "none"))
    answered.start_us = begun
    for attempt in failed:
        attempt.failed = True
        trace.tell(attempt, root, inner)
    trace.tell(answered, root, inner)


def all_failed(trace: Trace) -> None:
    """Every attempt failed, and so did the wrapper around them."""
    outer, inner = trace.scopes(2)
    failed = [trace.request("all failed", has_id=False) for _ in range(trace.some(1, 2, 3))]
    root = trace.span(
        trace.plain(None), outer, "chat", failed[0].start_us, failed[-1].end_us, operation=SCOPES[outer],
        status="ERROR", request_model=failed[0].model,
    )  # fmt: skip
    for attempt in failed:
        attempt.failed = True
        trace.tell(attempt, root, inner)


def identical(trace: Trace) -> None:
    """The same question several times: at once, or one after another; seen by the same libraries each time."""
    root, style, libraries = trace.plain(None), trace.some(*STYLES), trace.source.randrange(2**32)
    first = trace.request(f"identical, {style}")
    at_once, start = trace.some(True, False), first.start_us
    for request in (first, *(trace.again(first, 0) for _ in range(trace.some(1, 2, 3, 7)))):
        request.end_us += start - request.start_us
        request.start_us = start
        request.first = first if at_once else None
        trace.chance = random.Random(libraries)  # noqa: S311  (the same libraries each time)
        trace.instrument(request, root, style)
        start = start + trace.source.randrange(4_000) if at_once else request.end_us + trace.source.randrange(9_000)


def summing_wrapper(trace: Trace) -> None:
    """A span marked as a model request that is the sum of those below it: a batch, an agent of one's own."""
    requests = [trace.request("summing wrapper") for _ in range(trace.some(2, 3))]
    scope = trace.scopes(1)[0]
    root = trace.span(
        None, scope, "generate", requests[0].start_us, requests[-1].end_us,
        operation=SCOPES[scope], request_model=requests[0].model, usage_source="gen_ai.usage.input_tokens",
        input_tokens=sum(request.input_tokens for request in requests),
        output_tokens=sum(request.output_tokens for request in requests),
    )  # fmt: skip
    for request in requests:
        trace.instrument(request, trace.plain(root))


def repeated_id(trace: Trace) -> None:
    """A stored answer asked for again an hour later, elsewhere: another request with the id of the first."""
    first = trace.request("repeated id", has_id=True)
    trace.instrument(first, trace.plain(None))
    later = Trace(trace.forest, trace.forest.word(16), (trace.now_us + 3_000_000_000) % 86_000_000_000)
    second = later.again(first, later.now_us)
    second.response_id = first.response_id
    later.instrument(second, later.plain(None), "single")


def untold(trace: Trace) -> None:
    """Streams of which no span tells the usage, beside requests that are told; seen by one library or two."""
    root = trace.plain(None)
    trace.instrument(trace.request("untold"), root)
    stream = trace.request("untold")
    stream.is_told = False
    outer, inner = trace.scopes(2)
    parent = trace.tell(stream, root, outer, usage="none") if trace.some(True, False) else root
    inmost = trace.tell(stream, parent, inner, usage="none")
    if trace.some(True, False):
        agent_loop(trace, trace.plain(inmost, "execute_tool"), 2)
