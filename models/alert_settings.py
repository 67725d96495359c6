"""The settings under [alerts]: where notices go, who owns what, and what the rules' thresholds are changed to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from .errors import UsageError
from .schema import DIMENSIONS
from .windows import length, zone

Severity = Literal["info", "warning", "error", "critical"]
"""How bad, the least first; the words of PagerDuty's Events API."""

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error", "critical")
Value = bool | int | float | str
"""What a rule's parameter may be set to."""

_CLOSED = ConfigDict(extra="forbid", frozen=True)


def _length(text: str) -> str:
    try:
        length(text)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return text


def _zone(name: str) -> str:
    try:
        zone(name)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return name


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write an address that begins with https:// or http://")
    return text


Length = Annotated[str, AfterValidator(_length)]
Url = Annotated[str, AfterValidator(_url)]


class Channel(BaseModel):
    """Where notices go, and which."""

    model_config = _CLOSED

    rules: tuple[str, ...] = Field(("*",), description="Rules (globs) whose alerts it is told")
    severity: Severity = Field("info", description="Least severity that it is told")
    resolved: bool = Field(True, description="Whether it is told when an alert is over")


class _Secretive(Channel):
    """A channel with a secret, which stands in the environment or in a file, never in the settings."""

    secret_env: str | None = Field(None, description="Name of the environment variable with the secret")
    secret_file: Path | None = Field(None, description="File with the secret; white space around it is ignored")


class Webhook(_Secretive):
    """A JSON body to an address of yours, signed with the secret as Standard Webhooks says."""

    kind: Literal["webhook"]
    url: Url


class Slack(_Secretive):
    """An incoming webhook of Slack; its address is the secret."""

    kind: Literal["slack"]


class PagerDuty(_Secretive):
    """PagerDuty's Events API v2; the integration's routing key is the secret."""

    kind: Literal["pagerduty"]
    url: Url = "https://events.pagerduty.com/v2/enqueue"


class Email(_Secretive):
    """Mail over SMTP; the password, if there is a user, is the secret."""

    kind: Literal["email"]
    host: str
    port: int = Field(587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    sender: str
    to: tuple[str, ...] = Field(min_length=1)


class Stdout(Channel):
    """One line of JSON a notice on standard output, for a log collector."""

    kind: Literal["stdout"]


AnyChannel = Annotated[Webhook | Slack | PagerDuty | Email | Stdout, Field(discriminator="kind")]


class RuleSettings(BaseModel):
    """What is changed of one rule; every other key is a parameter of its file."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Value]

    enabled: bool = True
    severity: Severity | None = None
    cool_down: Length | None = None

    @property
    def parameters(self) -> dict[str, Value]:
        """The parameters that are set, by name."""
        return dict(self.__pydantic_extra__ or {})


class Alerts(BaseModel):
    """Alerts."""

    model_config = _CLOSED

    every_seconds: float = Field(60.0, ge=1, description="Least time between two looks of the server, in seconds")
    tz: Annotated[str, AfterValidator(_zone)] = Field("UTC", description="Time zone of days in rules")
    source: str = Field(
        "llmcost", min_length=1, max_length=60, description="Name of this warehouse in notices and their keys"
    )
    trace_url: Url | None = Field(
        None, description="Where a trace can be opened, with {trace_id} in it; else notices name the command"
    )
    settle: Length = Field("30m", description="How long an alert must be quiet before it is resolved")
    most_at_once: int = Field(20, ge=1, description="Notices of one rule in one round; the last counts the others")
    retry_seconds: float = Field(20.0, ge=0, description="How long one delivery is tried again in one round")
    keep_hours: float = Field(72.0, gt=0, description="How long a notice that cannot be delivered is kept")
    owners: dict[str, dict[str, str]] = Field(
        default_factory=dict, description='Who owns a value of a dimension: [alerts.owners.team] search = "Ada"'
    )
    channels: dict[str, AnyChannel] = Field(
        default_factory=dict, description="Where notices go: [alerts.channels.NAME] with a kind; see docs/alerts.md"
    )
    rules: dict[str, RuleSettings] = Field(
        default_factory=dict, description="Thresholds and the like of rules: [alerts.rules.NAME]"
    )

    @model_validator(mode="after")
    def _check(self) -> Alerts:
        for dimension in self.owners:
            if dimension not in DIMENSIONS:
                raise ValueError(f'owners of "{dimension}": it is none of {", ".join(DIMENSIONS)}')
        if self.trace_url is not None and "{trace_id}" not in self.trace_url:
            raise ValueError("trace_url needs {trace_id} where the id stands")
        for name, channel in self.channels.items():
            if isinstance(channel, _Secretive):
                needs = not isinstance(channel, Email) or channel.user is not None
                if (channel.secret_env is None) == (channel.secret_file is None) and (needs or channel.secret_env):
                    raise ValueError(f"channel {name}: say secret_env or secret_file, one of them")
        return self
