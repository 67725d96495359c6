"""The page a Prometheus server reads: what the processes counted, and what is waiting on disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from .metrics import metrics, shared_folder

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class WaitingOnDisk:
    """Gauges read off the journal's folders, whoever of several receivers is asked."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Look now."""
        waiting = [(path, stat) for path in self._journal.glob("*/*") if (stat := _stat(path)) is not None]
        ages = [time.time() - written_at for path, (_, written_at) in waiting if path.suffix == ".seg"]
        yield GaugeMetricFamily(
            "llmcost_journal_bytes", "Acknowledged and not landed yet", sum(size for _, (size, _) in waiting)
        )
        yield GaugeMetricFamily(
            "llmcost_journal_oldest_segment_age_seconds",
            "Since the last write to the closed segment that waits longest; 0 if none waits",
            max(ages, default=0.0),
        )
        yield GaugeMetricFamily(
            "llmcost_quarantined_segments",
            "Segments kept because they could not be landed",
            sum(1 for _ in self._journal.glob("*/quarantine/*.*")),
        )


def page(journal: Path | None, more: Path | None) -> bytes:
    """The exposition text: our metrics, the journal's gauges, and the `*.prom` files in the folder `more`.

    Those files are written by other processes of this server, each whole at any time; blocking.
    """
    registry = CollectorRegistry()
    if shared_folder() is not None:
        metrics()  # makes this process's files, so that zeros are said too
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    if journal is not None:
        registry.register(WaitingOnDisk(journal))
    parts = [generate_latest(registry)]
    if shared_folder() is None:
        metrics()
        parts.append(generate_latest(REGISTRY))
    for path in sorted(more.glob("*.prom")) if more is not None else ():
        text = path.read_bytes()
        parts.append(text if text.endswith(b"\n") else text + b"\n")
    return b"".join(parts)


def _stat(path: Path) -> tuple[int, float] | None:
    """Size and last write of a segment; None if it is none, or landed in the meantime."""
    if path.suffix not in (".seg", ".open"):
        return None
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime
