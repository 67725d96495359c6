"""What a notice says to people: one line, and the facts under it. The same words on every channel."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import figures

if TYPE_CHECKING:
    from ..models.alerts import Figure, Notice

_FIRST = ("feature", "deployment", "model")
"""Named on every notice, also where they are not known."""

_MOST_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Words:
    """A notice in words: each text is one line without control characters."""

    headline: str
    sentence: str
    numbers: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    traces: tuple[tuple[str, str], ...]
    """Trace ids, each with where to open it: an address, or a command."""


def words_of(notice: Notice, trace_url: str | None) -> Words:
    """The notice in words; `trace_url` has {trace_id} where the id stands."""
    alert = notice.alert
    violation = alert.violation
    state = {"firing": "", "resolved": "resolved: ", "test": "test: "}[notice.state]
    facts = [(name.replace("_", " "), violation.shown.get(name, "not known")) for name in _FIRST]
    facts.append(("owner", notice.owner or "nobody is named"))
    facts += [
        (name.removesuffix("_usd").replace("_", " "), value)
        for name, value in violation.shown.items()
        if name not in _FIRST
    ]
    facts += [("severity", alert.severity), ("period", alert.period), ("since", figures.moment(alert.fired_at))]
    if notice.state == "resolved":
        facts.append(("resolved", figures.moment(notice.at)))
    if notice.others:
        facts.append(("and", f"{notice.others:,} more of this rule: llmcost alerts status"))
    return Words(
        headline=_line(f"{state}{alert.rule}: {alert.entity}{_beside(notice)}"),
        sentence=_line(alert.sentence),
        numbers=tuple(
            (_line(each.meaning), figure(each))
            for each in (violation.observed, violation.baseline, violation.threshold)
            if each.value is not None
        ),
        facts=tuple((name, _line(value)) for name, value in facts),
        traces=tuple((_line(trace), _opened(trace, trace_url)) for trace in violation.trace_ids),
    )


def figure(told: Figure) -> str:
    """A number with its unit.

    >>> from decimal import Decimal
    >>> from llmcost.models.alerts import Figure
    >>> figure(Figure(meaning="spent", value=Decimal("12.5"), unit="USD"))
    '$12.50'
    >>> figure(Figure(meaning="calls", value=Decimal(1200))), figure(Figure(meaning="calls", value=None))
    ('1,200', 'not known')
    """
    if told.value is None:
        return "not known"
    if told.unit == "USD":
        return figures.money(told.value)
    if told.unit == "percent":
        return figures.share(float(told.value) / 100)
    whole = told.value == told.value.to_integral_value()
    number = figures.number(int(told.value) if whole else float(told.value))
    return f"{number} {told.unit}" if told.unit else number


def _beside(notice: Notice) -> str:
    violation = notice.alert.violation
    told = [
        f"{name} {figure(each)}"
        for name, each in (("baseline", violation.baseline), ("threshold", violation.threshold))
        if each.value is not None
    ]
    if violation.observed.value is None:
        return ""
    beside = f" ({', '.join(told)})" if told else ""
    return f", {figure(violation.observed)}{beside}"


def _opened(trace_id: str, trace_url: str | None) -> str:
    from urllib.parse import quote  # noqa: PLC0415  start-up time

    if trace_url:
        return trace_url.replace("{trace_id}", quote(trace_id, safe=""))
    return _line(f"llmcost trace {shlex.quote(trace_id)}")


def _line(text: str) -> str:
    """One line that others wrote, no longer than any channel takes."""
    flat = figures.one_line(" ".join(text.split()))
    return flat if len(flat) <= _MOST_CHARACTERS else f"{flat[: _MOST_CHARACTERS - 1]}…"
