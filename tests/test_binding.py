"""Where a server may listen: nobody sends from elsewhere unless somebody said who may."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import grpc
import grpc.aio
import pytest
from support.otlp import span_ids, trace_request
from support.server import EXPORT, Server, intake
from test_http_receiver import PROTOBUF, ask
from test_http_receiver import run as run_http

from llmcost.ingest.access import Access
from llmcost.ingest.addresses import Address, bound_sockets, hold
from llmcost.ingest.binding import guarded
from llmcost.ingest.forced import packed
from llmcost.ingest.group_commit import Bounds, GroupCommit
from llmcost.ingest.journal import Reading, Request
from llmcost.ingest.receiver import Receiver
from llmcost.ingest.receiver_folder import ReceiverFolder
from llmcost.ingest.refusals import RETRY_SECONDS
from llmcost.ingest.tls import Tls
from llmcost.ingest.tokens import TokenFile
from llmcost.models import settings
from llmcost.models.errors import SettingsError

EVERYWHERE = [Address.parse("server.grpc", "0.0.0.0:4317")]
HERE = [Address.parse("server.grpc", "127.0.0.1:4317")]
MUTUAL, PLAIN_TLS = Tls(Path("cert"), Path("key"), Path("ca")), Tls(Path("cert"), Path("key"))


def make_token(path: Path, name: str = "acme", **forced: str) -> str:
    return TokenFile(path).create(name, forced=forced, expires_at=None, now=datetime(2026, 11, 22, tzinfo=UTC))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "::1", "localhost"])
def test_loopback_is_this_machine(host: str) -> None:
    assert Address.parse("server.grpc", f"{host}:4317").is_loopback


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "[::]", "10.0.0.1", "example.org", "localhost.example.org", "[fe80::1]"],  # noqa: S104  nothing is bound
)
def test_everything_else_is_not(host: str) -> None:
    assert not Address.parse("server.grpc", f"{host}:4317").is_loopback


def test_an_open_address_without_any_check_is_refused(tmp_path: Path) -> None:
    """The error names the address and the three ways out."""
    with pytest.raises(SettingsError) as raised:
        guarded(
            settings.Server(), [*HERE, Address.parse("server.http", "0.0.0.0:4318")], tmp_path / "tokens.json", None
        )
    said = str(raised.value)
    assert 'server.http = "0.0.0.0:4318" can be reached from other machines' in said
    for way_out in ("llmcost tokens create NAME", "server.tls_client_ca", "--allow-anonymous"):
        assert way_out in said
    with pytest.raises(SettingsError):
        guarded(settings.Server(), EVERYWHERE, tmp_path / "tokens.json", PLAIN_TLS)


def test_each_way_out_is_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Loopback, a certificate, an explicit wish, a token: and the log warns of what is still weak."""
    tokens = tmp_path / "tokens.json"
    guarded(settings.Server(), HERE, tokens, None).admit(None)
    guarded(settings.Server(), EVERYWHERE, tokens, MUTUAL).admit(None)
    assert not caplog.messages
    guarded(settings.Server(allow_anonymous=True), EVERYWHERE, tokens, None).admit(None)
    assert "anybody who reaches this address can send" in caplog.messages.pop()
    caplog.clear()
    token = make_token(tokens)
    guarded(settings.Server(), EVERYWHERE, tokens, PLAIN_TLS).admit(f"Bearer {token}")
    guarded(settings.Server(), HERE, tokens, None).admit(f"Bearer {token}")
    assert not caplog.messages
    guarded(settings.Server(), EVERYWHERE, tokens, None).admit(f"Bearer {token}")
    assert "tokens travel in clear text" in caplog.messages[0]


def run(folder: Path, access: Access, use: Callable[[grpc.aio.Channel], Awaitable[None]]) -> list[Request]:
    """Run `use` against a receiver; returns what is in the journal afterwards."""

    async def body() -> None:
        bounds = Bounds(segment_seconds=60, segment_bytes=1 << 26, backlog_bytes=1 << 30)
        journal = GroupCommit(ReceiverFolder(folder), bounds, next_number=1)
        receiver = Receiver(intake(journal, access=access), max_message_bytes=1 << 20)
        port = await receiver.start("127.0.0.1:0")
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await use(channel)
        finally:
            await receiver.stop()
            await journal.close()

    asyncio.run(body())
    found: list[Request] = []
    for segment in ReceiverFolder(folder).waiting():
        with Reading(segment.path) as reading:
            found += list(reading)
    return found


async def status(channel: grpc.aio.Channel, body: bytes, *metadata: tuple[str, str]) -> grpc.StatusCode:
    try:
        await channel.unary_unary(EXPORT)(body, metadata=metadata, timeout=30)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_a_request_is_journalled_with_what_its_token_forces(tmp_path: Path) -> None:
    """Who shows none is UNAUTHENTICATED, and nothing of it is kept."""
    journal = tmp_path / "journal"
    journal.mkdir()
    token = make_token(tmp_path / "tokens.json", team="search")
    body = trace_request(span_ids(1))

    async def use(channel: grpc.aio.Channel) -> None:
        assert grpc.StatusCode.OK == await status(channel, body, ("authorization", f"Bearer {token}"))
        for shown in ((), (("authorization", "Bearer llmcost_x"),), (("authorization", token),)):
            assert grpc.StatusCode.UNAUTHENTICATED == await status(channel, body, *shown)

    [kept] = run(journal, Access(tmp_path / "tokens.json", open_without_tokens=True), use)
    assert (body, packed({"team": "search"})) == (kept.body, kept.forced)


def test_http_asks_for_the_token_too(tmp_path: Path) -> None:
    """401 with a challenge, in the request's content type; a damaged file is 503, to be tried again."""
    journal, tokens = tmp_path / "journal", tmp_path / "tokens.json"
    journal.mkdir()
    token = make_token(tokens, team="search")
    body = trace_request(span_ids(1))

    def use(port: int) -> None:
        assert 200 == ask(port, body=body, authorization=f"Bearer {token}").status
        for shown in ({}, {"authorization": "Bearer llmcost_x"}, {"authorization": token}):
            answer = ask(port, body=body, **shown)
            assert (401, "Bearer", PROTOBUF) == (
                answer.status, answer.headers["www-authenticate"], answer.headers["content-type"],
            )  # fmt: skip
            assert token.encode() not in answer.body

    assert [body] == run_http(journal, use, access=Access(tokens, open_without_tokens=True))
    tokens.write_text("{")

    def use_damaged(port: int) -> None:
        answer = ask(port, body=body)
        assert (503, str(RETRY_SECONDS)) == (answer.status, answer.headers["retry-after"])

    (tmp_path / "other").mkdir()
    assert [] == run_http(tmp_path / "other", use_damaged, access=Access(tokens, open_without_tokens=True))


def test_figures_are_for_those_who_may_see_all(tmp_path: Path) -> None:
    """/metrics tells what is spent: not to strangers, not to a tenant. /healthz and /readyz tell nothing."""
    tokens = tmp_path / "tokens.json"
    tenants, own = make_token(tokens, "tenant", team="search"), make_token(tokens, "own")

    def use(port: int) -> None:
        for path in ("/healthz", "/readyz"):
            assert 200 == ask(port, path).status
        assert 401 == ask(port, "/metrics").status
        assert 401 == ask(port, "/metrics", authorization=f"Bearer {tenants}").status
        assert 200 == ask(port, "/metrics", authorization=f"Bearer {own}").status

    (tmp_path / "journal").mkdir()
    run_http(tmp_path / "journal", use, access=Access(tokens, open_without_tokens=True))


def test_a_damaged_file_is_unavailable_so_that_senders_keep_their_spans(tmp_path: Path) -> None:
    """An exporter drops what is UNAUTHENTICATED and tries again what is UNAVAILABLE."""
    journal = tmp_path / "journal"
    journal.mkdir()
    (tmp_path / "tokens.json").write_text("{")

    async def use(channel: grpc.aio.Channel) -> None:
        assert grpc.StatusCode.UNAVAILABLE == await status(channel, trace_request(span_ids(1)))

    assert [] == run(journal, Access(tmp_path / "tokens.json", open_without_tokens=True), use)


def test_a_running_server_admits_and_refuses_by_the_file(tmp_path: Path) -> None:
    """From token to lake: the forced team stands on the span, and a revoked token is refused soon."""
    from deltalake import DeltaTable

    lake = tmp_path / "lake"
    lake.mkdir()
    tokens = lake / "tokens.json"
    token = make_token(tokens, team="search")
    metadata = (("authorization", f"Bearer {token}"),)
    with Server(lake) as server:
        server.send(trace_request(span_ids(1)), metadata=metadata)
        server.wait_until_landed()
        TokenFile(tokens).revoke("acme", datetime.now(UTC))
        with pytest.raises(grpc.RpcError) as raised:
            for seed in range(1000):
                server.send(trace_request(span_ids(1, seed)), metadata=metadata)
        assert grpc.StatusCode.UNAUTHENTICATED == raised.value.code()  # type: ignore[attr-defined]
        assert token not in server.log()
        assert 0 == server.stop()
    teams = DeltaTable(lake / "spans").to_pyarrow_table(columns=["team"]).column("team").to_pylist()
    assert {"search"} == set(teams)


def test_a_server_that_would_be_open_does_not_start(tmp_path: Path) -> None:
    """One line, no lake made."""
    with pytest.raises(AssertionError, match="can be reached from other machines"):
        Server(tmp_path / "lake", server__grpc="0.0.0.0:0")
    assert not (tmp_path / "lake").exists()


def test_a_host_may_stand_for_an_address_that_this_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As localhost does without IPv6: what there is of it is listened on; nothing at all is an error."""
    here, elsewhere = ((socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.0.0.1", "192.0.2.1"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [elsewhere, here])
    held = hold(Address.parse("server.grpc", "localhost:0"))
    assert held.address.port
    held.close()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [elsewhere])
    with pytest.raises(SettingsError, match="is it an address of this machine"):
        hold(Address.parse("server.grpc", "localhost:0"))


def test_small_answers_leave_at_once() -> None:
    """Asyncio turns Nagle's delay off, 40 ms an answer, only where a socket says that it is TCP."""
    for opened in bound_sockets(Address.parse("server.http", "localhost:0"), share_port=True):
        with opened:
            assert socket.IPPROTO_TCP == opened.proto
