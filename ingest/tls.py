"""Certificates: read, checked against each other, and read again when they are renewed."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from ..models.errors import SettingsError
from ..models.settings import Server
from .logs import fields

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of server.tls_cert, server.tls_key and, for mutual TLS, server.tls_client_ca."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def of(cls, server: Server) -> Tls | None:
        """As the settings say, None for plain text. Raises SettingsError naming the file that is wrong."""
        if server.tls_cert is None and server.tls_key is None:
            if server.tls_client_ca is not None:
                raise SettingsError(
                    f'server.tls_client_ca = "{server.tls_client_ca}" needs server.tls_cert and server.tls_key too'
                )
            return None
        if server.tls_cert is None or server.tls_key is None:
            there, missing = ("tls_cert", "tls_key") if server.tls_key is None else ("tls_key", "tls_cert")
            raise SettingsError(f"server.{there} is set and server.{missing} is not: TLS needs both files")
        tls = cls(server.tls_cert, server.tls_key, server.tls_client_ca)
        tls.context()
        return tls

    @property
    def is_mutual(self) -> bool:
        """Whether a sender must show a certificate."""
        return self.client_ca is not None

    def context(self) -> ssl.SSLContext:
        """A server's context over the files as they are now. Raises SettingsError naming the file that is wrong."""
        for name, path in (("tls_cert", self.cert), ("tls_key", self.key), ("tls_client_ca", self.client_ca)):
            if path is not None:
                _read(name, path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._load_chain(context)
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError as error:
                raise SettingsError(f'server.tls_client_ca = "{self.client_ca}" holds no PEM certificate') from error
        return context

    def uvicorn_options(self) -> dict[str, Any]:
        """What uvicorn.Config takes. It reads the files once; see Renewal and renew()."""
        return {
            "ssl_certfile": str(self.cert),
            "ssl_keyfile": str(self.key),
            "ssl_ca_certs": None if self.client_ca is None else str(self.client_ca),
            "ssl_cert_reqs": ssl.CERT_REQUIRED if self.is_mutual else ssl.CERT_NONE,
        }

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Credentials of a gRPC server, which looks at every new connection whether the files were renewed."""
        renewal = Renewal(self)
        return grpc.dynamic_ssl_server_credentials(
            self._grpc_configuration(),
            lambda: self._grpc_configuration() if renewal.is_due() else None,
            require_client_authentication=self.is_mutual,
        )

    def renew(self, context: ssl.SSLContext) -> None:
        """Load the files into a context in use: connections made from now on see the new certificate."""
        self._load_chain(context)
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)

    def _grpc_configuration(self) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(self.key.read_bytes(), self.cert.read_bytes())],
            root_certificates=None if self.client_ca is None else self.client_ca.read_bytes(),
        )

    def _load_chain(self, context: ssl.SSLContext) -> None:
        def no_password() -> str:
            raise SettingsError(
                f'server.tls_key = "{self.key}" is encrypted: give an unencrypted key that only this user may read'
            )

        try:
            context.load_cert_chain(self.cert, self.key, no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise SettingsError(
                    f'server.tls_key = "{self.key}" is not the key of server.tls_cert = "{self.cert}": give the pair'
                ) from error
            name, path, what = ("tls_cert", self.cert, "certificate")
            if b"-BEGIN CERTIFICATE-" in self.cert.read_bytes():
                name, path, what = ("tls_key", self.key, "private key")
            raise SettingsError(f'server.{name} = "{path}" holds no PEM {what}: {error.reason or error}') from error


class Renewal:
    """Tells when certificate files were replaced by a set that fits together."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._seen = self._state()

    def is_due(self) -> bool:
        """True once after each renewal. Files that do not fit, as half-way through one, are passed over and named."""
        state = self._state()
        if state == self._seen:
            return False
        self._seen = state
        try:
            self._tls.context()
        except SettingsError as error:
            log.error("the old certificate stays in use: %s", error)
            return False
        log.info("certificates were renewed", extra=fields(cert=self._tls.cert))
        return True

    def _state(self) -> list[object]:
        paths = [path for path in (self._tls.cert, self._tls.key, self._tls.client_ca) if path is not None]
        return [_state_of(path) for path in paths]


def _state_of(path: Path) -> object:
    try:
        status = path.stat()
    except OSError as error:
        return error.errno
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(name: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise SettingsError(f'cannot read server.{name} = "{path}": {error.strerror}') from error
