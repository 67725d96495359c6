"""What `llmcost serve` tells its keeper to do, as one line of JSON between the two processes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..models.settings import Settings


@dataclass(frozen=True, slots=True)
class Order:
    """Keep the lake of `settings`; write `cost.prom` into the folder `metrics`, if there is one.

    `rest_seconds` is the least time between two rounds.
    """

    settings: Settings
    metrics: Path | None = None
    log_format: Literal["text", "json"] = "text"
    rest_seconds: float = 10.0

    def line(self) -> bytes:
        """The order as it is sent."""
        settings = self.settings.model_dump(mode="json") | {"lake": str(self.settings.lake.resolve())}
        sent = {
            "settings": settings,
            "metrics": str(self.metrics.resolve()) if self.metrics else None,
            "log_format": self.log_format,
            "rest_seconds": self.rest_seconds,
        }
        return json.dumps(sent).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Order:
        """The order that was sent."""
        from ..models.settings import Settings  # noqa: PLC0415  start-up time

        sent = json.loads(line)
        metrics = Path(sent["metrics"]) if sent["metrics"] else None
        return cls(Settings.sent(sent["settings"]), metrics, sent["log_format"], sent["rest_seconds"])
