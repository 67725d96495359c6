"""What every transport does with a request: admit it, check it, put it into the journal, answer.

A transport reads the wire and renders refusals; nothing else is its own.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Literal, Self

from ..models.settings import MIB, Server
from .check import MalformedRequest
from .group_commit import PENDING_MAX_BYTES, GroupCommit, JournalFull, JournalWriteFailed
from .journal import Request
from .metrics import metrics
from .refusals import JOURNAL_FAILED, JOURNAL_FULL, MALFORMED, TOO_LARGE, TOO_MANY, Refused
from .services import Service

Transport = Literal["grpc", "http"]


class Intake:
    """The way into one journal, shared by all transports of a process. Use from one event loop."""

    def __init__(
        self, journal: GroupCommit, *, max_message_bytes: int, max_json_bytes: int, max_requests: int
    ) -> None:
        self.max_message_bytes = max_message_bytes
        self.max_json_bytes = min(max_json_bytes, max_message_bytes)
        self._journal = journal
        self._max_requests = max_requests
        self._max_held_bytes = max(PENDING_MAX_BYTES, 2 * max_message_bytes)
        self._requests = 0
        self._held_bytes = 0

    @classmethod
    def of(cls, journal: GroupCommit, server: Server) -> Intake:
        """As the settings say."""
        return cls(
            journal,
            max_message_bytes=server.max_message_mib * MIB,
            max_json_bytes=server.max_json_mib * MIB,
            max_requests=server.max_concurrent_requests,
        )

    def admit(self, service: Service, transport: Transport) -> Place:
        """A place for one request, to be entered before its body is read; counts how the request ended."""
        return Place(self, service, transport)

    def trouble(self) -> str | None:
        """Why requests are not taken now, or None."""
        return self._journal.trouble()

    async def export(
        self, service: Service, body: bytes, *, transport: Transport, sender: object | None = None
    ) -> bytes:
        """Take one serialised export request; returns the serialised response once it is on disk, fsynced.

        `sender` is who the transport found out sends this: None, as nobody is asked. Raises Refused.
        """
        del sender
        received_at_us = time.time_ns() // 1000
        if len(body) > self.max_message_bytes:
            raise too_large(self.max_message_bytes)
        try:
            checked = service.check(body)
            if service.signal is not None and checked.spans > checked.rejected:
                await self._journal.append(Request(service.signal, received_at_us, body))
        except MalformedRequest as error:
            raise Refused(MALFORMED, str(error)) from error
        except JournalFull as error:
            raise Refused(JOURNAL_FULL, str(error)) from error
        except JournalWriteFailed as error:
            raise Refused(JOURNAL_FAILED, str(error)) from error
        if accepted := checked.spans - checked.rejected:
            metrics().records.labels(service.name, transport, "accepted").inc(accepted)
        if checked.rejected:
            metrics().records.labels(service.name, transport, service.rejected_because).inc(checked.rejected)
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

    Entering and `hold` raise Refused if there are too many requests, or too many bytes of them.
    """

    def __init__(self, intake: Intake, service: Service, transport: Transport) -> None:
        self._intake = intake
        self._service = service
        self._transport = transport
        self._held_bytes = 0

    def __enter__(self) -> Self:
        try:
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
        metrics().requests.labels(self._service.name, self._transport, result).inc()


def too_large(limit: int, what: str = "the request", setting: str = "server.max_message_mib") -> Refused:
    """The refusal of what is larger than `limit` bytes."""
    return Refused(TOO_LARGE, f"{what} is larger than {limit} bytes (setting {setting}): send smaller batches")
