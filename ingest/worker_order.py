"""What the receiver tells its landing worker to do, as one line of JSON between the two processes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from ..models.lake import Lake
from ..models.settings import Content, Landing, Settings
from .logs import LogFormat
from .receiver_folder import ReceiverFolder


class Order(BaseModel):
    """Land the journal of `receiver_id` into `lake`, as the receiver's settings say."""

    model_config = ConfigDict(frozen=True)

    lake: str
    receiver_id: str
    landing: Landing
    content: Content
    conventions: dict[str, Any]
    log_format: LogFormat

    @classmethod
    def of(cls, settings: Settings, lake: Lake, folder: ReceiverFolder, log_format: LogFormat) -> Order:
        """The order to land `folder` into `lake`."""
        return cls(
            lake=str(lake.root.resolve()),
            receiver_id=folder.receiver_id,
            landing=settings.landing,
            content=settings.content,
            conventions=settings.conventions,
            log_format=log_format,
        )

    def line(self) -> bytes:
        """The order as it is sent."""
        return self.model_dump_json().encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Order:
        """The order that was sent."""
        return cls.model_validate_json(line)
