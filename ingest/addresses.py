"""Where the server listens: reading HOST:PORT, and holding a port that several processes share."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from ..models.errors import SettingsError

_PATIENCE_SECONDS = 3.0
"""Receivers whose parent was killed need a moment to let their port go."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address to listen on; `setting` names where it was written, for errors."""

    setting: str
    host: str
    port: int

    @classmethod
    def parse(cls, setting: str, text: str) -> Address:
        """Read HOST:PORT (an IPv6 host in brackets). Raises SettingsError.

        >>> Address.parse("server.grpc", "[::1]:4317").host
        '::1'
        """
        host, colon, port = text.rpartition(":")
        if not (host and colon and port.isdecimal() and int(port) <= 65535):
            raise SettingsError(f'{setting} = "{text}" is not HOST:PORT, such as 127.0.0.1:4317 or 0.0.0.0:4317')
        return cls(setting, host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class Held:
    """A port nobody else can take, for as long as this object is open.

    The sockets are bound and never listen, so no connection comes to them; processes that bind the same
    address with SO_REUSEPORT get all of them, and the port stays ours while one of those is started again.
    """

    def __init__(self, address: Address, sockets: list[socket.socket]) -> None:
        self.address = address
        self._sockets = sockets

    def close(self) -> None:
        """Let the port go."""
        for held in self._sockets:
            held.close()


def hold(address: Address) -> Held:
    """Take `address`; port 0 becomes a free port. Raises SettingsError if it is taken or not this machine's."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return _hold(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise SettingsError(
                    f'cannot listen on {address.setting} = "{address}": {error.strerror or error}: '
                    f"{_next_step(error)}"
                ) from error
        time.sleep(0.1)


def _hold(address: Address) -> Held:
    # First without sharing: a second server on this port is a mistake, not a wish to share it.
    probes = bound_sockets(address, share_port=False)
    taken = replace(address, port=probes[0].getsockname()[1])
    for probe in probes:
        probe.close()
    return Held(taken, bound_sockets(taken, share_port=True))


def bound_sockets(address: Address, *, share_port: bool) -> list[socket.socket]:
    """Sockets bound to each address that the host stands for, all on one port, a free one for port 0.

    With `share_port` others that ask for it too may bind the same. Raises OSError.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    port = address.port
    try:
        for family, _, _, _, place in socket.getaddrinfo(
            address.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            try:
                sockets.append(_bound(family, (place[0], port, *place[2:]), share_port=share_port))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                missing = error  # "localhost" on a machine without IPv6
            else:
                port = sockets[-1].getsockname()[1]
        if not sockets and missing is not None:
            raise missing
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _bound(family: int, place: tuple[object, ...], *, share_port: bool) -> socket.socket:
    # The protocol by name: asyncio sends small answers at once only on sockets that say they are TCP.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(place)
    except OSError:
        made.close()
        raise
    return made


def _next_step(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there; choose another port, or stop it"
    return "is it an address of this machine, and may this user listen there?"
