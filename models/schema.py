"""The columns of the landed tables and of imported reports: the only list of them, each with its meaning and unit.

`spans` and `events` share the promoted columns. Which attribute feeds which promoted column stands in
conventions.toml; what marts hold is documented by the comments of their `.sql` files.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")
TEXT_MAP = pa.map_(pa.string(), pa.string())


@dataclass(frozen=True)
class Column:
    """One landed column: Arrow type, what it means, and the unit of a number."""

    name: str
    type: pa.DataType
    meaning: str
    unit: str | None = None
    nullable: bool = True

    def field(self) -> pa.Field:
        """The Arrow field; meaning and unit travel in its metadata into Parquet and Delta."""
        metadata = {"comment": self.meaning} | ({"unit": self.unit} if self.unit else {})
        return pa.field(self.name, self.type, nullable=self.nullable, metadata=metadata)


def _text(name: str, meaning: str) -> Column:
    return Column(name, pa.string(), meaning)


def _tokens(name: str, meaning: str) -> Column:
    return Column(name, pa.int64(), meaning, unit="tokens")


PROMOTED: tuple[Column, ...] = (
    _text("operation", "What kind of work the instrumentation says this is: chat, LLM, invoke_agent, TOOL, …"),
    _text("provider", "Vendor as the instrumentation spells it"),
    _text("request_model", "Model asked for"),
    _text("response_model", "Model that answered, by the provider's word"),
    _text("gateway_model", "Model a gateway really called, often with a provider/ prefix"),
    _text("response_id", "The provider's id of the response"),
    _text("service_tier", "Service tier that served the request, else the one asked for"),
    Column("is_batch", pa.bool_(), "Whether the request went through a batch API"),
    Column("is_streaming", pa.bool_(), "Whether the response was streamed"),
    _text("error_type", "Class or code of the error"),
    _tokens("input_tokens", "Input as reported; may or may not include cache tokens, see usage_source"),
    _tokens("output_tokens", "Output as reported; may or may not include reasoning, see usage_source"),
    _tokens("cache_read_tokens", "Input read from the provider's cache"),
    _tokens("cache_write_tokens", "Input written to the provider's cache, all times to live"),
    _tokens("cache_write_5m_tokens", "Input written to the cache for five minutes"),
    _tokens("cache_write_1h_tokens", "Input written to the cache for one hour"),
    _tokens("reasoning_tokens", "Output spent on reasoning"),
    _tokens("audio_input_tokens", "Audio within the input"),
    _tokens("audio_output_tokens", "Audio within the output"),
    _tokens("tool_input_tokens", "Input of provider-side tools, where counted apart (Gemini)"),
    _tokens("total_tokens", "Total as reported; a control figure, never a source of the others"),
    _text("usage_source", "Spelling that gave input_tokens, else the one that gave output_tokens"),
    Column("reported_cost_usd", pa.float64(), "Cost as a gateway or SDK reports it", unit="USD"),
    _text("cost_source", "Spelling that gave reported_cost_usd"),
    Column("cache_hit", pa.bool_(), "Whether a gateway answered from its own cache"),
    _text("user_id", "Person the work was done for"),
    _text("customer_id", "Customer or tenant the work was done for"),
    _text("team", "Team that owns the work"),
    _text("org", "Organisation that owns the work"),
    _text("key_id", "Virtual or API key that was used, by id or alias"),
    _text("developer", "Developer whose tool made the call"),
    _text("feature", "Product feature"),
    _text("route", "HTTP route or entry point"),
    _text("agent_name", "Name of the agent"),
    _text("agent_run_id", "Id of one run of an agent"),
    _text("session_id", "Session or conversation"),
    _text("prompt_version", "Version of the prompt template"),
    _text("deployment", "Deployment environment"),
    _text("traffic_type", "inference or eval"),
    Column("tags", pa.list_(pa.string()), "Free tags"),
    _text("evaluation_name", "What was scored: the evaluator or metric"),
    _text("evaluation_score", "The score as sent, a number or a word"),
    _text("evaluation_label", "The score's label, such as pass or YES"),
    Column("evaluation_passed", pa.bool_(), "Whether the evaluation passed, where the sender says so"),
    _text("evaluation_id", "The sender's own id of the score: told twice under it, it is one"),
    _text("evaluation_scores", "Scores told together, as JSON [{name, score, label}, …]"),
    Column("outcome_attributes", TEXT_MAP, "All outcome.* attributes, keys without that prefix"),
)

_ID_COLUMNS = (
    Column("trace_id", pa.string(), "Trace id, 32 lower-case hex digits", nullable=False),
    Column("span_id", pa.string(), "Span id, 16 lower-case hex digits", nullable=False),
)

_ORIGIN_COLUMNS = (
    _text("scope_name", "Instrumentation scope"),
    _text("scope_version", "Version of the instrumentation scope"),
    _text("service_name", "service.name of the resource"),
)

_REST_COLUMNS = (
    Column("attributes", TEXT_MAP, "Attributes that no promoted column holds, as text"),
    Column("resource_attributes", TEXT_MAP, "Resource attributes, as text"),
    _text("landing_notes", "What landing had to change or doubt, comma-separated; NULL when nothing"),
    Column("received_at", TIMESTAMP, "When the receiver acknowledged it", nullable=False),
)

SPAN_COLUMNS: tuple[Column, ...] = (
    *_ID_COLUMNS,
    _text("parent_span_id", "Parent's span id; NULL for a root"),
    _text("name", "Span name"),
    _text("kind", "INTERNAL, SERVER, CLIENT, PRODUCER or CONSUMER; NULL if unset"),
    Column("started_at", TIMESTAMP, "Start of the span", nullable=False),
    Column("ended_at", TIMESTAMP, "End of the span", nullable=False),
    _text("status", "OK, ERROR or UNSET"),
    _text("status_message", "Description of an error"),
    *_ORIGIN_COLUMNS,
    *PROMOTED,
    *_REST_COLUMNS,
)

EVENT_COLUMNS: tuple[Column, ...] = (
    Column("trace_id", pa.string(), "Trace id, 32 lower-case hex digits; NULL for a log without trace context"),
    Column("span_id", pa.string(), "Span the event belongs to; NULL for a log without span context"),
    Column("carrier", pa.string(), "span_event or log; file for an imported outcome", nullable=False),
    _text("name", "Event name"),
    Column("occurred_at", TIMESTAMP, "When it happened", nullable=False),
    _text("severity", "Log severity text"),
    *_ORIGIN_COLUMNS,
    *PROMOTED,
    *_REST_COLUMNS,
)

SPANS = pa.schema([column.field() for column in SPAN_COLUMNS])
"""Arrow schema of `spans` files; `day` is the partition, the UTC day of started_at."""

EVENTS = pa.schema([column.field() for column in EVENT_COLUMNS])
"""Arrow schema of `events` files; `day` is the partition, the UTC day of occurred_at."""

TIME_COLUMNS = {"spans": "started_at", "events": "occurred_at"}
"""Of each landed table the column whose UTC day is the row's partition."""

TELLING = ("input_tokens", "output_tokens", "reported_cost_usd")
"""Columns without which a row tells no request. A file's Delta statistics count their NULLs: one with nothing else
in them need not be read for requests, and does not concern the days beside its own."""

LASTING = "ended_at"
"""Column of `spans` whose greatest value a file's Delta statistics tell: a span that lasts into a later day is an
ancestor of spans there, and its file concerns that day."""

DAY = pa.field("day", pa.date32(), nullable=False, metadata={"comment": "UTC day of the row"})

MONEY = pa.decimal128(18, 9)
"""US dollars, exact."""

PROVIDER_USAGE_COLUMNS: tuple[Column, ...] = (
    Column("source", pa.string(), "Kind of report: openai-usage, openai-costs, anthropic-usage, …", nullable=False),
    Column("account", pa.string(), "Whose report, where one lake has several of a kind; else empty", nullable=False),
    Column("report", pa.string(), "Part of the report: completions, embeddings, costs, …", nullable=False),
    _text("record_id", "Id of the one request a row tells; NULL where the row is a total of its period"),
    Column("period_start", TIMESTAMP, "Start of the time the row speaks of", nullable=False),
    Column("period_end", TIMESTAMP, "End of that time, not itself in it", nullable=False),
    Column("granularity", pa.string(), "How long that time is: request, minute, hour, day or month", nullable=False),
    _text("provider", "Vendor that is paid; NULL where the report does not say"),
    _text("model", "Model as the report names it; NULL for what no model did, or where it is not told"),
    _text("project_id", "Project, workspace, team or account of the provider's or gateway's"),
    _text("key_id", "API key, by id or alias"),
    _text("service_tier", "standard, batch, flex, priority, …; NULL where the report does not say"),
    _text("line_item", "What is billed, in the report's words"),
    Column("requests", pa.int64(), "Requests; NULL where not told"),
    _tokens("input_tokens", "Everything sent, cached or not"),
    _tokens("output_tokens", "Everything generated, reasoning included"),
    _tokens("cache_read_tokens", "Part of input read from cache"),
    _tokens("cache_write_5m_tokens", "Part of input written to the cache for 5 minutes, or for an unknown time"),
    _tokens("cache_write_1h_tokens", "Part of input written to the cache for 1 hour"),
    _tokens("audio_input_tokens", "Part of input that is audio"),
    _tokens("reasoning_tokens", "Part of output spent on reasoning"),
    _tokens("audio_output_tokens", "Part of output that is audio"),
    Column("billed_cost_usd", MONEY, "What the provider bills; NULL where the report tells no bill", unit="USD"),
    Column("estimated_cost_usd", MONEY, "What a gateway or tool reckons it costs; never a bill", unit="USD"),
    _text("currency", "Currency the report states"),
    Column("usd_rate", MONEY, "Stated US dollars for one of that currency; 1 for dollars"),
    Column("is_partial", pa.bool_(), "Whether it was imported before its period had ended", nullable=False),
    Column("imported_at", TIMESTAMP, "When it was imported", nullable=False),
)

PROVIDER_USAGE = pa.schema([DAY, *(column.field() for column in PROVIDER_USAGE_COLUMNS)])
"""Arrow schema of `provider_usage` files, a UTC day each: the day on which the row's period starts."""

TOKEN_COLUMNS: tuple[str, ...] = tuple(c.name for c in PROVIDER_USAGE_COLUMNS if c.unit == "tokens")
"""Counts that `calls` and reports share: totals first, then the parts of them."""

DIMENSIONS: tuple[str, ...] = (
    "user_id", "customer_id", "team", "org", "key_id", "developer", "feature", "route", "agent_name",
    "agent_run_id", "session_id", "prompt_version", "deployment", "traffic_type",
)  # fmt: skip
"""Promoted columns that say whose work it is; a call inherits each from the nearest span that has it."""
