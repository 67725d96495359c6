"""A notice in the shape that each receiver documents: a signed webhook, Slack, PagerDuty, mail. Pure functions.

Slack: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and reference/block-kit/blocks.
PagerDuty: https://developer.pagerduty.com/docs/events-api-v2/trigger-events.
Signature: https://www.standardwebhooks.com.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from .alert_words import Words, words_of

if TYPE_CHECKING:
    from datetime import datetime

    from ..models.alert_settings import Alerts, Email
    from ..models.alerts import Figure, Notice

_SECRET_PREFIX = "whsec_"  # noqa: S105  (says how a secret is written; is none)
_SLACK_FIELDS, _SLACK_HEADER, _SLACK_TEXT, _PAGERDUTY_SUMMARY = 10, 150, 3000, 1024


def message_id(notice: Notice, settings: Alerts) -> str:
    """The name of a notice: the same however often it is sent, another for the resolve."""
    return f"alert_{hashlib.sha256(f'{notice.alert.key(settings.source)} {notice.state}'.encode()).hexdigest()[:32]}"


def webhook(notice: Notice, settings: Alerts) -> dict[str, Any]:
    """The body of a generic webhook, and the line of the stdout channel; money is text with every digit."""
    alert, words = notice.alert, words_of(notice, settings.trace_url)
    shown = dict(alert.violation.shown)
    return {
        "type": f"alert.{notice.state}",
        "timestamp": notice.at.isoformat(),
        "data": {
            "key": alert.key(settings.source),
            "source": settings.source,
            "rule": alert.rule,
            "says": alert.sentence,
            "severity": alert.severity,
            "entity": alert.entity,
            "period": alert.period,
            "summary": words.headline,
            "observed": _figure(alert.violation.observed),
            "baseline": _figure(alert.violation.baseline),
            "threshold": _figure(alert.violation.threshold),
            **{name: shown.pop(name, None) for name in ("feature", "deployment", "model")},
            "owner": notice.owner,
            "shown": shown,
            "traces": [
                {"trace_id": trace_id, "open": opened}
                for trace_id, (_, opened) in zip(alert.violation.trace_ids, words.traces, strict=True)
            ],
            "fired_at": alert.fired_at.isoformat(),
            "resolved_at": notice.at.isoformat() if notice.state == "resolved" else None,
            "others": notice.others,
        },
    }


def signed(body: bytes, identity: str, at: datetime, secret: str) -> dict[str, str]:
    """The headers of a webhook: its id, when it is sent, and HMAC-SHA256 over both and the body.

    A secret that begins with whsec_ is base64 after that, any other is taken as it is.
    """
    timestamp = str(int(at.timestamp()))
    content = b".".join((identity.encode(), timestamp.encode(), body))
    signature = base64.b64encode(hmac.digest(_key(secret), content, "sha256")).decode()
    return {"webhook-id": identity, "webhook-timestamp": timestamp, "webhook-signature": f"v1,{signature}"}


def _key(secret: str) -> bytes:
    if secret.startswith(_SECRET_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            pass
    return secret.encode()


def slack(notice: Notice, settings: Alerts) -> dict[str, Any]:
    """A message of Slack: blocks, and the text that notifications show."""
    words = words_of(notice, settings.trace_url)
    fields = [*words.numbers, *words.facts]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(words.headline, _SLACK_HEADER)}},
        {"type": "section", "text": _mrkdwn(_escaped(words.sentence))},
    ]
    for first in range(0, len(fields), _SLACK_FIELDS):
        some = fields[first : first + _SLACK_FIELDS]
        texts = [_mrkdwn(f"*{_escaped(name)}*\n{_escaped(value)}") for name, value in some]
        blocks.append({"type": "section", "fields": texts})
    if words.traces:
        text = "\n".join(_slack_trace(trace, opened) for trace, opened in words.traces)
        blocks.append({"type": "section", "text": _mrkdwn(f"*traces*\n{text}")})
    return {"text": _cut(_escaped(words.headline), _SLACK_TEXT), "blocks": blocks}


def _slack_trace(trace: str, opened: str) -> str:
    return f"<{_escaped(opened)}|{_escaped(trace)}>" if opened.startswith("http") else f"`{_escaped(opened)}`"


def _mrkdwn(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": _cut(text, _SLACK_TEXT)}


def _escaped(text: str) -> str:
    """Text that stays text in Slack: no mention and no link.

    >>> _escaped("<!channel> & co")
    '&lt;!channel&gt; &amp; co'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def pagerduty(notice: Notice, settings: Alerts, routing_key: str) -> dict[str, Any]:
    """An event of PagerDuty: what resolves an alert has the key of what triggered it."""
    alert, words = notice.alert, words_of(notice, settings.trace_url)
    event = {
        "routing_key": routing_key,
        "event_action": "resolve" if notice.state == "resolved" else "trigger",
        "dedup_key": alert.key(settings.source),
    }
    if notice.state == "resolved":
        return event
    details = {"says": words.sentence, **dict(words.numbers), **dict(words.facts)}
    if words.traces:
        details["traces"] = "\n".join(opened for _, opened in words.traces)
    return {
        **event,
        "client": "llmcost",
        "payload": {
            "summary": _cut(words.headline, _PAGERDUTY_SUMMARY),
            "source": settings.source,
            "severity": alert.severity,
            "timestamp": alert.fired_at.isoformat(),
            "component": alert.violation.shown.get("feature", alert.entity),
            "group": alert.violation.shown.get("team", settings.source),
            "class": alert.rule,
            "custom_details": details,
        },
        "links": [
            {"href": opened, "text": f"trace {trace}"} for trace, opened in words.traces if opened.startswith("http")
        ],
    }


def mail(notice: Notice, settings: Alerts, channel: Email) -> EmailMessage:
    """A message in plain text; the resolve answers the first, so that both stand in one thread."""
    words = words_of(notice, settings.trace_url)
    message = EmailMessage()
    message["From"], message["To"] = channel.sender, ", ".join(channel.to)
    message["Subject"] = f"[{settings.source}] {words.headline}"
    message["Date"] = format_datetime(notice.at)
    message["Message-ID"] = f"<{message_id(notice, settings)}@llmcost>"
    if notice.state == "resolved":
        first = message_id(notice.model_copy(update={"state": "firing"}), settings)
        message["In-Reply-To"] = message["References"] = f"<{first}@llmcost>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_plain(words))
    return message


def _plain(words: Words) -> str:
    rows = [*words.numbers, *words.facts]
    width = max(len(name) for name, _ in rows)
    lines = [words.headline, "", words.sentence, "", *(f"{name.ljust(width)}  {value}" for name, value in rows)]
    if words.traces:
        lines += ["", "traces to open:", *(f"  {opened}" for _, opened in words.traces)]
    return "\n".join([*lines, ""])


def as_json(body: dict[str, Any]) -> bytes:
    """The bytes that are signed and sent."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _figure(told: Figure) -> dict[str, str | None]:
    value = None if told.value is None else f"{told.value:f}"
    return {"value": value, "unit": told.unit, "meaning": told.meaning}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
