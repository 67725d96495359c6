"""What the parent process tells its children to do, each as one line of JSON on their stdin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from ..models.lake import Lake
from ..models.settings import Budgeting, Content, Landing, Server, Settings
from .logs import LogFormat
from .privacy import Privacy, hash_key


class Order(BaseModel):
    """What every child needs: where the lake is, and how log lines are written."""

    model_config = ConfigDict(frozen=True)

    lake: str
    log_format: LogFormat

    def line(self) -> bytes:
        """The order as it is sent."""
        return self.model_dump_json().encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """The order that was sent."""
        return cls.model_validate_json(line)


class ReceiverOrder(Order):
    """Listen, and acknowledge into the folder of `receiver_id`, whose lock the parent holds."""

    receiver_id: str
    grpc: str
    http: str | None
    server: Server
    landing: Landing
    backlog_bytes: int
    open_without_tokens: bool
    budgets: Budgeting = Budgeting()


class WorkerOrder(Order):
    """Land the journals of `receiver_ids`, and what receivers that are gone left, into the lake."""

    receiver_ids: tuple[str, ...]
    lands_abandoned: bool
    landing: Landing
    content: Content
    hash_key: str = Field("", repr=False)
    """In hex. It travels on stdin only: a command line and an environment can be read by others."""
    conventions: dict[str, Any]

    @classmethod
    def of(
        cls,
        settings: Settings,
        lake: Lake,
        receiver_ids: Iterable[str],
        *,
        lands_abandoned: bool = False,
        log_format: LogFormat = "text",
    ) -> WorkerOrder:
        """The order as the settings say. Raises SettingsError if values are to be hashed without a key."""
        return cls(
            lake=str(lake.root.resolve()),
            log_format=log_format,
            receiver_ids=tuple(receiver_ids),
            lands_abandoned=lands_abandoned,
            landing=settings.landing,
            content=settings.content.model_copy(update={"hash_key": None}),
            hash_key=hash_key(settings.content).hex(),
            conventions=settings.conventions,
        )

    @property
    def privacy(self) -> Privacy:
        """What must not be read in the lake, and the key that hides it."""
        return Privacy.of(self.content, bytes.fromhex(self.hash_key))
