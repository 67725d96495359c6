"""Who may send: the token behind a request, looked up without touching the disk.

A token is looked up by its hash. Nothing is compared with a stored secret, so that no timing tells how much of
one was right.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .forced import packed
from .logs import fields
from .tokens import PREFIX, Token, TokenFile, TokensUnreadable, sha256

log = logging.getLogger(__name__)

CHALLENGE = "Bearer"
"""What HTTP's 401 says in WWW-Authenticate."""

_LOOK_SECONDS = 1.0
_SAY_SECONDS = 60.0
_HINT = f"send the header authorization: Bearer {PREFIX}..., made by: llmcost tokens create NAME"


class NotAdmitted(Exception):
    """The request comes from nobody known: UNAUTHENTICATED, or 401 with CHALLENGE. Sending it again will not help."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a request: the token's name, None for anybody, and what it forces, as journal.Request takes it."""

    name: str | None = None
    forced: bytes = b""


ANYBODY = Sender()


@dataclass(frozen=True, slots=True)
class _Known:
    token: Token
    sender: Sender


class Access:
    """The tokens of a lake in memory, never more than about a second old. Use from one thread."""

    def __init__(
        self,
        tokens: Path,
        *,
        open_without_tokens: bool,
        allow_anonymous: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`open_without_tokens`: everybody is admitted until the first token is made.

        `allow_anonymous`: who shows no token is admitted even then; who shows a wrong one is not.
        """
        self._file = TokenFile(tokens)
        self.open_without_tokens = open_without_tokens
        self._allow_anonymous = allow_anonymous
        self._now = now
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}
        self._problem: str | None = None
        self._seen: object = None
        self._look_at = 0.0
        self._say_at = 0.0
        self._unsaid = 0
        self._had_tokens = False

    def has_tokens(self) -> bool:
        """Whether any token was ever made. Raises TokensUnreadable."""
        self._look()
        if self._problem is not None:
            raise TokensUnreadable(self._problem)
        return self._had_tokens

    def admit(self, authorization: str | None) -> Sender:
        """The sender behind a request with this `authorization` header or metadata, None if it has none.

        Raises NotAdmitted; and TokensUnreadable, a LakeError like a full disk, while the file is damaged:
        nobody is let in, but a sender with a good token tries again and loses nothing. No message holds a token.
        """
        self._look()
        if self._problem is not None:
            raise TokensUnreadable("nobody can be admitted now, the file of tokens is damaged: send this again later")
        try:
            return self._admitted(authorization)
        except NotAdmitted as refusal:
            self._say(refusal)
            raise

    def _admitted(self, authorization: str | None) -> Sender:
        if not self._had_tokens and (self.open_without_tokens or self._allow_anonymous):
            return ANYBODY  # with a header too: it may be meant for a gateway on the way
        if authorization is None or not authorization.strip():
            if self._allow_anonymous:
                return ANYBODY
            raise NotAdmitted(f"no token: {_HINT}")
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise NotAdmitted(f"the authorization is no bearer token: {_HINT}")
        known = self._known.get(sha256(token.strip()))
        if known is None:
            raise NotAdmitted(f"unknown token: {_HINT}")
        state = known.token.state(self._now())
        if state != "active":
            raise NotAdmitted(f'the token "{known.token.name}" is {state}: make another with llmcost tokens create')
        return known.sender

    def _look(self) -> None:
        """Read the file if it is another one than a second ago."""
        moment = self._monotonic()
        if moment < self._look_at:
            return
        self._look_at = moment + _LOOK_SECONDS
        try:
            status = os.stat(self._file.path)  # noqa: PTH116  a Path of its own each second is no gain
            seen: object = (status.st_ino, status.st_mtime_ns, status.st_size)
        except FileNotFoundError:
            seen = None
        except OSError as error:
            seen = error.errno
        if seen == self._seen and self._problem is None:
            return
        self._seen = seen
        self._read()

    def _read(self) -> None:
        try:
            tokens = self._file.read()
            if self._had_tokens and not tokens:
                raise TokensUnreadable(
                    f'"{self._file.path}" is gone: put it back; to begin without tokens, start the server again'
                )
        except TokensUnreadable as error:
            if self._problem != str(error):
                log.error("nobody is admitted: %s", error)
            self._known, self._problem = {}, str(error)
            return
        if self._problem is not None:
            log.info("the tokens can be read again")
        self._problem = None
        self._had_tokens = bool(tokens)
        self._known = {token.sha256: _Known(token, Sender(token.name, packed(token.forced))) for token in tokens}

    def _say(self, refusal: NotAdmitted) -> None:
        """At most one line a minute: who is not admitted must not be able to fill the log."""
        self._unsaid += 1
        moment = self._monotonic()
        if moment >= self._say_at:
            self._say_at = moment + _SAY_SECONDS
            log.warning("requests are refused: %s", refusal, extra=fields(requests=self._unsaid))
            self._unsaid = 0
