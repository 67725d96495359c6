"""A made-up notice through each channel, to see whether it arrives."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from ..models.errors import UsageError

if TYPE_CHECKING:
    from ..models.alert_settings import Alerts
    from ..models.alerts import Notice
    from .alert_channels import Sender, Sent


def try_channels(settings: Alerts, sender: Sender, now: datetime, name: str | None = None) -> dict[str, Sent]:
    """What each channel, or the one called `name`, made of a notice. Raises UsageError where there is none."""
    chosen = {each: channel for each, channel in settings.channels.items() if name in (None, each)}
    if not chosen:
        known = ", ".join(settings.channels) or "none: write [alerts.channels.NAME] to llmcost.toml (docs/alerts.md)"
        raise UsageError(f'no channel "{name}": configured are {known}' if name else f"channels configured: {known}")
    notice = made_up(now)
    return {each: sender.send(channel, notice) for each, channel in chosen.items()}


def made_up(now: datetime) -> Notice:
    """A notice as a rule would make it, that says that it is a test."""
    from ..models.alerts import Alert, Figure, Notice, Violation  # noqa: PLC0415  start-up time

    violation = Violation(
        entity="a test",
        period=now.isoformat(timespec="seconds"),
        observed=Figure(meaning="spent in the last 24 hours", value=Decimal("48.20"), unit="USD"),
        baseline=Figure(meaning="usual for these 24 hours", value=Decimal("12.10"), unit="USD"),
        threshold=Figure(meaning="most that is let pass", value=Decimal("24.20"), unit="USD"),
        shown={"feature": "example", "deployment": "test", "model": "example-model"},
        trace_ids=("0123456789abcdef0123456789abcdef",),
    )
    alert = Alert(
        rule="test",
        sentence="This is a test of llmcost's alerts: nothing happened.",
        severity="info",
        violation=violation,
        period=violation.period,
        fired_at=now,
        seen_at=now,
    )
    return Notice(state="test", alert=alert, at=now)
