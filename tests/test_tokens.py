"""Senders' tokens: made once, stored as hashes, followed by a running server, refused when in doubt."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmcost.cli.main import app
from llmcost.ingest.access import ANYBODY, Access, NotAdmitted, Sender
from llmcost.ingest.forced import packed
from llmcost.ingest.tokens import TokenFile, TokensUnreadable, expiry, forced_columns
from llmcost.models import conventions
from llmcost.models.errors import UsageError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TABLE = conventions.load()


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens.json")


def created(file: TokenFile, name: str = "acme", **options: object) -> str:
    return file.create(name, **({"forced": {}, "expires_at": None, "now": NOW} | options))  # type: ignore[arg-type]


def access(file: TokenFile, clock: Clock | None = None, **options: bool) -> Access:
    clock = clock or Clock()
    options = {"open_without_tokens": True} | options
    return Access(file.path, now=clock.now, monotonic=clock.monotonic, **options)


def refusal(asked: Access, authorization: str | None) -> str:
    with pytest.raises(NotAdmitted) as raised:
        asked.admit(authorization)
    return str(raised.value)


def test_only_the_hash_of_a_token_is_stored(file: TokenFile) -> None:
    """256 random bits; the file is its owner's alone."""
    token = created(file)
    content = file.path.read_text()
    assert token not in content
    assert hashlib.sha256(token.encode()).hexdigest() in content
    assert len(token.removeprefix("llmcost_")) == 43
    assert token != created(file, "other")
    assert 0o600 == stat.S_IMODE(file.path.stat().st_mode)
    assert [file.path] == list(file.path.parent.iterdir())


def test_a_good_token_is_admitted_with_what_it_forces(file: TokenFile) -> None:
    """The scheme is written in any case, as HTTP has it."""
    token = created(file, forced={"customer_id": "acme"})
    asked = access(file)
    expected = Sender("acme", packed({"customer_id": "acme"}))
    assert [expected] * 3 == [asked.admit(f"{scheme} {token}") for scheme in ("Bearer", "bearer", "BEARER ")]


def test_without_tokens_everybody_is_admitted_where_only_this_machine_can_ask(file: TokenFile) -> None:
    """Until the first token is made; elsewhere nobody is."""
    assert ANYBODY == access(file).admit(None) == access(file).admit("Bearer whatever")
    assert "no token" in refusal(access(file, open_without_tokens=False), None)
    assert ANYBODY == access(file, open_without_tokens=False, allow_anonymous=True).admit(None)


@pytest.mark.parametrize(
    "shown",
    [None, "", "  ", "Bearer", "Bearer ", "Basic dTpw", "Bearer llmcost_wrong", "llmcost_x", "Bearer \xff", "\0"],
)
def test_whoever_shows_no_good_token_is_refused(file: TokenFile, shown: str | None) -> None:
    """Also where everybody was admitted before there were tokens; what was shown is never repeated."""
    created(file)
    said = refusal(access(file), shown)
    assert "llmcost tokens create" in said
    assert "wrong" not in said


def test_with_allow_anonymous_a_wrong_token_is_still_wrong(file: TokenFile) -> None:
    """Who shows none is admitted; a sender that believes to be somebody should not become nobody in silence."""
    created(file)
    asked = access(file, allow_anonymous=True)
    assert ANYBODY == asked.admit(None)
    assert "unknown token" in refusal(asked, "Bearer llmcost_wrong")


def test_changes_are_followed_within_a_second(file: TokenFile) -> None:
    """Made, revoked and expired while the server runs."""
    clock = Clock()
    first = created(file, "first")
    asked = access(file, clock)
    asked.admit(f"Bearer {first}")
    second = created(file, "second", expires_at=NOW + timedelta(seconds=10))
    file.revoke("first", NOW)
    clock.seconds = 1.0
    assert "second" == asked.admit(f"Bearer {second}").name
    assert 'the token "first" is revoked' in refusal(asked, f"Bearer {first}")
    clock.seconds = 10.0
    assert 'the token "second" is expired' in refusal(asked, f"Bearer {second}")


def test_the_file_is_looked_at_once_a_second_and_read_when_it_changed(
    file: TokenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No disk for each request."""
    token = created(file)
    counts = {"stat": 0, "read": 0}
    os_stat, read = os.stat, TokenFile.read

    def counted(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def count(*arguments: object, **options: object) -> object:
            counts[name] += 1
            return call(*arguments, **options)

        return count

    clock = Clock()
    asked = access(file, clock)
    monkeypatch.setattr(os, "stat", counted("stat", os_stat))
    monkeypatch.setattr(TokenFile, "read", counted("read", read))
    for tenth in range(30):
        clock.seconds = tenth / 10
        asked.admit(f"Bearer {token}")
    monkeypatch.undo()
    assert {"stat": 3, "read": 1} == counts


DAMAGES = [
    b"", b"{", b"[]", b"null", b"\xff", b"{}", b'{"version": 2, "tokens": []}', b'{"version": 1, "tokens": {}}',
    b'{"version": 1, "tokens": [{}]}',
    b'{"version": 1, "tokens": [{"name": "a", "sha256": "zz", "created_at": "2026-11-22T00:00:00Z"}]}',
    b'{"version": 1, "tokens": [{"name": "a", "sha256": "' + b"0" * 64 + b'", "created_at": "2026-11-22T00:00:00"}]}',
    b'{"version": 1, "tokens": [{"name": "a", "sha256": "' + b"0" * 64
    + b'", "created_at": "2026-11-22T00:00:00Z", "forced": {"customer.id": "a"}}]}',
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=range(len(DAMAGES)))
def test_a_damaged_file_admits_nobody(file: TokenFile, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Not even where there were no tokens; the answer is one that senders try again, the log says what to do."""
    file.path.write_bytes(damage)
    clock = Clock()
    asked = access(file, clock, allow_anonymous=True)
    for shown in (None, "Bearer llmcost_x"):
        with pytest.raises(TokensUnreadable, match="send this again later"):
            asked.admit(shown)
    with pytest.raises(TokensUnreadable, match="put back a good copy"):
        asked.has_tokens()
    assert 1 == sum("nobody is admitted" in line for line in caplog.messages)
    file.path.unlink()
    clock.seconds = 1.0
    assert ANYBODY == asked.admit(None), "mended: there never were tokens"


def test_a_file_that_vanishes_admits_nobody(file: TokenFile) -> None:
    """Removing a file must not open the door; putting it back does."""
    clock = Clock()
    token = created(file)
    asked = access(file, clock)
    asked.admit(f"Bearer {token}")
    kept = file.path.read_bytes()
    file.path.unlink()
    clock.seconds = 1.0
    with pytest.raises(TokensUnreadable):
        asked.admit(None)
    file.path.write_bytes(kept)
    clock.seconds = 2.0
    assert "acme" == asked.admit(f"Bearer {token}").name


def test_refusals_do_not_fill_the_log(file: TokenFile, caplog: pytest.LogCaptureFixture) -> None:
    """A line a minute, and no token in it."""
    created(file)
    clock = Clock()
    asked = access(file, clock)
    caplog.set_level(logging.INFO)
    for second in range(61):
        clock.seconds = float(second)
        refusal(asked, "Bearer llmcost_guess")
    assert 2 == len(caplog.records)
    assert "guess" not in caplog.text


def test_a_name_is_free_again_once_its_token_is_revoked(file: TokenFile) -> None:
    """The history stays."""
    old = created(file)
    with pytest.raises(UsageError, match="llmcost tokens revoke acme"):
        created(file)
    file.revoke("acme", NOW)
    new = created(file)
    asked = access(file)
    assert "acme" == asked.admit(f"Bearer {new}").name
    assert "revoked" in refusal(asked, f"Bearer {old}")
    assert ["revoked", "active"] == [token.state(NOW) for token in file.read()]
    with pytest.raises(UsageError, match='no active token "nobody": active are acme'):
        file.revoke("nobody", NOW)


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a\n", "é", "x" * 65, "a/b", "\x1b[31m"])
def test_a_name_is_a_plain_word(file: TokenFile, name: str) -> None:
    """It stands in logs and commands."""
    with pytest.raises(UsageError, match="cannot name a token"):
        created(file, name)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["customer.id=acme"], {"customer_id": "acme"}),
        (["tenant.id=acme", "customer_id=acme"], {"customer_id": "acme"}),
        (["team=search", "user.id=a=b"], {"team": "search", "user_id": "a=b"}),
        ([], {}),
    ],
)
def test_what_may_be_forced_is_a_dimension_in_any_spelling(said: list[str], expected: dict[str, str]) -> None:
    assert expected == forced_columns(said, TABLE)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["colour=red"], "accepted are user_id, customer_id"),
        (["model=gpt-5"], "accepted are user_id, customer_id"),
        (["team"], "write NAME=VALUE"),
        (["team="], "write NAME=VALUE"),
        (["team=a", "team.id=b"], 'says "a" and "b" of team'),
        (["team=a\nb"], "one printable line"),
        (["team=" + "x" * 201], "at most 200"),
    ],
)
def test_anything_else_cannot_be_forced(said: list[str], expected: str) -> None:
    """The error says what can."""
    with pytest.raises(UsageError, match=expected):
        forced_columns(said, TABLE)


@pytest.mark.parametrize("text", ["", "90", "-1d", "0d", "soon", "2020-01-01", "2026-13-01", "now", "today"])
def test_an_expiry_lies_in_the_future(text: str) -> None:
    with pytest.raises(UsageError):
        expiry(text, NOW)


def test_the_commands_make_list_and_revoke(tmp_path: Path) -> None:
    """The token goes to stdout alone, how to send it to stderr; a list never shows it."""

    def run(*arguments: str) -> tuple[str, str]:
        done = CliRunner().invoke(app, ["tokens", *arguments, "--lake", str(tmp_path / "lake")])
        assert 0 == done.exit_code, done.output
        return done.stdout, done.stderr

    token, hint = run("create", "acme", "--force", "tenant.id=acme", "--expires", "90d")
    token = token.removesuffix("\n")
    assert f"authorization: Bearer {token}\n" in hint
    assert f"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20{token}\n" in hint
    run("revoke", "acme")
    [row] = json.loads(run("list", "--format", "json")[0])["rows"]
    assert ("acme", "revoked", "customer_id=acme") == (row["name"], row["state"], row["forced"])
    assert token not in run("list")[0]
    assert hashlib.sha256(token.encode()).hexdigest()[:16] not in run("list", "--format", "csv")[0]
