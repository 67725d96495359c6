"""The file of senders' tokens: made, listed and revoked here, by the command line.

It is `tokens.json` in the lake, because all receivers of a lake admit the same senders, and a lake that is moved
keeps them. Of a token only its SHA-256 is stored. A slow hash would protect a secret that somebody chose; these
are 256 random bits, which nobody guesses however fast the hash, and they are checked with every request.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from ..models.conventions import Conventions
from ..models.errors import LakeError, LakeNotWritable, UsageError
from ..models.schema import DIMENSIONS
from ..models.windows import instant
from .journal import sync_folder

PREFIX = "llmcost_"
"""What a token begins with, so that people and secret scanners know one when they see it."""

FORCED_CHARACTERS = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FORMAT_VERSION = 1
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


class TokensUnreadable(LakeError):
    """The file is there and does not hold what it must: nobody can be admitted or refused by it."""


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Token(_Stored):
    """One sender's token, as stored. Two tokens may have one name if at most one is active."""

    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    forced: dict[str, str] = {}
    """Value by promoted column."""

    @field_validator("forced")
    @classmethod
    def _are_dimensions(cls, forced: dict[str, str]) -> dict[str, str]:
        """What nothing would force must not look as if it were forced."""
        if unknown := forced.keys() - set(DIMENSIONS):
            raise ValueError(f"{', '.join(sorted(unknown))}: no dimension")
        if any(len(value) > FORCED_CHARACTERS for value in forced.values()):
            raise ValueError(f"a value has more than {FORCED_CHARACTERS} characters")
        return forced

    def state(self, now: datetime) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


class _Tokens(_Stored):
    version: int = Field(ge=1, le=_FORMAT_VERSION)
    tokens: tuple[Token, ...]


class TokenFile:
    """`tokens.json` of one lake."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[Token, ...]:
        """Every token ever made, oldest first; none if there is no file. Raises TokensUnreadable."""
        try:
            text = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):  # what the latter is, opening the lake says better
            return ()
        except OSError as error:
            raise TokensUnreadable(
                f'cannot read "{self.path}": {error.strerror}: it must belong to the user that runs llmcost serve'
            ) from error
        try:
            return _Tokens.model_validate_json(text).tokens
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise TokensUnreadable(
                f'"{self.path}" is damaged ({place}: {first["msg"]}): put back a good copy, or remove it '
                "and create the tokens anew"
            ) from error

    def create(self, name: str, *, forced: Mapping[str, str], expires_at: datetime | None, now: datetime) -> str:
        """Make a token and return it: this is the only time that anybody sees it.

        Raises UsageError if the name is taken or no name, LakeError if the file cannot be read or written.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f'"{name}" cannot name a token: use 1 to 64 letters, digits, ".", "_", "-"')
        with self._changing() as tokens:
            if any(token.name == name and token.state(now) == "active" for token in tokens):
                raise UsageError(f'there is a token "{name}": choose another name, or: llmcost tokens revoke {name}')
            secret = PREFIX + secrets.token_urlsafe(32)
            made = Token(name=name, sha256=sha256(secret), created_at=now, expires_at=expires_at, forced=dict(forced))
            self._write([*tokens, made])
        return secret

    def revoke(self, name: str, now: datetime) -> None:
        """Admit its holder no longer. Raises UsageError if there is no active token of this name."""
        with self._changing() as tokens:
            active = sorted(token.name for token in tokens if token.state(now) == "active")
            if name not in active:
                raise UsageError(f'no active token "{name}": active are {", ".join(active) or "none"}')
            revoked = [
                token.model_copy(update={"revoked_at": now})
                if token.name == name and token.state(now) == "active"
                else token
                for token in tokens
            ]
            self._write(revoked)

    @contextmanager
    def _changing(self) -> Iterator[Sequence[Token]]:
        """The tokens, while no other process changes them."""
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield self.read()
        finally:
            os.close(folder)

    def _write(self, tokens: Sequence[Token]) -> None:
        """Replace the file whole. It belongs to whom the lake belongs: root may create what a server must read."""
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        content = _Tokens(version=_FORMAT_VERSION, tokens=tuple(tokens)).model_dump_json(indent=1) + "\n"
        try:
            temporary.unlink(missing_ok=True)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
            with os.fdopen(handle, "wb") as file:
                if os.geteuid() == 0:
                    lake = self.path.parent.stat()
                    os.fchown(handle, lake.st_uid, lake.st_gid)
                file.write(content.encode())
                file.flush()
                os.fsync(handle)
            temporary.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise LakeNotWritable(f'cannot write "{self.path}": {error.strerror}') from error


def sha256(token: str) -> str:
    """What is stored of a token, and looked up."""
    return hashlib.sha256(token.encode()).hexdigest()


def forced_columns(said: Sequence[str], conventions: Conventions) -> dict[str, str]:
    """Read repeated `--force NAME=VALUE`: value by promoted column.

    A name is a dimension or an attribute that the conventions table reads as one (`tenant.id`). Raises
    UsageError for any other, naming what is accepted.
    """
    meaning = {s.key: column for column in DIMENSIONS for s in conventions.spellings[column] if s.path is None}
    meaning |= {column: column for column in DIMENSIONS}
    forced: dict[str, str] = {}
    for each in said:
        name, equals, value = each.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name or not value:
            raise UsageError(f'cannot read --force "{each}": write NAME=VALUE, such as --force customer.id=acme')
        if name not in meaning:
            raise UsageError(
                f'--force "{name}": accepted are {", ".join(DIMENSIONS)}, and attributes that are read as one '
                "of these, such as tenant.id (all: models/conventions.toml, [dimensions])"
            )
        if len(value) > FORCED_CHARACTERS or not value.isprintable():
            raise UsageError(
                f"--force {name}: a value is one printable line of at most {FORCED_CHARACTERS} characters"
            )
        if forced.setdefault(meaning[name], value) != value:
            raise UsageError(
                f'--force says "{forced[meaning[name]]}" and "{value}" of {meaning[name]}: a token forces one value'
            )
    return forced


def expiry(text: str | None, now: datetime) -> datetime | None:
    """The instant `--expires` names: 12h, 90d, 52w from now, or a UTC date or time to come.

    >>> from datetime import UTC
    >>> expiry("90d", datetime(2026, 11, 22, tzinfo=UTC)).isoformat()
    '2027-02-20T00:00:00+00:00'
    """
    if text is None:
        return None
    relative = re.fullmatch(r"([1-9][0-9]{0,3})([hdw])", text)
    if relative:
        length: dict[str, Any] = {_UNITS[relative[2]]: int(relative[1])}
        return now + timedelta(**length)
    at = instant(text, now=now, tz=ZoneInfo("UTC")) if re.match(r"[0-9]{4}-", text) else now
    if at <= now:
        raise UsageError(f'--expires "{text}": write 12h, 90d, 52w, or a date to come such as {now.year + 1}-06-30')
    return at
