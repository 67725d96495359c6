"""What every transport does with a request: admit it, check it, put it into the journal, answer.

A transport reads the wire and renders refusals; nothing else is its own.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Literal, Self

from ..models.errors import LakeError
from ..models.settings import MIB, Server
from .access import ANYBODY, Access, NotAdmitted, Sender
from .check import MalformedRequest
from .group_commit import PENDING_MAX_BYTES, GroupCommit, JournalFull, JournalWriteFailed
from .journal import Request
from .metrics import metrics
from .refusals import (
    ADMISSION_UNKNOWN,
    JOURNAL_FAILED,
    JOURNAL_FULL,
    MALFORMED,
    NOT_ADMITTED,
    TOO_LARGE,
    TOO_MANY,
    Refused,
)
from .services import Service

Transport = Literal["grpc", "http"]


class Intake:
    """The way into one journal, shared by all transports of a process. Use from one event loop."""

    def __init__(
        self,
        journal: GroupCommit,
        *,
        max_message_bytes: int,
        max_json_bytes: int,
        max_requests: int,
        access: Access | None = None,
    ) -> None:
        """Without `access` everybody is admitted."""
        self._access = access
        self.max_message_bytes = max_message_bytes
        self.max_json_bytes = min(max_json_bytes, max_message_bytes)
        self._journal = journal
        self._max_requests = max_requests
        self._max_held_bytes = max(PENDING_MAX_BYTES, 2 * max_message_bytes)
        self._requests = 0
        self._held_bytes = 0

    @classmethod
    def of(cls, journal: GroupCommit, server: Server, access: Access | None = None) -> Intake:
        """As the settings say."""
        return cls(
            journal,
            max_message_bytes=server.max_message_mib * MIB,
            max_json_bytes=server.max_json_mib * MIB,
            max_requests=server.max_concurrent_requests,
            access=access,
        )

    def admit(self, service: Service, transport: Transport, authorization: str | None) -> Place:
        """A place for one request, to be entered before its body is read; counts how the request ended.

        `authorization` is the header or metadata of that name, None if there is none.
        """
        return Place(self, service, transport, authorization)

    def sender(self, authorization: str | None) -> Sender:
        """Who sends a request with this `authorization`. Raises Refused."""
        if self._access is None:
            return ANYBODY
        try:
            return self._access.admit(authorization)
        except NotAdmitted as error:
            raise Refused(NOT_ADMITTED, str(error)) from error
        except LakeError as error:
            raise Refused(ADMISSION_UNKNOWN, str(error)) from error

    def trouble(self) -> str | None:
        """Why requests are not taken now, or None."""
        return self._journal.trouble()

    async def export(self, service: Service, body: bytes, place: Place) -> bytes:
        """Take one serialised export request; returns the serialised response once it is on disk, fsynced.

        What the sender's token forces is kept with the request. Raises Refused.
        """
        received_at_us = time.time_ns() // 1000
        if len(body) > self.max_message_bytes:
            raise too_large(self.max_message_bytes)
        try:
            checked = service.check(body)
            if service.signal is not None and checked.spans > checked.rejected:
                await self._journal.append(Request(service.signal, received_at_us, body, place.sender.forced))
        except MalformedRequest as error:
            raise Refused(MALFORMED, str(error)) from error
        except JournalFull as error:
            raise Refused(JOURNAL_FULL, str(error)) from error
        except JournalWriteFailed as error:
            raise Refused(JOURNAL_FAILED, str(error)) from error
        if accepted := checked.spans - checked.rejected:
            metrics().records.labels(service.name, place.transport, "accepted").inc(accepted)
        if checked.rejected:
            metrics().records.labels(service.name, place.transport, service.rejected_because).inc(checked.rejected)
        return service.answer(checked)

    def _enter(self) -> None:
        if self._requests >= self._max_requests:
            raise Refused(
                TOO_MANY,
                f"{self._requests} requests are under way, as many as may be (setting "
                "server.max_concurrent_requests): send this again later",
            )
        self._requests += 1

    def _hold(self, size: int) -> None:
        if self._held_bytes + size > self._max_held_bytes:
            raise Refused(
                TOO_MANY,
                f"requests under way hold {self._held_bytes} bytes, as many as may be: send this again later",
            )
        self._held_bytes += size

    def _leave(self, size: int) -> None:
        self._requests -= 1
        self._held_bytes -= size


class Place:
    """One request under way, from before its body is read until it is answered.

    Entering raises Refused if the sender may not send; that and `hold` if there are too many requests, or too
    many bytes of them. `sender` is known once it is entered.
    """

    def __init__(self, intake: Intake, service: Service, transport: Transport, authorization: str | None) -> None:
        self.transport = transport
        self.sender = ANYBODY
        self._intake = intake
        self._service = service
        self._authorization = authorization
        self._held_bytes = 0

    def __enter__(self) -> Self:
        try:
            self.sender = self._intake.sender(self._authorization)
            self._intake._enter()
        except Refused as refused:
            self._count(refused.reason.name)
            raise
        return self

    def hold(self, size: int) -> None:
        """Say that `size` more bytes of the request are in memory."""
        self._intake._hold(size)
        self._held_bytes += size

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._intake._leave(self._held_bytes)
        if isinstance(error, Refused):
            self._count(error.reason.name)
        else:
            self._count("accepted" if error is None else "failed")

    def _count(self, result: str) -> None:
        metrics().requests.labels(self._service.name, self.transport, result).inc()


def too_large(limit: int, what: str = "the request", setting: str = "server.max_message_mib") -> Refused:
    """The refusal of what is larger than `limit` bytes."""
    return Refused(TOO_LARGE, f"{what} is larger than {limit} bytes (setting {setting}): send smaller batches")
