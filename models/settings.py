"""Every setting, its default and its meaning. Sources: options > environment LLMCOST_* > llmcost.toml.

A nested setting is LLMCOST_SECTION__NAME in the environment.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

from .alert_settings import Alerts
from .errors import SettingsError

DEFAULT_FILE = Path("llmcost.toml")
MIB = 1024 * 1024


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(_Section):
    """The receiver."""

    grpc: str = Field("127.0.0.1:4317", description="Address of OTLP/gRPC, HOST:PORT; port 0 takes a free one")
    receivers: int = Field(
        1, ge=1, le=64, description="Processes that share the port; more help where requests are small and cores many"
    )
    http: str = Field(
        "127.0.0.1:4318", description="Address of OTLP/HTTP, HOST:PORT; port 0 takes a free one, empty turns it off"
    )
    max_message_mib: int = Field(
        64, ge=1, le=1024, description="Largest request accepted, in MiB, as it is sent and as it unpacks"
    )
    max_json_mib: int = Field(
        16,
        ge=1,
        le=1024,
        description="Largest OTLP/JSON request accepted, in MiB: a hostile one takes 70 times its size",
    )
    max_concurrent_requests: int = Field(
        256, ge=1, description="Requests under way at once; more are told to come again"
    )
    request_seconds: float = Field(30.0, gt=0, description="How long an HTTP request may take to arrive")
    cors_origins: list[str] = Field(
        default_factory=list, description="Web origins whose pages may send; empty allows none, * any"
    )
    stop_seconds: float = Field(30.0, gt=0, description="How long a stop may take to drain")
    allow_anonymous: bool = Field(False, description="Whether those who show no token may send, whatever the address")
    tls_cert: Path | None = Field(None, description="Certificate chain, PEM; with it senders must speak TLS")
    tls_key: Path | None = Field(None, description="Private key of the certificate, PEM, not encrypted")
    tls_client_ca: Path | None = Field(
        None, description="Authority of the senders' certificates, PEM; with it each must show one"
    )


class Landing(_Section):
    """From journal to Parquet."""

    segment_seconds: float = Field(1.0, gt=0, description="Age at which a journal segment is closed")
    segment_mib: int = Field(64, ge=1, description="Size at which a journal segment is closed, in MiB")
    journal_max_mib: int = Field(4096, ge=1, description="Backlog at which new requests are refused, in MiB")
    journal_max_age_seconds: float = Field(
        3600.0, gt=0, description="Age of the oldest request not landed at which new ones are refused"
    )
    workers: int = Field(1, ge=1, le=64, description="Processes that land the receivers' journals, at most one each")
    silence_seconds: float = Field(
        120.0, ge=5, description="Silence after which a process of the server is taken for stuck and started again"
    )
    max_attributes: int = Field(1024, ge=16, description="Attributes kept a span; the rest are dropped and noted")
    max_value_bytes: int = Field(
        65536, ge=256, description="Longest attribute value kept, in bytes; a longer one is cut and noted"
    )


class Content(_Section):
    """Prompt and completion text."""

    policy: Literal["drop", "keep"] = Field("drop", description="Whether text of prompts and answers is landed")
    allow: tuple[str, ...] = Field((), description="Attributes (globs) that are landed although they are content")
    deny: tuple[str, ...] = Field(
        (), description="Attributes (globs) that are neither read nor landed, those of resources included"
    )
    hash: tuple[str, ...] = Field(
        (),
        description="Dimensions, such as user_id, or attributes (globs) whose values are landed as a keyed hash",
    )
    hash_key_file: Path | None = Field(None, description="File with the key of these hashes, 16 bytes or more")
    hash_key: SecretStr | None = Field(None, description="The key itself; set it in the environment only")


class Pricing(_Section):
    """Which cost is booked."""

    prefer: Literal["reported", "list"] = Field(
        "reported", description="Book a gateway's or SDK's reported cost first, or the price book's"
    )


class Deriving(_Section):
    """Joins over time."""

    lookback_days: int = Field(30, ge=0, description="Days after a call in which its outcome may still arrive")


class Upkeep(_Section):
    """What the keeper does beside the receivers: compaction, vacuum, derivation of changed days, retention."""

    target_file_mib: int = Field(128, ge=1, le=4096, description="Size that compaction makes files of, in MiB")
    memory_mib: int = Field(512, ge=256, description="Memory a compaction sorts in before it spills to disk, in MiB")
    vacuum_grace_hours: float = Field(
        2.0,
        ge=1,
        description="Hours a file that left the lake is kept for those who still read it",
    )
    rest_seconds: float = Field(
        10.0,
        gt=0,
        description="Least rest of the keeper between two rounds; it also rests ten times as long as one took",
    )


class Retention(_Section):
    """How long what is kept is kept, in UTC days; without a value for ever."""

    spans_days: int | None = Field(None, ge=2, description="Days spans are kept; their calls and rollups stay")
    events_days: int | None = Field(None, ge=2, description="Days events are kept; their outcomes and scores stay")
    marts_days: int | None = Field(None, ge=2, description="Days calls and all else that is derived are kept")


class Reconciling(_Section):
    """How reports of providers are set beside telemetry."""

    project: (
        Literal["team", "org", "customer_id", "feature", "deployment", "service_name", "agent_name", "key_id"] | None
    ) = Field(
        None, description="Dimension of calls that a report's project or workspace stands for; none is compared"
    )
    names: dict[str, str] = Field(
        default_factory=dict, description="What a report's ids of projects and keys are called in telemetry"
    )


class Budgeting(_Section):
    """How budgets are decided; the budgets themselves stand in their file."""

    file: Path | None = Field(None, description="File of the budgets; without a value budgets.yaml in the lake")
    when_unknown: Literal["allow", "block"] = Field(
        "allow", description="What is said of a request under a hard budget while nobody knows what was spent"
    )
    stale_seconds: float = Field(
        300.0, gt=0, description="Age at which figures of spend are no longer taken for known"
    )
    reservation_seconds: float = Field(
        300.0, gt=0, le=86_400, description="How long a reservation holds that nobody settles"
    )
    landing_seconds: float = Field(
        30.0,
        ge=0,
        description="How long after a request its span may land; until then a settled reservation still counts",
    )
    refresh_seconds: float = Field(
        1.0, gt=0, description="Least rest between two looks at what landed; it also rests as long as one took"
    )


class Settings(BaseSettings):
    """All settings of llmcost."""

    model_config = SettingsConfigDict(
        env_prefix="LLMCOST_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    lake: Path = Field(Path("llmcost-lake"), description="Folder of the lake")
    server: Server = Server()
    landing: Landing = Landing()
    content: Content = Content()
    pricing: Pricing = Pricing()
    deriving: Deriving = Deriving()
    upkeep: Upkeep = Upkeep()
    retention: Retention = Retention()
    reconcile: Reconciling = Reconciling()
    budgets: Budgeting = Budgeting()
    alerts: Alerts = Alerts()
    conventions: dict[str, Any] = Field(
        default_factory=dict, description="Additions to the conventions table, in its own shape"
    )

    @classmethod
    def sent(cls, values: dict[str, Any]) -> Settings:
        """The settings whose `model_dump(mode="json")` another process sent; files and environment do not count."""
        defaults = cls()
        return defaults.model_copy(
            update={
                name: type(held).model_validate(value) if isinstance(held, BaseModel) else type(held)(value)
                for name, value in values.items()
                for held in [getattr(defaults, name)]
            }
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over the file: the file's values come in as init arguments."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def _may_be_a_secret(name: str, problem: str) -> bool:
    """Whether the value may be content.hash_key, under its name or a misspelt one."""
    return name == "content" or (name.startswith("content.") and (problem == "extra_forbidden" or "key" in name))


def load(path: Path | None = None, *, lake: Path | None = None) -> Settings:
    """Settings from `path` (or ./llmcost.toml if it is there) and the environment; `lake` wins over both.

    Raises SettingsError naming the setting, its value and what is accepted.
    """
    source = path or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    values: dict[str, Any] = {}
    if source is not None:
        try:
            values = tomllib.loads(source.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f'cannot read the settings file "{source}": {error.strerror}') from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f'"{source}" is not TOML: {error}') from error
    try:
        settings = Settings(**values)
    except SourceError as error:
        raise SettingsError(
            f"{error} (the environment): lists and tables are JSON there, such as "
            """LLMCOST_CONTENT__DENY='["user.email"]'"""
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        shown = "(hidden)" if _may_be_a_secret(name, first["type"]) else repr(first.get("input"))
        raise SettingsError(
            f'setting "{name}" = {shown}: {first["msg"]}'
            f" (from {source or 'the environment'}; all settings: docs/settings.md)"
        ) from error
    return settings if lake is None else settings.model_copy(update={"lake": lake})
