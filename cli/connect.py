"""`llmcost connect`: what to paste elsewhere so that spans arrive here."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Annotated

import typer

from ..models.errors import UsageError
from .connections import Protocol, System, as_text, at, one_of, protocol_of, receiver, snippets
from .options import ConfigOption

DEFAULT_HTTP = "127.0.0.1:4318"


class Form(StrEnum):
    """How the files are printed."""

    TEXT = "text"
    JSON = "json"


def connect(
    system: Annotated[System, typer.Argument(help="What is to send here.", show_default=False)],
    *,
    host: Annotated[
        str | None,
        typer.Option(
            "--host", metavar="HOST", help="Name of this machine as the sender sees it.", show_default="as set"
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint", metavar="URL", help="The whole address, where a proxy stands before the receiver."
        ),
    ] = None,
    protocol: Annotated[
        Protocol | None,
        typer.Option("--protocol", help="How OTLP travels.", show_default="what suits the system"),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="The receiver has a certificate.")] = False,
    token_env: Annotated[
        str | None,
        typer.Option("--token-env", metavar="NAME", help="Environment variable of the sender that holds its token."),
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="FILE", help="Print this one of the files, and nothing else.")
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", help="The files one below the other, or as JSON: name and text of each.")
    ] = Form.TEXT,
    config: ConfigOption = None,
) -> None:
    """Print the configuration that makes another system send here, and how outcomes are told.

    Addresses are those of the settings unless you name others. A token is never printed, only the name of the
    variable that holds it.

    \b
    Examples:
      llmcost connect python
      llmcost connect collector --host llmcost.internal --tls --token-env LLMCOST_TOKEN
      llmcost connect claude-code --only environment.sh >> ~/.profile
      llmcost connect litellm --endpoint https://llmcost.example.com --format json
    """
    from ..models.settings import load  # noqa: PLC0415  start-up time

    if token_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", token_env):
        # Not repeated in the message: somebody may have pasted the token itself.
        raise UsageError("--token-env is the name of an environment variable, such as LLMCOST_TOKEN, not a token")
    if host is not None and not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host):
        raise UsageError(f'--host "{host}" is not a host name or address: write the whole address as --endpoint URL')
    server = load(config).server
    # OTLP/HTTP may be turned off here, and still be what a proxy before the receiver speaks.
    addresses = {Protocol.GRPC: server.grpc, Protocol.HTTP: server.http or DEFAULT_HTTP}
    chosen = protocol_of(system, protocol)
    to = receiver(addresses, host=host, tls=tls, token_env=token_env)
    if endpoint is not None:
        to = at(endpoint, to, chosen)
    found = one_of(snippets(system, chosen, to), only)
    if form is Form.JSON:
        files = [{"name": snippet.name, "text": snippet.text} for snippet in found]
        typer.echo(json.dumps({"system": system.value, "protocol": chosen.value, "files": files}, indent=2))
    else:
        typer.echo(found[0].text if only else as_text(found), nl=False)
