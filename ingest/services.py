"""The three services of OTLP: where each is found, how its requests are checked and answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from .check import Checked, check_logs, check_metrics, check_traces
from .wire import Signal


@dataclass(frozen=True, slots=True)
class Service:
    """One of OTLP's services. `signal` is what its requests are in the journal, None if they are not kept."""

    name: str
    grpc: str
    signal: Signal | None
    check: Callable[[bytes], Checked]
    request: type[Message]
    response: type[Message]
    rejected: str
    rejected_because: str

    def answer(self, checked: Checked) -> bytes:
        """The response: OTLP partial success where something was rejected, else the empty message."""
        if not checked.rejected:
            return b""
        response: Any = self.response()
        setattr(response.partial_success, self.rejected, checked.rejected)
        response.partial_success.error_message = checked.message
        answer: bytes = response.SerializeToString()
        return answer


TRACES = Service(
    "traces",
    "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.TRACES,
    check_traces,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
    "rejected_spans",
    "invalid_id",
)
LOGS = Service(
    "logs",
    "opentelemetry.proto.collector.logs.v1.LogsService",
    Signal.LOGS,
    check_logs,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
    "rejected_log_records",
    "invalid_id",
)
METRICS = Service(
    "metrics",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    None,
    check_metrics,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
    "rejected_data_points",
    "not_stored",
)
SERVICES = (TRACES, LOGS, METRICS)
