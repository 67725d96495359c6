"""Sending one notice to one channel: once, and again for a while where that may help.

A secret is read when it is needed and stands in no message of an error.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal, TextIO

from ..models.errors import SettingsError
from . import alert_bodies

if TYPE_CHECKING:
    from ..models.alert_settings import Alerts, AnyChannel, Email, PagerDuty, Slack, Webhook
    from ..models.alerts import Notice

TIMEOUT_SECONDS = 10.0
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0
_MOST_OF_AN_ANSWER = 200

_AGAIN = frozenset({408, 425, 429})
_NEVER = frozenset({400, 413, 422})
"""What a receiver says to a notice that it will not take however often it comes."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How one try, or all of a round, ended.

    `later`: not taken, and the next round may have more luck. `soon`: so may another try in a moment. `never`: the
    receiver will not take this notice. `wait_seconds` is how long the receiver asks to be left alone.
    """

    result: Literal["delivered", "soon", "later", "never"]
    reason: str = ""
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends notices to channels under the settings; clock, chance and standard output are passed in, for tests."""

    settings: Alerts
    out: Callable[[dict[str, object]], None]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: random.Random = field(default_factory=random.Random)

    def send(self, channel: AnyChannel, notice: Notice) -> Sent:
        """Send it, again and again for at most retry_seconds; `soon` is no result of this."""
        deadline = self.monotonic() + self.settings.retry_seconds
        wait = _FIRST_WAIT
        while True:
            sent = self.once(channel, notice)
            if sent.result != "soon":
                return sent
            pause = max(sent.wait_seconds, wait * self.chance.uniform(0.5, 1))
            if self.monotonic() + pause > deadline:
                return Sent("later", sent.reason, sent.wait_seconds)
            self.sleep(pause)
            wait = min(2 * wait, _LONGEST_WAIT)

    def once(self, channel: AnyChannel, notice: Notice) -> Sent:
        """Send it once."""
        try:
            match channel.kind:
                case "webhook":
                    return self._webhook(channel, notice)
                case "slack":
                    return self._slack(channel, notice)
                case "pagerduty":
                    return self._pagerduty(channel, notice)
                case "email":
                    return self._email(channel, notice)
                case "stdout":
                    self.out(alert_bodies.webhook(notice, self.settings))
                    return Sent("delivered")
        except SettingsError as error:
            return Sent("later", str(error))

    def _webhook(self, channel: Webhook, notice: Notice) -> Sent:
        body = alert_bodies.as_json(alert_bodies.webhook(notice, self.settings))
        secret = secret_of(channel.secret_env, channel.secret_file)
        identity = alert_bodies.message_id(notice, self.settings)
        return post(channel.url, body, alert_bodies.signed(body, identity, self.now(), secret), secret)

    def _slack(self, channel: Slack, notice: Notice) -> Sent:
        url = secret_of(channel.secret_env, channel.secret_file)
        return post(url, alert_bodies.as_json(alert_bodies.slack(notice, self.settings)), {}, url)

    def _pagerduty(self, channel: PagerDuty, notice: Notice) -> Sent:
        key = secret_of(channel.secret_env, channel.secret_file)
        body = alert_bodies.as_json(alert_bodies.pagerduty(notice, self.settings, key))
        sent = post(channel.url, body, {}, key)
        if sent.result != "delivered" or notice.state != "test":
            return sent
        # a test leaves no open incident behind
        over = notice.model_copy(update={"state": "resolved"})
        return post(channel.url, alert_bodies.as_json(alert_bodies.pagerduty(over, self.settings, key)), {}, key)

    def _email(self, channel: Email, notice: Notice) -> Sent:
        secret = secret_of(channel.secret_env, channel.secret_file) if channel.user else None
        message = alert_bodies.mail(notice, self.settings, channel)
        tls = ssl.create_default_context()
        try:
            with contextlib.ExitStack() as held:
                smtp: smtplib.SMTP
                if channel.security == "tls":
                    smtp = smtplib.SMTP_SSL(channel.host, channel.port, timeout=TIMEOUT_SECONDS, context=tls)
                else:
                    smtp = smtplib.SMTP(channel.host, channel.port, timeout=TIMEOUT_SECONDS)
                held.enter_context(smtp)
                if channel.security == "starttls":
                    smtp.starttls(context=tls)
                if channel.user and secret:
                    smtp.login(channel.user, secret)
                smtp.send_message(message)
        except smtplib.SMTPResponseException as error:
            said = (
                error.smtp_error if isinstance(error.smtp_error, str) else error.smtp_error.decode(errors="replace")
            )
            result: Literal["soon", "later"] = "soon" if 400 <= error.smtp_code < 500 else "later"
            return Sent(result, _hidden(f"the mail server says {error.smtp_code} {said}", secret))
        except smtplib.SMTPException as error:
            return Sent("later", _hidden(f"mail: {type(error).__name__}: {error}", secret))
        except OSError as error:
            return Sent("soon", f"cannot reach {channel.host}: {error.strerror or error}")
        return Sent("delivered")


def secret_of(variable: str | None, file: object) -> str:
    """The secret of a channel. Raises SettingsError, which names where it was looked for and never what was found."""
    from pathlib import Path  # noqa: PLC0415  (one use)

    if variable is not None:
        secret, place = os.environ.get(variable, "").strip(), f"the environment variable {variable}"
    else:
        place = f'the file "{file}"'
        try:
            secret = Path(str(file)).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read the secret in {place}: {type(error).__name__}") from None
    if not secret:
        raise SettingsError(f"there is no secret in {place}: set it where llmcost runs")
    return secret


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like others: a POST that is sent on as a GET would tell nobody anything."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def post(url: str, body: bytes, headers: Mapping[str, str], secret: str) -> Sent:
    """POST JSON; what the answer means. `secret` is hidden in whatever is said of it."""
    if not url.startswith(("https://", "http://")):
        return Sent("later", "the address of the channel does not begin with https:// or http://")
    request_headers = {"content-type": "application/json", "user-agent": "llmcost", **headers}
    try:
        request = urllib.request.Request(url, data=body, headers=request_headers, method="POST")  # noqa: S310
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as answer:
            answer.read(_MOST_OF_AN_ANSWER)
        return Sent("delivered")
    except urllib.error.HTTPError as error:
        with error:
            return _refusal(error, secret)
    except (http.client.InvalidURL, ValueError):
        return Sent("later", "the address of the channel cannot be read as one")
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        return Sent("soon", _hidden(f"no answer: {reason}", secret))


def _refusal(error: urllib.error.HTTPError, secret: str) -> Sent:
    said = ""
    with contextlib.suppress(OSError, http.client.HTTPException):
        said = " ".join(error.read(_MOST_OF_AN_ANSWER).decode(errors="replace").split())
    reason = _hidden(f"answered {error.code} {said}".strip(), secret)
    if error.code in _AGAIN or error.code >= 500:
        return Sent("soon", reason, _asked_to_wait(error.headers.get("retry-after")))
    return Sent("never" if error.code in _NEVER else "later", reason)


def _asked_to_wait(said: str | None) -> float:
    """Seconds that a Retry-After header asks for, as a number or a date; an hour at most."""
    if not said:
        return 0.0
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), 3600.0)


def _hidden(text: str, secret: str | None) -> str:
    return text.replace(secret, "(hidden)") if secret else text


def printed(stream: TextIO, body: dict[str, object]) -> None:
    """The stdout channel of a command: a line of JSON."""
    stream.write(json.dumps(body) + "\n")
    stream.flush()
