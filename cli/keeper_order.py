"""What `llmcost serve` tells its keeper to do, as one line of JSON between the two processes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..ingest.serve import Companion
    from ..models.settings import Settings


@dataclass(frozen=True, slots=True)
class Order:
    """Keep the lake of `settings`; write `cost.prom` into the folder `metrics`, if there is one."""

    settings: Settings
    metrics: Path | None = None
    log_format: Literal["text", "json"] = "text"

    def line(self) -> bytes:
        """The order as it is sent."""
        settings = self.settings.model_dump(mode="json") | {"lake": str(self.settings.lake.resolve())}
        sent = {
            "settings": settings,
            "metrics": str(self.metrics.resolve()) if self.metrics else None,
            "log_format": self.log_format,
        }
        return json.dumps(sent).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Order:
        """The order that was sent."""
        from ..models.settings import Settings  # noqa: PLC0415  start-up time

        sent = json.loads(line)
        metrics = Path(sent["metrics"]) if sent["metrics"] else None
        return cls(Settings.sent(sent["settings"]), metrics, sent["log_format"])


def companion(settings: Settings, log_format: Literal["text", "json"]) -> Companion:
    """The keeper as the server starts it."""
    from ..ingest.serve import Companion  # noqa: PLC0415  start-up time
    from ..ingest.supervisor import module  # noqa: PLC0415
    from ..models.lake import Lake  # noqa: PLC0415

    order = Order(settings, metrics=Lake(settings.lake).metrics, log_format=log_format)
    return Companion("keeper", module("llmcost.cli.keeper"), order.line())
