"""Small real lakes: requests decoded and committed to Delta as the server does it, without the server."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from llmcost.ingest.columns import Decoder
from llmcost.ingest.delta import landed_tables
from llmcost.ingest.wire import Signal
from llmcost.models import conventions
from llmcost.models.lake import Lake
from llmcost.models.settings import Settings
from llmcost.sql import Warehouse

from .captures import RawRequest
from .logs import LogOf, log_request
from .spans import SpanOf, request

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
"""The clock of the lakes' warehouses."""


class SmallLake:
    """A lake in a folder of a test's own."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.lake = Lake.create(folder)
        self.settings = settings or Settings()
        self.number = 0

    def land(self, *spans: SpanOf) -> SmallLake:
        """Land spans as one request in a segment of its own."""
        return self.land_requests([request(spans)])

    def land_logs(self, *logs: LogOf) -> SmallLake:
        """Land log records as one request in a segment of its own."""
        return self.land_requests([log_request(logs)], Signal.LOGS)

    def land_requests(self, bodies: Iterable[bytes], signal: Signal = Signal.TRACES) -> SmallLake:
        """Land serialised requests as one segment."""
        self.number += 1
        received = int(NOW.timestamp() * 1_000_000) + self.number
        decoder = Decoder(conventions.load(self.settings.conventions), "drop", self.settings.landing)
        decoded = decoder.decode([RawRequest(signal, received, body) for body in bodies])
        for table, rows in zip(landed_tables(self.lake), (decoded.spans, decoded.events), strict=True):
            table.commit(table.write(rows), receiver_id="test", number=self.number)
        return self

    def copy(self, folder: Path, settings: Settings | None = None) -> SmallLake:
        """The lake again with what is derived, for a test that changes it."""
        shutil.copytree(self.lake.root, folder)
        copied = SmallLake(folder, settings or self.settings)
        copied.number = self.number
        return copied

    @property
    def warehouse(self) -> Warehouse:
        """The lake opened for questions at NOW."""
        return Warehouse(self.lake.root, self.settings, now=lambda: NOW)
