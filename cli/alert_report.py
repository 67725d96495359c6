"""Rules, open alerts and deliveries as sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from .alert_bodies import webhook
from .alert_words import figure
from .sheet import Sheet

if TYPE_CHECKING:
    from ..models.alert_settings import Alerts
    from ..models.alerts import Alert, State
    from ..sql.alert_rules import Rule
    from .alert_channels import Sent
    from .alert_round import Round

_TEXTS = (
    "state", "rule", "entity", "observed", "baseline", "threshold", "severity", "feature", "deployment", "model",
    "owner", "period", "trace_id",
)  # fmt: skip


def of_round(gone: Round, settings: Alerts, now: datetime, *, rule: str | None, is_dry: bool) -> Sheet:
    """The alerts that are open after a look, the new ones first; what is over, broken and not delivered below."""
    shown = [alert for alert in gone.state.open if rule is None or alert.rule == rule.replace("_", "-")]
    shown.sort(key=lambda alert: (alert.fired_at != now, alert.rule, alert.entity))
    notes = [f"{len(shown):,} open, {gone.fired:,} of them new; {gone.resolved:,} over"]
    if is_dry:
        notes.append("a dry run: nobody was told, and nothing is remembered")
    elif settings.channels:
        notes.append(f"{gone.delivered:,} notices delivered, {len(gone.state.queue):,} wait")
    else:
        notes.append("nobody is told: name a channel in llmcost.toml, [alerts.channels.NAME] (docs/alerts.md)")
    notes += [f"broken: {look.problem}" for look in gone.problems]
    facts = {
        "looked_at": now,
        "rules": [look.rule for look in gone.looks],
        "broken": {look.rule: look.problem for look in gone.problems},
        "new": gone.fired,
        "resolved": gone.resolved,
        "delivered": gone.delivered,
        "alerts": _bodies(shown, settings),
    }
    return Sheet(_table(shown, settings, now), facts=facts, notes=tuple(notes))


def of_status(state: State, settings: Alerts) -> Sheet:
    """What is open, and what waits for its channel."""
    waiting = [
        {
            "channel": queued.channel,
            "state": queued.notice.state,
            "key": queued.notice.alert.key(settings.source),
            "queued_at": queued.queued_at,
            "next_try_at": queued.next_try_at,
            "tries": queued.tries,
        }
        for queued in state.queue
    ]
    notes = [f"{len(state.open):,} open, {len(state.closed):,} over"]
    notes += [f"{each['channel']}: {each['state']} {each['key']} waits, {each['tries']} tries" for each in waiting]
    facts = {"alerts": _bodies(state.open, settings), "waiting": waiting}
    return Sheet(_table(state.open, settings), facts=facts, notes=tuple(notes))


def of_rules(rules: Sequence[Rule]) -> Sheet:
    """Every rule with its parameters as they are."""
    import pyarrow as pa  # noqa: PLC0415  start-up time

    names = ("rule", "state", "severity", "window", "cool_down", "parameters", "says")
    rows = [
        {
            "rule": rule.name,
            "state": "broken" if rule.problem else "on" if rule.is_enabled else "off",
            "severity": rule.severity,
            "window": _length(rule.window),
            "cool_down": _length(rule.cool_down),
            "parameters": ", ".join(f"{each.name}={each.value}" for each in rule.parameters),
            "says": rule.problem or rule.first_sentence,
        }
        for rule in rules
    ]
    facts = {
        "meanings": {rule.name: {each.name: each.meaning for each in rule.parameters} for rule in rules},
        "files": {rule.name: str(rule.path) for rule in rules},
    }
    schema = pa.schema([(name, pa.string()) for name in names])
    return Sheet(pa.Table.from_pylist(rows, schema), facts=facts)


def of_test(tried: Mapping[str, Sent], settings: Alerts) -> Sheet:
    """What each channel made of the test."""
    import pyarrow as pa  # noqa: PLC0415  start-up time

    rows = [
        {
            "channel": name,
            "kind": settings.channels[name].kind,
            "result": "delivered" if sent.result == "delivered" else "failed",
            "reason": sent.reason or None,
        }
        for name, sent in tried.items()
    ]
    schema = pa.schema([(name, pa.string()) for name in ("channel", "kind", "result", "reason")])
    return Sheet(pa.Table.from_pylist(rows, schema))


def _table(alerts: Sequence[Alert], settings: Alerts, now: datetime | None = None) -> Any:
    import pyarrow as pa  # noqa: PLC0415  start-up time

    rows = [_row(alert, settings, now) for alert in alerts]
    schema = pa.schema([*((name, pa.string()) for name in _TEXTS), ("fired_at", pa.timestamp("us", "UTC"))])
    return pa.Table.from_pylist(rows, schema)


def _row(alert: Alert, settings: Alerts, now: datetime | None) -> dict[str, object]:
    from ..models.alerts import owner_of  # noqa: PLC0415  start-up time

    violation = alert.violation
    return {
        "state": "new" if alert.fired_at == now else "open",
        "rule": alert.rule,
        "entity": violation.entity,
        **{name: figure(getattr(violation, name)) for name in ("observed", "baseline", "threshold")},
        "severity": alert.severity,
        **{name: violation.shown.get(name) for name in ("feature", "deployment", "model")},
        "owner": owner_of(settings.owners, violation.shown),
        "period": alert.period,
        "trace_id": violation.trace_ids[0] if violation.trace_ids else None,
        "fired_at": alert.fired_at,
    }


def _bodies(alerts: Sequence[Alert], settings: Alerts) -> list[object]:
    """Each alert as a webhook tells it."""
    from ..models.alerts import Notice, owner_of  # noqa: PLC0415  start-up time

    return [
        webhook(
            Notice(
                state="firing",
                alert=alert,
                at=alert.fired_at,
                owner=owner_of(settings.owners, alert.violation.shown),
            ),
            settings,
        )["data"]
        for alert in alerts
    ]


def _length(length: timedelta) -> str:
    """A length as the settings write it.

    >>> _length(timedelta(days=14)), _length(timedelta(hours=36)), _length(timedelta(minutes=30))
    ('14d', '36h', '30m')
    """
    minutes = int(length.total_seconds() // 60)
    if minutes and minutes % 1440 == 0:
        return f"{minutes // 1440}d"
    return f"{minutes // 60}h" if minutes and minutes % 60 == 0 else f"{minutes}m"
