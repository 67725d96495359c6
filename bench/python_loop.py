"""What one writes first: parse each request, a dictionary per span, Parquet. The yardstick for landing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_TEXTS = ("trace_id", "span_id", "parent_span_id", "name", "scope_name")
_NUMBERS = ("kind", "started_at", "ended_at", "status")
_MAPS = ("attributes", "resource_attributes")
_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in _TEXTS),
        *(pa.field(name, pa.int64()) for name in _NUMBERS),
        *(pa.field(name, pa.map_(pa.string(), pa.string())) for name in _MAPS),
    ]
)


def python_loop(bodies: Iterable[bytes], path: Path) -> None:
    """Write every span of the requests to one Parquet file."""
    rows: list[dict[str, Any]] = []
    for body in bodies:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {pair.key: _text(pair.value) for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                rows += [_row(span, scope.scope.name, about) for span in scope.spans]
    pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), path, compression="zstd")


def _row(span: Any, scope_name: str, about: dict[str, str]) -> dict[str, Any]:
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex(),
        "name": span.name,
        "kind": span.kind,
        "started_at": span.start_time_unix_nano // 1000,
        "ended_at": span.end_time_unix_nano // 1000,
        "status": span.status.code,
        "scope_name": scope_name,
        "attributes": list({pair.key: _text(pair.value) for pair in span.attributes}.items()),
        "resource_attributes": list(about.items()),
    }


def _text(value: Any) -> str:
    held = value.WhichOneof("value")
    return str(getattr(value, held)) if held else ""
