"""A load whose bill is known without pricing it: every call costs the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

INPUT_TOKENS, OUTPUT_TOKENS = 1000, 100
CALL_USD = (Decimal("0.15") * INPUT_TOKENS + Decimal("0.60") * OUTPUT_TOKENS) / 1_000_000
"""gpt-4o-mini: $0.15 in, $0.60 out per million tokens."""


def new_ids(source: random.Random, count: int) -> list[str]:
    """Span ids, 16 hex digits; a call's trace id is its span id twice."""
    return [source.randbytes(8).hex() for _ in range(count)]


def calls(ids: Sequence[str], source: random.Random, at_ns: int) -> bytes:
    """A request of calls at one moment, each in a trace of its own."""
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    scope.scope.name = "load"
    for span_id in ids:
        span = scope.spans.add(
            trace_id=bytes.fromhex(span_id * 2), span_id=bytes.fromhex(span_id), name="chat gpt-4o-mini",
            start_time_unix_nano=at_ns, end_time_unix_nano=at_ns + 1_000_000,
        )  # fmt: skip
        words = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "app.feature": "load"}
        words |= {"gen_ai.response.model": "gpt-4o-mini-2024-07-18", "user.id": f"user-{source.randrange(1000)}"}
        for key, word in words.items():
            span.attributes.add(key=key).value.string_value = word
        for key, count in (("input", INPUT_TOKENS), ("output", OUTPUT_TOKENS)):
            span.attributes.add(key=f"gen_ai.usage.{key}_tokens").value.int_value = count
    serialised: bytes = message.SerializeToString()
    return serialised
