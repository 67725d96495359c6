"""TLS and mutual TLS: encrypted senders are heard, others are not, and wrong files are named."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from support.otlp import span_ids, trace_request
from support.server import EXPORT, Server, intake

from llmcost.ingest.group_commit import Bounds, GroupCommit
from llmcost.ingest.http_receiver import HttpReceiver
from llmcost.ingest.receiver import Receiver
from llmcost.ingest.receiver_folder import ReceiverFolder
from llmcost.ingest.tls import Renewal, Tls
from llmcost.models import settings
from llmcost.models.errors import SettingsError

Use = Callable[[int], Awaitable[None]]
BODY = trace_request(span_ids(1))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def issued(authority: trustme.CA, folder: Path, name: str = "server", *, client_ca: trustme.CA | None = None) -> Tls:
    """A certificate for this machine, as files."""
    pair = authority.issue_cert("localhost", "127.0.0.1")
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    cert.write_bytes(b"".join(pem.bytes() for pem in pair.cert_chain_pems))
    key.write_bytes(pair.private_key_pem.bytes())
    if client_ca is None:
        return Tls(cert, key)
    client_ca.cert_pem.write_to_path(str(folder / "clients.crt"))
    return Tls(cert, key, folder / "clients.crt")


def run(folder: Path, tls: Tls, use: Use) -> None:
    async def body() -> None:
        (folder / "journal").mkdir()
        bounds = Bounds(segment_seconds=60, segment_bytes=1 << 26, backlog_bytes=1 << 30)
        journal = GroupCommit(ReceiverFolder(folder / "journal"), bounds, next_number=1)
        receiver = Receiver(intake(journal), max_message_bytes=1 << 20, credentials=tls.grpc_credentials())
        port = await receiver.start("127.0.0.1:0")
        try:
            await use(port)
        finally:
            await receiver.stop()
            await journal.close()

    asyncio.run(body())


async def send(port: int, trusted: trustme.CA, client: tuple[bytes, bytes] = (b"", b"")) -> bytes:
    """Export over TLS; `client` is the sender's own key and certificate."""
    key, chain = client
    credentials = grpc.ssl_channel_credentials(trusted.cert_pem.bytes(), key or None, chain or None)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        answer: bytes = await channel.unary_unary(EXPORT)(BODY, timeout=30)
        return answer


async def is_refused(sending: Awaitable[bytes]) -> bool:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await sending
    return bool(raised.value.code() is grpc.StatusCode.UNAVAILABLE)


def client_pair(authority: trustme.CA) -> tuple[bytes, bytes]:
    pair = authority.issue_cert("sender@example.org")
    return pair.private_key_pem.bytes(), pair.cert_chain_pems[0].bytes()


def test_a_sender_that_trusts_the_authority_is_heard(tmp_path: Path, authority: trustme.CA) -> None:
    """Over TLS; one that does not trust it turns away, and plain text is not answered."""

    async def use(port: int) -> None:
        assert b"" == await send(port, authority)
        assert await is_refused(send(port, trustme.CA()))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await is_refused(channel.unary_unary(EXPORT)(BODY, timeout=30))

    run(tmp_path, issued(authority, tmp_path), use)


def test_mutual_tls_hears_only_senders_of_the_authority(tmp_path: Path, authority: trustme.CA) -> None:
    """Without a certificate, with a stranger's, with the right one."""
    clients = trustme.CA()

    async def use(port: int) -> None:
        assert await is_refused(send(port, authority))
        assert await is_refused(send(port, authority, client_pair(trustme.CA())))
        assert b"" == await send(port, authority, client_pair(clients))

    run(tmp_path, issued(authority, tmp_path, client_ca=clients), use)


def test_a_renewed_certificate_serves_the_next_connection(tmp_path: Path, authority: trustme.CA) -> None:
    """Without a restart. Half a renewal changes nothing."""
    tls, other = issued(authority, tmp_path), trustme.CA()

    async def use(port: int) -> None:
        renewed = issued(other, tmp_path, "renewed")
        renewed.cert.replace(tls.cert)
        assert b"" == await send(port, authority), "certificate and key do not fit: the old pair stays"
        renewed.key.replace(tls.key)
        assert b"" == await send(port, other)
        assert await is_refused(send(port, authority))

    run(tmp_path, tls, use)


def test_a_context_in_use_takes_a_renewed_certificate(
    tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    """For HTTP: the options uvicorn takes, and what to call when Renewal says so."""
    caplog.set_level(logging.INFO)
    tls = issued(authority, tmp_path, client_ca=authority)
    assert {
        "ssl_certfile": str(tls.cert),
        "ssl_keyfile": str(tls.key),
        "ssl_ca_certs": str(tls.client_ca),
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    } == tls.uvicorn_options()
    context, renewal = tls.context(), Renewal(tls)
    assert not renewal.is_due()
    renewed = issued(trustme.CA(), tmp_path, "renewed")
    renewed.cert.replace(tls.cert)
    assert not renewal.is_due()
    assert "the old certificate stays in use" in caplog.messages[-1]
    renewed.key.replace(tls.key)
    assert renewal.is_due()
    assert not renewal.is_due()
    tls.renew(context)


def test_the_log_tells_what_a_plain_text_sender_looks_like(tmp_path: Path, authority: trustme.CA) -> None:
    """GRPC's own line about it says WRONG_VERSION_NUMBER and no more; ours, before it, says what that means."""
    tls = issued(authority, tmp_path)
    with Server(tmp_path / "lake", server__tls_cert=tls.cert, server__tls_key=tls.key) as server:
        with pytest.raises(grpc.RpcError) as raised:
            server.send(BODY)
        assert grpc.StatusCode.UNAVAILABLE == raised.value.code()  # type: ignore[attr-defined]
        assert 0 == server.stop()
    assert "tls=on" in server.log()
    assert "senders must speak TLS" in server.log()
    assert server.log().count("WRONG_VERSION_NUMBER") > 1


def test_without_files_there_is_no_tls() -> None:
    assert Tls.of(settings.Server()) is None


def server(tls: Tls) -> settings.Server:
    return settings.Server(tls_cert=tls.cert, tls_key=tls.key, tls_client_ca=tls.client_ca)


def test_files_that_fit_are_taken(tmp_path: Path, authority: trustme.CA) -> None:
    tls = issued(authority, tmp_path, client_ca=authority)
    assert tls == Tls.of(server(tls))


def wrong(asked: settings.Server) -> str:
    with pytest.raises(SettingsError) as raised:
        Tls.of(asked)
    return str(raised.value)


@pytest.mark.parametrize("name", ["tls_cert", "tls_key", "tls_client_ca"])
def test_a_file_that_is_missing_or_no_pem_is_named(tmp_path: Path, authority: trustme.CA, name: str) -> None:
    """And why."""
    good = server(issued(authority, tmp_path, client_ca=authority))
    absent, empty = tmp_path / "absent.pem", tmp_path / "empty.pem"
    empty.write_text("no certificate")
    assert f'cannot read server.{name} = "{absent}": No such file' in wrong(good.model_copy(update={name: absent}))
    assert f'server.{name} = "{empty}" holds no PEM' in wrong(good.model_copy(update={name: empty}))


def test_half_a_pair_and_a_pair_that_does_not_fit_are_refused(tmp_path: Path, authority: trustme.CA) -> None:
    tls, other = issued(authority, tmp_path), issued(authority, tmp_path, "other")
    assert "server.tls_key is not" in wrong(settings.Server(tls_cert=tls.cert))
    assert "server.tls_cert is not" in wrong(settings.Server(tls_key=tls.key))
    assert "needs server.tls_cert" in wrong(settings.Server(tls_client_ca=tls.cert))
    said = wrong(settings.Server(tls_cert=tls.cert, tls_key=other.key))
    assert f'server.tls_key = "{other.key}" is not the key of server.tls_cert = "{tls.cert}"' in said


def test_an_encrypted_key_is_refused_and_no_password_is_asked(tmp_path: Path, authority: trustme.CA) -> None:
    """A server has nobody to ask."""
    tls = issued(authority, tmp_path)
    key = serialization.load_pem_private_key(tls.key.read_bytes(), None)
    tls.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert f'server.tls_key = "{tls.key}" is encrypted' in wrong(server(tls))


def test_http_speaks_tls_and_asks_for_certificates(authority: trustme.CA, tmp_path: Path) -> None:
    """With a client's certificate 200, without one or in plain text no answer."""
    tls = issued(authority, tmp_path, client_ca=authority)
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    with_certificate = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    authority.issue_cert("sender@example.org").configure_cert(with_certificate)

    def status(port: int, how: ssl.SSLContext | None) -> int:
        here = http.client.HTTPSConnection("127.0.0.1", port, context=how, timeout=30) if how else (
            http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        )  # fmt: skip
        with contextlib.closing(here):
            here.request("POST", "/v1/traces", BODY, {"content-type": "application/x-protobuf"})
            return here.getresponse().status

    async def body() -> None:
        journal = GroupCommit(ReceiverFolder(tmp_path), Bounds(60, 1 << 26, 1 << 30), next_number=1)
        receiver = HttpReceiver(intake(journal), tls=tls)
        port = await receiver.start("127.0.0.1:0")
        try:
            assert 200 == await asyncio.to_thread(status, port, with_certificate)
            for stranger in (context, None):
                with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
                    await asyncio.to_thread(status, port, stranger)
        finally:
            await receiver.stop()
            await journal.close()

    asyncio.run(body())
