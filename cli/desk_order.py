"""What `llmcost serve` tells its budget desk to do, as one line of JSON between the two processes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..ingest.serve import Companion
    from ..models.settings import Settings


@dataclass(frozen=True, slots=True)
class Order:
    """Decide on the budgets over the lake of `settings`.

    `hash_key` is that of content.hash, which settings on their way do not show. `clock_ahead_seconds` is for
    trials of what a later period brings.
    """

    settings: Settings
    log_format: Literal["text", "json"] = "text"
    hash_key: bytes = field(default=b"", repr=False)
    clock_ahead_seconds: float = 0.0

    def line(self) -> bytes:
        """The order as it is sent, on stdin only: a command line can be read by others."""
        settings = self.settings.model_dump(mode="json") | {"lake": str(self.settings.lake.resolve())}
        settings["content"] |= {"hash_key": None}
        sent = {
            "settings": settings,
            "log_format": self.log_format,
            "hash_key": self.hash_key.hex(),
            "clock_ahead_seconds": self.clock_ahead_seconds,
        }
        return json.dumps(sent).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Order:
        """The order that was sent."""
        from ..models.settings import Settings  # noqa: PLC0415  start-up time

        sent = json.loads(line)
        key = bytes.fromhex(sent["hash_key"])
        return cls(Settings.sent(sent["settings"]), sent["log_format"], key, sent["clock_ahead_seconds"])


def companion(
    settings: Settings, log_format: Literal["text", "json"], *, clock_ahead_seconds: float = 0.0
) -> Companion:
    """The desk as the server starts it. Raises SettingsError where a key of hashes is missing."""
    from ..ingest.privacy import hash_key  # noqa: PLC0415  start-up time
    from ..ingest.serve import Companion  # noqa: PLC0415
    from ..ingest.supervisor import module  # noqa: PLC0415

    order = Order(settings, log_format, hash_key(settings.content), clock_ahead_seconds)
    return Companion("budget desk", module("llmcost.cli.desk"), order.line())
