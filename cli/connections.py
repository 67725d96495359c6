"""What another system needs to be told so that it sends here: one template a file, filled in with an address.

The keys of each system are in its template and nowhere else; what is verified of them is in tests/test_connect.py.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..models.errors import UsageError

_TEMPLATES = Path(__file__).parent / "snippets"
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  (where a server listens is not where it is reached)


class System(StrEnum):
    """What can be connected."""

    COLLECTOR = "collector"
    PYTHON = "python"
    NODE = "node"
    LITELLM = "litellm"
    CLAUDE_CODE = "claude-code"
    CODEX = "codex"
    VERCEL = "vercel"
    LANGFUSE = "langfuse"


class Protocol(StrEnum):
    """How OTLP travels."""

    GRPC = "grpc"
    HTTP = "http"


_BOTH = (Protocol.GRPC, Protocol.HTTP)
_PROTOCOLS = {
    System.LITELLM: (Protocol.HTTP, Protocol.GRPC),
    System.CODEX: (Protocol.HTTP, Protocol.GRPC),
    System.VERCEL: (Protocol.HTTP,),
}
"""What a system can send over, what is best first; both, gRPC first, where it is not named."""

_PARTS: dict[System, tuple[tuple[str, str], ...]] = {
    System.COLLECTOR: (("collector.yaml", "collector.yaml.j2"), ("outcome.sh", "outcome.sh.j2")),
    System.PYTHON: (("environment.sh", "environment.sh.j2"), ("tracing.py", "tracing.py.j2")),
    System.NODE: (("environment.sh", "environment.sh.j2"), ("tracing.mjs", "tracing.mjs.j2")),
    System.LITELLM: (
        ("config.yaml", "litellm.yaml.j2"),
        ("environment.sh", "litellm.sh.j2"),
        ("outcome.sh", "outcome.sh.j2"),
    ),
    System.CLAUDE_CODE: (("environment.sh", "claude_code.sh.j2"), ("outcome.sh", "session_outcome.sh.j2")),
    System.CODEX: (("config.toml", "codex.toml.j2"), ("outcome.sh", "session_outcome.sh.j2")),
    System.VERCEL: (("instrumentation.ts", "vercel.ts.j2"), ("outcome.sh", "outcome.sh.j2")),
    System.LANGFUSE: (("tracing.py", "langfuse.py.j2"),),
}


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where to send: base URLs by protocol, and the variable that holds the token, if one is asked for."""

    grpc: str
    http: str
    token_env: str | None = None


@dataclass(frozen=True, slots=True)
class Snippet:
    """One file to paste, whole."""

    name: str
    text: str


def receiver(
    addresses: dict[Protocol, str], *, host: str | None = None, tls: bool = False, token_env: str | None = None
) -> Receiver:
    """The receiver at `addresses` (HOST:PORT, as the settings say), or at another `host` with the same ports."""
    urls = {}
    for protocol, address in addresses.items():
        listens, _, port = address.rpartition(":")
        urls[protocol] = f"{'https' if tls else 'http'}://{host or _ANYWHERE.get(listens, listens)}:{port}"
    return Receiver(urls[Protocol.GRPC], urls[Protocol.HTTP], token_env)


def at(endpoint: str, here: Receiver, protocol: Protocol) -> Receiver:
    """The receiver whose `protocol` is at the URL `endpoint`. Raises UsageError if that is no URL of a server."""
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/"):
        raise UsageError(
            f'--endpoint "{endpoint}" is not a URL without a path, such as https://llmcost.example.com:4317'
        )
    base = f"{url.scheme}://{url.netloc}"
    return Receiver(
        base if protocol is Protocol.GRPC else here.grpc,
        base if protocol is Protocol.HTTP else here.http,
        here.token_env,
    )


def protocol_of(system: System, wanted: Protocol | None) -> Protocol:
    """The protocol to use. Raises UsageError if the system cannot send over `wanted`."""
    possible = _PROTOCOLS.get(system, _BOTH)
    if wanted is not None and wanted not in possible:
        raise UsageError(f"{system} sends over {possible[0]} only: leave out --protocol {wanted}")
    return wanted or possible[0]


def snippets(system: System, protocol: Protocol, to: Receiver) -> list[Snippet]:
    """The files that connect `system`, rendered."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  start-up time

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  (configuration files, no HTML; the values are checked addresses and names)
    )
    url = to.grpc if protocol is Protocol.GRPC else to.http
    values: dict[str, Any] = {
        **asdict(to),
        "protocol": protocol.value,
        "url": url,
        "host_port": urlsplit(url).netloc,
        "is_tls": url.startswith("https:"),
    }
    return [Snippet(name, environment.get_template(template).render(values)) for name, template in _PARTS[system]]


def one_of(found: list[Snippet], name: str | None) -> list[Snippet]:
    """All of them, or the one of that `name`. Raises UsageError if there is none."""
    kept = [snippet for snippet in found if name in (None, snippet.name)]
    if not kept:
        raise UsageError(f'no file "{name}" here: choose {" or ".join(snippet.name for snippet in found)}')
    return kept


def as_text(found: list[Snippet]) -> str:
    """The files one below the other, each under its name."""
    return "\n".join(f"{_remark(snippet.name)}\n{snippet.text}" for snippet in found)


def _remark(name: str) -> str:
    mark = "//" if name.endswith((".ts", ".mjs")) else "#"
    return f"{mark} ---- {name} ----"
