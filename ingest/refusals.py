"""Why a request is not taken, in words that both transports can say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

RETRY_SECONDS = 2
"""When a refused sender should try again. SDKs give up ten seconds after their first try."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A kind of refusal: a google.rpc.Code, an HTTP status, and whether the same request may be sent again.

    Which codes and statuses an exporter retries: https://opentelemetry.io/docs/specs/otlp/#failures and
    #failures-1. `name` is a label of the metrics.
    """

    name: str
    code: int
    http: int
    retry: bool = False


MALFORMED = Reason("malformed", Code.INVALID_ARGUMENT, 400)
UNSUPPORTED = Reason("unsupported", Code.INVALID_ARGUMENT, 415)
TOO_LARGE = Reason("too_large", Code.RESOURCE_EXHAUSTED, 413)
TOO_SLOW = Reason("too_slow", Code.DEADLINE_EXCEEDED, 408)
TOO_MANY = Reason("too_many", Code.UNAVAILABLE, 503, retry=True)
JOURNAL_FULL = Reason("journal_full", Code.RESOURCE_EXHAUSTED, 429, retry=True)
JOURNAL_FAILED = Reason("journal_failed", Code.UNAVAILABLE, 503, retry=True)
NOT_ADMITTED = Reason("not_admitted", Code.UNAUTHENTICATED, 401)
ADMISSION_UNKNOWN = Reason("admission_unknown", Code.UNAVAILABLE, 503, retry=True)
NO_SUCH_PATH = Reason("no_such_path", Code.NOT_FOUND, 404)
WRONG_METHOD = Reason("wrong_method", Code.UNIMPLEMENTED, 405)


class Refused(Exception):
    """The request was not taken; nothing of it is kept."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def status(self) -> Any:
        """The google.rpc.Status that says so, with RetryInfo where the request may be sent again."""
        status = Status(code=self.reason.code, message=str(self))
        if self.reason.retry:
            detail = AnyMessage()
            detail.Pack(retry_info())
            status.details.append(detail)
        return status


def retry_info() -> Any:
    """When to try again, as OTLP tells it."""
    return RetryInfo(retry_delay=Duration(seconds=RETRY_SECONDS))
