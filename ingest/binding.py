"""Which addresses may be listened on by a server that anybody could send to."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from ..models.errors import SettingsError
from ..models.settings import Server
from .access import Access
from .addresses import Address
from .logs import fields
from .tls import Tls

log = logging.getLogger(__name__)


def guarded(server: Server, addresses: Iterable[Address], tokens: Path, tls: Tls | None) -> Access:
    """Who may send to a server that listens on `addresses`, after checking that this is safe.

    Raises SettingsError where the network could send to it without a token or a certificate, unless that is
    wished; TokensUnreadable where nobody can tell. Says in the log what an operator should know.
    """
    reachable = [f'{address.setting} = "{address}"' for address in addresses if not address.is_loopback]
    is_mutual = tls is not None and tls.is_mutual
    access = Access(
        tokens,
        open_without_tokens=not reachable or is_mutual,
        allow_anonymous=server.allow_anonymous,
    )
    has_tokens = access.has_tokens()
    if not reachable:
        return access
    if server.allow_anonymous and not is_mutual:
        log.warning(
            "anybody who reaches this address can send: server.allow_anonymous", extra=fields(at=reachable[0])
        )
    elif not has_tokens and not is_mutual:
        raise SettingsError(
            f"{reachable[0]} can be reached from other machines, and nothing tells who sends. Make a token "
            "(llmcost tokens create NAME), or demand certificates (server.tls_client_ca), or say that anybody "
            "may send (server.allow_anonymous = true, or --allow-anonymous)"
        )
    if has_tokens and tls is None:
        log.warning(
            "tokens travel in clear text to this address: set server.tls_cert and server.tls_key, "
            "or let a proxy in front of it speak TLS",
            extra=fields(at=reachable[0]),
        )
    return access
