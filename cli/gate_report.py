"""A gate's verdict for people: its reason in one sentence, a row a measure, and what to know about both sides."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING

from . import figures
from .sheet import Sheet

if TYPE_CHECKING:
    from ..sql.gate_answer import GateReport, Measure, Side

_TITLES = {"pass": "PASS", "fail": "FAIL", "not enough data": "NOT ENOUGH DATA"}
_FINDINGS = {"within": "within", "beyond": "worse", "open": "not settled"}


def of_report(report: GateReport) -> Sheet:
    """A row a measure; JSON holds every figure, both sides and the limits."""
    import pyarrow as pa  # noqa: PLC0415  start-up time

    said = reason(report)
    rows = [
        {
            "measure": _name(each),
            "baseline": _figure(each, each.baseline),
            "candidate": _figure(each, each.candidate),
            "change": _change(each, each.change),
            "interval": _interval(each),
            "limit": _limit(each),
            "finding": _FINDINGS.get(str(each.finding)),
        }
        for each in report.measures
        if each.subject is not None or each.finding or each.baseline is not None or each.candidate is not None
    ]
    names = ("measure", "baseline", "candidate", "change", "interval", "limit", "finding")
    table = pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in names]))
    return Sheet(
        table,
        facts={
            "verdict": str(report.verdict),
            "reason": said,
            "window": {"since": report.window.since, "until": report.window.until},
            "confidence": report.confidence,
            "failing_confidence": report.failing_confidence,
            "evaluator": report.evaluator,
            "outcome": report.outcome,
            "limits": asdict(report.limits),
            "baseline": _side_facts(report.baseline),
            "candidate": _side_facts(report.candidate),
            "measures": [_facts(each) for each in report.measures],
        },
        notes=notes(report),
        title=f"{_TITLES[report.verdict]}: {said}",
    )


def reason(report: GateReport) -> str:
    """Why the verdict is what it is, in one sentence."""
    judged = [each for each in report.measures if each.finding]
    beyond = [each for each in judged if each.finding == "beyond"]
    if beyond:
        more = f"; worse too: {', '.join(map(_name, beyond[1:]))}" if beyond[1:] else ""
        return f"{_moved(beyond[0])}, where {_allowed(beyond[0])}{more}"
    if not report.baseline.requests or not report.candidate.requests:
        empty = [name for name in ("baseline", "candidate") if not getattr(report, name).requests]
        asked = " and ".join(f"no call of the {name} ({_said(getattr(report, name))})" for name in empty)
        return f"{asked} in this window"
    unsettled = [each for each in judged if each.finding == "open"]
    if not unsettled:
        return f"no measure is worse than its limit allows: {', '.join(_bounded(each) for each in judged)}"
    others = f"; not settled either: {', '.join(map(_name, unsettled[1:]))}" if unsettled[1:] else ""
    return f"{_unsettled(unsettled[0], report)}{others}"


def notes(report: GateReport) -> tuple[str, ...]:
    """Both sides, how sure it is, and how far to trust it."""
    judged = len([each for each in report.measures if each.finding])
    sure = f"intervals of {figures.share(report.confidence)}"
    if judged > 1:
        sure += (
            f"; {judged} measures are judged, so each is worse only where its interval of "
            f"{figures.share(report.failing_confidence)} says so"
        )
    lines = [
        f"{figures.moment(report.window.since)} to {figures.moment(report.window.until)}",
        *(f"{name}: {_side_line(getattr(report, name))}" for name in ("baseline", "candidate")),
        sure,
    ]
    mixed = report.baseline.mixed_requests + report.candidate.mixed_requests
    if mixed:
        lines.append(f"{mixed:,} requests have calls of both sides: each is of the side of its first one, whole")
    unpriced = report.baseline.unpriced_requests + report.candidate.unpriced_requests
    if unpriced:
        lines.append(
            f"no price known for calls of {report.baseline.unpriced_requests:,} requests of the baseline and "
            f"{report.candidate.unpriced_requests:,} of the candidate: they are in no cost above"
        )
    lines += [f"{_name(each)}: {each.missing}" for each in report.measures if each.missing and _is_told(each)]
    return tuple(lines)


def _is_told(each: Measure) -> bool:
    return each.subject is not None or each.finding is not None or each.baseline_size + each.candidate_size > 0


def _side_line(side: Side) -> str:
    return (
        f"{_said(side)}: {side.requests:,} requests, {side.calls:,} calls, {figures.money(side.cost_usd)} in all, "
        "judges left out"
    )


def _said(side: Side) -> str:
    return figures.one_line(", ".join(f"{name}={value}" for name, value in side.conditions.items()))


def _name(each: Measure) -> str:
    return figures.one_line(f"{each.measured} ({each.subject})" if each.subject else str(each.measured))


def _figure(each: Measure, value: Decimal | float | None) -> str | None:
    """A rate as a percentage, a latency as time, a cost as dollars to three digits."""
    if value is None:
        return None
    if isinstance(value, Decimal):
        return figures.money(value, min(9, max(2, 2 - value.adjusted())) if value else 2)
    return figures.share(value) if each.measured.is_rate else figures.duration(value)


def _change(each: Measure, value: float | None) -> str | None:
    """A change with its sign: points of a rate, percent of anything else."""
    if value is None:
        return None
    return f"{100 * value:+,.1f}{' points' if each.measured.is_rate else '%'}"


def _interval(each: Measure) -> str | None:
    if each.interval is None:
        return None
    return f"{100 * each.interval.low:+,.1f} to {_change(each, each.interval.high)}"


def _limit(each: Measure) -> str | None:
    if each.limit is None:
        return None
    unit = " points" if each.measured.is_rate else "%"
    return f"{'at least' if each.measured.is_rate else 'at most'} {100 * each.limit:+,.3g}{unit}"


def _allowed(each: Measure) -> str:
    """What the limit asks for."""
    limit = each.limit or 0.0
    size = f"{abs(100 * limit):,.3g}"
    if each.measured.is_rate:
        return f"{size} points less are allowed" if limit else "nothing less is allowed"
    return (
        f"{size}% more is allowed" if limit > 0 else f"{size}% less is asked for" if limit else "no more is allowed"
    )


def _moved(each: Measure) -> str:
    verb = "fell" if (each.change or 0) < 0 else "rose"
    return (
        f"{_name(each)} {verb} from {_figure(each, each.baseline)} to {_figure(each, each.candidate)} "
        f"({_change(each, each.change)}, {_interval(each)})"
    )


def _bounded(each: Measure) -> str:
    """The measure with the worst that its interval holds."""
    worst = None
    if each.interval:
        worst = each.interval.low if each.measured.is_rate else each.interval.high
    return f"{_name(each)} {_change(each, each.change)} (at worst {_change(each, worst)})"


def _unsettled(each: Measure, report: GateReport) -> str:
    if each.measured.is_rate and not (report.evaluator or report.outcome):
        return f"{_name(each)} is not known: no evaluation and no outcome was told of these requests"
    if each.missing:
        return f"{_name(each)} is not known: {each.missing}"
    lean = "it looks worse than that, and more requests may show it"
    if each.needed_requests is not None:
        lean = f"about {each.needed_requests:,} requests a side would settle it"
    return (
        f"{_name(each)} changed by {_change(each, each.change)}, somewhere from {_interval(each)}, where "
        f"{_allowed(each)}: {lean}"
    )


def _facts(each: Measure) -> dict[str, object]:
    facts: dict[str, object] = asdict(each)
    return facts | {"measured": str(each.measured), "finding": str(each.finding) if each.finding else None}


def _side_facts(side: Side) -> dict[str, object]:
    facts: dict[str, object] = asdict(side)
    return facts
