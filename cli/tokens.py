"""`llmcost tokens`: who may send to this lake, and what stands on everything they send."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import ConfigOption, FormatOption, LakeOption, OutputOption

if TYPE_CHECKING:
    from ..ingest.tokens import TokenFile

app = typer.Typer(name="tokens", rich_markup_mode=None)
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the token: a team, a service, a customer.")]


@app.callback(invoke_without_command=True)
def _tokens(context: typer.Context) -> None:
    """Say who may send to this lake; a running server follows within two seconds.

    Once there is a token, whoever sends must show one. Only hashes are stored, in tokens.json in the lake.

    \b
    Examples:
      llmcost tokens create search --force team=search
      llmcost tokens list
      llmcost tokens revoke search
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def create(
    name: _Name,
    *,
    force: Annotated[
        list[str] | None,
        typer.Option("--force", metavar="NAME=VALUE", help="What stands on all that is sent with it. Repeatable."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="WHEN", help="12h, 90d, 52w, or a date to come.", show_default="never"),
    ] = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a token and print it on stdout, once; how to send it goes to stderr.

    --force names a dimension (team, customer_id, user_id, ...) or an attribute that is read as one (tenant.id).
    It wins over whatever the sender says in attributes or resource.

    \b
    Examples:
      llmcost tokens create acme --force customer.id=acme --force team=search --expires 90d
      TOKEN=$(llmcost tokens create ci)
    """
    from datetime import UTC, datetime  # noqa: PLC0415  start-up time

    from ..ingest.tokens import TokenFile, expiry, forced_columns  # noqa: PLC0415
    from ..models import conventions  # noqa: PLC0415
    from ..models.lake import Lake  # noqa: PLC0415
    from ..models.settings import load  # noqa: PLC0415

    settings = load(config, lake=lake)
    now = datetime.now(UTC).replace(microsecond=0)
    forced = forced_columns(force or [], conventions.load(settings.conventions))
    expires_at = expiry(expires, now)
    file = TokenFile(Lake.create(settings.lake).tokens)
    token = file.create(name, forced=forced, expires_at=expires_at, now=now)
    print(token)  # noqa: T201
    print(  # noqa: T201
        f"this token is shown only now. Senders add the header:\n"
        f"  authorization: Bearer {token}\n"
        f"OpenTelemetry SDKs take it from the environment:\n"
        f"  OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20{token}",
        file=sys.stderr,
    )


@app.command(name="list")
def list_(
    format_: FormatOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """List the tokens, active, expired and revoked, never the secrets.

    \b
    Examples:
      llmcost tokens list
      llmcost tokens list --format json
    """
    from datetime import UTC, datetime  # noqa: PLC0415  start-up time

    from .sheet import of_tokens  # noqa: PLC0415
    from .writers import deliver  # noqa: PLC0415

    deliver(of_tokens(_file(lake, config).read(), datetime.now(UTC)), format_, output)


@app.command()
def revoke(name: _Name, lake: LakeOption = None, config: ConfigOption = None) -> None:
    """Admit the holder of a token no longer.

    \b
    Examples:
      llmcost tokens revoke search
    """
    from datetime import UTC, datetime  # noqa: PLC0415  start-up time

    _file(lake, config).revoke(name, datetime.now(UTC).replace(microsecond=0))
    print(f"revoked {name}: servers refuse it within two seconds", file=sys.stderr)  # noqa: T201


def _file(lake: Path | None, config: Path | None) -> TokenFile:
    from ..ingest.tokens import TokenFile  # noqa: PLC0415  start-up time
    from ..models.lake import Lake  # noqa: PLC0415
    from ..models.settings import load  # noqa: PLC0415

    return TokenFile(Lake.open(load(config, lake=lake).lake).tokens)
