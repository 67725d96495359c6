"""Where the server listens: reading HOST:PORT, and holding a port that several processes share."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from contextlib import suppress
from dataclasses import dataclass

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
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    port, sockets = address.port, []
    try:
        for family, kind, protocol, _, place in found:
            try:
                # First without SO_REUSEPORT: a second server on this port is a mistake, not a wish to share it.
                with socket.socket(family, kind, protocol) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((place[0], port, *place[2:]))
                    port = port or probe.getsockname()[1]
                sockets.append(bound(family, (place[0], port, *place[2:])))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL or not sockets:  # "localhost" on a machine without IPv6
                    raise
    except OSError:
        for taken in sockets:
            taken.close()
        raise
    return Held(Address(address.setting, address.host, port), sockets)


def bound(family: int, place: tuple[object, ...]) -> socket.socket:
    """A socket bound to `place` that shares its port with others that ask to. Raises OSError."""
    sharing = socket.socket(family, socket.SOCK_STREAM)
    try:
        sharing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sharing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):
                sharing.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sharing.bind(place)
    except OSError:
        sharing.close()
        raise
    return sharing


def _next_step(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there; choose another port, or stop it"
    return "is it an address of this machine, and may this user listen there?"
