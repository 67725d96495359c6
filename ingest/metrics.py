"""What the processes of a server count, for Prometheus.

A label is one of a few words known here, never anything a sender gave: users, runs and customers would be
series without end.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_FSYNC_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_LANDING_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300)


class Metrics:
    """Every counter of ours, by what it counts."""

    requests: Counter
    records: Counter
    fsync_seconds: Histogram
    landed_rows: Counter
    landing_lag_seconds: Histogram
    commit_seconds: Histogram
    undecodable_requests: Counter
    restarts: Counter

    def __init__(self) -> None:
        from prometheus_client import Counter, Histogram  # noqa: PLC0415  see `share`

        self.requests = Counter(
            "llmcost_requests",
            "Export requests, by what became of them: accepted, or why they were refused",
            ("signal", "transport", "result"),
        )
        self.records = Counter(
            "llmcost_records",
            "Spans, log records and data points of accepted requests, by what became of them",
            ("signal", "transport", "result"),
        )
        self.fsync_seconds = Histogram(
            "llmcost_journal_fsync_seconds",
            "Time that a batch of requests took to be written and fsynced",
            buckets=_FSYNC_SECONDS,
        )
        self.landed_rows = Counter("llmcost_landed_rows", "Rows committed to the lake", ("table",))
        self.landing_lag_seconds = Histogram(
            "llmcost_landing_lag_seconds",
            "From the receipt of the oldest request of a landing to its commit",
            buckets=_LANDING_SECONDS,
        )
        self.commit_seconds = Histogram(
            "llmcost_commit_seconds", "Time that a Delta commit took", ("table",), buckets=_LANDING_SECONDS
        )
        self.undecodable_requests = Counter(
            "llmcost_undecodable_requests", "Acknowledged requests that could not be decoded and are in quarantine"
        )
        self.restarts = Counter(
            "llmcost_restarts", "Processes of the server that ended and were started again", ("process",)
        )


@cache
def metrics() -> Metrics:
    """The counters of this process, made when they are first asked for."""
    return Metrics()


def share(folder: Path) -> None:
    """Count in `folder` together with the child processes started from now on; what is there is dropped.

    prometheus_client decides when it is imported whether it counts in files, so this must come before the
    first use of `metrics()`, and before scrape.py is imported. A PROMETHEUS_MULTIPROC_DIR that is set already
    stays as it is.
    """
    if _FOLDER in os.environ:
        return
    if "prometheus_client" in sys.modules:
        raise RuntimeError("share() comes before anything is counted")
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.db"):
        left.unlink()
    os.environ[_FOLDER] = str(folder.resolve())


def shared_folder() -> Path | None:
    """Where the processes of this server count together, if they do."""
    folder = os.environ.get(_FOLDER)
    return Path(folder) if folder else None
